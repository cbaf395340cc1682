//! The table of routes.
use crate::app::App;
use crate::{health, layers, openapi, page, v1, v2};
use axum::Router;
use axum::routing::{MethodRouter, delete, get, post};
use std::sync::Arc;

/// Every path of the API, as `openapi.json` lists them.
fn table() -> Vec<(&'static str, MethodRouter<Arc<App>>)> {
    vec![
        ("/v1/models", get(v1::models::list)),
        ("/v1/model", get(v1::models::describe)),
        ("/v1/sample", get(v1::pictures::sample)),
        ("/v1/images", post(v1::images::add)),
        ("/v1/images/{image}", delete(v1::images::remove)),
        ("/v1/render", post(v1::pictures::render)),
        ("/v1/interpolate", post(v1::pictures::interpolate)),
        ("/v1/score", post(v1::score::score)),
        ("/v1/coordinates", post(v1::latents::coordinates)),
        ("/v1/latents", post(v1::latents::latents)),
        ("/v2", get(v2::server)),
        ("/v2/health/live", get(health::live)),
        ("/v2/health/ready", get(health::ready)),
        ("/v2/models/{model}", get(v2::model)),
        ("/v2/models/{model}/versions/{version}", get(v2::model)),
        ("/v2/models/{model}/ready", get(v2::ready)),
        ("/v2/models/{model}/versions/{version}/ready", get(v2::ready)),
        ("/v2/models/{model}/config", get(v2::config)),
        ("/v2/models/{model}/versions/{version}/config", get(v2::config)),
        ("/v2/models/{model}/infer", post(v2::infer)),
        ("/v2/models/{model}/versions/{version}/infer", post(v2::infer)),
        ("/v2/repository/index", post(v2::index)),
        ("/v2/repository/models/{model}/load", post(v2::load)),
        ("/health/live", get(health::live)),
        ("/health/ready", get(health::ready)),
        ("/metrics", get(health::figures)),
        ("/openapi.json", get(openapi::description)),
    ]
}

/// All routes and the page, with what is done around them.
pub(crate) fn router(app: &Arc<App>) -> Router {
    let routes =
        table().into_iter().fold(Router::new(), |router, (path, methods)| router.route(path, methods));
    layers::around(routes.fallback(page::file).with_state(Arc::clone(app)), app)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;
    use std::collections::BTreeSet;

    #[test]
    fn the_description_lists_every_path() {
        let description: Value = serde_json::from_str(openapi::DESCRIPTION).unwrap();
        let described: BTreeSet<&str> =
            description["paths"].as_object().unwrap().keys().map(String::as_str).collect();
        let there: BTreeSet<&str> = table().into_iter().map(|(path, _)| path).collect();
        assert_eq!(described, there);
    }
}
