//! The page's own files, as `glow page` writes them, over this server instead of a model in the browser.
use crate::problem::Problem;
use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header};
use axum::response::{IntoResponse, Response};
use glow_page::{FILES, media_type};
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::sync::LazyLock;

/// Which back end the page uses: see `page/web/backend/backend.js`.
const SITE: &[u8] = br#"{"format":"glow-page","version":1,"backend":"server"}"#;

struct File {
    content: &'static [u8],
    media_type: &'static str,
    etag: HeaderValue,
}

static SITE_FILES: LazyLock<HashMap<&'static str, File>> = LazyLock::new(|| {
    let all = FILES.iter().copied().chain([("site.json", SITE)]);
    all.map(|(name, content)| {
        let hash: String = Sha256::digest(content)[..12].iter().map(|byte| format!("{byte:02x}")).collect();
        let etag = HeaderValue::try_from(format!("\"{hash}\"")).expect("hexadecimal digits in quotes");
        (name, File { content, media_type: media_type(name), etag })
    })
    .collect()
});

/// Answers for every path that is not one of the API's.
pub(crate) async fn file(request: Request<Body>) -> Result<Response, Problem> {
    let path = request.uri().path();
    let name = match path.trim_start_matches('/') {
        "" => "index.html",
        name => name,
    };
    let file = SITE_FILES.get(name).ok_or_else(|| Problem::of_status(StatusCode::NOT_FOUND))?;
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut response = Problem::of_status(StatusCode::METHOD_NOT_ALLOWED).into_response();
        response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET,HEAD"));
        return Ok(response);
    }
    // Each load asks whether a file has changed, which costs little, so that a new program never meets old files.
    let caching =
        [(header::ETAG, file.etag.clone()), (header::CACHE_CONTROL, HeaderValue::from_static("no-cache"))];
    if is_known(request.headers(), &file.etag) {
        return Ok((StatusCode::NOT_MODIFIED, caching).into_response());
    }
    let headers = [(header::CONTENT_TYPE, file.media_type)];
    Ok((caching, headers, Body::from(file.content)).into_response())
}

/// Whether the client has this version of a file.
fn is_known(headers: &HeaderMap, etag: &HeaderValue) -> bool {
    let given = headers.get(header::IF_NONE_MATCH).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let etag = etag.to_str().unwrap_or_default();
    given.split(',').map(|item| item.trim().trim_start_matches("W/")).any(|item| item == etag || item == "*")
}
