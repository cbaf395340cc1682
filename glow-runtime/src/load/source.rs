//! The bundle's own graphs and weights, as sessions are made from them.
use crate::session::{Elsewhere, GraphFile, Model, Models, SessionOptions};
use crate::weights::{Constants, Weights};
use crate::{Error, GraphKind, Provider};
use glow_models::{Bundle, WEIGHTS_FILE};
use ort::session::builder::PrepackedWeights;
use std::borrow::Cow;
use std::sync::Arc;

/// A graph of the bundle: its file, or its content and the weights in memory.
pub(crate) fn graph(bundle: &Bundle, kind: GraphKind) -> GraphFile {
    let path = bundle.path(kind.file());
    match bundle.bytes(kind.file()) {
        None => GraphFile::OnDisk(path),
        Some(graph) => {
            let weights = Elsewhere::Bundle(bundle.clone().into());
            GraphFile::InMemory { path, graph: graph.into(), weights }
        }
    }
}

/// The bundle's own graphs, each session with what it makes of the weights for itself.
pub(crate) fn plain(bundle: &Bundle, kinds: &[GraphKind], options: &SessionOptions) -> Result<Models, Error> {
    // Providers read the weights by themselves, and put them where they compute; or the graphs hold them.
    let shared = options.providers.iter().all(Provider::is_cpu) && !bundle.manifest().is_inline();
    let path = bundle.path(WEIGHTS_FILE);
    let weights = shared.then(|| match bundle.folder() {
        Some(_) => Weights::open(&path, options.map),
        None => Weights::of(bundle),
    });
    let weights = weights.transpose().map_err(Error::reading(&path))?.map(Arc::new);
    let model = |&kind: &GraphKind| {
        let constants = |weights: &Arc<Weights>| {
            let path = bundle.path(kind.file());
            let graph = match bundle.bytes(kind.file()) {
                Some(graph) => Cow::Borrowed(graph),
                None => std::fs::read(&path).map_err(Error::reading(&path))?.into(),
            };
            Constants::new(&graph, weights).map_err(|reason| Error::Graph { path, reason })
        };
        let constants = weights.as_ref().map(constants).transpose()?;
        let prepacked = (constants.is_some() && !options.int8).then(PrepackedWeights::new);
        Ok((kind, Model { graph: graph(bundle, kind), constants, prepacked, optimised: false }))
    };
    kinds.iter().map(model).collect()
}
