//! Counts and times requests, and keeps a panic to the request that it came from.
use crate::app::App;
use crate::event::Event;
use crate::problem::Problem;
use axum::body::Body;
use axum::extract::{MatchedPath, State};
use axum::http::{HeaderName, HeaderValue, Method, Request, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Instant;

const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");
/// The status by which a client that departed is counted, as nginx does.
const DEPARTED: u16 = 499;

pub(super) async fn observe(State(app): State<Arc<App>>, request: Request<Body>, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>();
    let route = route.map_or("page", MatchedPath::as_str).to_owned();
    let path = request.uri().path().to_owned();
    let mut observed = Observed {
        app: &app,
        begin: Instant::now(),
        method: request.method().clone(),
        path,
        route,
        status: None,
    };
    app.metrics.in_flight.inc();
    let answer = AssertUnwindSafe(next.run(request)).catch_unwind().await;
    let mut response = answer.unwrap_or_else(|panic| {
        let reason = panic.downcast_ref::<String>().map(String::as_str);
        let reason = reason.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
        app.options
            .tell(&Event::Failed { path: observed.path.clone(), reason: format!("a panic: {reason}") });
        let problem = Problem::internal("");
        problem.render(&observed.path, problem.status.into_response())
    });
    observed.status = Some(response.status());
    let time = format!("total;dur={:.2}", observed.begin.elapsed().as_secs_f64() * 1e3);
    if let Ok(value) = HeaderValue::try_from(time) {
        response.headers_mut().insert(SERVER_TIMING, value);
    }
    response
}

/// Counts a request at its end, also where its client departs and the future is dropped.
struct Observed<'a> {
    app: &'a App,
    begin: Instant,
    method: Method,
    path: String,
    route: String,
    status: Option<StatusCode>,
}

impl Drop for Observed<'_> {
    fn drop(&mut self) {
        let time = self.begin.elapsed();
        let departed = StatusCode::from_u16(DEPARTED).unwrap_or(StatusCode::BAD_REQUEST);
        let status = self.status.unwrap_or(departed);
        // Methods that clients make up must not become labels.
        let method = match self.method {
            Method::GET => "GET",
            Method::HEAD => "HEAD",
            Method::POST => "POST",
            Method::DELETE => "DELETE",
            Method::OPTIONS => "OPTIONS",
            _ => "other",
        };
        self.app.metrics.in_flight.dec();
        self.app.metrics.answered(method, std::mem::take(&mut self.route), status, time);
        self.app.options.tell(&Event::Request {
            method: method.into(),
            path: std::mem::take(&mut self.path),
            status: status.as_u16(),
            time,
        });
    }
}
