//! A model repository for NVIDIA's Triton Inference Server: both graphs as models that batch the requests of
//! many clients.
//!
//! ```text
//! DIR/NAME_encoder/config.pbtxt
//! DIR/NAME_encoder/1/model.onnx, model.safetensors
//! DIR/NAME_decoder/…
//! ```
//!
//! The files are second names of the bundle's (hard links), or copies where the disk has none.
use crate::ExportError;
use glow_models::{
    Bundle, DECODER_FILE, ENCODER_FILE, Manifest, WEIGHTS_FILE, link_atomically, write_atomically,
};
use std::fmt::Write;
use std::fs;
use std::path::Path;

/// The most images that Triton puts together.
const MAX_BATCH: usize = 32;

/// A tensor of a model: name, Triton's data type, and sizes of one image; none for one number an image.
struct Tensor {
    name: String,
    data_type: &'static str,
    sizes: Vec<usize>,
}

/// Writes the repository of the bundle in `folder`, whose name the models get.
///
/// # Errors
/// The folder holds no bundle, or a file cannot be written.
pub fn write_triton(folder: &Path, repository: &Path) -> Result<(), ExportError> {
    let bundle = Bundle::open(folder)?;
    let manifest = bundle.manifest();
    let path = fs::canonicalize(folder).map_err(ExportError::io("read", folder))?;
    let name: String = path
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.') { c } else { '_' })
        .collect();
    for (file, part) in [(ENCODER_FILE, "encoder"), (DECODER_FILE, "decoder")] {
        let name = format!("{name}_{part}");
        let model = repository.join(&name);
        let version = model.join("1");
        fs::create_dir_all(&version).map_err(ExportError::io("create", &version))?;
        let mut files = vec![(file, "model.onnx")];
        if !manifest.is_inline() {
            files.push((WEIGHTS_FILE, WEIGHTS_FILE));
        }
        for (from, to) in files {
            let to = version.join(to);
            link_atomically(&path.join(from), &to).map_err(ExportError::io("write", &to))?;
        }
        // Last, so that a model with a configuration is complete.
        let config = model.join("config.pbtxt");
        let text = config_text(&name, manifest, part == "encoder");
        write_atomically(&config, |out| out.write_all(text.as_bytes()))
            .map_err(ExportError::io("write", &config))?;
    }
    Ok(())
}

/// `config.pbtxt`: a `ModelConfig` of Triton's `model_config.proto` in protobuf's text format.
fn config_text(name: &str, manifest: &Manifest, encoder: bool) -> String {
    let (inputs, outputs) = tensors(manifest, encoder);
    let batch = manifest.batch;
    let mut text = format!(
        "name: \"{name}\"\nbackend: \"onnxruntime\"\ndefault_model_filename: \"model.onnx\"\nmax_batch_size: {}\n",
        // 0: the batch is one of the sizes, and Triton puts nothing together.
        if batch.is_some() { 0 } else { MAX_BATCH }
    );
    for (field, tensors) in [("input", inputs), ("output", outputs)] {
        for tensor in tensors {
            let sizes: Vec<usize> = batch.into_iter().chain(tensor.sizes).collect();
            // Triton wants at least one size: what has none is reshaped to it.
            let (dims, reshape) = match sizes.as_slice() {
                [] => ("1".to_string(), " reshape { shape: [ ] }"),
                sizes => (sizes.iter().map(usize::to_string).collect::<Vec<_>>().join(", "), ""),
            };
            let Tensor { name, data_type, .. } = tensor;
            writeln!(text, "{field} {{ name: \"{name}\" data_type: {data_type} dims: [ {dims} ]{reshape} }}")
                .expect("a string takes all");
        }
    }
    if batch.is_none() {
        text += "dynamic_batching { }\n";
    }
    text
}

fn tensors(manifest: &Manifest, encoder: bool) -> (Vec<Tensor>, Vec<Tensor>) {
    let a = &manifest.architecture;
    let tensor =
        |name: &str, data_type, sizes: &[usize]| Tensor { name: name.into(), data_type, sizes: sizes.into() };
    let image = [a.height, a.width, a.channels];
    let latents = manifest
        .latent_shapes
        .iter()
        .enumerate()
        .map(|(level, s)| tensor(&format!("eps_{level}"), "TYPE_FP32", &[s.channels, s.height, s.width]));
    let (mut inputs, outputs): (Vec<_>, Vec<_>) = if encoder {
        (
            vec![tensor("image", "TYPE_UINT8", &image), tensor("noise", "TYPE_FP32", &image)],
            latents.chain([tensor("log_prob", "TYPE_FP32", &[])]).collect(),
        )
    } else {
        (latents.collect(), vec![tensor("image", "TYPE_UINT8", &image), tensor("x", "TYPE_FP32", &image)])
    };
    if a.classes > 0 {
        inputs.push(tensor("label", "TYPE_INT64", &[]));
    }
    (inputs, outputs)
}
