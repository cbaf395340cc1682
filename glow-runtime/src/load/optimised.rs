//! Graphs as ONNX Runtime optimised them for this machine, with one file of weights for all of them.
//!
//! Its optimiser lays the weights of convolutions out anew for the CPU: left alone, every session has a
//! copy of its own. Here each graph is optimised once, what comes out is written to a folder, equal
//! tensors once, and any number of sessions use the mapping of that file in place.
use super::cache;
use crate::onnx::{ExternalTensor, external_tensors, relocate};
use crate::session::{Model, SessionOptions};
use crate::weights::{Constants, Weights};
use crate::{Error, GraphKind};
use ort::session::builder::PrepackedWeights;
use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tempfile::TempDir;

const WEIGHTS: &str = "weights.bin";
/// Tensors begin on borders of this many bytes.
const ALIGNMENT: u64 = 64;

/// One for each graph.
pub(crate) type Models = Vec<(GraphKind, Model)>;

/// The graphs of `kinds` in the folder `source`, optimised, and kept as `entry` of the cache.
///
/// Without an entry the files are in a temporary folder, which goes with the second value: sessions can
/// be made until then.
pub(crate) fn make(
    source: &Path,
    kinds: &[GraphKind],
    options: &SessionOptions,
    entry: Option<&Path>,
) -> Result<(Models, Option<TempDir>), Error> {
    let parent = match entry.and_then(Path::parent) {
        Some(parent) => {
            std::fs::create_dir_all(parent).map_err(Error::writing(parent))?;
            cache::clean(parent);
            parent.to_path_buf()
        }
        None => std::env::temp_dir(),
    };
    let folder = cache::temporary(&parent).map_err(Error::writing(&parent))?;
    write(source, kinds, options, folder.path())?;
    if options.trim {
        give_memory_back();
    }
    match entry {
        Some(entry) => {
            cache::keep(folder, entry).map_err(Error::writing(entry))?;
            Ok((open(entry, kinds, options)?, None))
        }
        None => Ok((open(folder.path(), kinds, options)?, Some(folder))),
    }
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

/// The optimised graphs of `kinds` in a folder.
pub(crate) fn open(folder: &Path, kinds: &[GraphKind], options: &SessionOptions) -> Result<Models, Error> {
    let path = folder.join(WEIGHTS);
    let weights = Arc::new(Weights::open(&path, options.map).map_err(Error::reading(&path))?);
    let prepacked = PrepackedWeights::new();
    let model = |&kind: &GraphKind| {
        let path = folder.join(kind.file());
        let graph = std::fs::read(&path).map_err(Error::reading(&path))?;
        let constants =
            Constants::new(&graph, &weights).map_err(|reason| Error::Graph { path: path.clone(), reason })?;
        let prepacked = (!options.int8).then(|| prepacked.clone());
        Ok((kind, Model { path, constants: Some(constants), prepacked, optimised: true }))
    };
    kinds.iter().map(model).collect()
}

fn write(source: &Path, kinds: &[GraphKind], options: &SessionOptions, folder: &Path) -> Result<(), Error> {
    let weights = folder.join(WEIGHTS);
    let mut known = Vec::new();
    for (number, kind) in kinds.iter().enumerate() {
        let (graph, optimised) = (source.join(kind.file()), folder.join(kind.file()));
        // The first graph's file of constants becomes that of all.
        let constants = if number == 0 { WEIGHTS } else { "more.bin" };
        options
            .optimise(&graph, &optimised, constants)
            .map_err(|source| Error::Load { path: graph.clone(), source: source.into() })?;
        let model = std::fs::read(&optimised).map_err(Error::reading(&optimised))?;
        let wrong = |reason| Error::Graph { path: optimised.clone(), reason };
        let tensors = external_tensors(&model).map_err(wrong)?;
        if number == 0 {
            // A graph without large constants has no such file.
            OpenOptions::new().append(true).create(true).open(&weights).map_err(Error::writing(&weights))?;
            known = tensors;
            continue;
        }
        let more = folder.join(constants);
        if !tensors.is_empty() {
            let places = merge(&weights, &mut known, &more, &tensors).map_err(Error::writing(&weights))?;
            let model = relocate(&model, |tensor| (WEIGHTS.into(), places[&tensor.name])).map_err(wrong)?;
            std::fs::write(&optimised, model).map_err(Error::writing(&optimised))?;
            std::fs::remove_file(&more).map_err(Error::writing(&more))?;
        }
    }
    Ok(())
}

/// Appends to the weights what they do not hold already, and gives the place of each tensor by name.
fn merge(
    weights: &PathBuf,
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
