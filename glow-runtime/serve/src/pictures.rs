//! Pixels as clients want them: PNG, JSON or raw bytes.
use crate::evaluate::blocking;
use crate::input::Query;
use crate::problem::Problem;
use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use glow_runtime::images::{self, GridOptions};
use image::{DynamicImage, ImageFormat};
use ndarray::Array4;
use serde::Serialize;
use std::io::Cursor;

/// The header with the shape of raw pixels: N,H,W,C.
const SHAPE: HeaderName = HeaderName::from_static("glow-shape");

/// How a client wants pixels.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Form {
    kind: Kind,
    /// Images a row of a sheet; 0 for about a square.
    columns: usize,
    /// Each pixel as scale × scale.
    scale: usize,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    /// One image as it is, several on one sheet.
    Png,
    /// Each image as PNG in base64.
    Json,
    /// Bytes [N, H, W, C].
    Raw,
}

/// The most by which a picture is enlarged.
const MAX_SCALE: usize = 16;

impl Form {
    /// From the parameters `format`, `columns` and `scale`; without `format`, from the header Accept.
    pub fn of(headers: &HeaderMap, query: &mut Query) -> Result<Self, Problem> {
        let kind = match query.text("format").as_deref() {
            Some("png") => Kind::Png,
            Some("json") => Kind::Json,
            Some("raw") => Kind::Raw,
            Some(other) => {
                return Err(Problem::invalid(format!("format={other:?} is none of png, json and raw")));
            }
            None => accepted(headers)?,
        };
        let columns = query.take("columns", "a whole number")?.unwrap_or(0);
        let scale = query.take("scale", "a whole number")?.unwrap_or(1);
        if !(1..=MAX_SCALE).contains(&scale) {
            return Err(Problem::invalid(format!("scale={scale} must be 1 to {MAX_SCALE}")));
        }
        Ok(Self { kind, columns, scale })
    }

    /// The response with these images [N, H, W, C].
    pub async fn response(self, pixels: Array4<u8>) -> Result<Response, Problem> {
        let shape = pixels.dim();
        match self.kind {
            Kind::Raw => {
                let text = format!("{},{},{},{}", shape.0, shape.1, shape.2, shape.3);
                let text =
                    HeaderValue::try_from(text).map_err(|error| Problem::internal(error.to_string()))?;
                let media = HeaderValue::from_static("application/octet-stream");
                let headers = [(header::CONTENT_TYPE, media), (SHAPE, text)];
                let bytes = pixels.as_standard_layout().into_owned().into_raw_vec_and_offset().0;
                Ok((headers, Body::from(bytes)).into_response())
            }
            Kind::Png => {
                let bytes = blocking(move || self.png(&pixels)).await?;
                Ok(([(header::CONTENT_TYPE, "image/png")], Body::from(bytes)).into_response())
            }
            Kind::Json => {
                let images = blocking(move || {
                    let each = pixels.outer_iter().map(|image| {
                        let one = image.insert_axis(ndarray::Axis(0));
                        Ok(STANDARD.encode(self.png(&one.to_owned())?))
                    });
                    each.collect::<Result<Vec<String>, Problem>>()
                });
                let body = Images { shape: [shape.0, shape.1, shape.2, shape.3], images: images.await? };
                Ok(json(&body))
            }
        }
    }

    fn png(self, pixels: &Array4<u8>) -> Result<Vec<u8>, Problem> {
        let sheet = match pixels.dim().0 {
            1 => GridOptions::new().columns(1).padding(0).scale(self.scale),
            _ => GridOptions::new().columns(self.columns).scale(self.scale),
        };
        encode_png(&images::grid(pixels, &sheet)?)
    }
}

#[derive(Serialize)]
struct Images {
    /// N, H, W, C, before any enlargement.
    shape: [usize; 4],
    images: Vec<String>,
}

fn encode_png(image: &DynamicImage) -> Result<Vec<u8>, Problem> {
    let mut png = Cursor::new(Vec::new());
    image.write_to(&mut png, ImageFormat::Png).map_err(|error| Problem::internal(error.to_string()))?;
    Ok(png.into_inner())
}

/// The first media type of the header Accept that there is; PNG where anything will do.
fn accepted(headers: &HeaderMap) -> Result<Kind, Problem> {
    let Some(accept) = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()) else {
        return Ok(Kind::Png);
    };
    let kind = accept.split(',').find_map(|item| match item.split(';').next()?.trim() {
        "image/png" | "image/*" | "*/*" => Some(Kind::Png),
        "application/json" => Some(Kind::Json),
        "application/octet-stream" => Some(Kind::Raw),
        _ => None,
    });
    kind.ok_or_else(|| {
        let message = "pictures come as image/png, application/json or application/octet-stream";
        Problem::new(StatusCode::NOT_ACCEPTABLE, "not_acceptable", message)
    })
}

/// A response of JSON.
pub(crate) fn json(body: &impl Serialize) -> Response {
    match serde_json::to_vec(body) {
        Ok(bytes) => ([(header::CONTENT_TYPE, "application/json")], Body::from(bytes)).into_response(),
        Err(error) => Problem::internal(error.to_string()).into_response(),
    }
}
