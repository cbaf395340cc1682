//! `/v1/models` and `/v1/model`: what there is.
use crate::app::App;
use crate::input::Query;
use crate::model::Loaded;
use crate::pictures::json;
use crate::problem::Problem;
use axum::body::Body;
use axum::extract::State;
use axum::http::Request;
use axum::response::Response;
use glow_runtime::{Manifest, ScoreKind};
use serde::Serialize;
use serde_json::json as value;
use std::sync::Arc;

/// The models' names, the one for requests that name none first.
pub(crate) async fn list(State(app): State<Arc<App>>) -> Response {
    let names: Vec<&str> = app.models.iter().map(|model| model.name()).collect();
    json(&value!({ "models": names }))
}

#[derive(Serialize)]
struct Description<'a> {
    name: &'a str,
    /// The bundle's `model.json`.
    manifest: &'a Manifest,
    attributes: Vec<&'a str>,
    /// bits/dim of a reference set, if the bundle brings them.
    reference: Option<&'a [f64]>,
    runs: Runs<'a>,
    limits: Limits,
}

#[derive(Serialize)]
struct Runs<'a> {
    providers: Vec<String>,
    onnxruntime: &'a str,
    server: &'static str,
}

#[derive(Serialize)]
struct Limits {
    images: usize,
    body_bytes: usize,
    pixels: u64,
    queue: usize,
    deadline_ms: u64,
}

/// What the page must know of a model.
pub(crate) async fn describe(
    State(app): State<Arc<App>>,
    request: Request<Body>,
) -> Result<Response, Problem> {
    let mut query = Query::of(&request.into_parts().0)?;
    let name = query.text("model");
    query.finish()?;
    let (name, model) = app.model(name.as_deref())?;
    let glow = model.glow();
    Ok(json(&Description {
        name,
        manifest: glow.manifest(),
        attributes: model.attributes.iter().map(glow_runtime::Attribute::name).collect(),
        reference: reference(&model),
        runs: Runs {
            providers: glow.providers().iter().map(ToString::to_string).collect(),
            onnxruntime: &glow.onnxruntime().version,
            server: concat!("glow-serve ", env!("CARGO_PKG_VERSION")),
        },
        limits: Limits {
            images: app.options.max_images,
            body_bytes: app.options.max_body,
            pixels: app.options.max_pixels,
            queue: app.options.queue,
            deadline_ms: u64::try_from(app.options.deadline.as_millis()).unwrap_or(u64::MAX),
        },
    }))
}

/// Scores that can be compared with bits/dim.
fn reference(model: &Loaded) -> Option<&[f64]> {
    let reference = model.reference.as_ref().filter(|reference| reference.kind() == ScoreKind::BitsPerDim)?;
    Some(reference.scores())
}
