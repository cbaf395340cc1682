//! `/v1/latents` and `/v1/coordinates`: where a picture lies.
use crate::app::App;
use crate::evaluate;
use crate::input::asked;
use crate::limits::Deadline;
use crate::model::Loaded;
use crate::pictures::json;
use crate::problem::Problem;
use crate::recipe::Recipe;
use axum::body::Body;
use axum::extract::{Extension, State};
use axum::http::{Request, header};
use axum::response::{IntoResponse, Response};
use glow_runtime::Latents;
use serde::Deserialize;
use serde_json::{Map, json as value};
use std::sync::Arc;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LatentsRequest {
    recipe: Recipe,
}

/// The latents of a recipe, as the file that `glow decode` reads.
pub(crate) async fn latents(
    State(app): State<Arc<App>>,
    Extension(deadline): Extension<Deadline>,
    request: Request<Body>,
) -> Result<Response, Problem> {
    let (_, latents) = located(&app, deadline, request).await?;
    Ok(([(header::CONTENT_TYPE, "application/octet-stream")], latents.to_safetensors()).into_response())
}

/// The coordinates of a recipe along the model's attributes: what strength they have in the picture.
pub(crate) async fn coordinates(
    State(app): State<Arc<App>>,
    Extension(deadline): Extension<Deadline>,
    request: Request<Body>,
) -> Result<Response, Problem> {
    let (model, latents) = located(&app, deadline, request).await?;
    let values = model.attributes.project(&latents)?;
    let names = model.attributes.iter().map(|attribute| attribute.name().to_owned());
    let coordinates: Map<_, _> = names.zip(values.iter().map(|value| (*value).into())).collect();
    Ok(json(&value!({ "coordinates": coordinates })))
}

/// The model that is asked, and the latents of the recipe.
async fn located(
    app: &Arc<App>,
    deadline: Deadline,
    request: Request<Body>,
) -> Result<(Arc<Loaded>, Latents), Problem> {
    let (model, LatentsRequest { recipe }) = asked(app, request).await?;
    let latents = evaluate::latents(app, &model, recipe, deadline).await?;
    Ok((model, latents))
}
