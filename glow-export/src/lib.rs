//! Freezes a trained Glow: from a checkpoint of `glow-train` to a bundle that `glow-runtime`, or any
//! other ONNX runtime, executes; and the proof that the bundle computes the same.
//!
//! ```no_run
//! use glow_export::{ExportOptions, export};
//!
//! let report = export("runs/faces", "models/faces", &ExportOptions::default())?;
//! println!("{}", report.folder.display());
//! # Ok::<(), glow_export::ExportError>(())
//! ```
mod destination;
mod error;
mod fold;
mod frozen;
mod graphs;
mod onnx;
mod parameters;
mod reference;
mod verify;

pub use error::ExportError;
pub use glow_models::{Precision, Weights};
pub use reference::{Reference, ReferenceEncoding};
pub use verify::{Check, Verification, verify};

use destination::Destination;
use glow_models::{
    Bundle, Checkpoint, DECODER_FILE, ENCODER_FILE, Manifest, Provenance, WEIGHTS_FILE, find_checkpoint,
    write_atomically,
};
use onnx::ModelProto;
use parameters::Parameters;
use prost::Message;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Program and version, as bundles and graphs name it.
const GENERATOR: &str = concat!("glow-export ", env!("CARGO_PKG_VERSION"));

/// How to export.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportOptions {
    /// Which weights of the checkpoint. Default [`Weights::Averaged`].
    pub weights: Weights,
    /// Number format of the coupling networks. Default [`Precision::Fp32`].
    pub precision: Precision,
    /// Whether the bundle is run and compared with [`Reference`] before it is put into place. Default
    /// true.
    pub verify: bool,
}

impl Default for ExportOptions {
    fn default() -> Self {
        Self { weights: Weights::Averaged, precision: Precision::Fp32, verify: true }
    }
}

/// What was exported.
#[derive(Debug, Clone)]
pub struct Report {
    /// The checkpoint that was read.
    pub checkpoint: PathBuf,
    /// The bundle's folder.
    pub folder: PathBuf,
    /// Its manifest, with the sizes of its files.
    pub manifest: Manifest,
    /// Nodes of the encoding graph.
    pub encoder_nodes: usize,
    /// Nodes of the decoding graph.
    pub decoder_nodes: usize,
    /// What verification found; `None` if it was not asked for.
    pub verification: Option<Verification>,
    /// Other files of an older bundle's folder, such as `attributes.safetensors`, that were kept.
    pub kept: Vec<String>,
}

/// Exports the checkpoint that `checkpoint` means (a file, or a run's folder: its best one) into the
/// folder `out`, which must be new, empty, or an older bundle. The same checkpoint and options give the
/// same bytes.
///
/// The bundle is written, and by default verified, in a temporary folder beside `out` and then renamed:
/// after an error, whatever was in `out` is still there.
///
/// # Errors
/// The checkpoint cannot be used or frozen, `out` is no place for a bundle, a file cannot be written, or
/// the bundle is not verified; see [`ExportError`].
pub fn export(
    checkpoint: impl AsRef<Path>,
    out: impl AsRef<Path>,
    options: &ExportOptions,
) -> Result<Report, ExportError> {
    let checkpoint = Checkpoint::open(&find_checkpoint(checkpoint.as_ref())?)?;
    if !checkpoint.meta().actnorm_initialised {
        return Err(ExportError::Uninitialised { path: checkpoint.path().into() });
    }
    let destination = Destination::prepare(out.as_ref())?;
    let parameters = Parameters::load(&checkpoint, options.weights)?;
    let provenance = provenance(&checkpoint, options.weights);
    let path = checkpoint.path().to_path_buf();
    // As large as the model and its optimiser: not needed any more.
    drop(checkpoint);
    let draft = Draft::write(destination.draft(), &parameters, provenance, options.precision)?;
    let verification = match options.verify {
        true => Some(verify(destination.draft(), &Reference::from_parameters(parameters)?)?),
        false => None,
    };
    let (folder, kept) = destination.install()?;
    let Draft { manifest, encoder_nodes, decoder_nodes } = draft;
    Ok(Report { checkpoint: path, folder, manifest, encoder_nodes, decoder_nodes, verification, kept })
}

/// A bundle that is complete, but not in its place.
struct Draft {
    manifest: Manifest,
    encoder_nodes: usize,
    decoder_nodes: usize,
}

impl Draft {
    fn write(
        folder: &Path,
        parameters: &Parameters,
        provenance: Provenance,
        precision: Precision,
    ) -> Result<Self, ExportError> {
        let architecture = parameters.architecture();
        let metadata = BTreeMap::from([("generator".to_string(), GENERATOR.to_string())]);
        let weights = fold::fold(parameters)?.write(&folder.join(WEIGHTS_FILE), &metadata)?;
        let graph = |file: &str, model: ModelProto| {
            let path = folder.join(file);
            write_atomically(&path, |out| out.write_all(&model.encode_to_vec()))
                .map_err(ExportError::io("write", &path))?;
            Ok::<_, ExportError>(model.graph.map_or(0, |graph| graph.node.len()))
        };
        let encoder_nodes = graph(ENCODER_FILE, graphs::encoder(architecture, &weights))?;
        let decoder_nodes = graph(DECODER_FILE, graphs::decoder(architecture, &weights))?;
        let manifest = Manifest::new(architecture.clone(), precision, graphs::OPSET, provenance);
        let manifest = Bundle::seal(folder, manifest)?.manifest().clone();
        Ok(Self { manifest, encoder_nodes, decoder_nodes })
    }
}

fn provenance(checkpoint: &Checkpoint, weights: Weights) -> Provenance {
    let meta = checkpoint.meta();
    Provenance {
        generator: GENERATOR.into(),
        checkpoint: checkpoint.path().file_name().unwrap_or_default().to_string_lossy().into_owned(),
        weights,
        step: meta.step,
        images_seen: meta.images_seen,
        // That of the validations, which are of these weights or of the others.
        bits_per_dim: meta.bits_per_dim.filter(|_| weights == meta.config.training.weights),
    }
}
