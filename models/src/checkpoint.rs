//! A training checkpoint: one safetensors file with parameters, averages and optimiser state, and the
//! run's configuration and position in its metadata.
//!
//! | group | tensors | needed |
//! | --- | --- | --- |
//! | `params/NAME` | every parameter, trained and fixed | always |
//! | `averages/NAME` | the Polyak average of each trained one | no: without them the averages are the parameters |
//! | `averages.N/NAME`, N = 1, 2, … | further averages, which the metadata name | no |
//! | `optimizer.m/NAME`, `optimizer.v/NAME` | running mean and size of its gradient | no |
//!
//! A checkpoint without the optimiser's groups (imported, thawed, shipped) can be exported, and a new run can
//! start from it; it cannot be resumed exactly.
use crate::{
    Config, ConfigError, Duration, Parameter, Role, TensorFile, TensorFileError, TensorSpec, Weights,
    link_atomically, stream_tensors,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use thiserror::Error;

const FORMAT: &str = "glow-checkpoint";
/// Version 2 has durations as text in its configuration, and may lack groups.
const VERSION: &str = "2";
/// The versions that are read.
const READ_VERSIONS: [&str; 2] = ["1", VERSION];
const EXTENSION: &str = "safetensors";
const STEP_PREFIX: &str = "step-";
const FORMAT_KEY: &str = "format";
const VERSION_KEY: &str = "version";
const META_KEY: &str = "glow";

/// What a tensor of a checkpoint belongs to; the prefix of its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Group {
    /// `params/NAME`: every parameter, trained and fixed.
    Params,
    /// `averages/NAME`: the Polyak average of each trained parameter.
    Averages,
    /// `averages.N/NAME`: a further average, N from 1; see [`CheckpointMeta::further_averages`].
    FurtherAverages(u8),
    /// `optimizer.m/NAME`: the running mean of its gradient.
    OptimizerMean,
    /// `optimizer.v/NAME`: the running size of its gradient.
    OptimizerSize,
}

impl Group {
    /// The groups of a checkpoint that a run resumes from, with one average.
    pub const ALL: [Group; 4] = [Group::Params, Group::Averages, Group::OptimizerMean, Group::OptimizerSize];

    /// The groups of a checkpoint that can be exported and trained on from.
    pub const WEIGHTS: [Group; 2] = [Group::Params, Group::Averages];

    /// Full name of a parameter's tensor in this group.
    pub fn tensor_name(self, parameter: &str) -> String {
        match self {
            Group::Params => format!("params/{parameter}"),
            Group::Averages => format!("averages/{parameter}"),
            Group::FurtherAverages(n) => format!("averages.{n}/{parameter}"),
            Group::OptimizerMean => format!("optimizer.m/{parameter}"),
            Group::OptimizerSize => format!("optimizer.v/{parameter}"),
        }
    }

    /// Whether the group has a tensor for a parameter of this role.
    pub fn holds(self, role: Role) -> bool {
        self == Group::Params || role == Role::Trained
    }
}

impl From<Weights> for Group {
    fn from(weights: Weights) -> Self {
        match weights {
            Weights::Averaged => Self::Averages,
            Weights::Raw => Self::Params,
        }
    }
}

/// What a checkpoint says besides its tensors. Random numbers are a function of the seed and the step,
/// and the order of the data of the seed and `images_seen`, so these are the whole position.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct CheckpointMeta {
    /// The run's configuration.
    pub config: Config,
    /// Optimisation steps done.
    pub step: u64,
    /// Training images seen, repeats counted.
    pub images_seen: u64,
    /// Images in the training split; the length of an epoch.
    pub train_images: u64,
    /// Whether the actnorms have been initialised from data.
    pub actnorm_initialised: bool,
    /// The last validation's bits/dim, of the averaged weights.
    pub bits_per_dim: Option<f64>,
    /// The best validation's bits/dim so far.
    pub best_bits_per_dim: Option<f64>,
    /// Minutes of training so far, over all processes that went on with the run.
    #[serde(default)]
    pub minutes: f64,
    /// Names of the classes, in the order of their labels; empty for a model without classes, and in older files.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub class_names: Vec<String>,
    /// The folder that relative paths of the configuration are relative to; empty in older files.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub working_folder: String,
    /// Names of the averages in [`Group::FurtherAverages`], from the first, at most 255: of a run of ours, the times
    /// over which they remember, such as "10 epochs".
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub further_averages: Vec<String>,
}

/// A checkpoint that cannot be used.
#[derive(Debug, Error)]
pub enum CheckpointError {
    /// The file cannot be read or is not safetensors.
    #[error("the checkpoint cannot be used")]
    File(#[from] TensorFileError),
    /// A safetensors file of something else.
    #[error("{path} is a safetensors file, but not a checkpoint of glow-train ({reason})")]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What is missing or different.
        reason: String,
    },
    /// Its configuration is not valid.
    #[error("the configuration in the checkpoint {path} is not valid")]
    Config {
        /// The file.
        path: PathBuf,
        /// Why.
        source: ConfigError,
    },
    /// A tensor is missing or has another type or shape than the architecture asks for.
    #[error("{path}: tensor {tensor} {problem}")]
    Tensor {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// What is wrong with it.
        problem: String,
    },
    /// It has no weights of this name.
    #[error("{path} has no weights {asked:?}; it has {}", known.join(", "))]
    NoWeights {
        /// The file.
        path: PathBuf,
        /// The name asked for.
        asked: String,
        /// The names that there are.
        known: Vec<String>,
    },
    /// A run cannot be resumed from it, as it has no optimiser state.
    #[error(
        "{path} holds weights alone and no state of the optimiser, so that no run can be resumed from it: start \
         a new one with --init-from {path}"
    )]
    WeightsAlone {
        /// The file.
        path: PathBuf,
    },
    /// No checkpoint in a run's folder.
    #[error(
        "{path} holds no checkpoint: neither checkpoints/best.safetensors nor checkpoints/latest.safetensors"
    )]
    NoneInRun {
        /// The folder.
        path: PathBuf,
    },
    /// The path does not exist.
    #[error("{path} does not exist; give a run's folder or a checkpoint file")]
    NotFound {
        /// The path.
        path: PathBuf,
    },
}

/// An open checkpoint, checked: of every group that it has, every tensor that the architecture asks for is
/// there, with the right type and shape, and there are no others. Tensors are read when they are asked for.
#[derive(Debug)]
pub struct Checkpoint {
    file: TensorFile,
    groups: Vec<Group>,
    meta: CheckpointMeta,
}

/// The checkpoint that `path` means: the file itself, or of a run's folder the best one (then the
/// latest).
///
/// # Errors
/// The path does not exist, or is a folder without checkpoints.
pub fn find_checkpoint(path: &Path) -> Result<PathBuf, CheckpointError> {
    if path.is_file() {
        return Ok(path.into());
    }
    if !path.exists() {
        return Err(CheckpointError::NotFound { path: path.into() });
    }
    ["best", "latest"]
        .iter()
        .map(|name| path.join("checkpoints").join(name).with_extension(EXTENSION))
        .find(|file| file.is_file())
        .ok_or_else(|| CheckpointError::NoneInRun { path: path.into() })
}

/// Keeps the checkpoint `latest`, of this step, as `step-00001000.safetensors` beside it, and removes such files
/// of earlier steps but for the newest: `keep` of them stay, this one included. Costs no space until `latest` is
/// replaced, see [`link_atomically`].
///
/// # Errors
/// Whatever linking or removing gives.
pub fn keep_checkpoint(latest: &Path, step: u64, keep: usize) -> io::Result<()> {
    let folder = latest.parent().unwrap_or(Path::new(""));
    link_atomically(latest, &folder.join(format!("{STEP_PREFIX}{step:08}.{EXTENSION}")))?;
    let listed = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let mut kept = Vec::new();
    for entry in std::fs::read_dir(listed)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        let number = name
            .and_then(|name| name.strip_prefix(STEP_PREFIX)?.strip_suffix(EXTENSION)?.strip_suffix('.'))
            .and_then(|digits| digits.parse::<u64>().ok());
        // Later steps are those of a run that was set back; they are not this one's to remove.
        if let Some(number) = number.filter(|&number| number <= step) {
            kept.push((number, path));
        }
    }
    kept.sort();
    let old = kept.len().saturating_sub(keep.max(1));
    kept.into_iter().take(old).try_for_each(|(_, path)| std::fs::remove_file(path))
}

impl Checkpoint {
    /// Opens and checks a checkpoint file.
    ///
    /// # Errors
    /// The file cannot be read, is truncated or foreign, or does not hold what its own architecture
    /// asks for.
    pub fn open(path: &Path) -> Result<Self, CheckpointError> {
        Self::check(TensorFile::open(path)?)
    }

    /// The same of a file in memory; `path` is for the messages.
    ///
    /// # Errors
    /// As of [`open`](Self::open).
    pub fn from_bytes(bytes: Vec<u8>, path: &Path) -> Result<Self, CheckpointError> {
        Self::check(TensorFile::from_bytes(bytes, path)?)
    }

    fn check(file: TensorFile) -> Result<Self, CheckpointError> {
        let path = file.path();
        let foreign = |reason: String| CheckpointError::Foreign { path: path.into(), reason };
        let text = |key: &str| file.metadata().and_then(|metadata| metadata.get(key)).map(String::as_str);
        match text(FORMAT_KEY) {
            Some(FORMAT) => {}
            other => return Err(foreign(format!("its metadata says format {}", other.unwrap_or("nothing")))),
        }
        match text(VERSION_KEY) {
            Some(version) if READ_VERSIONS.contains(&version) => {}
            other => {
                return Err(foreign(format!(
                    "checkpoint version {}; this program reads versions {}",
                    other.unwrap_or("missing"),
                    READ_VERSIONS.join(" and "),
                )));
            }
        }
        let meta = text(META_KEY).ok_or_else(|| foreign(format!("no {META_KEY:?} in its metadata")))?;
        let meta: CheckpointMeta = serde_json::from_str(meta).map_err(|error| foreign(error.to_string()))?;
        meta.config.validate().map_err(|source| CheckpointError::Config { path: path.into(), source })?;
        let further = u8::try_from(meta.further_averages.len())
            .map_err(|_| foreign("it names more than 255 averages".into()))?;
        let parameters = meta.config.model.parameters();
        let names = file.names();
        let has = |group: Group| {
            let prefix = group.tensor_name("");
            names.iter().any(|name| name.starts_with(&prefix))
        };
        let optimizer = has(Group::OptimizerMean) || has(Group::OptimizerSize);
        let mut groups = vec![Group::Params];
        groups.extend(has(Group::Averages).then_some(Group::Averages));
        groups.extend((1..=further).map(Group::FurtherAverages));
        groups.extend([Group::OptimizerMean, Group::OptimizerSize].into_iter().filter(|_| optimizer));
        let mut expected = 0;
        for &group in &groups {
            for parameter in parameters.iter().filter(|parameter| group.holds(parameter.role)) {
                expected += 1;
                check_tensor(&file, group, parameter).map_err(|problem| CheckpointError::Tensor {
                    path: path.into(),
                    tensor: group.tensor_name(&parameter.name),
                    problem,
                })?;
            }
        }
        if names.len() != expected {
            let reason = format!("{} tensors where its architecture has {expected}", names.len());
            return Err(foreign(reason));
        }
        Ok(Self { file, groups, meta })
    }

    /// The configuration and position.
    pub fn meta(&self) -> &CheckpointMeta {
        &self.meta
    }

    /// The file that it was opened from.
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// The groups that it has.
    pub fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// The group of the weights of a name: "averaged", "raw", or a further average's own.
    ///
    /// # Errors
    /// [`CheckpointError::NoWeights`], with the names that there are.
    pub fn weights(&self, name: &str) -> Result<Group, CheckpointError> {
        let further = &self.meta.further_averages;
        // As a duration, "10epochs" is "10 epochs".
        let same = |a: &str, b: &str| {
            a == b || matches!((a.parse::<Duration>(), b.parse::<Duration>()), (Ok(a), Ok(b)) if a == b)
        };
        match (name, further.iter().position(|average| same(average, name))) {
            ("averaged", _) => Ok(Group::Averages),
            ("raw", _) => Ok(Group::Params),
            (_, Some(index)) => Ok(Group::FurtherAverages(index as u8 + 1)),
            (_, None) => Err(CheckpointError::NoWeights {
                path: self.path().into(),
                asked: name.into(),
                known: ["averaged", "raw"]
                    .into_iter()
                    .map(str::to_string)
                    .chain(further.iter().cloned())
                    .collect(),
            }),
        }
    }

    /// Checks that a run can be resumed from it.
    ///
    /// # Errors
    /// [`CheckpointError::WeightsAlone`]: it has no state of the optimiser.
    pub fn check_resumable(&self) -> Result<(), CheckpointError> {
        match self.groups.contains(&Group::OptimizerMean) {
            true => Ok(()),
            false => Err(CheckpointError::WeightsAlone { path: self.path().into() }),
        }
    }

    /// The little-endian bytes of a parameter's tensor in a group, row-major. Averages that are not in the
    /// file are the parameters themselves.
    ///
    /// # Errors
    /// The group has no such parameter, or the file cannot be read.
    pub fn bytes(&self, group: Group, parameter: &str) -> Result<Vec<u8>, CheckpointError> {
        let group = match group {
            Group::Averages if !self.groups.contains(&group) => Group::Params,
            other => other,
        };
        let tensor = group.tensor_name(parameter);
        self.file.read(&tensor)?.ok_or_else(|| CheckpointError::Tensor {
            path: self.path().into(),
            tensor,
            problem: "is missing".into(),
        })
    }

    /// Calls `take` with every tensor of a group, in the architecture's order.
    ///
    /// # Errors
    /// The group is not in the file or cannot be read, or whatever `take` gives.
    pub fn each<E: From<CheckpointError>>(
        &self,
        group: Group,
        mut take: impl FnMut(&Parameter, &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let parameters = self.meta.config.model.parameters();
        for parameter in parameters.iter().filter(|parameter| group.holds(parameter.role)) {
            take(parameter, &self.bytes(group, &parameter.name)?)?;
        }
        Ok(())
    }

    /// Writes a checkpoint of these groups to `out`, tensor by tensor; use
    /// [`write_atomically`](crate::write_atomically) for a file. `tensor` writes the little-endian bytes of a
    /// parameter's tensor in a group. It is called once for each, so that no two need be in memory.
    ///
    /// A checkpoint of [`Group::ALL`] can be resumed from; one of [`Group::WEIGHTS`] can be exported, and a
    /// new run can start from it.
    ///
    /// # Errors
    /// Whatever `out` or `tensor` gives; [`io::ErrorKind::InvalidInput`] if `tensor` writes another number of
    /// bytes than the parameter's shape asks for, or the groups are not those of a checkpoint.
    pub fn write(
        out: &mut dyn Write,
        meta: &CheckpointMeta,
        groups: &[Group],
        mut tensor: impl FnMut(Group, &Parameter, &mut dyn Write) -> io::Result<()>,
    ) -> io::Result<()> {
        if !groups.contains(&Group::Params) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "a checkpoint without parameters"));
        }
        let metadata = BTreeMap::from([
            (FORMAT_KEY.to_string(), FORMAT.to_string()),
            (VERSION_KEY.to_string(), VERSION.to_string()),
            (META_KEY.to_string(), serde_json::to_string(meta)?),
        ]);
        let parameters = meta.config.model.parameters();
        let mut list = Vec::new();
        for &group in groups {
            for parameter in parameters.iter().filter(|parameter| group.holds(parameter.role)) {
                list.push((group, parameter, group.tensor_name(&parameter.name)));
            }
        }
        let specs: Vec<TensorSpec<'_>> = list
            .iter()
            .map(|(_, parameter, name)| TensorSpec {
                name,
                dtype: parameter.dtype.into(),
                shape: &parameter.shape,
            })
            .collect();
        let write = |index: usize, out: &mut dyn Write| {
            let (group, parameter, _) = list[index];
            tensor(group, parameter, out)
        };
        stream_tensors(out, &metadata, &specs, write).map(|_| ())
    }
}

fn check_tensor(file: &TensorFile, group: Group, parameter: &Parameter) -> Result<(), String> {
    let info = file.info(&group.tensor_name(&parameter.name)).ok_or_else(|| "is missing".to_string())?;
    let dtype = parameter.dtype.into();
    if info.dtype != dtype {
        return Err(format!("has type {:?} instead of {dtype:?}", info.dtype));
    }
    if info.shape != parameter.shape {
        return Err(format!("has shape {:?} instead of {:?}", info.shape, parameter.shape));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
