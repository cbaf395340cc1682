//! The models as a repository: what there is, and loading it again.
use super::{DECODER, ENCODER, VERSION, names};
use crate::app::App;
use crate::evaluate::blocking;
use crate::input::{Whole, parse_json, whole};
use crate::pictures::json;
use crate::problem::Problem;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{Request, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json as value};
use std::sync::Arc;

/// All models and their states.
pub(crate) async fn index(State(app): State<Arc<App>>) -> Response {
    let state = |(name, bundle): (String, &str)| {
        let health = app.model(Some(bundle)).map(|(_, model)| model.glow().health());
        let (state, reason) = match health {
            Ok(Ok(())) => ("READY", String::new()),
            Ok(Err(error)) => ("UNAVAILABLE", error.to_string()),
            Err(problem) => ("UNAVAILABLE", problem.message),
        };
        value!({ "name": name, "version": VERSION, "state": state, "reason": reason })
    };
    json(&names(&app).map(state).collect::<Vec<Value>>())
}

/// Loads a bundle again from its own folder, if the server was told to allow it; answers once it is loaded. Nothing of
/// the request says from where.
pub(crate) async fn load(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
    request: Request<Body>,
) -> Result<Response, Problem> {
    if !app.options.reload_by_request {
        let message = "this server does not load models on request: it was started without --allow-reload";
        return Err(Problem::new(StatusCode::FORBIDDEN, "forbidden", message));
    }
    let Whole { body, .. } = whole(&app, request).await?;
    if !body.is_empty() {
        let fields: Map<String, Value> = parse_json(&body)?;
        let parameters = fields.get("parameters").and_then(Value::as_object);
        if parameters.is_some_and(|parameters| !parameters.is_empty())
            || fields.keys().any(|key| key != "parameters")
        {
            let message =
                "a model is loaded from the folder that the server was started with: without parameters";
            return Err(Problem::invalid(message));
        }
    }
    let bundle = [ENCODER, DECODER].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(&name);
    let model = app.models.iter().find(|model| model.name() == bundle).cloned();
    let model =
        model.ok_or_else(|| Problem::not_found("unknown_model", format!("there is no model {name:?}")))?;
    let options = app.options.clone();
    // It goes on if the client departs.
    blocking(move || {
        model.reload(&options).map_err(|_| {
            let message = "the bundle cannot be loaded, the earlier one goes on; the server's log says why";
            Problem::new(StatusCode::CONFLICT, "not_loaded", message)
        })
    })
    .await?;
    Ok(StatusCode::OK.into_response())
}
