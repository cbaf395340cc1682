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
mod card;
mod data;
mod destination;
mod error;
mod fold;
mod frozen;
mod graphs;
pub mod import;
mod onnx;
mod parameters;
mod precision;
mod reference;
mod triton;
mod verify;

pub use error::ExportError;
pub use glow_data::{DataKind, DataSpec};
pub use glow_models::{Int8Layout, Precision, Weights};
pub use precision::Keep;
pub use reference::{Reference, ReferenceEncoding};
pub use triton::write_triton;
pub use verify::{Check, Footprint, Peaks, Quality, Verification, verify};

use card::CARD_FILE;
use destination::Destination;
use frozen::Frozen;
use glow_models::{
    Architecture, Bundle, Checkpoint, DECODER_FILE, ENCODER_FILE, Group, LargestActivation, Manifest,
    Numerics, Provenance, Quantisation, WEIGHTS_FILE, find_checkpoint, write_atomically,
};
use onnx::ModelProto;
use parameters::Parameters;
use precision::{CouplingInputs, Emulation};
use prost::Message;
use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

/// Program and version, as bundles and graphs name it.
const GENERATOR: &str = concat!("glow-export ", env!("CARGO_PKG_VERSION"));

/// How to export.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportOptions {
    /// Which weights of the checkpoint. Default [`Weights::Averaged`].
    pub weights: Weights,
    /// The further average of this name instead, of a run that keeps several. Default none.
    pub average: Option<String>,
    /// Number format of the coupling networks. Default [`Precision::Fp32`].
    pub precision: Precision,
    /// Of an int8 bundle, what runs its networks in integers. Default [`Int8Layout::Cpu`].
    pub layout: Int8Layout,
    /// Steps of flow of an int8 bundle whose networks stay in fp32. Default none.
    pub keep: Keep,
    /// Real images: int8 is calibrated on some, and every precision is measured on others. Default none.
    pub images: Option<DataSpec>,
    /// Whether each graph holds its weights itself, for runtimes that do not read external data; the
    /// weights that both graphs share are then stored twice. Default false.
    pub inline: bool,
    /// The batch size of both graphs, for runtimes that want fixed shapes; `None`, the default, leaves it open.
    pub batch: Option<NonZeroUsize>,
    /// The licence that the model card names; `None`, the default, for "not stated".
    pub licence: Option<String>,
    /// Whether the bundle is run and compared with [`Reference`] before it is put into place. Default
    /// true.
    pub verify: bool,
    /// Whether the bundle may be written although its number format costs more than it should: in bits/dim, in x, or in
    /// pixels that do not come back. One that computes something else than the checkpoint is never written. Default
    /// false.
    pub allow_inexact: bool,
}

impl Default for ExportOptions {
    fn default() -> Self {
        Self {
            weights: Weights::Averaged,
            average: None,
            precision: Precision::Fp32,
            layout: Int8Layout::Cpu,
            keep: Keep::default(),
            images: None,
            inline: false,
            batch: None,
            licence: None,
            verify: true,
            allow_inexact: false,
        }
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
    /// What the number format costs; `None` if verification was not asked for.
    pub quality: Option<Quality>,
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
    let architecture = checkpoint.meta().config.model.clone();
    let destination = Destination::prepare(out.as_ref())?;
    let (calibration, held_out) = match &options.images {
        Some(source) => {
            let (first, second) = (calibration_size(&architecture), verify::evaluation_size(&architecture));
            let (calibration, held_out) = data::draw(source, checkpoint.meta(), first, second)?;
            (Some(calibration), Some(held_out))
        }
        None if options.precision == Precision::Int8 => return Err(ExportError::NoCalibration),
        None => (None, None),
    };
    let preprocessing = checkpoint.meta().config.data.preprocessing();
    let class_names = checkpoint.meta().class_names.clone();
    let data = data_name(&checkpoint.meta().config.data.data);
    let weights = match &options.average {
        Some(name) => checkpoint.weights(name)?,
        None => options.weights.into(),
    };
    let parameters = Parameters::load(&checkpoint, weights)?;
    let provenance = provenance(&checkpoint, weights);
    let path = checkpoint.path().to_path_buf();
    // As large as the model and its optimiser: not needed any more.
    drop(checkpoint);

    let fp32 = fold::fold(&parameters, options.precision)?;
    let reference = Reference::from_parameters(parameters)?;
    let mut quantisation = None;
    let frozen = match (options.precision, &calibration) {
        (Precision::Int8, Some(images)) => {
            let inputs = CouplingInputs::collect(&reference, images)?;
            let int8 = |kept: &[String]| precision::int8(&fp32, &inputs, options.layout, kept);
            let kept = options.keep.resolve(&reference, &inputs, || {
                Ok(Emulation::of(&int8(&[])?, &fp32, &architecture, Precision::Int8)
                    .expect("int8 is not fp32"))
            })?;
            let frozen = int8(&kept)?;
            quantisation = Some(quantised(options, images, kept));
            frozen
        }
        (Precision::Fp16, _) => precision::half(fp32.clone())?,
        _ => fp32.clone(),
    };
    let emulation = Emulation::of(&frozen, &fp32, &architecture, options.precision);
    let sealed = |precision| {
        let mut manifest = Manifest::new(architecture.clone(), precision, graphs::OPSET, provenance.clone());
        manifest.preprocessing = preprocessing;
        manifest.class_names = class_names.clone();
        manifest.batch = options.batch.map(NonZeroUsize::get);
        manifest.quantisation = quantisation.clone().filter(|_| precision == Precision::Int8);
        manifest
    };
    let mut draft = Draft::write(destination.draft(), frozen, sealed(options.precision), options.inline)?;
    let (mut verification, mut quality) = (None, None);
    if options.verify {
        let baseline = match options.precision {
            Precision::Fp32 => None,
            _ => {
                let folder = destination.scratch()?;
                Draft::write(folder.path(), fp32, sealed(Precision::Fp32), false)?;
                Some(folder)
            }
        };
        let lowered = baseline.as_ref().zip(emulation.as_ref());
        let proven = verify::prove(
            destination.draft(),
            lowered.map(|(fp32, emulation)| verify::Lowered { fp32: fp32.path(), emulation }),
            &reference,
            held_out.as_ref(),
            options.allow_inexact,
        )?;
        draft.manifest.numerics = Some(numerics(&proven.1));
        draft.manifest = Bundle::seal(destination.draft(), draft.manifest)?.manifest().clone();
        (verification, quality) = (Some(proven.0), Some(proven.1));
    }
    let path_of_card = destination.draft().join(CARD_FILE);
    let text = card::card(&draft.manifest, &data, options.licence.as_deref());
    write_atomically(&path_of_card, |out| out.write_all(text.as_bytes()))
        .map_err(ExportError::io("write", &path_of_card))?;
    let (folder, kept) = destination.install()?;
    let Draft { manifest, encoder_nodes, decoder_nodes } = draft;
    Ok(Report {
        checkpoint: path,
        folder,
        manifest,
        encoder_nodes,
        decoder_nodes,
        verification,
        quality,
        kept,
    })
}

/// How many images activations are measured on: fewer large ones, which have more positions each.
fn calibration_size(architecture: &Architecture) -> usize {
    (32 * 32 * 32 * 3 / architecture.dims()).clamp(4, 32)
}

/// A bundle that is complete, but not in its place.
struct Draft {
    manifest: Manifest,
    encoder_nodes: usize,
    decoder_nodes: usize,
}

impl Draft {
    fn write(folder: &Path, frozen: Frozen, manifest: Manifest, inline: bool) -> Result<Self, ExportError> {
        let metadata = BTreeMap::from([("generator".to_string(), GENERATOR.to_string())]);
        let weights = match inline {
            true => frozen.inline(),
            false => frozen.write(&folder.join(WEIGHTS_FILE), &metadata)?,
        };
        let graph = |file: &'static str, model: ModelProto| {
            let path = folder.join(file);
            let bytes = model.encoded_len();
            if bytes > i32::MAX as usize {
                return Err(ExportError::InlineTooLarge { file, bytes });
            }
            write_atomically(&path, |out| out.write_all(&model.encode_to_vec()))
                .map_err(ExportError::io("write", &path))?;
            Ok(model.graph.map_or(0, |graph| graph.node.len()))
        };
        let encoder_nodes = graph(ENCODER_FILE, graphs::encoder(&manifest, &weights))?;
        let decoder_nodes = graph(DECODER_FILE, graphs::decoder(&manifest, &weights))?;
        let manifest = Bundle::seal(folder, manifest)?.manifest().clone();
        Ok(Self { manifest, encoder_nodes, decoder_nodes })
    }
}

/// How the networks became integers.
fn quantised(options: &ExportOptions, images: &verify::Images, kept: Vec<String>) -> Quantisation {
    let name = |spec: &DataSpec| data_name(&format!("{}:{}", spec.kind.name(), spec.path.display()));
    let mut quantisation = Quantisation::default();
    quantisation.layout = options.layout;
    quantisation.calibration = options.images.as_ref().map(name).unwrap_or_default();
    quantisation.calibration_images = images.len();
    quantisation.kept = kept;
    quantisation
}

/// What the manifest says of the number format.
fn numerics(quality: &Quality) -> Numerics {
    let mut numerics = Numerics::default();
    numerics.images = quality.images;
    numerics.real = quality.real;
    numerics.bits_per_dim = quality.bits_per_dim;
    numerics.fp32_bits_per_dim = quality.fp32_bits_per_dim;
    numerics.largest_activation =
        quality.largest_activation().map(|(layer, value)| LargestActivation { layer: layer.into(), value });
    numerics.reliable_bits_per_dim = quality.reliable_bits_per_dim;
    numerics
}

/// A data set, KIND:PATH, with the last part of the path alone: where it lies concerns nobody whom the bundle is
/// given to.
fn data_name(spec: &str) -> String {
    let Some((kind, path)) = spec.split_once(':') else { return spec.into() };
    let folder = Path::new(path).file_name().unwrap_or_default().to_string_lossy();
    format!("{kind}:{folder}")
}

fn provenance(checkpoint: &Checkpoint, group: Group) -> Provenance {
    let meta = checkpoint.meta();
    let weights = if group == Group::Params { Weights::Raw } else { Weights::Averaged };
    let average = match group {
        Group::FurtherAverages(n) => meta.further_averages.get(usize::from(n) - 1).cloned(),
        _ => None,
    };
    Provenance {
        generator: GENERATOR.into(),
        checkpoint: checkpoint.path().file_name().unwrap_or_default().to_string_lossy().into_owned(),
        weights,
        step: meta.step,
        images_seen: meta.images_seen,
        // That of the validations, which are of these weights or of the others.
        bits_per_dim: meta.bits_per_dim.filter(|_| group == meta.config.training.weights.into()),
        average,
    }
}
