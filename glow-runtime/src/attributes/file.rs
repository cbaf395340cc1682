//! Attributes in a bundle's `attributes.safetensors`: a tensor for each, by its name, and the rest in the
//! metadata, with the hash of the weights that they belong to.
//!
//! The tensor [n] is the end of the direction, the last n of its H·W·C numbers; those before are 0. A direction
//! through the coarsest level alone takes a fraction of the space. A file in which all have n = H·W·C is of
//! version 1, any other of version 2.
use super::{Attribute, Attributes, FitStatistics, check_name};
use crate::Error;
use glow_models::{ATTRIBUTES_FILE, Bundle, TensorBytes, parse_tensors, write_atomically, write_tensors};
use safetensors::{Dtype, SafeTensors};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

const FORMAT: &str = "glow-attributes";
/// The version where each direction is whole, and that where some are only ends.
const VERSIONS: [&str; 2] = ["1", "2"];

/// What the metadata says of an attribute.
#[derive(Serialize, Deserialize)]
struct Entry {
    name: String,
    offset: f64,
    statistics: FitStatistics,
}

impl Attributes {
    /// The attributes of the bundle in a folder; none if it has no `attributes.safetensors`.
    /// [`Glow::attributes`](crate::Glow::attributes) does the same for a bundle that is loaded.
    ///
    /// # Errors
    /// [`Error::Bundle`] if the folder is no bundle, [`Error::TensorFile`] or [`Error::Attributes`] if the
    /// file cannot be read, is malformed, or belongs to another model.
    pub fn open(folder: impl AsRef<Path>) -> Result<Self, Error> {
        Self::of(&Bundle::open(folder.as_ref())?)
    }

    pub(crate) fn of(bundle: &Bundle) -> Result<Self, Error> {
        let mut attributes = Self::new(bundle.manifest());
        if let Some(bytes) = bundle.read_attributes()? {
            let path = bundle.path(ATTRIBUTES_FILE);
            let tensors = parse_tensors(&bytes, &path)?;
            let metadata = SafeTensors::read_metadata(&bytes).map(|(_, header)| header);
            let metadata = metadata.ok().and_then(|header| header.metadata().clone()).unwrap_or_default();
            attributes
                .read(&tensors, |key| metadata.get(key).map_or("", |value| value))
                .map_err(|reason| Error::Attributes { path, reason })?;
        }
        Ok(attributes)
    }

    fn read<'a>(
        &mut self,
        tensors: &SafeTensors<'_>,
        metadata: impl Fn(&str) -> &'a str,
    ) -> Result<(), String> {
        match (metadata("format"), metadata("version")) {
            (FORMAT, version) if VERSIONS.contains(&version) => {}
            (FORMAT, other) => {
                return Err(format!(
                    "its version is {other:?}; this program reads {}",
                    VERSIONS.join(" and ")
                ));
            }
            (other, _) => return Err(format!("its format is {other:?} instead of {FORMAT:?}")),
        }
        let of = metadata("model_sha256");
        if of != self.model_sha256 {
            return Err(format!(
                "it belongs to the weights with SHA-256 {of}, not {}; fit them again",
                self.model_sha256
            ));
        }
        let entries: Vec<Entry> =
            serde_json::from_str(metadata("attributes")).map_err(|error| error.to_string())?;
        for Entry { name, offset, statistics } in entries {
            check_name(&name).map_err(|error| error.to_string())?;
            if self.attributes.iter().any(|other| other.name == name) {
                return Err(format!("it lists {name:?} twice"));
            }
            let tensor = tensors.tensor(&name).map_err(|_| format!("it has no tensor {name:?}"))?;
            let least = if metadata("version") == VERSIONS[0] { self.dims() } else { 1 };
            let (dtype, shape) = (tensor.dtype(), tensor.shape());
            let length = match (dtype, shape) {
                (Dtype::F32, &[length]) if (least..=self.dims()).contains(&length) => length,
                _ => {
                    return Err(format!(
                        "the tensor {name:?} is {dtype:?} {shape:?}, not F32 [{}]",
                        self.dims()
                    ));
                }
            };
            let end = tensor.data().as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes));
            let direction: ndarray::Array1<f32> =
                std::iter::repeat_n(0.0, self.dims() - length).chain(end).collect();
            let square: f64 = direction.iter().map(|&v| f64::from(v).powi(2)).sum();
            if !(square.is_finite() && square > 0.0 && offset.is_finite()) {
                return Err(format!("{name:?} is not a direction"));
            }
            self.attributes.push(Attribute { name, direction, offset, statistics });
        }
        Ok(())
    }

    /// Writes `attributes.safetensors` into the folder of the bundle that they belong to; without any the
    /// file is removed. It is there whole or not at all.
    ///
    /// # Errors
    /// [`Error::Bundle`] if the folder is no bundle, [`Error::Attributes`] if it is that of another model,
    /// [`Error::Write`].
    pub fn save(&self, folder: impl AsRef<Path>) -> Result<(), Error> {
        let bundle = Bundle::open(folder.as_ref())?;
        let path = bundle.path(ATTRIBUTES_FILE);
        let of = bundle.manifest().model_sha256();
        if of != self.model_sha256 {
            let own = &self.model_sha256;
            let reason = format!("they belong to the weights with SHA-256 {own}, and the bundle has {of}");
            return Err(Error::Attributes { path, reason });
        }
        let write = |source| Error::Write { path: path.clone(), source };
        if self.is_empty() {
            return match std::fs::remove_file(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(write(error)),
                _ => Ok(()),
            };
        }
        let entries: Vec<Entry> = self
            .attributes
            .iter()
            .map(|attribute| Entry {
                name: attribute.name.clone(),
                offset: attribute.offset,
                statistics: attribute.statistics.clone(),
            })
            .collect();
        let ends: Vec<&[f32]> = self.attributes.iter().map(|attribute| self.end(attribute)).collect();
        let whole = ends.iter().all(|end| end.len() == self.dims());
        let metadata = BTreeMap::from([
            ("format".to_string(), FORMAT.to_string()),
            ("version".to_string(), VERSIONS[usize::from(!whole)].to_string()),
            ("model_sha256".to_string(), self.model_sha256.clone()),
            ("attributes".to_string(), serde_json::to_string(&entries).map_err(|error| write(error.into()))?),
        ]);
        let shapes: Vec<[usize; 1]> = ends.iter().map(|end| [end.len()]).collect();
        let bytes: Vec<Vec<u8>> =
            ends.iter().map(|end| end.iter().flat_map(|v| v.to_le_bytes()).collect()).collect();
        let tensors: Vec<TensorBytes<'_>> = self
            .attributes
            .iter()
            .zip(shapes.iter().zip(&bytes))
            .map(|(attribute, (shape, bytes))| TensorBytes {
                name: &attribute.name,
                dtype: Dtype::F32,
                shape,
                bytes,
            })
            .collect();
        write_atomically(&path, |out| write_tensors(out, &metadata, &tensors).map(|_| ())).map_err(write)
    }

    /// A direction without the finest levels in which it is 0.
    fn end<'a>(&self, attribute: &'a Attribute) -> &'a [f32] {
        let mut end = attribute.direction.as_slice().expect("a direction lies in one piece");
        for shape in &self.shapes {
            match end.split_at(shape.len().min(end.len())) {
                (level, coarser) if level.iter().all(|&v| v == 0.0) => end = coarser,
                _ => break,
            }
        }
        end
    }
}
