//! `/v1/images`: photographs that recipes may name from then on.
use crate::app::App;
use crate::evaluate::blocking;
use crate::images::ImageId;
use crate::input::{Query, Whole, media_type, whole};
use crate::model::Loaded;
use crate::pictures::json;
use crate::problem::Problem;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{Request, StatusCode};
use axum::response::{IntoResponse, Response};
use glow_data::{Fit, ImageError, decode_image};
use image::ImageReader;
use ndarray::{ArrayView4, Axis};
use serde_json::json as value;
use std::io::Cursor;
use std::sync::Arc;

/// Takes an image: a file that is brought to the model's size as `glow encode` does it, or, as
/// application/octet-stream, the pixels [H, W, C] themselves. It is kept by the SHA-256 of the pixels as the model
/// sees them, with only the upper n_bits of each, and pushed out when room is needed.
pub(crate) async fn add(State(app): State<Arc<App>>, request: Request<Body>) -> Result<Response, Problem> {
    let Whole { parts, body, memory } = whole(&app, request).await?;
    let mut query = Query::of(&parts)?;
    let model = query.model(&app)?;
    query.finish()?;
    let pixels = match media_type(&parts.headers) {
        Some("application/octet-stream") => raw(&model, &body)?,
        Some(kind) if kind.starts_with("image/") => {
            let turn = Arc::clone(&app.decoders).acquire_owned().await;
            let (fit, most) = (Fit::from(model.manifest()), app.options.max_pixels);
            blocking(move || {
                // Until the decoder is done, even if the client departs.
                let _held = (turn, memory);
                decode(&body, fit, most)
            })
            .await?
        }
        _ => {
            let message = "send an image file as image/png, image/jpeg and so on, or the model's own pixels as \
                           application/octet-stream";
            return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "media_type", message));
        }
    };
    let a = model.architecture();
    let view = ArrayView4::from_shape((1, a.height, a.width, a.channels), &pixels);
    let view = view.map_err(|error| Problem::internal(error.to_string()))?;
    let seen = model.glow().quantize(view).remove_axis(Axis(0)).into_raw_vec_and_offset().0;
    let id = ImageId::of(&seen);
    let bytes = seen.len();
    app.images.put(id, seen.into(), bytes);
    Ok((StatusCode::CREATED, json(&value!({ "image": id.to_string() }))).into_response())
}

/// Forgets an image.
pub(crate) async fn remove(State(app): State<Arc<App>>, Path(id): Path<String>) -> Result<Response, Problem> {
    let id: ImageId = id.parse().map_err(Problem::invalid)?;
    let mut known = app.images.remove(&id);
    for model in &app.models {
        let model = model.current();
        let classes = (0..model.architecture().classes as i64).map(Some);
        for label in classes.chain([None]) {
            known |= model.latents.remove(&(id, label));
        }
    }
    if known {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    Err(Problem::not_found("unknown_image", format!("the image {id} is not here")))
}

/// Pixels of just the model's size.
fn raw(model: &Loaded, body: &[u8]) -> Result<Vec<u8>, Problem> {
    let a = model.architecture();
    if body.len() == a.dims() {
        return Ok(body.to_vec());
    }
    Err(Problem::invalid(format!(
        "the pixels of this model's images have {} bytes, {}×{}×{}; these have {}",
        a.dims(),
        a.height,
        a.width,
        a.channels,
        body.len()
    )))
}

fn decode(body: &[u8], fit: Fit, most: u64) -> Result<Vec<u8>, Problem> {
    let broken = |reason: String| Problem {
        kind: "not_an_image",
        ..Problem::invalid(format!("the image cannot be decoded: {reason}"))
    };
    // The header alone is read here.
    let reader = ImageReader::new(Cursor::new(body)).with_guessed_format();
    let size = reader.map_err(image::ImageError::from).and_then(ImageReader::into_dimensions);
    let (width, height) = size.map_err(|error| broken(error.to_string()))?;
    if u64::from(width) * u64::from(height) > most {
        let message = format!("the image is {width}×{height} pixels; at most {most} are read");
        return Err(Problem { kind: "too_many_pixels", ..Problem::invalid(message) });
    }
    match decode_image(body, None, fit, 0) {
        Ok(fitted) => Ok(fitted.pixels),
        Err(ImageError::Misfit(misfit)) => {
            Err(Problem { kind: "image_too_small", ..Problem::invalid(format!("the image {misfit}")) })
        }
        Err(error) => Err(broken(error.reason())),
    }
}
