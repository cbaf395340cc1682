//! `/v1/score`: how likely a picture is, and how typical.
use crate::app::App;
use crate::evaluate;
use crate::input::asked;
use crate::limits::Deadline;
use crate::pictures::json;
use crate::problem::Problem;
use crate::recipe::Recipe;
use axum::body::Body;
use axum::extract::{Extension, State};
use axum::http::Request;
use axum::response::Response;
use glow_runtime::{Job, Latents, Score, ScoreKind, ScoreOptions};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ScoreRequest {
    recipe: Recipe,
    /// Draws of the dequantization noise that are averaged.
    #[serde(default = "one")]
    draws: usize,
    #[serde(default)]
    seed: u64,
}

fn one() -> usize {
    1
}

#[derive(Serialize)]
struct ScoreAnswer {
    /// Nats.
    log_prob: f64,
    /// Of the mean over the draws; null for one.
    standard_error: Option<f64>,
    bits_per_dim: f64,
    /// Whether an 8-bit bundle can be relied upon for such an image.
    reliable: bool,
    /// Root mean square of each level of the latent: 1 on average for draws at temperature 1.
    radii: Vec<f64>,
    /// Compared with the bundle's reference set, if it has one.
    typicality: Option<Typicality>,
}

#[derive(Serialize)]
struct Typicality {
    /// Distance from the reference set's mean, in its standard deviations.
    deviations: f64,
    /// How probable a distance at least as large is in the set.
    p_value: f64,
}

/// The likelihood of a recipe's picture, as `glow score` computes it.
pub(crate) async fn score(
    State(app): State<Arc<App>>,
    Extension(deadline): Extension<Deadline>,
    request: Request<Body>,
) -> Result<Response, Problem> {
    let (model, ScoreRequest { recipe, draws, seed }) = asked(&app, request).await?;
    if !(1..=app.options.max_images).contains(&draws) {
        let message = format!("draws = {draws} must be 1 to {}", app.options.max_images);
        return Err(Problem::invalid(message));
    }
    let labels = recipe.label.map(|label| vec![label]);
    let latents = evaluate::latents(&app, &model, recipe, deadline).await?;
    let radii = radii(&latents);
    let images = model.run(Job::decode(latents, labels.clone()), deadline).await?.images;
    let options = ScoreOptions::new().draws(draws).seed(seed).labels(labels);
    let scores = model.run(Job::score(images, options), deadline).await?;
    let Some(Score { log_prob, standard_error, bits_per_dim, reliable, .. }) = scores.first().copied() else {
        return Err(Problem::internal("no score of an image"));
    };
    let reference = model.reference.as_ref().filter(|reference| reference.kind() == ScoreKind::BitsPerDim);
    let typicality = reference.map(|reference| {
        let score = reference.compare(bits_per_dim);
        Typicality { deviations: score.typicality, p_value: score.p_value }
    });
    Ok(json(&ScoreAnswer { log_prob, standard_error, bits_per_dim, reliable, radii, typicality }))
}

fn radii(latents: &Latents) -> Vec<f64> {
    let radius = |level: &ndarray::Array4<f32>| {
        let squares: f64 = level.iter().map(|&z| f64::from(z) * f64::from(z)).sum();
        (squares / level.len() as f64).sqrt()
    };
    latents.levels().iter().map(radius).collect()
}
