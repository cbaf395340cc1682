//! Other implementations' checkpoints, and frozen bundles of ours, as checkpoints of `glow-train`.
//!
//! One file maps each implementation's layers onto ours by the identities of `identities.rs`, in float64, rounded
//! to fp32 once. What a file does not say is asked for by name; what cannot be had exactly is refused. Every
//! tensor of a file is used, or known not to matter.
mod chaiyujin;
mod draft;
mod error;
mod identities;
mod normflows;
mod openai;
mod peer;
mod pytorch;
mod rosinality;
mod settings;
mod tensorflow;
mod tensors;
mod y0ast;

pub use error::ImportError;
pub use peer::Peer;
pub use settings::Settings;

use crate::reference::Reference;
use crate::verify::Images;
use crate::{DataSpec, Weights};
use glow_models::{
    Architecture, Bundle, Checkpoint, CheckpointMeta, Config, Group, MANIFEST_FILE, ParameterValues,
    Precision, thaw, write_atomically,
};
use ndarray::{Array3, Axis};
use rayon::prelude::*;
use std::io::Read;
use std::path::{Path, PathBuf};
use tensors::Tensors;

/// Where an imported model comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// Another implementation's checkpoint.
    Peer(Peer),
    /// A frozen bundle of this project.
    Bundle,
}

/// What was imported.
#[derive(Debug, Clone)]
pub struct Imported {
    /// Whose model it is.
    pub source: Source,
    /// What it computes.
    pub architecture: Architecture,
    /// Whether averages came beside the weights.
    pub averages: bool,
    /// Optimisation steps, as far as the file or its name says.
    pub step: u64,
    /// The checkpoint that was written.
    pub checkpoint: PathBuf,
    /// What is to be known about it: which noise its bits/dim are under, and what was assumed.
    pub notes: Vec<String>,
    /// The largest difference between an image's x and what its latents decode to, in float64.
    pub round_trip: f64,
    /// bits/dim of the images of `data`, under uniform noise, and how many there were.
    pub bits_per_dim: Option<(f64, usize)>,
}

/// A peer's model as ours.
struct Mapped {
    params: ParameterValues,
    averages: Option<ParameterValues>,
    notes: Vec<String>,
}

/// Imports a model into a checkpoint of `glow-train` at `out`, which can be exported and trained on from.
///
/// `path` is a PyTorch file (zip or legacy), a TensorFlow checkpoint (its prefix, or one of its files), a frozen
/// TensorFlow graph, or the folder of a bundle. `data` are images to tell bits/dim of. The checkpoint is proven
/// by encoding and decoding before it is put into place.
///
/// # Errors
/// The file is damaged or unknown, says too little, or holds what cannot be imported exactly; see
/// [`ImportError`].
pub fn import(
    path: &Path,
    out: &Path,
    settings: Settings,
    data: Option<&DataSpec>,
) -> Result<Imported, ImportError> {
    let (source, mapped, step) = read(path, settings)?;
    let architecture = mapped.params.architecture().clone();
    let mut config = Config { model: architecture.clone(), ..Default::default() };
    if source == Source::Peer(Peer::Openai) {
        config.training.weights = Weights::Raw;
    }
    let mut class_names = Vec::new();
    if source == Source::Bundle {
        let bundle = Bundle::open(path)?;
        let manifest = bundle.manifest();
        class_names = manifest.class_names.clone();
        config.data.crop = manifest.preprocessing.crop;
        config.data.background = manifest.preprocessing.background;
    }
    let meta = CheckpointMeta { config, step, actnorm_initialised: true, class_names, ..Default::default() };
    let groups = if mapped.averages.is_some() { &Group::WEIGHTS[..] } else { &Group::WEIGHTS[..1] };
    let write = |out: &mut dyn std::io::Write| {
        Checkpoint::write(out, &meta, groups, |group, parameter, out| {
            let values = match (group, &mapped.averages) {
                (Group::Averages, Some(averages)) => averages,
                _ => &mapped.params,
            };
            out.write_all(&values.bytes(parameter))
        })
    };
    // Beside its place, until it is proven.
    let folder = match out.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let scratch = tempfile::Builder::new()
        .prefix(".glow-import-")
        .tempdir_in(folder)
        .map_err(ImportError::io("create a folder in", folder))?;
    let draft = scratch.path().join("checkpoint.safetensors");
    write_atomically(&draft, write).map_err(ImportError::io("write", out))?;
    let (round_trip, bits_per_dim) = prove(&draft, mapped.averages.is_some(), data)?;
    std::fs::rename(&draft, out).map_err(ImportError::io("write", out))?;
    Ok(Imported {
        source,
        architecture,
        averages: mapped.averages.is_some(),
        step,
        checkpoint: out.into(),
        notes: mapped.notes,
        round_trip,
        bits_per_dim,
    })
}

/// Evaluates a written checkpoint: the error of a round trip, and bits/dim of some images.
fn prove(
    checkpoint: &Path,
    averages: bool,
    data: Option<&DataSpec>,
) -> Result<(f64, Option<(f64, usize)>), ImportError> {
    let checkpoint = Checkpoint::open(checkpoint)?;
    if averages {
        // That they can be evaluated is enough: averages of few steps may be poor.
        Reference::new(&checkpoint, Weights::Averaged)?;
    }
    let reference = Reference::new(&checkpoint, Weights::Raw)?;
    let bits_per_dim = data.map(|data| score(&reference, checkpoint.meta(), data)).transpose()?;
    Ok((round_trip(&reference)?, bits_per_dim))
}

fn read(path: &Path, settings: Settings) -> Result<(Source, Mapped, u64), ImportError> {
    if path.join(MANIFEST_FILE).is_file() {
        let (mapped, step) = thawed(path)?;
        return Ok((Source::Bundle, mapped, step));
    }
    let settings = settings.resolve()?;
    let (tensors, pytorch) = match tensorflow::checkpoint_prefix(path) {
        Some(prefix) => (tensorflow::read_checkpoint(&prefix)?, false),
        None => read_file(path)?,
    };
    let (peer, prefix) = Peer::detect(&tensors, path, settings.prefix.as_deref())?;
    let tensors = tensors.without_prefix(&prefix);
    tensors.know_all(is_optimiser);
    let mapped = match peer {
        Peer::Rosinality => rosinality::map(&tensors, &settings)?,
        Peer::Chaiyujin => chaiyujin::map(&tensors, &settings)?,
        Peer::Y0ast => y0ast::map(&tensors, &settings)?,
        Peer::Normflows => normflows::map(&tensors, &settings)?,
        Peer::Openai => openai::map(&tensors, &settings)?,
        Peer::Chrischute => return Err(chrischute()),
    };
    let step = pytorch.then(|| pytorch::number(path, "global_step")).flatten();
    Ok((Source::Peer(peer), mapped, step.or_else(|| step_of_name(path)).unwrap_or(0)))
}

/// A bundle as a checkpoint.
fn thawed(path: &Path) -> Result<(Mapped, u64), ImportError> {
    let bundle = Bundle::open(path)?;
    let manifest = bundle.manifest();
    let mut notes = vec![
        "thawed: actnorms and output scales stay folded into the weights, 1×1 convolutions are plain matrices".into(),
    ];
    if manifest.precision != Precision::Fp32 {
        notes.push(format!(
            "the bundle is of {}: the weights are those that it was rounded to; what rounding does to activations is \
             not in a checkpoint",
            manifest.precision
        ));
    }
    if manifest.architecture.classes > 0 {
        notes.push("a bundle does not hold the classifier of its training: it begins anew, at zero".into());
    }
    let step = manifest.provenance.step;
    Ok((Mapped { params: thaw(&bundle)?, averages: None, notes }, step))
}

/// A single file, told by its first bytes.
fn read_file(path: &Path) -> Result<(Tensors, bool), ImportError> {
    // Asked before it is opened, for to open a pipe is to wait for its writer.
    if !std::fs::metadata(path).map_err(ImportError::io("read", path))?.is_file() {
        let reason = "it is no regular file, no folder of a bundle, and no prefix of a TensorFlow checkpoint";
        return Err(ImportError::Damaged { path: path.into(), form: "a checkpoint", reason: reason.into() });
    }
    let mut start = Vec::new();
    let file = std::fs::File::open(path).map_err(ImportError::io("read", path))?;
    file.take(10).read_to_end(&mut start).map_err(ImportError::io("read", path))?;
    if start.get(8) == Some(&b'{') {
        let reason =
            "it is a safetensors file: glow-export takes checkpoints of glow-train as they are".into();
        return Err(ImportError::Damaged {
            path: path.into(),
            form: "another implementation's checkpoint",
            reason,
        });
    }
    // A GraphDef begins with a node: field 1, of bytes.
    if start.first() == Some(&0x0a) {
        let graph = tensorflow::read_graph(path)?;
        // A graph computes with constants of its own beside the weights.
        graph.know_all(|_| true);
        return Ok((graph, false));
    }
    Ok((pytorch::read(path)?, true))
}

/// The state of an optimiser or schedule, saved beside a model.
fn is_optimiser(name: &str) -> bool {
    let first = name.split('.').next().unwrap_or(name);
    ["optim", "optimizer", "optimiser", "optimizer_state_dict", "scheduler", "lr_scheduler"].contains(&first)
}

fn chrischute() -> ImportError {
    ImportError::Refused {
        implementation: Peer::Chrischute.name(),
        reason: "its couplings scale by exp(s·tanh(raw)), its networks begin with a batch norm and a ReLU, and its x is \
                 a logit"
            .into(),
        needs: "a coupling with that scale, a network with a normalisation and a ReLU in front of its first \
                convolution, and a logit in front of the first level"
            .into(),
    }
}

/// The number at the end of a file's name, as in `model_010001.pt`.
fn step_of_name(path: &Path) -> Option<u64> {
    let stem = path.file_stem()?.to_str()?;
    stem.rsplit_once('_')?.1.parse().ok()
}

/// Encodes and decodes one image of noise.
fn round_trip(reference: &Reference) -> Result<f64, ImportError> {
    const WORST: f64 = 1e-3;
    let architecture = reference.architecture();
    let shape = (architecture.channels, architecture.height, architecture.width);
    // Any image will do: a pattern without two alike neighbours.
    let values = (0..architecture.dims()).map(|i| (i * 7919 % 1009) as f64 / 1009.0 - 0.5).collect();
    let x = Array3::from_shape_vec(shape, values).expect("as many numbers");
    let label = (architecture.classes > 0).then_some(0);
    let encoding = reference.encode(x.view(), label);
    let back = reference.decode(&encoding.eps, label);
    let difference = back.iter().zip(&x).fold(0.0, |worst: f64, (a, b)| {
        // NaN is the worst of all.
        let difference = (a - b).abs();
        if difference.is_nan() { f64::INFINITY } else { worst.max(difference) }
    });
    if difference > WORST || !encoding.log_prob.is_finite() {
        return Err(ImportError::NotInvertible { difference });
    }
    Ok(difference)
}

/// Mean bits/dim of some of the images, with dequantisation noise, in float64.
fn score(reference: &Reference, meta: &CheckpointMeta, data: &DataSpec) -> Result<(f64, usize), ImportError> {
    const IMAGES: usize = 32;
    let architecture = reference.architecture();
    let (first, second) = crate::data::draw(data, meta, IMAGES, IMAGES)?;
    let score = |images: &Images| -> Vec<f64> {
        let noise = images.noise();
        (0..images.len())
            .into_par_iter()
            .map(|i| {
                let pixels = images.pixels.index_axis(Axis(0), i);
                let x = reference.dequantise(pixels, noise.index_axis(Axis(0), i));
                architecture.bits_per_dim(reference.encode(x.view(), images.label(i)).log_prob)
            })
            .collect()
    };
    let all = [score(&first), score(&second)].concat();
    Ok((all.iter().sum::<f64>() / all.len() as f64, all.len()))
}
