//! Whether the server lives, whether it is ready, and its figures.
use crate::app::App;
use crate::metrics;
use crate::pictures::json;
use crate::problem::Problem;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json as value;
use std::sync::Arc;

/// The process answers: restart it if this does not come.
pub(crate) async fn live() -> Response {
    json(&value!({ "status": "live" }))
}

/// Requests are welcome.
pub(crate) async fn ready(State(app): State<Arc<App>>) -> Result<Response, Problem> {
    match app.unready() {
        None => Ok(json(&value!({ "status": "ready" }))),
        Some(reason) => Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "not_ready", reason)),
    }
}

/// The figures, for Prometheus.
pub(crate) async fn figures(State(app): State<Arc<App>>) -> Response {
    for model in &app.models {
        model.current().report();
    }
    let (images, bytes) = app.images.size();
    app.metrics.set_image_cache(images, bytes);
    ([(header::CONTENT_TYPE, metrics::MEDIA_TYPE)], app.metrics.text()).into_response()
}
