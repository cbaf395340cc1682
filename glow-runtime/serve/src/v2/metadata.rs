//! What the server and its models are.
use super::tensor::{DataType, Port, ports};
use super::{Target, VERSION};
use crate::app::App;
use crate::pictures::json;
use crate::problem::Problem;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json as value};
use std::sync::Arc;

const PLATFORM: &str = "onnxruntime_onnx";

/// The server's name, version and extensions.
pub(crate) async fn server() -> Response {
    json(&value!({
        "name": "glow-serve",
        "version": env!("CARGO_PKG_VERSION"),
        "extensions": ["binary_tensor_data", "model_configuration", "model_repository"],
    }))
}

/// A model's tensors; −1 stands for the number of images.
pub(crate) async fn model(target: Target) -> Response {
    let (inputs, outputs) = ports(target.model.manifest(), target.graph);
    let tensor = |port: &Port| {
        let shape: Vec<i64> = std::iter::once(-1).chain(port.sizes.iter().map(|&size| size as i64)).collect();
        value!({ "name": port.name, "datatype": port.data_type.name(), "shape": shape })
    };
    json(&value!({
        "name": target.name,
        "versions": [VERSION],
        "platform": PLATFORM,
        "inputs": inputs.iter().map(tensor).collect::<Vec<_>>(),
        "outputs": outputs.iter().map(tensor).collect::<Vec<_>>(),
    }))
}

/// A model's configuration, as Triton gives it.
pub(crate) async fn config(State(app): State<Arc<App>>, target: Target) -> Response {
    let (inputs, outputs) = ports(target.model.manifest(), target.graph);
    let tensor = |port: &Port| {
        let data_type = match port.data_type {
            DataType::Uint8 => "TYPE_UINT8",
            DataType::Fp32 => "TYPE_FP32",
            DataType::Int64 => "TYPE_INT64",
        };
        // Triton wants at least one size: what has none is reshaped to it.
        let mut tensor = match port.sizes.as_slice() {
            [] => {
                value!({ "name": port.name, "data_type": data_type, "dims": [1], "reshape": { "shape": [] } })
            }
            sizes => value!({ "name": port.name, "data_type": data_type, "dims": sizes }),
        };
        if port.optional {
            tensor["optional"] = true.into();
        }
        tensor
    };
    json(&value!({
        "name": target.name,
        "platform": PLATFORM,
        "backend": "onnxruntime",
        "max_batch_size": app.options.max_images,
        "input": inputs.iter().map(tensor).collect::<Vec<Value>>(),
        "output": outputs.iter().map(tensor).collect::<Vec<Value>>(),
        "dynamic_batching": {},
    }))
}

/// Whether a model is ready.
pub(crate) async fn ready(target: Target) -> Result<Response, Problem> {
    match target.model.glow().health() {
        Ok(()) => Ok(StatusCode::OK.into_response()),
        Err(error) => Err(error.into()),
    }
}
