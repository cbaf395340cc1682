//! Gives problems their bodies; see `problem`.
use crate::app::App;
use crate::event::Event;
use crate::problem::Problem;
use axum::body::Body;
use axum::extract::State;
use axum::http::{Request, header};
use axum::middleware::Next;
use axum::response::Response;
use std::sync::Arc;

pub(super) async fn render(State(app): State<Arc<App>>, request: Request<Body>, next: Next) -> Response {
    let path = request.uri().path().to_owned();
    let mut response = next.run(request).await;
    let status = response.status();
    if !status.is_client_error() && !status.is_server_error() {
        return response;
    }
    let problem = match response.extensions_mut().remove::<Problem>() {
        Some(problem) => problem,
        // Those of axum, such as a method that a path does not take.
        None => Problem::of_status(status),
    };
    if let Some(reason) = &problem.internal {
        app.options.tell(&Event::Failed { path: path.clone(), reason: reason.clone() });
    }
    if response.headers().get(header::CONTENT_TYPE).is_none_or(|kind| kind != "application/json") {
        return problem.render(&path, response);
    }
    response
}
