//! A frozen bundle: `model.json` and the files that it lists, checked before they are used.
mod bytes;
mod graph;
mod numerics;

pub use bytes::BundleBytes;
pub use graph::check as check_graph;
pub use numerics::{Int8Layout, LargestActivation, Numerics, Quantisation};

use crate::{Architecture, ArchitectureError, LatentShape, Preprocessing, TensorFileError, Weights};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use thiserror::Error;

/// File name of the manifest.
pub const MANIFEST_FILE: &str = "model.json";
/// File name of the frozen weights.
pub const WEIGHTS_FILE: &str = "model.safetensors";
/// File name of the encoding graph.
pub const ENCODER_FILE: &str = "encoder.onnx";
/// File name of the decoding graph.
pub const DECODER_FILE: &str = "decoder.onnx";
/// File name of the named directions in latent space; they may be added at any time, so the manifest does
/// not list them.
pub const ATTRIBUTES_FILE: &str = "attributes.safetensors";

const FORMAT: &str = "glow-bundle";
const VERSION: u32 = 1;
/// A manifest is about two kilobytes; anything near this is not one.
const MAX_MANIFEST_BYTES: u64 = 1 << 20;
/// The most that a protobuf message can be, and so a graph.
const MAX_GRAPH_BYTES: u64 = (1 << 31) - 1;

/// The most numbers of a batch of a fixed size: four gigabytes of floats.
const MAX_BATCH_NUMBERS: usize = 1 << 30;

/// Number format of the coupling networks. Everything else (the flow's own path, log-determinants and
/// priors) is 32-bit float in each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// 32-bit float.
    Fp32,
    /// 16-bit float (IEEE half precision).
    Fp16,
    /// 8-bit integers: weights symmetric with a scale for each output channel, activations with one
    /// scale a tensor, calibrated on images.
    Int8,
}

impl std::fmt::Display for Precision {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Fp32 => "fp32",
            Self::Fp16 => "fp16",
            Self::Int8 => "int8",
        })
    }
}

/// Where a bundle comes from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Provenance {
    /// Program and version that wrote it.
    pub generator: String,
    /// File name of the checkpoint.
    pub checkpoint: String,
    /// Which of its weights.
    pub weights: Weights,
    /// The name of the average, where it is a further one of the run; absent otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub average: Option<String>,
    /// Optimisation steps done.
    pub step: u64,
    /// Training images seen, repeats counted.
    pub images_seen: u64,
    /// Validation bits/dim that the checkpoint noted.
    pub bits_per_dim: Option<f64>,
}

/// Size and hash of one file of a bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEntry {
    /// Size in bytes.
    pub bytes: u64,
    /// SHA-256 in lower-case hexadecimal.
    pub sha256: String,
}

/// The content of `model.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    format: String,
    version: u32,
    /// What the graphs compute.
    pub architecture: Architecture,
    /// Shapes of `eps_0` … `eps_{L-1}`.
    pub latent_shapes: Vec<LatentShape>,
    /// Number format of the coupling networks.
    pub precision: Precision,
    /// ONNX operator set of the graphs.
    pub opset: i64,
    /// The only batch size that the graphs take; `None`, as a rule, where they take any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch: Option<usize>,
    /// Where the weights come from.
    pub provenance: Provenance,
    /// How the coupling networks became 8-bit integers; `None` in other formats, and in bundles that are older than
    /// this entry, whose layout is [`Int8Layout::Cpu`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quantisation: Option<Quantisation>,
    /// What the number format costs; `None` in bundles that were not verified, or are older than this entry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub numerics: Option<Numerics>,
    /// What is done to an image before it is brought to the model's size, as in training.
    #[serde(default, skip_serializing_if = "Preprocessing::is_default")]
    pub preprocessing: Preprocessing,
    /// Names of the classes, in the order of their labels; empty if there are none or none are known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub class_names: Vec<String>,
    /// The other files, by name: both graphs, and `model.safetensors` unless the graphs hold the weights
    /// themselves.
    pub files: BTreeMap<String, FileEntry>,
}

/// A bundle that cannot be used.
#[derive(Debug, Error)]
pub enum BundleError {
    /// A file is missing.
    #[error("{path} is missing: {hint}")]
    Missing {
        /// The file.
        path: PathBuf,
        /// What it is needed for, and the way out.
        hint: &'static str,
    },
    /// A file cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The manifest is not one, or of a version that this program does not read.
    #[error("{path} is not a manifest that this program reads: {reason}")]
    Manifest {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The manifest's architecture cannot be.
    #[error("the architecture in {path} is not valid")]
    Architecture {
        /// The file.
        path: PathBuf,
        /// Why.
        source: ArchitectureError,
    },
    /// A file has another size than the manifest says.
    #[error("{path} has {actual} bytes where model.json says {expected}: copy or export the bundle again")]
    Size {
        /// The file.
        path: PathBuf,
        /// Bytes by the manifest.
        expected: u64,
        /// Bytes in fact.
        actual: u64,
    },
    /// A file has another content than the manifest says.
    #[error(
        "{path} is damaged: its SHA-256 is {actual}, model.json says {expected}; copy or export the bundle again"
    )]
    Hash {
        /// The file.
        path: PathBuf,
        /// Hash by the manifest.
        expected: String,
        /// Hash in fact.
        actual: String,
    },
    /// A graph that is malformed, or that would have ONNX Runtime read something other than the bundle's
    /// weights.
    #[error("{path} cannot be trusted: {reason}; export the bundle again")]
    Graph {
        /// The graph's file.
        path: PathBuf,
        /// What is in it.
        reason: String,
    },
}

impl Manifest {
    /// The layout of an int8 bundle's networks; of no meaning in other formats.
    pub fn int8_layout(&self) -> Int8Layout {
        self.quantisation.as_ref().map(|made| made.layout).unwrap_or_default()
    }

    /// A manifest of the present version; [`Bundle::seal`] fills in the files.
    pub fn new(architecture: Architecture, precision: Precision, opset: i64, provenance: Provenance) -> Self {
        Self {
            format: FORMAT.into(),
            version: VERSION,
            latent_shapes: architecture.latent_shapes(),
            architecture,
            precision,
            opset,
            batch: None,
            provenance,
            quantisation: None,
            numerics: None,
            preprocessing: Preprocessing::default(),
            class_names: Vec::new(),
            files: BTreeMap::new(),
        }
    }

    /// Whether each graph holds its weights itself, so that there is no `model.safetensors`.
    pub fn is_inline(&self) -> bool {
        !self.files.contains_key(WEIGHTS_FILE)
    }

    /// SHA-256 of the file with the weights (of single-file graphs, the decoder), which tells one model
    /// from another; empty before [`Bundle::seal`].
    pub fn model_sha256(&self) -> &str {
        let weights = if self.is_inline() { DECODER_FILE } else { WEIGHTS_FILE };
        self.files.get(weights).map_or("", |entry| &entry.sha256)
    }

    /// Reads and checks a manifest; `path` is for the messages.
    fn parse(text: &[u8], path: &Path) -> Result<Self, BundleError> {
        let wrong = |reason: String| BundleError::Manifest { path: path.into(), reason };
        if text.len() as u64 > MAX_MANIFEST_BYTES {
            return Err(wrong(format!("it is larger than {MAX_MANIFEST_BYTES} bytes")));
        }
        let manifest: Self = serde_json::from_slice(text).map_err(|error| wrong(error.to_string()))?;
        manifest.check(path)?;
        Ok(manifest)
    }

    fn check(&self, path: &Path) -> Result<(), BundleError> {
        let wrong = |reason: String| BundleError::Manifest { path: path.into(), reason };
        if self.format != FORMAT {
            return Err(wrong(format!("its format is {:?} instead of {FORMAT:?}", self.format)));
        }
        if self.version != VERSION {
            return Err(wrong(format!(
                "its version is {}; this program reads version {VERSION}",
                self.version
            )));
        }
        self.architecture
            .validate()
            .map_err(|source| BundleError::Architecture { path: path.into(), source })?;
        if self.latent_shapes != self.architecture.latent_shapes() {
            return Err(wrong("its latent_shapes are not those of its architecture".into()));
        }
        if let Some(batch) = self.batch {
            let numbers = batch.checked_mul(self.architecture.dims());
            if batch == 0 || numbers.is_none_or(|numbers| numbers > MAX_BATCH_NUMBERS) {
                return Err(wrong(format!("its batch is of {batch} images")));
            }
        }
        let (names, classes) = (self.class_names.len(), self.architecture.classes);
        if names > 0 && classes > 0 && names != classes {
            return Err(wrong(format!("it has {names} class_names for {classes} classes")));
        }
        // The files of a bundle have fixed names, so none can point out of its folder.
        for name in self.files.keys() {
            if ![WEIGHTS_FILE, ENCODER_FILE, DECODER_FILE].contains(&name.as_str()) {
                return Err(wrong(format!("it lists a file {name:?}, which is none of a bundle's")));
            }
        }
        Ok(())
    }
}

/// A bundle's manifest, and where its files are: in a folder or in memory. A clone shares what is in memory.
#[derive(Debug, Clone)]
pub struct Bundle {
    source: Source,
    manifest: Manifest,
}

#[derive(Debug, Clone)]
enum Source {
    Folder(PathBuf),
    Memory(Arc<BundleBytes>),
}

impl Bundle {
    /// Reads and checks `model.json` of a bundle's folder. The other files are checked by
    /// [`Bundle::verify`] and [`Bundle::check_graph`] when they are needed.
    ///
    /// # Errors
    /// The folder or the manifest is missing, unreadable, of another version, or absurd.
    pub fn open(folder: &Path) -> Result<Self, BundleError> {
        let path = folder.join(MANIFEST_FILE);
        let file = open_regular(&path, "a bundle is a folder that glow-export wrote, with model.json in it")?;
        let mut text = Vec::new();
        file.take(MAX_MANIFEST_BYTES + 1)
            .read_to_end(&mut text)
            .map_err(|source| BundleError::Read { path: path.clone(), source })?;
        let manifest = Manifest::parse(&text, &path)?;
        Ok(Self { source: Source::Folder(folder.into()), manifest })
    }

    /// Checks the manifest of a bundle in memory, as [`Bundle::open`] does that of a folder.
    ///
    /// # Errors
    /// The manifest is missing, of another version, or absurd.
    pub fn from_bytes(files: BundleBytes) -> Result<Self, BundleError> {
        let manifest = Manifest::parse(&files.manifest, Path::new(MANIFEST_FILE))?;
        Ok(Self { source: Source::Memory(Arc::new(files)), manifest })
    }

    /// The manifest.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The folder; `None` for a bundle in memory.
    pub fn folder(&self) -> Option<&Path> {
        match &self.source {
            Source::Folder(folder) => Some(folder),
            Source::Memory(_) => None,
        }
    }

    /// The bundle without the graphs and the weights that it has in memory, for whoever is done with them. One in a folder
    /// stays as it is.
    pub fn without_graphs(mut self) -> Self {
        if let Source::Memory(files) = &mut self.source {
            let attributes = files.attributes.clone();
            *files = Arc::new(BundleBytes { attributes, ..Default::default() });
        }
        self
    }

    /// Path of one of the bundle's files, whether it is there or not; in memory its mere name.
    pub fn path(&self, file: &str) -> PathBuf {
        self.folder().map_or_else(|| file.into(), |folder| folder.join(file))
    }

    /// Content of one of the files of a bundle in memory; `None` if the bundle is in a folder, or without
    /// this file.
    pub fn bytes(&self, file: &str) -> Option<&[u8]> {
        match &self.source {
            Source::Folder(_) => None,
            Source::Memory(files) => files.get(file),
        }
    }

    /// Checks size and SHA-256 of one file against the manifest; the size first, so that a file of
    /// another size is not read.
    ///
    /// # Errors
    /// The file is not listed, missing, unreadable, no regular file, or has another size or hash.
    pub fn verify(&self, file: &str) -> Result<(), BundleError> {
        let (path, expected) = (self.path(file), self.entry(file)?);
        let wrong_size = |actual| BundleError::Size { path: path.clone(), expected: expected.bytes, actual };
        let sha256 = match &self.source {
            Source::Folder(_) => {
                let file = open_regular(&path, COPY_AGAIN)?;
                let read = |source| BundleError::Read { path: path.clone(), source };
                let length = file.metadata().map_err(read)?.len();
                if length != expected.bytes {
                    return Err(wrong_size(length));
                }
                // The file may grow while it is read.
                let actual = FileEntry::of_reader(file.take(length.saturating_add(1))).map_err(read)?;
                if actual.bytes != expected.bytes {
                    return Err(wrong_size(actual.bytes));
                }
                actual.sha256
            }
            Source::Memory(files) => {
                let bytes = files.require(file)?;
                if bytes.len() as u64 != expected.bytes {
                    return Err(wrong_size(bytes.len() as u64));
                }
                hexadecimal(&Sha256::digest(bytes))
            }
        };
        if sha256 != expected.sha256 {
            return Err(BundleError::Hash { path, expected: expected.sha256.clone(), actual: sha256 });
        }
        Ok(())
    }

    /// Checks that a graph is one that an exporter of this project could have written, before ONNX Runtime
    /// opens it: standard operators only, no graphs or functions inside of it, and every tensor either in
    /// the graph itself or in a part of [`WEIGHTS_FILE`] that the file has. ONNX Runtime would
    /// otherwise follow a stranger's graph to other files of the machine.
    ///
    /// # Errors
    /// The graph is missing, unreadable, malformed or not as described.
    pub fn check_graph(&self, file: &str) -> Result<(), BundleError> {
        let path = self.path(file);
        let weights = self.manifest.files.get(WEIGHTS_FILE).map_or(0, |entry| entry.bytes);
        graph::check(&self.read_graph(file)?, weights).map_err(|reason| BundleError::Graph { path, reason })
    }

    /// Content of [`ATTRIBUTES_FILE`], checked to be a complete safetensors file; `None` if the bundle has
    /// none.
    ///
    /// # Errors
    /// The file cannot be read or is damaged.
    pub fn read_attributes(&self) -> Result<Option<Cow<'_, [u8]>>, TensorFileError> {
        match &self.source {
            Source::Memory(files) => Ok(files.get(ATTRIBUTES_FILE).map(Cow::Borrowed)),
            Source::Folder(folder) => match crate::read_tensor_file(&folder.join(ATTRIBUTES_FILE)) {
                Ok(bytes) => Ok(Some(bytes.into())),
                Err(TensorFileError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                    Ok(None)
                }
                Err(error) => Err(error),
            },
        }
    }

    /// Content of a graph's file.
    pub(crate) fn read_graph(&self, name: &str) -> Result<Cow<'_, [u8]>, BundleError> {
        let path = match &self.source {
            Source::Folder(folder) => folder.join(name),
            Source::Memory(files) => return files.require(name).map(Cow::Borrowed),
        };
        let mut file = open_regular(&path, COPY_AGAIN)?;
        let read = |source| BundleError::Read { path: path.clone(), source };
        let length = file.metadata().map_err(read)?.len();
        if length > MAX_GRAPH_BYTES {
            let reason = format!("it has {length} bytes, more than a graph can have");
            return Err(BundleError::Graph { path, reason });
        }
        let mut bytes = Vec::new();
        Read::by_ref(&mut file).take(MAX_GRAPH_BYTES).read_to_end(&mut bytes).map_err(read)?;
        Ok(bytes.into())
    }

    fn entry(&self, file: &str) -> Result<&FileEntry, BundleError> {
        self.manifest.files.get(file).ok_or_else(|| BundleError::Manifest {
            path: self.path(MANIFEST_FILE),
            reason: format!("it does not list {file}"),
        })
    }

    /// Ends the writing of a bundle: hashes both graphs and, if it is there, `model.safetensors`, and
    /// writes the manifest, last, so that a folder with a manifest is complete.
    ///
    /// # Errors
    /// A file cannot be read, or the manifest cannot be written.
    pub fn seal(folder: &Path, mut manifest: Manifest) -> Result<Self, BundleError> {
        let weights = folder.join(WEIGHTS_FILE).exists().then_some(WEIGHTS_FILE);
        for name in [ENCODER_FILE, DECODER_FILE].into_iter().chain(weights) {
            manifest.files.insert(name.into(), FileEntry::of_file(&folder.join(name))?);
        }
        let path = folder.join(MANIFEST_FILE);
        crate::write_atomically(&path, |out| {
            serde_json::to_writer_pretty(&mut *out, &manifest)?;
            out.write_all(b"\n")
        })
        .map_err(|source| BundleError::Read { path, source })?;
        Ok(Self { source: Source::Folder(folder.into()), manifest })
    }
}

const COPY_AGAIN: &str = "copy or export the bundle again, with all of its files";

/// Opens a file for reading. A pipe or a device, which could be read for ever, is refused.
fn open_regular(path: &Path, hint: &'static str) -> Result<File, BundleError> {
    let read = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
            BundleError::Missing { path: path.into(), hint }
        }
        _ => BundleError::Read { path: path.into(), source },
    };
    // Asked before it is opened, for to open a pipe is to wait for its writer.
    if !std::fs::metadata(path).map_err(read)?.is_file() {
        return Err(read(io::Error::other("it is no regular file")));
    }
    File::open(path).map_err(read)
}

impl FileEntry {
    /// Size and hash of a file.
    ///
    /// # Errors
    /// The file is missing, no regular file, or cannot be read.
    pub fn of_file(path: &Path) -> Result<Self, BundleError> {
        Self::of_reader(open_regular(path, COPY_AGAIN)?)
            .map_err(|source| BundleError::Read { path: path.into(), source })
    }

    fn of_reader(mut input: impl Read) -> io::Result<Self> {
        let mut hash = Sha256::new();
        let mut buffer = vec![0; 1 << 20];
        let mut bytes = 0;
        loop {
            match input.read(&mut buffer)? {
                0 => break,
                n => {
                    hash.update(&buffer[..n]);
                    bytes += n as u64;
                }
            }
        }
        Ok(Self { bytes, sha256: hexadecimal(&hash.finalize()) })
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests;
