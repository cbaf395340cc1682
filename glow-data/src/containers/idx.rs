//! The idx format of MNIST: a magic number, big-endian dimensions, and bytes.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

use flate2::bufread::GzDecoder;

use crate::DataError;

/// More than any data set in this form holds; a header that declares more is wrong.
const MAX_BYTES: u64 = 4 << 30;

/// The contents of an idx file of unsigned bytes with `D` dimensions.
#[derive(Debug)]
pub(crate) struct Idx<const D: usize> {
    pub dimensions: [usize; D],
    pub bytes: Vec<u8>,
}

/// Reads `path`, gunzipping it if its name ends in `.gz`.
pub(crate) fn read<const D: usize>(path: &Path) -> Result<Idx<D>, DataError> {
    let file = BufReader::new(File::open(path).map_err(DataError::read(path))?);
    if path.extension().is_some_and(|extension| extension == "gz") {
        parse(GzDecoder::new(file), path)
    } else {
        parse(file, path)
    }
}

/// The contents of `file`; `path` is for the messages.
pub(crate) fn parse<const D: usize>(mut file: impl Read, path: &Path) -> Result<Idx<D>, DataError> {
    let format = |problem| DataError::Format { path: path.into(), problem };
    let mut word = || -> Result<u32, DataError> {
        let mut bytes = [0; 4];
        file.read_exact(&mut bytes).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => format("the file ends within its header".into()),
            _ => DataError::read(path)(error),
        })?;
        Ok(u32::from_be_bytes(bytes))
    };
    let magic = word()?;
    // Two zero bytes, the type (8 is unsigned bytes) and the number of dimensions.
    let wanted = 0x0800 + D as u32;
    if magic != wanted {
        return Err(format(format!(
            "starts with {magic:#010x} in place of {wanted:#010x}: not an idx file of bytes with \
             {D} dimension{}",
            if D == 1 { "" } else { "s" }
        )));
    }
    let mut dimensions = [0; D];
    for dimension in &mut dimensions {
        *dimension = word()? as usize;
    }
    let declared = dimensions
        .iter()
        .try_fold(1u64, |product, &d| product.checked_mul(d as u64))
        .filter(|&bytes| bytes <= MAX_BYTES)
        .ok_or_else(|| format(format!("declares {dimensions:?} bytes, which cannot be right")))?;

    // The buffer grows with what is there, and one byte more tells whether that is too much.
    let mut bytes = Vec::new();
    file.take(declared + 1).read_to_end(&mut bytes).map_err(DataError::read(path))?;
    match bytes.len() as u64 {
        found if found < declared => Err(format(format!(
            "declares {declared} bytes of data and holds only {found}; the file is incomplete"
        ))),
        found if found > declared => Err(format(format!("declares {declared} bytes of data and holds more"))),
        _ => Ok(Idx { dimensions, bytes }),
    }
}
