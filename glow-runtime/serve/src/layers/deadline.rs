//! The time that a request has.
use crate::app::App;
use crate::limits::Deadline;
use crate::problem::Problem;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderName, Request};
use axum::middleware::Next;
use axum::response::Response;
use std::sync::Arc;
use std::time::Duration;

/// The header in which a client says how many milliseconds it waits.
pub(crate) const HEADER: HeaderName = HeaderName::from_static("glow-timeout-ms");

/// What the model's queue may be late, which says more of a deadline than this layer does.
const SLACK: Duration = Duration::from_millis(50);

pub(super) async fn limit(
    State(app): State<Arc<App>>,
    mut request: Request<Body>,
    next: Next,
) -> Result<Response, Problem> {
    let most = Deadline::after(app.options.deadline);
    let deadline = match request.headers().get(&HEADER) {
        None => most,
        Some(value) => match value.to_str().ok().and_then(|text| text.trim().parse::<u64>().ok()) {
            Some(ms @ 1..) => Deadline::after(Duration::from_millis(ms)).or_earlier(most),
            _ => {
                let message =
                    format!("the header {HEADER} must be a whole number of milliseconds, at least 1");
                return Err(Problem::malformed(message));
            }
        },
    };
    request.extensions_mut().insert(deadline);
    let answer = tokio::time::timeout_at(deadline.instant() + SLACK, next.run(request)).await;
    answer.map_err(|_| Problem::deadline())
}
