//! Triton's extension for binary tensors: JSON first, as long as the header `Inference-Header-Content-Length` says, then
//! the bytes of the tensors that have a parameter `binary_data_size`, one after the other.
use crate::problem::Problem;
use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use serde_json::Value;

/// The header with the length of the JSON.
pub(super) const HEADER_LENGTH: HeaderName = HeaderName::from_static("inference-header-content-length");

/// Divides a body into its JSON and its bytes.
pub(super) fn divide<'a>(headers: &HeaderMap, body: &'a [u8]) -> Result<(&'a [u8], &'a [u8]), Problem> {
    let Some(length) = headers.get(&HEADER_LENGTH) else { return Ok((body, &[])) };
    let length = length.to_str().ok().and_then(|text| text.parse::<usize>().ok());
    length.and_then(|length| body.split_at_checked(length)).ok_or_else(|| {
        Problem::malformed(format!("the header {HEADER_LENGTH} must be a number, at most the body's length"))
    })
}

/// A response of JSON, and of bytes if any tensor is binary.
pub(super) fn response(json: &Value, binary: Option<Vec<u8>>) -> Response {
    let mut body = json.to_string().into_bytes();
    let Some(mut tensors) = binary else {
        return ([(header::CONTENT_TYPE, "application/json")], Body::from(body)).into_response();
    };
    let length = HeaderValue::from(body.len());
    body.append(&mut tensors);
    let media_type = HeaderValue::from_static("application/octet-stream");
    ([(header::CONTENT_TYPE, media_type), (HEADER_LENGTH, length)], Body::from(body)).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_divides_the_body() {
        let divided = |length: Option<&str>| {
            let mut headers = HeaderMap::new();
            if let Some(length) = length {
                headers.insert(HEADER_LENGTH, length.parse().unwrap());
            }
            divide(&headers, b"{}abc").map(|(json, bytes)| (json.to_vec(), bytes.to_vec()))
        };
        assert_eq!(divided(None).unwrap(), (b"{}abc".to_vec(), vec![]));
        assert_eq!(divided(Some("2")).unwrap(), (b"{}".to_vec(), b"abc".to_vec()));
        assert_eq!(divided(Some("5")).unwrap().1, b"");
        for wrong in ["6", "-1", "two", "18446744073709551616"] {
            assert_eq!(divided(Some(wrong)).unwrap_err().status, 400, "{wrong}");
        }
    }
}
