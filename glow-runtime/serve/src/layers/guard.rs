//! Keeps pages of other origins out, unless they are allowed, and sets the headers that close what is not needed.
//!
//! A browser sends some requests to any host that a page names, this machine's own included. So a request that
//! changes or computes anything must not come from a page of another origin (`Origin`, `Sec-Fetch-Site`), and a server
//! of this machine alone answers only by this machine's names (`Host`), since a name of the web can be made to point
//! here.
use crate::app::App;
use crate::layers::deadline;
use crate::problem::Problem;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use std::net::IpAddr;
use std::sync::Arc;

/// The first three let the page's WebAssembly use threads and keep its pixels to itself.
const SECURITY: [(HeaderName, &str); 8] = [
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-embedder-policy"), "require-corp"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (HeaderName::from_static("permissions-policy"), "camera=(self), microphone=(), geolocation=()"),
    (header::CONTENT_SECURITY_POLICY, "frame-ancestors 'none'"),
];

pub(super) async fn check(State(app): State<Arc<App>>, request: Request<Body>, next: Next) -> Response {
    let headers = request.headers();
    let origin = headers.get(header::ORIGIN).cloned();
    let allowed = origin.as_ref().filter(|origin| is_allowed(&app, origin)).cloned();
    let is_preflight =
        request.method() == Method::OPTIONS && headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
    let mut response = if !is_own_name(&app, headers) {
        let message = "this server is for this machine alone and does not go by that host name; see --host";
        Problem::new(StatusCode::MISDIRECTED_REQUEST, "host", message).into_response()
    } else if is_preflight && allowed.is_some() {
        preflight()
    } else if is_preflight || computes(&request) && allowed.is_none() && !is_same_origin(headers) {
        let message = "pages of this origin may not call this server; see --cors";
        Problem::new(StatusCode::FORBIDDEN, "origin", message).into_response()
    } else {
        next.run(request).await
    };
    let headers = response.headers_mut();
    for (name, value) in SECURITY {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    if !app.options.cors.is_empty() {
        headers.append(header::VARY, HeaderValue::from_static("Origin"));
    }
    if let Some(origin) = allowed {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        let exposed = "Glow-Shape, Inference-Header-Content-Length, Retry-After, Server-Timing";
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(exposed));
    }
    if app.is_stopping() {
        // Clients that keep connections learn here that this one ends.
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// Whether a request does more than read the page, descriptions and figures.
fn computes(request: &Request<Body>) -> bool {
    !request.method().is_safe() || request.uri().path().starts_with("/v1/sample")
}

fn preflight() -> Response {
    let sent = format!("Content-Type, Inference-Header-Content-Length, {}", deadline::HEADER);
    let mut response = StatusCode::NO_CONTENT.into_response();
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, POST, DELETE"));
    if let Ok(sent) = HeaderValue::try_from(sent) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, sent);
    }
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
    response
}

/// Whether an origin is one of those that may call the server.
fn is_allowed(app: &App, origin: &HeaderValue) -> bool {
    app.options.cors.iter().any(|other| other.as_bytes() == origin.as_bytes())
}

/// Whether no page sent the request, or one of this server. Behind a proxy that ends TLS the scheme differs.
fn is_same_origin(headers: &HeaderMap) -> bool {
    let Some(origin) = headers.get(header::ORIGIN) else {
        // Browsers name the origin of every request of theirs that this is asked of; older ones say it so.
        return headers.get("sec-fetch-site").is_none_or(|site| site != "cross-site");
    };
    let (Ok(origin), Some(host)) = (origin.to_str(), host(headers)) else { return false };
    let own = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
    own.is_some_and(|own| own.eq_ignore_ascii_case(host))
}

fn host(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::HOST)?.to_str().ok()
}

/// Whether the header Host is a name of this server; any is, unless it is for this machine alone.
fn is_own_name(app: &App, headers: &HeaderMap) -> bool {
    if !app.options.address.is_loopback() || !headers.contains_key(header::HOST) {
        return true;
    }
    let Some(host) = host(headers) else { return false };
    let name = match host.rsplit_once(':') {
        // Not the end of an IPv6 address in brackets.
        Some((name, port)) if port.bytes().all(|c| c.is_ascii_digit()) => name,
        _ => host,
    };
    let name = name.trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost")
        || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
        || app.options.hosts.iter().any(|other| other.eq_ignore_ascii_case(name))
}
