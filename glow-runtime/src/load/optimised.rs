//! Graphs as ONNX Runtime optimised them for this machine, with one file of weights for all of them.
//!
//! Its optimiser lays the weights of convolutions out anew for the CPU: left alone, every session has a
//! copy of its own. Here each graph is optimised once, what comes out is written to one file, equal tensors once, and any
//! number of sessions use the mapping of that file in place.
use super::scratch::{Scratch, ScratchFile};
use super::{cache, source};
use crate::onnx::{ExternalTensor, external_tensors, relocate};
use crate::session::{Elsewhere, GraphFile, Model, Models, SessionOptions};
use crate::weights::{Constants, Weights};
use crate::{Error, GraphKind};
use glow_models::Bundle;
use ort::session::builder::PrepackedWeights;
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::Arc;

/// The file of weights in an entry of the cache.
pub(crate) const WEIGHTS: &str = "weights.bin";
/// Tensors begin on borders of this many bytes.
const ALIGNMENT: u64 = 64;

/// Graphs that were optimised, with the weights of all of them.
pub(crate) struct Optimised {
    graphs: Vec<(GraphKind, Vec<u8>)>,
    weights: ScratchFile,
    scratch: Arc<Scratch>,
}

impl Optimised {
    /// Has ONNX Runtime optimise the bundle's graphs of these kinds.
    ///
    /// # Errors
    /// [`Error::Write`] if there is no place for files of this process, [`Error::Load`] if ONNX Runtime fails.
    pub fn new(bundle: &Bundle, kinds: &[GraphKind], options: &SessionOptions) -> Result<Self, Error> {
        let scratch = Scratch::new().map_err(|(path, source)| Error::Write { path, source })?;
        let file = |name| scratch.file(name).map_err(Error::writing(Path::new(name)));
        let (weights, mut known, mut graphs) = (file(WEIGHTS)?, Vec::new(), Vec::new());
        for &kind in kinds {
            let (optimised, more) = (file(kind.file())?, file("more.bin")?);
            // The first graph's file of constants becomes that of all.
            let constants = if graphs.is_empty() { &weights } else { &more };
            let graph = source::graph(bundle, kind);
            options
                .optimise(&graph, &optimised.path, &constants.name())
                .map_err(|source| Error::Load { path: graph.path().into(), source: source.into() })?;
            let mut model = std::fs::read(&optimised.path).map_err(Error::reading(&optimised.path))?;
            let wrong = |reason| Error::Graph { path: graph.path().into(), reason };
            let tensors = external_tensors(&model).map_err(wrong)?;
            if graphs.is_empty() {
                known = tensors;
            } else if !tensors.is_empty() {
                let places = merge(&weights.path, &mut known, &more.path, &tensors)
                    .map_err(Error::writing(&weights.path))?;
                model = relocate(&model, |tensor| (WEIGHTS.into(), places[&tensor.name])).map_err(wrong)?;
            }
            graphs.push((kind, model));
        }
        if options.trim {
            give_memory_back();
        }
        Ok(Self { graphs, weights, scratch: Arc::new(scratch) })
    }

    /// Makes an entry of the cache of them, for [`open`].
    pub fn keep(&self, entry: &Path) -> io::Result<()> {
        let cache = entry.parent().unwrap_or(Path::new("."));
        std::fs::create_dir_all(cache)?;
        cache::clean(cache);
        let folder = cache::temporary(cache)?;
        for (kind, graph) in &self.graphs {
            let graph = located(graph, WEIGHTS).map_err(io::Error::other)?;
            std::fs::write(folder.path().join(kind.file()), graph)?;
        }
        std::fs::copy(&self.weights.path, folder.path().join(WEIGHTS))?;
        cache::keep(folder, entry)
    }

    /// What sessions are made of, the weights where they are: nobody else can change them there.
    pub fn models(self, bundle: &Bundle, options: &SessionOptions) -> Result<Models, Error> {
        let weights = Weights::own(&self.weights.path).map_err(Error::reading(&self.weights.path))?;
        let (folder, file) = self.scratch.visible(&self.weights);
        let graph = |(kind, graph): (GraphKind, Vec<u8>)| {
            let path = bundle.path(kind.file());
            let graph =
                located(&graph, &file).map_err(|reason| Error::Graph { path: path.clone(), reason })?;
            let weights = Elsewhere::Given { folder: folder.clone(), _kept: Arc::clone(&self.scratch) };
            Ok((kind, graph.clone(), GraphFile::InMemory { path, graph: graph.into(), weights }))
        };
        let graphs = self.graphs.into_iter().map(graph).collect::<Result<_, Error>>()?;
        models(graphs, &Arc::new(weights), options)
    }
}

/// The optimised graphs of `kinds` in an entry of the cache, and the weights of all of them.
pub(crate) fn open(
    entry: &Path,
    kinds: &[GraphKind],
    options: &SessionOptions,
) -> Result<(Models, Arc<Weights>), Error> {
    let path = entry.join(WEIGHTS);
    let weights = Arc::new(Weights::open(&path, options.map).map_err(Error::reading(&path))?);
    let graph = |&kind: &GraphKind| {
        let path = entry.join(kind.file());
        let graph = std::fs::read(&path).map_err(Error::reading(&path))?;
        Ok((kind, graph, GraphFile::OnDisk(path)))
    };
    let graphs = kinds.iter().map(graph).collect::<Result<_, Error>>()?;
    Ok((models(graphs, &weights, options)?, weights))
}

fn models(
    graphs: Vec<(GraphKind, Vec<u8>, GraphFile)>,
    weights: &Arc<Weights>,
    options: &SessionOptions,
) -> Result<Models, Error> {
    let prepacked = PrepackedWeights::new();
    let model = |(kind, content, graph): (GraphKind, Vec<u8>, GraphFile)| {
        let wrong = |reason| Error::Graph { path: graph.path().into(), reason };
        let constants = Some(Constants::new(&content, weights).map_err(wrong)?);
        let prepacked = (!options.int8).then(|| prepacked.clone());
        Ok((kind, Model { graph, constants, prepacked, optimised: true }))
    };
    graphs.into_iter().map(model).collect()
}

/// A graph whose constants are in a file of this name.
fn located(graph: &[u8], file: &str) -> Result<Vec<u8>, String> {
    relocate(graph, |tensor| (file.into(), tensor.offset))
}

/// The sessions that optimised the graphs had copies of the weights. They are freed, but in pieces that
/// glibc keeps for later.
fn give_memory_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        // SAFETY: it may be called at any time from any thread.
        unsafe { libc::malloc_trim(0) };
    }
}

/// Appends to the weights what they do not hold already, and gives the place of each tensor by name.
fn merge(
    weights: &Path,
    known: &mut Vec<ExternalTensor>,
    more: &Path,
    tensors: &[ExternalTensor],
) -> io::Result<HashMap<String, u64>> {
    let outside = || io::Error::new(io::ErrorKind::InvalidData, "a tensor leaves its file");
    let (old, new) = (Weights::open(weights, true)?, Weights::open(more, true)?);
    let old: &[u8] = &old;
    fn bytes<'a>(file: &'a [u8], tensor: &ExternalTensor) -> Option<&'a [u8]> {
        let begin = usize::try_from(tensor.offset).ok()?;
        file.get(begin..begin.checked_add(usize::try_from(tensor.length).ok()?)?)
    }
    // What tells most tensors apart at little cost.
    fn beginning(bytes: &[u8]) -> (usize, &[u8]) {
        (bytes.len(), &bytes[..bytes.len().min(256)])
    }
    let mut by_beginning: HashMap<_, Vec<(u64, &[u8])>> = HashMap::new();
    for tensor in known.iter() {
        let bytes = bytes(old, tensor).ok_or_else(outside)?;
        by_beginning.entry(beginning(bytes)).or_default().push((tensor.offset, bytes));
    }
    let mut file = File::options().append(true).open(weights)?;
    let mut end = file.seek(SeekFrom::End(0))?;
    let mut places = HashMap::new();
    for tensor in tensors {
        let bytes = bytes(&new, tensor).ok_or_else(outside)?;
        let like = by_beginning.entry(beginning(bytes)).or_default();
        let place = match like.iter().find(|(_, other)| *other == bytes) {
            Some((place, _)) => *place,
            None => {
                let place = end.next_multiple_of(ALIGNMENT);
                file.write_all(&vec![0; (place - end) as usize])?;
                file.write_all(bytes)?;
                end = place + tensor.length;
                like.push((place, bytes));
                place
            }
        };
        places.insert(tensor.name.clone(), place);
    }
    let moved = |tensor: &ExternalTensor| ExternalTensor { offset: places[&tensor.name], ..tensor.clone() };
    known.extend(tensors.iter().map(moved));
    Ok(places)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_tensors_are_kept_once() {
        let folder = tempfile::tempdir().unwrap();
        let (weights, more) = (folder.path().join("a"), folder.path().join("b"));
        let tensor = |name: &str, offset, length| ExternalTensor {
            name: name.into(),
            data_type: 1,
            shape: vec![length as i64 / 4],
            location: String::new(),
            offset,
            length,
        };
        std::fs::write(&weights, [[1; 400], [2; 400]].concat()).unwrap();
        std::fs::write(&more, [[3; 400], [2; 400]].concat()).unwrap();
        let mut known = vec![tensor("one", 0, 400), tensor("two", 400, 400)];
        let new = [tensor("three", 0, 400), tensor("again", 400, 400), tensor("twice", 0, 400)];
        let places = merge(&weights, &mut known, &more, &new).unwrap();
        assert_eq!([places["three"], places["again"], places["twice"]], [832, 400, 832]);
        let merged = std::fs::read(&weights).unwrap();
        assert_eq!((merged.len(), &merged[832..]), (1232, &[3; 400][..]));
        assert!(merge(&weights, &mut known, &more, &[tensor("beyond", 800, 4)]).is_err());
    }
}
