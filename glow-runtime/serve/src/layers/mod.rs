//! What is done around each request, from the outside in: it is counted, problems get their bodies, strangers are
//! kept out, and time ends.
mod deadline;
mod guard;
mod observe;
mod problems;

use crate::app::App;
use axum::Router;
use axum::middleware::from_fn_with_state;
use std::sync::Arc;

pub(crate) fn around(routes: Router, app: &Arc<App>) -> Router {
    routes
        .layer(from_fn_with_state(Arc::clone(app), deadline::limit))
        .layer(from_fn_with_state(Arc::clone(app), guard::check))
        .layer(from_fn_with_state(Arc::clone(app), problems::render))
        .layer(from_fn_with_state(Arc::clone(app), observe::observe))
}
