//! Answers that say what went wrong.
//!
//! A [`Problem`] becomes a response without a body that carries the problem as an extension; the layer
//! `problems` then writes the body in the form that the path's protocol has: `{"error": {"kind", "message"}}`, or
//! `{"error": message}` for the Open Inference Protocol.
use crate::event::chain;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use glow_runtime::{Error, RunFailure};
use serde_json::json;

/// What went wrong with a request.
#[derive(Debug, Clone)]
pub(crate) struct Problem {
    pub status: StatusCode,
    /// A word for programs.
    pub kind: &'static str,
    /// A sentence for people.
    pub message: String,
    /// When it may work again, in seconds.
    pub retry_after: Option<u64>,
    /// What only the operator is told.
    pub internal: Option<String>,
}

impl Problem {
    pub fn new(status: StatusCode, kind: &'static str, message: impl Into<String>) -> Self {
        Self { status, kind, message: message.into(), retry_after: None, internal: None }
    }

    /// 400: it cannot be read.
    pub fn malformed(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "malformed", message)
    }

    /// 422: it can be read, and makes no sense for the model.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", message)
    }

    /// 404.
    pub fn not_found(kind: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, kind, message)
    }

    /// 503: the same request may work in a moment.
    pub fn busy(message: impl Into<String>, seconds: u64) -> Self {
        let problem = Self::new(StatusCode::SERVICE_UNAVAILABLE, "overloaded", message);
        Self { retry_after: Some(seconds), ..problem }
    }

    /// 504.
    pub fn deadline() -> Self {
        Self::new(StatusCode::GATEWAY_TIMEOUT, "deadline", "the answer was not ready before the deadline")
    }

    /// 500: the operator is told the reason.
    pub fn internal(reason: impl Into<String>) -> Self {
        let message = "the server failed; its log says more";
        let problem = Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", message);
        Self { internal: Some(reason.into()), ..problem }
    }

    /// For a status that a library answered with.
    pub fn of_status(status: StatusCode) -> Self {
        let (kind, message) = match status {
            StatusCode::NOT_FOUND => {
                ("not_found", "there is nothing at this path; /openapi.json lists the paths")
            }
            StatusCode::METHOD_NOT_ALLOWED => ("method_not_allowed", "this path does not take this method"),
            _ => ("malformed", "the request cannot be read"),
        };
        Self::new(status, kind, message)
    }

    /// The response with its body, for a request to this path.
    pub fn render(&self, path: &str, mut response: Response) -> Response {
        let body = if is_v2(path) {
            json!({ "error": self.message, "kind": self.kind })
        } else {
            json!({ "error": { "kind": self.kind, "message": self.message } })
        };
        let headers = response.headers_mut();
        headers.remove(header::CONTENT_LENGTH);
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        *response.body_mut() = body.to_string().into();
        response
    }
}

/// Whether a path is one of the Open Inference Protocol.
pub(crate) fn is_v2(path: &str) -> bool {
    path == "/v2" || path.starts_with("/v2/")
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let text = chain(&error);
        match error {
            Error::Overloaded { .. } => Self::busy(text, 1),
            Error::Stopped | Error::Cancelled => Self::busy("the server is stopping", 1),
            Error::Deadline => Self::deadline(),
            Error::Unavailable { .. } => {
                Self { internal: Some(text), ..Self::busy("the model has lost its device", 30) }
            }
            Error::Run { kind: RunFailure::OutOfMemory, .. } => {
                Self { internal: Some(text), ..Self::busy("memory ran out: ask for fewer images at once", 5) }
            }
            Error::Shape { .. } | Error::Option { .. } => Self::invalid(text),
            Error::Labels { .. } => Self { kind: "label", ..Self::invalid(text) },
            Error::NonFinite { .. } => Self { kind: "too_far_out", ..Self::invalid(text) },
            Error::UnknownAttribute { .. } => Self { kind: "unknown_attribute", ..Self::invalid(text) },
            Error::Misfit { .. } => Self { kind: "image_too_small", ..Self::invalid(text) },
            _ => Self::internal(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use glow_runtime::GraphKind;

    #[test]
    fn errors_have_the_status_that_tells_a_client_what_to_do() {
        let run = |kind| Error::Run { graph: GraphKind::Decoder, kind, source: "at /secret/place".into() };
        let option = Error::Option { option: "temperature", value: "-1".into(), allowed: "at least 0" };
        for (error, status, kind, retry) in [
            (Error::Overloaded { waiting: 3, limit: 3 }, 503, "overloaded", true),
            (Error::Stopped, 503, "overloaded", true),
            (Error::Deadline, 504, "deadline", false),
            (run(RunFailure::OutOfMemory), 503, "overloaded", true),
            (run(RunFailure::Other), 500, "internal", false),
            (option, 422, "invalid", false),
        ] {
            let text = error.to_string();
            let problem = Problem::from(error);
            assert_eq!((problem.status.as_u16(), problem.kind), (status, kind), "{text}");
            assert_eq!(problem.retry_after.is_some(), retry, "{text}");
            assert!(!problem.message.contains("/secret"), "{text}");
        }
    }
}
