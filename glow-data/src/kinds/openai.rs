//! The TFRecord files of the published code: `train` and `validation`, each in shards and in one or more
//! resolutions, of raw pixels.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use prost::{Message, Oneof};

use crate::containers::tfrecord::{self, Place};
use crate::fit::{Fit, Fitted};
use crate::opening::{Opening, Part, Parts, Source};
use crate::source;
use crate::{DataError, ImageError};

/// Opens the official split.
pub(crate) fn open(root: &Path, opening: &Opening<'_>) -> Result<Parts, DataError> {
    let part = |part| -> Result<Part, DataError> {
        Ok(Part::Source(Arc::new(Records::open(root, part, opening.fit, opening.options.classes)?)))
    };
    Ok(Parts { train: part("train")?, test: Some(part("validation")?) })
}

/// The records of all shards of one part.
struct Records {
    root: PathBuf,
    fit: Fit,
    shards: Vec<Shard>,
    classes: Vec<String>,
}

struct Shard {
    /// Below the root.
    path: PathBuf,
    /// Records in the shards before.
    before: usize,
    records: Vec<Place>,
}

impl Records {
    fn open(root: &Path, part: &str, fit: Fit, classes: usize) -> Result<Self, DataError> {
        let folder = root.join(part);
        let names = shards(&folder, part, fit.shape.height.max(fit.shape.width))?;
        let mut shards = Vec::with_capacity(names.len());
        let mut before = 0;
        let progress = source::progress("indexing", "files", names.len());
        for name in names {
            let path = folder.join(&name);
            let records = File::open(&path).and_then(|file| tfrecord::places(&file)).map_err(|error| {
                match error.kind() {
                    std::io::ErrorKind::InvalidData => DataError::Format {
                        path: path.clone(),
                        problem: format!("{error}; fetch or write the file again"),
                    },
                    _ => DataError::read(&path)(error),
                }
            })?;
            let length = records.len();
            shards.push(Shard { path: Path::new(part).join(name), before, records });
            before += length;
            progress.inc(1);
        }
        progress.finish_and_clear();
        if before == 0 {
            let path = root.join(&shards[0].path);
            return Err(DataError::Format {
                path,
                problem: "neither it nor its other shards hold a record".into(),
            });
        }
        let classes = (0..classes).map(|class| class.to_string()).collect();
        Ok(Self { root: root.into(), fit, shards, classes })
    }

    /// The shard of record `index`, and its number there.
    fn locate(&self, index: usize) -> (&Shard, usize) {
        let after = self.shards.partition_point(|shard| shard.before <= index);
        let shard = &self.shards[after - 1];
        (shard, index - shard.before)
    }
}

impl Source for Records {
    fn len(&self) -> usize {
        self.shards.last().map_or(0, |shard| shard.before + shard.records.len())
    }

    fn root(&self) -> &Path {
        &self.root
    }

    fn name(&self, index: usize) -> String {
        let (shard, record) = self.locate(index);
        format!("{}#{record}", shard.path.display())
    }

    fn classes(&self) -> &[String] {
        &self.classes
    }

    fn fit(&self) -> Fit {
        self.fit
    }

    fn load(&self, index: usize, chance: u64) -> Result<(Fitted, u32), ImageError> {
        let (shard, record) = self.locate(index);
        // There may be more shards than files that may be open.
        let file = File::open(self.root.join(&shard.path))?;
        let bytes = tfrecord::read(&file, shard.records[record])?;
        let record = Record::parse(&bytes).map_err(ImageError::Record)?;
        let label = match (self.classes.len(), record.label) {
            (0, _) => 0,
            (classes, Some(label)) if (0..classes as i64).contains(&label) => label as u32,
            (classes, label) => {
                let label = label.map_or("no label".into(), |label| format!("the label {label}"));
                return Err(ImageError::Record(format!(
                    "it has {label}, and the model has {classes} classes (--classes)"
                )));
            }
        };
        Ok((self.fit.apply(&record.pixels, record.shape, chance)?, label))
    }
}

/// The names of the shards of `part` in the resolution that suits a model of this side best, in order: the
/// lowest that has it, as log₂ of the side in pixels, or the highest.
fn shards(folder: &Path, part: &str, side: usize) -> Result<Vec<String>, DataError> {
    const HINT: &str = "tfrecord wants the folders train and validation, as the published code has them, with \
                        files such as train/train-r08-s-0000-of-0120.tfrecords, all that their names promise";
    let missing = |name: String| DataError::Missing { path: folder.join(name), hint: HINT };
    let mut found: BTreeMap<u32, BTreeMap<usize, Name>> = BTreeMap::new();
    if folder.is_dir() {
        for entry in fs::read_dir(folder).map_err(DataError::read(folder))? {
            let name = entry.map_err(DataError::read(folder))?.file_name().to_string_lossy().into_owned();
            if let Some(name) = Name::parse(name, part) {
                found.entry(name.resolution).or_default().insert(name.shard, name);
            }
        }
    }
    let suits = found.keys().find(|&&log| side <= 1usize.checked_shl(log).unwrap_or(usize::MAX));
    let Some(&resolution) = suits.or(found.keys().next_back()) else {
        return Err(missing(format!("{part}-r{:02}-s-0000-of-0001.tfrecords", side.ilog2())));
    };
    let mut files = found.remove(&resolution).expect("it is a key");
    let count = files.first_key_value().map_or(0, |(_, name)| name.count);
    (0..count)
        .map(|shard| match files.remove(&shard) {
            Some(name) if name.count == count => Ok(name.file),
            _ => Err(missing(format!("{part}-r{resolution:02}-s-{shard:04}-of-{count:04}.tfrecords"))),
        })
        .collect()
}

/// The name of a shard: `train-r08-s-0000-of-0120.tfrecords`.
struct Name {
    file: String,
    /// log₂ of the side in pixels, rounded down.
    resolution: u32,
    shard: usize,
    count: usize,
}

impl Name {
    fn parse(file: String, part: &str) -> Option<Self> {
        let rest = file.strip_prefix(part)?.strip_prefix("-r")?.strip_suffix(".tfrecords")?;
        let (resolution, rest) = rest.split_once("-s-")?;
        let (shard, count) = rest.split_once("-of-")?;
        let (resolution, shard, count) = (resolution.parse().ok()?, shard.parse().ok()?, count.parse().ok()?);
        (shard < count).then_some(Self { file, resolution, shard, count })
    }
}

/// An image of a record.
pub(crate) struct Record {
    pub pixels: Vec<u8>,
    /// [height, width, channels].
    pub shape: [usize; 3],
    label: Option<i64>,
}

impl Record {
    /// From the bytes of a `tf.train.Example` with the features `shape`, `data` and, perhaps, `label`.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        let example =
            message::Example::decode(bytes).map_err(|error| format!("it is no Example: {error}"))?;
        let mut features = example.features.unwrap_or_default().feature;
        let pixels = match features.remove("data").and_then(|feature| feature.kind) {
            Some(message::Kind::Bytes(mut list)) if list.value.len() == 1 => list.value.swap_remove(0),
            _ => return Err("it has no feature \"data\" of bytes".into()),
        };
        let integers = |name: &str| match features.get(name).and_then(|feature| feature.kind.as_ref()) {
            Some(message::Kind::Integers(list)) => Some(list.value.as_slice()),
            _ => None,
        };
        let sides = integers("shape").ok_or("it has no feature \"shape\" of integers")?;
        let shape: Option<Vec<usize>> = sides.iter().map(|&side| usize::try_from(side).ok()).collect();
        let shape = shape
            .and_then(|shape| <[usize; 3]>::try_from(shape).ok())
            .filter(|&[_, _, channels]| channels == 1 || channels == 3)
            .ok_or_else(|| format!("its shape {sides:?} is not [height, width, 1 or 3]"))?;
        let size = shape.iter().try_fold(1usize, |size, &side| size.checked_mul(side));
        if size != Some(pixels.len()) {
            return Err(format!("its shape {sides:?} is not that of its {} bytes", pixels.len()));
        }
        Ok(Self { pixels, shape, label: integers("label").and_then(|label| label.first().copied()) })
    }
}

/// What is used of TensorFlow's `example.proto` and `feature.proto`.
mod message {
    use super::*;

    #[derive(Clone, PartialEq, Message)]
    pub struct Example {
        #[prost(message, optional, tag = "1")]
        pub features: Option<Features>,
    }

    #[derive(Clone, PartialEq, Message)]
    pub struct Features {
        #[prost(map = "string, message", tag = "1")]
        pub feature: HashMap<String, Feature>,
    }

    #[derive(Clone, PartialEq, Message)]
    pub struct Feature {
        #[prost(oneof = "Kind", tags = "1, 3")]
        pub kind: Option<Kind>,
    }

    #[derive(Clone, PartialEq, Oneof)]
    pub enum Kind {
        #[prost(message, tag = "1")]
        Bytes(BytesList),
        #[prost(message, tag = "3")]
        Integers(Int64List),
    }

    #[derive(Clone, PartialEq, Message)]
    pub struct BytesList {
        #[prost(bytes = "vec", repeated, tag = "1")]
        pub value: Vec<Vec<u8>>,
    }

    #[derive(Clone, PartialEq, Message)]
    pub struct Int64List {
        #[prost(int64, repeated, tag = "1")]
        pub value: Vec<i64>,
    }
}
