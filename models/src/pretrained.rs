//! Weights that a new run starts from: a checkpoint's, or those of a frozen bundle.
use crate::{
    Architecture, Bundle, BundleError, Checkpoint, CheckpointError, Group, MANIFEST_FILE, Parameter,
    ParameterValues, Permutation, Role, ThawError, Weights, find_checkpoint, thaw,
};
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Weights that no run can start from.
#[derive(Debug, Error)]
pub enum PretrainedError {
    /// The checkpoint cannot be used, or there is none.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The bundle cannot be read.
    #[error("the bundle {path} cannot be used")]
    Bundle {
        /// The bundle's folder.
        path: PathBuf,
        /// Why.
        source: BundleError,
    },
    /// The bundle cannot be thawed.
    #[error("the bundle {path} cannot be thawed")]
    Thaw {
        /// The bundle's folder.
        path: PathBuf,
        /// Why.
        source: ThawError,
    },
    /// The checkpoint is of a model whose training has not begun.
    #[error("{path} holds a model whose training has not begun: there is nothing to start from")]
    Untrained {
        /// The checkpoint.
        path: PathBuf,
    },
}

/// The weights of a model that exists, for a new run with other data, another batch or another rate.
///
/// Of a checkpoint these are the weights that its run validated, averaged or raw. A bundle is thawed: see
/// [`thaw`].
#[derive(Debug)]
pub struct Pretrained {
    path: PathBuf,
    source: Source,
}

#[derive(Debug)]
enum Source {
    Checkpoint(Box<Checkpoint>),
    Bundle { values: ParameterValues, class_names: Vec<String> },
}

impl Pretrained {
    /// Opens a checkpoint file, a run's folder (its best checkpoint) or a bundle's folder.
    ///
    /// # Errors
    /// The path is none of these, its files are damaged, or training has not begun.
    pub fn open(path: &Path) -> Result<Self, PretrainedError> {
        if path.join(MANIFEST_FILE).is_file() {
            let bundle =
                Bundle::open(path).map_err(|source| PretrainedError::Bundle { path: path.into(), source })?;
            let values =
                thaw(&bundle).map_err(|source| PretrainedError::Thaw { path: path.into(), source })?;
            let class_names = bundle.manifest().class_names.clone();
            return Ok(Self { path: path.into(), source: Source::Bundle { values, class_names } });
        }
        let path = find_checkpoint(path)?;
        let checkpoint = Checkpoint::open(&path)?;
        if !checkpoint.meta().actnorm_initialised {
            return Err(PretrainedError::Untrained { path });
        }
        Ok(Self { path, source: Source::Checkpoint(Box::new(checkpoint)) })
    }

    /// The checkpoint's file or the bundle's folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The architecture, which a run that starts from these weights has.
    pub fn architecture(&self) -> &Architecture {
        match &self.source {
            Source::Checkpoint(checkpoint) => &checkpoint.meta().config.model,
            Source::Bundle { values, .. } => values.architecture(),
        }
    }

    /// The names of the model's classes, in the order of their labels, which a run that starts from these weights
    /// keeps. Empty for a model without classes, and for one of a version that did not name them.
    pub fn class_names(&self) -> &[String] {
        match &self.source {
            Source::Checkpoint(checkpoint) => &checkpoint.meta().class_names,
            Source::Bundle { class_names, .. } => class_names,
        }
    }

    /// Whether these are weights of the architecture asked for. A bundle's 1×1 convolutions thaw to plain
    /// matrices, whichever form they were trained in.
    pub fn fits(&self, asked: &Architecture) -> bool {
        let mut asked = asked.clone();
        if matches!(self.source, Source::Bundle { .. }) && asked.permutation == Permutation::Invconv {
            asked.permutation = Permutation::InvconvPlain;
        }
        *self.architecture() == asked
    }

    /// The little-endian bytes of a parameter, row-major.
    ///
    /// # Errors
    /// The checkpoint's file cannot be read.
    ///
    /// # Panics
    /// If the architecture has no such parameter.
    pub fn bytes(&self, parameter: &Parameter) -> Result<Vec<u8>, PretrainedError> {
        match &self.source {
            Source::Bundle { values, .. } => Ok(values.bytes(parameter)),
            Source::Checkpoint(checkpoint) => {
                let weights = checkpoint.meta().config.training.weights;
                let group = match (parameter.role, weights) {
                    (Role::Trained, Weights::Averaged) => Group::Averages,
                    _ => Group::Params,
                };
                Ok(checkpoint.bytes(group, &parameter.name)?)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{CheckpointMeta, Config, write_atomically};

    fn checkpoint(path: &Path, change: impl FnOnce(&mut CheckpointMeta)) {
        let model =
            Architecture { height: 4, width: 4, levels: 1, depth: 1, hidden: 4, ..Default::default() };
        let config = Config { model, ..Default::default() };
        let mut meta = CheckpointMeta { config, actnorm_initialised: true, ..Default::default() };
        change(&mut meta);
        write_atomically(path, |out| {
            Checkpoint::write(out, &meta, &Group::ALL, |group, parameter, out| {
                let count: usize = parameter.shape.iter().product();
                let size = safetensors::Dtype::from(parameter.dtype).bitsize() / 8;
                out.write_all(&vec![u8::from(group == Group::Averages); count * size])
            })
        })
        .unwrap();
    }

    #[test]
    fn a_run_starts_from_the_weights_that_were_validated() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c.safetensors");
        for (weights, expected) in [(Weights::Averaged, 1), (Weights::Raw, 0)] {
            checkpoint(&path, |meta| meta.config.training.weights = weights);
            let pretrained = Pretrained::open(&path).unwrap();
            for parameter in pretrained.architecture().parameters() {
                let fixed = parameter.role == Role::Fixed;
                let byte = pretrained.bytes(&parameter).unwrap()[0];
                assert_eq!(byte, if fixed { 0 } else { expected }, "{}", parameter.name);
            }
            assert!(pretrained.fits(&pretrained.architecture().clone()));
            assert!(!pretrained.fits(&Architecture::default()));
        }
    }

    #[test]
    fn classes_keep_their_names() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c.safetensors");
        checkpoint(&path, |_| {});
        assert!(Pretrained::open(&path).unwrap().class_names().is_empty());
        checkpoint(&path, |meta| meta.class_names = vec!["cats".into(), "owls".into()]);
        assert_eq!(Pretrained::open(&path).unwrap().class_names(), ["cats", "owls"]);
    }

    #[test]
    fn a_bundle_is_thawed() {
        let bundle = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bundle");
        let pretrained = Pretrained::open(&bundle).unwrap();
        let frozen = Bundle::open(&bundle).unwrap().manifest().architecture.clone();
        assert_eq!(frozen.permutation, Permutation::Invconv);
        assert_eq!(pretrained.architecture().permutation, Permutation::InvconvPlain);
        assert!(pretrained.fits(&frozen) && pretrained.fits(pretrained.architecture()));
        assert!(!pretrained.fits(&Architecture { depth: frozen.depth + 1, ..frozen }));
    }

    #[test]
    fn what_is_no_model_is_refused_by_kind() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c.safetensors");
        let missing = Pretrained::open(&path);
        assert!(matches!(missing, Err(PretrainedError::Checkpoint(CheckpointError::NotFound { .. }))));
        let empty = Pretrained::open(folder.path());
        assert!(matches!(empty, Err(PretrainedError::Checkpoint(CheckpointError::NoneInRun { .. }))));
        checkpoint(&path, |meta| meta.actnorm_initialised = false);
        assert!(matches!(Pretrained::open(&path), Err(PretrainedError::Untrained { .. })));
        std::fs::write(folder.path().join(MANIFEST_FILE), "{}").unwrap();
        assert!(matches!(Pretrained::open(folder.path()), Err(PretrainedError::Bundle { .. })));
    }
}
