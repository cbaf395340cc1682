//! A frozen bundle: `model.json` and the files that it lists, checked before they are used.
use crate::{Architecture, ArchitectureError, LatentShape};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use thiserror::Error;

/// File name of the manifest.
pub const MANIFEST_FILE: &str = "model.json";
/// File name of the frozen weights.
pub const WEIGHTS_FILE: &str = "model.safetensors";
/// File name of the encoding graph.
pub const ENCODER_FILE: &str = "encoder.onnx";
/// File name of the decoding graph.
pub const DECODER_FILE: &str = "decoder.onnx";

const FORMAT: &str = "glow-bundle";
const VERSION: u32 = 1;
/// A manifest is about two kilobytes; anything near this is not one.
const MAX_MANIFEST_BYTES: u64 = 1 << 20;

/// Number format of the coupling networks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// 32-bit float throughout.
    Fp32,
}

/// Which weights of a checkpoint were frozen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Weights {
    /// The Polyak average.
    Averaged,
    /// The optimiser's own.
    Raw,
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
    /// Where the weights come from.
    pub provenance: Provenance,
    /// The other files, by name.
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
}

impl Manifest {
    /// A manifest of the present version; [`Bundle::seal`] fills in the files.
    pub fn new(architecture: Architecture, precision: Precision, opset: i64, provenance: Provenance) -> Self {
        Self {
            format: FORMAT.into(),
            version: VERSION,
            latent_shapes: architecture.latent_shapes(),
            architecture,
            precision,
            opset,
            provenance,
            files: BTreeMap::new(),
        }
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
        // The files of a bundle have fixed names, so none can point out of its folder.
        for name in self.files.keys() {
            if ![WEIGHTS_FILE, ENCODER_FILE, DECODER_FILE].contains(&name.as_str()) {
                return Err(wrong(format!("it lists a file {name:?}, which is none of a bundle's")));
            }
        }
        Ok(())
    }
}

/// A bundle's folder with its manifest.
#[derive(Debug, Clone)]
pub struct Bundle {
    folder: PathBuf,
    manifest: Manifest,
}

impl Bundle {
    /// Reads and checks `model.json` of a bundle's folder. The other files are checked by
    /// [`Bundle::verify`] when they are needed.
    ///
    /// # Errors
    /// The folder or the manifest is missing, unreadable, of another version, or absurd.
    pub fn open(folder: &Path) -> Result<Self, BundleError> {
        let path = folder.join(MANIFEST_FILE);
        let file = std::fs::File::open(&path).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => BundleError::Missing {
                path: path.clone(),
                hint: "a bundle is a folder that glow-export wrote, with model.json in it",
            },
            _ => BundleError::Read { path: path.clone(), source },
        })?;
        let mut text = Vec::new();
        file.take(MAX_MANIFEST_BYTES + 1)
            .read_to_end(&mut text)
            .map_err(|source| BundleError::Read { path: path.clone(), source })?;
        let wrong = |reason: String| BundleError::Manifest { path: path.clone(), reason };
        if text.len() as u64 > MAX_MANIFEST_BYTES {
            return Err(wrong(format!("it is larger than {MAX_MANIFEST_BYTES} bytes")));
        }
        let manifest: Manifest = serde_json::from_slice(&text).map_err(|error| wrong(error.to_string()))?;
        manifest.check(&path)?;
        Ok(Self { folder: folder.into(), manifest })
    }

    /// The manifest.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Path of one of the bundle's files, whether it is there or not.
    pub fn path(&self, file: &str) -> PathBuf {
        self.folder.join(file)
    }

    /// Checks size and SHA-256 of one file against the manifest.
    ///
    /// # Errors
    /// The file is not listed, missing, unreadable, or has another size or hash.
    pub fn verify(&self, file: &str) -> Result<(), BundleError> {
        let path = self.path(file);
        let expected = self.manifest.files.get(file).ok_or_else(|| BundleError::Manifest {
            path: self.path(MANIFEST_FILE),
            reason: format!("it does not list {file}"),
        })?;
        let actual = FileEntry::of_file(&path)?;
        if actual.bytes != expected.bytes {
            return Err(BundleError::Size { path, expected: expected.bytes, actual: actual.bytes });
        }
        if actual.sha256 != expected.sha256 {
            return Err(BundleError::Hash { path, expected: expected.sha256.clone(), actual: actual.sha256 });
        }
        Ok(())
    }

    /// Ends the writing of a bundle: hashes the files that are there and writes the manifest, last, so
    /// that a folder with a manifest is complete.
    ///
    /// # Errors
    /// A file cannot be read, or the manifest cannot be written.
    pub fn seal(folder: &Path, mut manifest: Manifest) -> Result<Self, BundleError> {
        for name in [WEIGHTS_FILE, ENCODER_FILE, DECODER_FILE] {
            manifest.files.insert(name.into(), FileEntry::of_file(&folder.join(name))?);
        }
        let path = folder.join(MANIFEST_FILE);
        crate::write_atomically(&path, |out| {
            serde_json::to_writer_pretty(&mut *out, &manifest)?;
            out.write_all(b"\n")
        })
        .map_err(|source| BundleError::Read { path, source })?;
        Ok(Self { folder: folder.into(), manifest })
    }
}

impl FileEntry {
    /// Size and hash of a file.
    ///
    /// # Errors
    /// The file is missing or cannot be read.
    pub fn of_file(path: &Path) -> Result<Self, BundleError> {
        let read = |source: io::Error| match source.kind() {
            io::ErrorKind::NotFound => BundleError::Missing {
                path: path.into(),
                hint: "copy or export the bundle again, with all of its files",
            },
            _ => BundleError::Read { path: path.into(), source },
        };
        let mut file = std::fs::File::open(path).map_err(read)?;
        let mut hash = Sha256::new();
        let mut buffer = vec![0; 1 << 20];
        let mut bytes = 0;
        loop {
            match file.read(&mut buffer).map_err(read)? {
                0 => break,
                n => {
                    hash.update(&buffer[..n]);
                    bytes += n as u64;
                }
            }
        }
        let sha256 = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Self { bytes, sha256 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bundle(folder: &Path) -> Bundle {
        for name in [WEIGHTS_FILE, ENCODER_FILE, DECODER_FILE] {
            std::fs::write(folder.join(name), name).unwrap();
        }
        let provenance = Provenance {
            generator: "test".into(),
            checkpoint: "best.safetensors".into(),
            weights: Weights::Averaged,
            step: 1,
            images_seen: 64,
            bits_per_dim: None,
        };
        Bundle::seal(folder, Manifest::new(Architecture::default(), Precision::Fp32, 13, provenance)).unwrap()
    }

    #[test]
    fn a_sealed_bundle_opens_and_verifies() {
        let folder = tempfile::tempdir().unwrap();
        let sealed = bundle(folder.path());
        let opened = Bundle::open(folder.path()).unwrap();
        assert_eq!(opened.manifest(), sealed.manifest());
        for name in [WEIGHTS_FILE, ENCODER_FILE, DECODER_FILE] {
            opened.verify(name).unwrap();
        }
    }

    #[test]
    fn the_hash_is_sha_256() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("abc");
        std::fs::write(&path, "abc").unwrap();
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(FileEntry::of_file(&path).unwrap(), FileEntry { bytes: 3, sha256: expected.into() });
    }

    #[test]
    fn each_kind_of_damage_has_its_error() {
        type Case = (&'static str, fn(&Path));
        let cases: &[Case] = &[
            ("damaged", |f| std::fs::write(f.join(WEIGHTS_FILE), "Model.safetensors").unwrap()),
            ("has 5 bytes", |f| std::fs::write(f.join(WEIGHTS_FILE), "short").unwrap()),
            ("model.safetensors is missing", |f| std::fs::remove_file(f.join(WEIGHTS_FILE)).unwrap()),
            ("model.json is missing", |f| std::fs::remove_file(f.join(MANIFEST_FILE)).unwrap()),
            ("is not a manifest", |f| std::fs::write(f.join(MANIFEST_FILE), "{").unwrap()),
            ("larger than", |f| std::fs::write(f.join(MANIFEST_FILE), vec![b' '; 2 << 20]).unwrap()),
            ("version is 2", |f| replace(f, "\"version\": 1", "\"version\": 2")),
            ("format is", |f| replace(f, "glow-bundle", "glow-bungle")),
            ("architecture", |f| replace(f, "\"levels\": 3", "\"levels\": 60")),
            ("latent_shapes", |f| replace(f, "\"levels\": 3", "\"levels\": 4")),
            ("none of a bundle's", |f| replace(f, "\"encoder.onnx\"", "\"../encoder.onnx\"")),
        ];
        for (expected, damage) in cases {
            let folder = tempfile::tempdir().unwrap();
            bundle(folder.path());
            damage(folder.path());
            let error = Bundle::open(folder.path())
                .and_then(|bundle| bundle.verify(WEIGHTS_FILE))
                .expect_err(expected)
                .to_string();
            assert!(error.contains(expected), "{error:?} does not say {expected:?}");
        }
    }

    fn replace(folder: &Path, from: &str, to: &str) {
        let path = folder.join(MANIFEST_FILE);
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{from}");
        std::fs::write(path, text.replacen(from, to, 1)).unwrap();
    }
}
