//! The Open Inference Protocol, version 2, as KServe and NVIDIA's Triton Inference Server speak it over HTTP, with
//! Triton's extension for binary tensors.
//!
//! Each bundle is two models, `NAME_encoder` and `NAME_decoder`, with the tensors of its graphs: the same that
//! `glow-export --triton` writes for Triton itself.
mod binary;
mod infer;
mod metadata;
mod repository;
mod tensor;

pub(crate) use infer::infer;
pub(crate) use metadata::{config, model, ready, server};
pub(crate) use repository::{index, load};

use crate::app::App;
use crate::model::Loaded;
use crate::problem::Problem;
use axum::extract::{FromRequestParts, RawPathParams};
use axum::http::request::Parts;
use glow_runtime::GraphKind;
use std::sync::Arc;

/// The only version of each model.
const VERSION: &str = "1";

const ENCODER: &str = "_encoder";
const DECODER: &str = "_decoder";

/// The graph that a path names: `/v2/models/{model}` or `/v2/models/{model}/versions/{version}`.
pub(crate) struct Target {
    /// The name in the path.
    name: String,
    model: Arc<Loaded>,
    graph: GraphKind,
}

impl FromRequestParts<Arc<App>> for Target {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Problem> {
        let path = RawPathParams::from_request_parts(parts, app).await;
        let path = path.map_err(|error| Problem::malformed(error.to_string()))?;
        let part = |wanted| path.iter().find(|(name, _)| *name == wanted).map(|(_, value)| value);
        if let Some(version) = part("version")
            && version != VERSION
        {
            let message = format!("there is no version {version:?}: each model has version {VERSION} alone");
            return Err(Problem::not_found("unknown_version", message));
        }
        Self::find(app, part("model").unwrap_or_default())
    }
}

impl Target {
    fn find(app: &App, name: &str) -> Result<Self, Problem> {
        for (end, graph) in [(ENCODER, GraphKind::Encoder), (DECODER, GraphKind::Decoder)] {
            if let Some(model) = name.strip_suffix(end)
                && let Ok((_, model)) = app.model(Some(model))
            {
                return Ok(Self { name: name.into(), model, graph });
            }
        }
        let names: Vec<String> = names(app).map(|(name, _)| name).collect();
        let message = format!("there is no model {name:?}; there are {}", names.join(", "));
        Err(Problem::not_found("unknown_model", message))
    }
}

/// The names of all models, each with that of its bundle.
fn names(app: &App) -> impl Iterator<Item = (String, &str)> {
    app.models
        .iter()
        .flat_map(|model| [ENCODER, DECODER].map(|end| (format!("{}{end}", model.name()), model.name())))
}
