//! A training checkpoint: one safetensors file with parameters, averages and optimiser state, and the
//! run's configuration and position in its metadata.
use crate::{Config, ConfigError, Parameter, Role, TensorBytes, TensorFileError, write_tensors};
use safetensors::SafeTensors;
use safetensors::tensor::TensorView;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::io::Write;
use std::ops::Range;
use std::path::{Path, PathBuf};
use thiserror::Error;

const FORMAT: &str = "glow-checkpoint";
const VERSION: &str = "1";
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
    /// `optimizer.m/NAME`: the running mean of its gradient.
    OptimizerMean,
    /// `optimizer.v/NAME`: the running size of its gradient.
    OptimizerSize,
}

impl Group {
    /// All groups.
    pub const ALL: [Group; 4] = [Group::Params, Group::Averages, Group::OptimizerMean, Group::OptimizerSize];

    /// Full name of a parameter's tensor in this group.
    pub fn tensor_name(self, parameter: &str) -> String {
        let prefix = match self {
            Group::Params => "params",
            Group::Averages => "averages",
            Group::OptimizerMean => "optimizer.m",
            Group::OptimizerSize => "optimizer.v",
        };
        format!("{prefix}/{parameter}")
    }

    /// Whether the group has a tensor for a parameter of this role.
    pub fn holds(self, role: Role) -> bool {
        self == Group::Params || role == Role::Trained
    }
}

/// What a checkpoint says besides its tensors. Random numbers are a function of the seed and the step,
/// and the order of the data of the seed and `images_seen`, so these are the whole position.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
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

/// A checkpoint in memory, checked: every tensor that the architecture asks for is there, with the
/// right type and shape, and there are no others.
#[derive(Debug)]
pub struct Checkpoint {
    path: PathBuf,
    bytes: Vec<u8>,
    /// Where each tensor's data lies in `bytes`.
    places: HashMap<String, Range<usize>>,
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
        .map(|name| path.join("checkpoints").join(name).with_extension("safetensors"))
        .find(|file| file.is_file())
        .ok_or_else(|| CheckpointError::NoneInRun { path: path.into() })
}

impl Checkpoint {
    /// Reads and checks a checkpoint file.
    ///
    /// # Errors
    /// The file cannot be read, is truncated or foreign, or does not hold what its own architecture
    /// asks for.
    pub fn open(path: &Path) -> Result<Self, CheckpointError> {
        let bytes =
            std::fs::read(path).map_err(|source| TensorFileError::Read { path: path.into(), source })?;
        let format = |source| TensorFileError::Format { path: path.into(), source };
        let (_, header) = SafeTensors::read_metadata(&bytes).map_err(format)?;
        let foreign = |reason: String| CheckpointError::Foreign { path: path.into(), reason };
        let metadata = header.metadata().clone().unwrap_or_default();
        match metadata.get(FORMAT_KEY).map(String::as_str) {
            Some(FORMAT) => {}
            other => return Err(foreign(format!("its metadata says format {}", other.unwrap_or("nothing")))),
        }
        match metadata.get(VERSION_KEY).map(String::as_str) {
            Some(VERSION) => {}
            other => {
                return Err(foreign(format!(
                    "checkpoint version {}; this program reads version {VERSION}",
                    other.unwrap_or("missing")
                )));
            }
        }
        let text =
            metadata.get(META_KEY).ok_or_else(|| foreign(format!("no {META_KEY:?} in its metadata")))?;
        let meta: CheckpointMeta = serde_json::from_str(text).map_err(|error| foreign(error.to_string()))?;
        meta.config.validate().map_err(|source| CheckpointError::Config { path: path.into(), source })?;
        let tensors = SafeTensors::deserialize(&bytes).map_err(format)?;
        let mut expected = 0;
        for parameter in meta.config.model.parameters() {
            for group in Group::ALL.into_iter().filter(|group| group.holds(parameter.role)) {
                expected += 1;
                check_tensor(&tensors, group, &parameter).map_err(|problem| CheckpointError::Tensor {
                    path: path.into(),
                    tensor: group.tensor_name(&parameter.name),
                    problem,
                })?;
            }
        }
        if tensors.len() != expected {
            let reason = format!("{} tensors where its architecture has {expected}", tensors.len());
            return Err(foreign(reason));
        }
        let start = bytes.as_ptr() as usize;
        let places = tensors
            .tensors()
            .into_iter()
            .map(|(name, view)| {
                let begin = view.data().as_ptr() as usize - start;
                (name, begin..begin + view.data().len())
            })
            .collect();
        Ok(Self { path: path.into(), bytes, places, meta })
    }

    /// The configuration and position.
    pub fn meta(&self) -> &CheckpointMeta {
        &self.meta
    }

    /// The file that it was read from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The little-endian bytes of a parameter's tensor in a group, row-major; `None` if the group has no
    /// such parameter.
    pub fn bytes(&self, group: Group, parameter: &str) -> Option<&[u8]> {
        self.places.get(&group.tensor_name(parameter)).map(|place| &self.bytes[place.clone()])
    }

    /// Calls `take` with every tensor of a group, in the architecture's order.
    ///
    /// # Errors
    /// Whatever `take` gives.
    pub fn each<E>(
        &self,
        group: Group,
        mut take: impl FnMut(&Parameter, &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        for parameter in self.meta.config.model.parameters() {
            if let Some(bytes) = self.bytes(group, &parameter.name) {
                take(&parameter, bytes)?;
            }
        }
        Ok(())
    }

    /// Writes a checkpoint to `out`; use [`write_atomically`](crate::write_atomically) for a file.
    /// `tensor` gives the bytes of a parameter's tensor in a group.
    ///
    /// # Errors
    /// Whatever `out` gives.
    pub fn write(
        out: &mut dyn Write,
        meta: &CheckpointMeta,
        mut tensor: impl FnMut(Group, &Parameter) -> Vec<u8>,
    ) -> std::io::Result<()> {
        let metadata = BTreeMap::from([
            (FORMAT_KEY.to_string(), FORMAT.to_string()),
            (VERSION_KEY.to_string(), VERSION.to_string()),
            (META_KEY.to_string(), serde_json::to_string(meta)?),
        ]);
        let parameters = meta.config.model.parameters();
        let mut owned = Vec::new();
        for group in Group::ALL {
            for parameter in parameters.iter().filter(|parameter| group.holds(parameter.role)) {
                owned.push((group.tensor_name(&parameter.name), parameter, tensor(group, parameter)));
            }
        }
        let tensors: Vec<TensorBytes<'_>> = owned
            .iter()
            .map(|(name, parameter, bytes)| TensorBytes {
                name,
                dtype: parameter.dtype.into(),
                shape: &parameter.shape,
                bytes,
            })
            .collect();
        write_tensors(out, &metadata, &tensors).map(|_| ())
    }
}

fn check_tensor(tensors: &SafeTensors<'_>, group: Group, parameter: &Parameter) -> Result<(), String> {
    let view: TensorView<'_> =
        tensors.tensor(&group.tensor_name(&parameter.name)).map_err(|_| "is missing".to_string())?;
    let dtype = parameter.dtype.into();
    if view.dtype() != dtype {
        return Err(format!("has type {:?} instead of {dtype:?}", view.dtype()));
    }
    if view.shape() != parameter.shape {
        return Err(format!("has shape {:?} instead of {:?}", view.shape(), parameter.shape));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Dtype, write_atomically};

    fn tiny() -> CheckpointMeta {
        let mut config = Config::default();
        for (name, value) in
            [("height", "4"), ("width", "4"), ("levels", "1"), ("depth", "1"), ("hidden", "4")]
        {
            config.set(name, value).unwrap();
        }
        CheckpointMeta {
            config,
            step: 7,
            images_seen: 448,
            train_images: 100,
            actnorm_initialised: true,
            bits_per_dim: Some(3.5),
            best_bits_per_dim: None,
        }
    }

    fn zeros(_: Group, parameter: &Parameter) -> Vec<u8> {
        let size = match parameter.dtype {
            Dtype::F32 => 4,
            Dtype::I64 => 8,
        };
        vec![0; size * parameter.shape.iter().product::<usize>()]
    }

    #[test]
    fn a_checkpoint_reads_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c.safetensors");
        write_atomically(&path, |out| Checkpoint::write(out, &tiny(), zeros)).unwrap();
        let checkpoint = Checkpoint::open(&path).unwrap();
        assert_eq!(checkpoint.meta(), &tiny());
        assert_eq!(checkpoint.bytes(Group::Params, "level0.step00.actnorm.bias").unwrap().len(), 4 * 12);
    }

    #[test]
    fn broken_checkpoints_say_what_is_wrong() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c.safetensors");
        let mut whole = Vec::new();
        Checkpoint::write(&mut whole, &tiny(), zeros).unwrap();
        let replaced = |from: &str, to: &str| {
            assert_eq!(from.len(), to.len());
            let at = whole.windows(from.len()).position(|w| w == from.as_bytes()).expect(from);
            let mut bytes = whole.clone();
            bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
            bytes
        };
        let mut foreign = Vec::new();
        write_tensors(&mut foreign, &BTreeMap::new(), &[]).unwrap();
        let cases: Vec<(&str, Vec<u8>)> = vec![
            ("not a complete safetensors file", b"hello".to_vec()),
            ("not a complete safetensors file", Vec::new()),
            ("not a complete safetensors file", whole[..whole.len() - 1].to_vec()),
            ("not a complete safetensors file", vec![0xff; 64]),
            ("not a checkpoint of glow-train", foreign),
            ("not a checkpoint of glow-train", replaced("glow-checkpoint", "grow-checkpoint")),
            (
                "params/level0.step00.actnorm.bias is missing",
                replaced("params/level0.step00.actnorm.bias", "params/level0.step00.actnorm.bios"),
            ),
            ("has shape", replaced(r#"\"hidden\":4"#, r#"\"hidden\":5"#)),
            ("is not valid", replaced(r#"\"levels\":1"#, r#"\"levels\":9"#)),
        ];
        for (expected, bytes) in cases {
            std::fs::write(&path, bytes).unwrap();
            let error = Checkpoint::open(&path).expect_err(expected);
            let mut message = error.to_string();
            let mut source = std::error::Error::source(&error);
            while let Some(cause) = source {
                message = format!("{message}: {cause}");
                source = cause.source();
            }
            assert!(message.contains(expected), "{message:?} does not say {expected:?}");
        }
    }

    #[test]
    fn the_best_checkpoint_of_a_run_is_taken() {
        let run = tempfile::tempdir().unwrap();
        assert!(matches!(find_checkpoint(run.path()), Err(CheckpointError::NoneInRun { .. })));
        assert!(matches!(find_checkpoint(&run.path().join("no")), Err(CheckpointError::NotFound { .. })));
        let folder = run.path().join("checkpoints");
        std::fs::create_dir(&folder).unwrap();
        for name in ["latest", "best"] {
            let file = folder.join(name).with_extension("safetensors");
            std::fs::write(&file, "").unwrap();
            assert_eq!(find_checkpoint(run.path()).unwrap(), file);
        }
    }
}
