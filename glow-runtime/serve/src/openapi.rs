//! The description of the API, which the tests hold against the routes.
use axum::http::header;
use axum::response::{IntoResponse, Response};

/// `openapi.json` of this crate.
pub(crate) const DESCRIPTION: &str = include_str!("../openapi.json");

pub(crate) async fn description() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], DESCRIPTION).into_response()
}
