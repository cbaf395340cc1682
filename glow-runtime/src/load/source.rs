//! The bundle's own graphs and weights, as sessions are made from them.
use super::cache;
use super::optimised::Models;
use crate::session::{Model, SessionOptions};
use crate::weights::{Constants, Weights};
use crate::{Error, GraphKind, Provider};
use glow_models::{Bundle, WEIGHTS_FILE};
use ort::session::builder::PrepackedWeights;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tempfile::TempDir;

/// A folder with the bundle's files: its own, or a temporary one for a bundle in memory.
pub(crate) enum Source {
    Folder(PathBuf),
    Temporary(TempDir),
}

impl Source {
    pub fn of(bundle: &Bundle, kinds: &[GraphKind]) -> Result<Self, Error> {
        if let Some(folder) = bundle.folder() {
            return Ok(Self::Folder(folder.into()));
        }
        // ONNX Runtime maps what lies in files, and copies what it is given.
        let parent = std::env::temp_dir();
        let folder = cache::temporary(&parent).map_err(Error::writing(&parent))?;
        let weights = (!bundle.manifest().is_inline()).then_some(WEIGHTS_FILE);
        for file in kinds.iter().map(|kind| kind.file()).chain(weights) {
            let path = folder.path().join(file);
            let bytes = bundle.bytes(file).unwrap_or_default();
            std::fs::write(&path, bytes).map_err(Error::writing(&path))?;
        }
        Ok(Self::Temporary(folder))
    }

    pub fn path(&self) -> &Path {
        match self {
            Self::Folder(path) => path,
            Self::Temporary(folder) => folder.path(),
        }
    }
}

/// The bundle's own graphs, each session with what it makes of the weights for itself.
pub(crate) fn plain(
    bundle: &Bundle,
    folder: &Path,
    kinds: &[GraphKind],
    options: &SessionOptions,
) -> Result<Models, Error> {
    let path = folder.join(WEIGHTS_FILE);
    let weights = match options.providers.iter().all(Provider::is_cpu) && !bundle.manifest().is_inline() {
        true => {
            let weights = Weights::open(&path, options.map);
            Some(Arc::new(weights.map_err(Error::reading(&path))?))
        }
        // Providers read the weights by themselves, and put them where they compute; or the graphs hold them.
        false => None,
    };
    let model = |&kind: &GraphKind| {
        let path = folder.join(kind.file());
        let constants = match &weights {
            None => None,
            Some(weights) => {
                let graph = std::fs::read(&path).map_err(Error::reading(&path))?;
                let constants = Constants::new(&graph, weights);
                Some(constants.map_err(|reason| Error::Graph { path: path.clone(), reason })?)
            }
        };
        let prepacked = (weights.is_some() && !options.int8).then(PrepackedWeights::new);
        Ok((kind, Model { path, constants, prepacked, optimised: false }))
    };
    kinds.iter().map(model).collect()
}
