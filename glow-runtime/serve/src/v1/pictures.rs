//! `/v1/sample`, `/v1/render`, `/v1/interpolate`: pictures.
use crate::app::App;
use crate::evaluate;
use crate::input::{Query, json};
use crate::limits::Deadline;
use crate::model::Loaded;
use crate::pictures::Form;
use crate::problem::Problem;
use crate::recipe::{Face, MAX_TEMPERATURE, Recipe, within};
use axum::body::Body;
use axum::extract::{Extension, State};
use axum::http::Request;
use axum::response::Response;
use glow_runtime::{Interpolation, Job, Latents, SampleOptions};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::sync::Arc;

/// Draws of the model, those of `glow sample`.
pub(crate) async fn sample(
    State(app): State<Arc<App>>,
    Extension(deadline): Extension<Deadline>,
    request: Request<Body>,
) -> Result<Response, Problem> {
    let (parts, _) = request.into_parts();
    let mut query = Query::of(&parts)?;
    let model = query.model(&app)?;
    let form = Form::of(&parts.headers, &mut query)?;
    let (whole, number) = ("a whole number", "a number");
    let count: usize = query.take("count", whole)?.unwrap_or(1);
    let seed: u64 = query.take("seed", whole)?.unwrap_or(0);
    let first: u64 = query.take("first", whole)?.unwrap_or(0);
    let temperature: f32 = query.take("temperature", number)?.unwrap_or(0.7);
    let truncation: Option<f32> = query.take("truncation", number)?;
    let label: Option<i64> = query.take("label", whole)?;
    query.finish()?;
    check_count("count", count, 1, app.options.max_images)?;
    within("temperature", temperature, 0.0, MAX_TEMPERATURE)?;
    if let Some(truncation) = truncation {
        within("truncation", truncation, 0.01, 1e6)?;
    }
    let options = SampleOptions::new()
        .temperature(temperature)
        .truncation(truncation)
        .seed(seed)
        .first(first)
        .labels(label.map(|label| vec![label; count]));
    form.response(model.run(Job::sample(count, options), deadline).await?).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RenderRequest {
    recipe: Recipe,
}

/// The picture of a recipe.
pub(crate) async fn render(
    State(app): State<Arc<App>>,
    Extension(deadline): Extension<Deadline>,
    request: Request<Body>,
) -> Result<Response, Problem> {
    let (form, model, RenderRequest { recipe }) = asked(&app, request).await?;
    let labels = recipe.label.map(|label| vec![label]);
    let latents = evaluate::latents(&app, &model, recipe, deadline).await?;
    form.response(model.run(Job::decode(latents, labels), deadline).await?.images).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct InterpolateRequest {
    from: Face,
    to: Face,
    #[serde(default = "default_steps")]
    steps: usize,
    #[serde(default)]
    spherical: bool,
    #[serde(default)]
    label: Option<i64>,
}

fn default_steps() -> usize {
    8
}

/// The way between two faces, both ends included, as `glow interpolate` goes it.
pub(crate) async fn interpolate(
    State(app): State<Arc<App>>,
    Extension(deadline): Extension<Deadline>,
    request: Request<Body>,
) -> Result<Response, Problem> {
    let (form, model, asked) = asked::<InterpolateRequest>(&app, request).await?;
    let InterpolateRequest { from, to, steps, spherical, label } = asked;
    check_count("steps", steps, 2, app.options.max_images)?;
    let (a, b) = evaluate::pair(&app, &model, [from, to], label, deadline).await?;
    let way = if spherical { Interpolation::Spherical } else { Interpolation::Linear };
    let latents = evaluate::blocking(move || Ok(Latents::interpolate(&a, &b, steps, way)?)).await?;
    let labels = label.map(|label| vec![label; steps]);
    form.response(model.run(Job::decode(latents, labels), deadline).await?.images).await
}

/// Form, model and body of a request for pictures.
async fn asked<T: DeserializeOwned>(
    app: &App,
    request: Request<Body>,
) -> Result<(Form, Arc<Loaded>, T), Problem> {
    let (parts, body) = json(app, request).await?;
    let mut query = Query::of(&parts)?;
    let model = query.model(app)?;
    let form = Form::of(&parts.headers, &mut query)?;
    query.finish()?;
    Ok((form, model, body))
}

fn check_count(name: &str, count: usize, least: usize, most: usize) -> Result<(), Problem> {
    if (least..=most).contains(&count) {
        return Ok(());
    }
    Err(Problem::invalid(format!("{name} = {count} must be {least} to {most}")))
}
