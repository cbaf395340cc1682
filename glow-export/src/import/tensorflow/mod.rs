//! TensorFlow's checkpoints (version 2: `PREFIX.index` and `PREFIX.data-00000-of-00001`) and frozen graphs.
//!
//! The index is a LevelDB table of BundleEntryProto by variable name; a frozen graph is a GraphDef whose
//! `Const` nodes have the variables' names. Field numbers are those of TensorFlow's `.proto` files.
mod graph;

pub(super) use graph::read_graph;

use super::ImportError;
use super::tensors::{Entry, Tensors};
use glow_models::protobuf::{Fields, Value};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

const FOOTER: usize = 48;
const MAGIC: u64 = 0xdb47_7524_8b80_fb57;
/// Behind a block: a byte of compression and a checksum.
const TRAILER: usize = 5;
/// An index has about a hundred bytes a tensor.
const MAX_INDEX: u64 = 256 << 20;
/// The longest name of a tensor.
const MAX_NAME: usize = 4096;
/// All names of a table together: a million of long ones.
const MAX_NAMES: usize = 64 << 20;

/// Element types by their number in `types.proto`.
#[derive(Debug, Clone, Copy)]
enum Kind {
    F32,
    F64,
    I32,
    I64,
}

impl Kind {
    fn of(number: u64) -> Option<Self> {
        Some(match number {
            1 => Self::F32,
            2 => Self::F64,
            3 => Self::I32,
            9 => Self::I64,
            _ => return None,
        })
    }

    fn size(self) -> usize {
        match self {
            Self::F32 | Self::I32 => 4,
            Self::F64 | Self::I64 => 8,
        }
    }

    fn numbers(self, bytes: &[u8]) -> Vec<f64> {
        match self {
            Self::F32 => bytes.as_chunks().0.iter().map(|&b| f32::from_le_bytes(b).into()).collect(),
            Self::F64 => bytes.as_chunks().0.iter().map(|&b| f64::from_le_bytes(b)).collect(),
            Self::I32 => bytes.as_chunks().0.iter().map(|&b| i32::from_le_bytes(b).into()).collect(),
            Self::I64 => bytes.as_chunks().0.iter().map(|&b| i64::from_le_bytes(b) as f64).collect(),
        }
    }
}

/// The prefix of a checkpoint, if `path` is one, or one of its two files.
pub(super) fn checkpoint_prefix(path: &Path) -> Option<PathBuf> {
    let text = path.to_str()?;
    let stem = text.strip_suffix(".index").or_else(|| {
        let (stem, shard) = text.rsplit_once(".data-")?;
        shard.contains("-of-").then_some(stem)
    });
    let prefix = stem.unwrap_or(text);
    Path::new(&format!("{prefix}.index")).is_file().then(|| prefix.into())
}

/// The variables of a checkpoint.
pub(super) fn read_checkpoint(prefix: &Path) -> Result<Tensors, ImportError> {
    let index = with_suffix(prefix, ".index");
    let damaged = |reason: &str| ImportError::Damaged {
        path: index.clone(),
        form: "a TensorFlow checkpoint",
        reason: reason.into(),
    };
    let bytes = read_at_most(&index, MAX_INDEX).map_err(ImportError::io("read", &index))?;
    let table = table(&bytes).map_err(damaged)?;
    let header = table.get(&b""[..]).ok_or_else(|| damaged("it has no header"))?;
    let shards = shards(header).map_err(damaged)?;
    let mut entries = BTreeMap::new();
    for (name, entry) in table.iter().filter(|(name, _)| !name.is_empty()) {
        let name = String::from_utf8(name.clone()).map_err(|_| damaged("a name in it is not UTF-8"))?;
        let Variable { kind, shape, shard, offset, size, checksum } = variable(entry).map_err(damaged)?;
        let file = with_suffix(prefix, &format!(".data-{shard:05}-of-{shards:05}"));
        let expected = elements(&shape).and_then(|elements| elements.checked_mul(kind.map_or(1, Kind::size)));
        let read = move || {
            let kind = kind.ok_or("is of a type that no model has")?;
            if expected != Some(size) {
                return Err(format!("has {size} bytes, which do not fit its shape"));
            }
            let bytes = read_part(&file, offset, size)
                .map_err(|error| format!("cannot be read from {}: {error}", file.display()))?;
            if checksum.is_some_and(|checksum| checksum != masked(&bytes)) {
                return Err(format!("is damaged in {}: its checksum is another", file.display()));
            }
            Ok(kind.numbers(&bytes))
        };
        entries.insert(name, Entry { shape, read: Box::new(read) });
    }
    Ok(Tensors::new(entries))
}

fn with_suffix(prefix: &Path, suffix: &str) -> PathBuf {
    let mut path = prefix.as_os_str().to_owned();
    path.push(suffix);
    path.into()
}

fn read_at_most(path: &Path, most: u64) -> std::io::Result<Vec<u8>> {
    if !std::fs::metadata(path)?.is_file() {
        return Err(std::io::Error::other("it is no regular file"));
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        return Err(std::io::Error::other(format!("it is larger than {most} bytes")));
    }
    Ok(bytes)
}

fn read_part(path: &Path, offset: u64, size: usize) -> std::io::Result<Vec<u8>> {
    if !std::fs::metadata(path)?.is_file() {
        return Err(std::io::Error::other("it is no regular file"));
    }
    let mut file = File::open(path)?;
    // Before anything of a size that the index states is allocated.
    if offset.checked_add(size as u64).is_none_or(|end| end > file.metadata().map_or(0, |file| file.len())) {
        return Err(std::io::Error::other("the file is too short"));
    }
    file.seek(SeekFrom::Start(offset))?;
    let mut bytes = vec![0; size];
    file.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// TensorFlow's checksum: CRC-32C, rotated and moved.
fn masked(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

fn elements(shape: &[usize]) -> Option<usize> {
    shape.iter().try_fold(1usize, |product, &size| product.checked_mul(size))
}

/// Keys and values of a LevelDB table.
fn table(bytes: &[u8]) -> Result<BTreeMap<Vec<u8>, Vec<u8>>, &'static str> {
    let footer = bytes.len().checked_sub(FOOTER).map(|at| &bytes[at..]).ok_or("it is too short")?;
    if footer[FOOTER - 8..] != MAGIC.to_le_bytes() {
        return Err("it does not end as one does");
    }
    let mut rest = &footer[..FOOTER - 8];
    let _meta_index = handle(&mut rest)?;
    let index = block(bytes, handle(&mut rest)?)?;
    let (mut table, mut names) = (BTreeMap::new(), 0);
    for (_, place) in block_entries(index)? {
        for (key, value) in block_entries(block(bytes, handle(&mut &place[..])?)?)? {
            names += key.len();
            if names > MAX_NAMES {
                return Err("it has too many names");
            }
            if table.insert(key, value.to_vec()).is_some() {
                return Err("it has a name twice");
            }
        }
    }
    Ok(table)
}

/// Where a block is: offset and size.
fn handle(bytes: &mut &[u8]) -> Result<(usize, usize), &'static str> {
    Ok((varint(bytes)?, varint(bytes)?))
}

fn varint(bytes: &mut &[u8]) -> Result<usize, &'static str> {
    let mut number = 0u64;
    for shift in (0..63).step_by(7) {
        let (&byte, rest) = bytes.split_first().ok_or("it breaks off")?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return usize::try_from(number).map_err(|_| "a number in it is too large");
        }
    }
    Err("a number in it is too large")
}

fn block(bytes: &[u8], (offset, size): (usize, usize)) -> Result<&[u8], &'static str> {
    let end = offset.checked_add(size).ok_or("a block leaves it")?;
    let trailer =
        end.checked_add(TRAILER).and_then(|behind| bytes.get(end..behind)).ok_or("a block leaves it")?;
    let [compression, checksum @ ..] = trailer else { return Err("a block leaves it") };
    if *compression != 0 {
        return Err("it is compressed, as TensorFlow writes none");
    }
    // The checksum is of the block and the byte of compression.
    if checksum != masked(&bytes[offset..=end]).to_le_bytes() {
        return Err("a block's checksum is another");
    }
    Ok(&bytes[offset..end])
}

/// Keys and values of a block.
type Entries<'a> = Vec<(Vec<u8>, &'a [u8])>;

/// The entries of a block: each key begins with a part of the one before.
fn block_entries(block: &[u8]) -> Result<Entries<'_>, &'static str> {
    let (body, count) = block.split_last_chunk::<4>().ok_or("a block is too short")?;
    let restarts = (u32::from_le_bytes(*count) as usize).checked_mul(4).ok_or("a block is too short")?;
    let mut rest = body.len().checked_sub(restarts).map(|end| &body[..end]).ok_or("a block is too short")?;
    let mut entries = Entries::new();
    let mut names = 0;
    while !rest.is_empty() {
        let (shared, unshared, length) = (varint(&mut rest)?, varint(&mut rest)?, varint(&mut rest)?);
        let (unshared, behind) = rest.split_at_checked(unshared).ok_or("an entry leaves its block")?;
        let (value, behind) = behind.split_at_checked(length).ok_or("an entry leaves its block")?;
        rest = behind;
        let before = entries.last().map_or(&[][..], |(key, _)| key);
        let shared = before.get(..shared).ok_or("a name begins as none before it")?;
        if shared.len() + unshared.len() > MAX_NAME {
            return Err("a name is too long");
        }
        names += shared.len() + unshared.len();
        if names > MAX_NAMES {
            return Err("it has too many names");
        }
        entries.push(([shared, unshared].concat(), value));
    }
    Ok(entries)
}

/// BundleHeaderProto: 1 shards, 2 endianness.
fn shards(header: &[u8]) -> Result<u64, &'static str> {
    let mut shards = 1;
    for field in Fields::new(header) {
        match field.map_err(|_| "its header is damaged")? {
            (1, Value::Number(number)) => shards = number,
            (2, Value::Number(1)) => return Err("it was written on a big-endian machine"),
            _ => {}
        }
    }
    Ok(shards)
}

struct Variable {
    kind: Option<Kind>,
    shape: Vec<usize>,
    shard: u64,
    offset: u64,
    size: usize,
    checksum: Option<u32>,
}

/// BundleEntryProto: 1 type, 2 shape, 3 shard, 4 offset, 5 size, 6 checksum.
fn variable(entry: &[u8]) -> Result<Variable, &'static str> {
    let mut variable =
        Variable { kind: None, shape: Vec::new(), shard: 0, offset: 0, size: 0, checksum: None };
    for field in Fields::new(entry) {
        match field.map_err(|_| "an entry is damaged")? {
            (1, Value::Number(kind)) => variable.kind = Kind::of(kind),
            (2, Value::Bytes(bytes)) => variable.shape = shape(bytes)?,
            (3, Value::Number(shard)) => variable.shard = shard,
            (4, Value::Number(offset)) => variable.offset = offset,
            (5, Value::Number(size)) => {
                variable.size = usize::try_from(size).map_err(|_| "a tensor is too large")?;
            }
            (6, Value::Fixed(bytes)) => {
                variable.checksum = bytes.try_into().ok().map(u32::from_le_bytes);
            }
            (7, Value::Bytes(_)) => return Err("a tensor is in slices, which is not read"),
            _ => {}
        }
    }
    Ok(variable)
}

/// TensorShapeProto: repeated 2 of {1 size}.
fn shape(message: &[u8]) -> Result<Vec<usize>, &'static str> {
    let mut shape = Vec::new();
    for field in Fields::new(message) {
        if let (2, Value::Bytes(dimension)) = field.map_err(|_| "a shape is damaged")? {
            let mut size = 0;
            for field in Fields::new(dimension) {
                if let (1, Value::Number(number)) = field.map_err(|_| "a shape is damaged")? {
                    size = usize::try_from(number).map_err(|_| "a tensor is too large")?;
                }
            }
            shape.push(size);
        }
    }
    Ok(shape)
}

#[cfg(test)]
mod tests;
