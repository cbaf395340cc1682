//! TFRecord files: records of bytes, each with the checksums of its length and of its bytes.
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::unix::fs::FileExt;

/// Bytes around a record: its length and that one's checksum before it, its own checksum after it.
const HEADER: u64 = 12;
const FOOTER: u64 = 4;

/// Where a record is in its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    begin: u64,
    length: u32,
}

/// `bytes` as a record.
pub fn record(bytes: &[u8]) -> Vec<u8> {
    let length = (bytes.len() as u64).to_le_bytes();
    let mut record = Vec::with_capacity(bytes.len() + (HEADER + FOOTER) as usize);
    record.extend(length);
    record.extend(masked_crc(&length).to_le_bytes());
    record.extend(bytes);
    record.extend(masked_crc(bytes).to_le_bytes());
    record
}

/// The places of a file's records, whose bytes are not looked at.
///
/// # Errors
/// A length is damaged, so that nothing after it can be found, or the file ends within a record.
pub fn places(file: &File) -> io::Result<Vec<Place>> {
    let invalid = |problem: String| io::Error::new(io::ErrorKind::InvalidData, problem);
    let end = file.metadata()?.len();
    let mut file = BufReader::new(file);
    let mut places = Vec::new();
    let mut at = 0;
    while at < end {
        let cut = || invalid(format!("it ends within the record at byte {at}"));
        if end - at < HEADER {
            return Err(cut());
        }
        let mut header = [0; HEADER as usize];
        file.read_exact(&mut header)?;
        let (length, checksum) = header.split_at(8);
        if masked_crc(length).to_le_bytes() != checksum {
            return Err(invalid(format!(
                "there is no record at byte {at}: the checksum of its length is wrong"
            )));
        }
        let length = u64::from_le_bytes(length.try_into().expect("eight bytes"));
        let begin = at + HEADER;
        if length > end - begin || length + FOOTER > end - begin {
            return Err(cut());
        }
        let short =
            u32::try_from(length).map_err(|_| invalid(format!("a record of {length} bytes at byte {at}")))?;
        places.push(Place { begin, length: short });
        file.seek_relative((length + FOOTER) as i64)?;
        at = begin + length + FOOTER;
    }
    Ok(places)
}

/// The bytes of a record.
///
/// # Errors
/// They cannot be read, or are not those of the checksum.
pub fn read(file: &File, place: Place) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; place.length as usize + FOOTER as usize];
    file.read_exact_at(&mut bytes, place.begin)?;
    let checksum = bytes.split_off(place.length as usize);
    if masked_crc(&bytes).to_le_bytes()[..] != checksum {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "its checksum is wrong"));
    }
    Ok(bytes)
}

/// TFRecord's checksum: CRC-32C, rotated and shifted by a constant.
fn masked_crc(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xA282_EAD8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_the_published_one() {
        // RFC 3720, appendix B.4: CRC-32C of 32 zeros, then masked.
        assert_eq!(crc32c::crc32c(&[0; 32]), 0x8A91_36AA);
        assert_eq!(masked_crc(&[0; 32]), 0x8A91_36AAu32.rotate_left(17).wrapping_add(0xA282_EAD8));
    }

    #[test]
    fn records_are_found_and_damage_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.tfrecords");
        let all: Vec<Vec<u8>> = [0, 5, 20_000, 1].iter().map(|&n| vec![n as u8; n]).collect();
        let file: Vec<u8> = all.iter().flat_map(|bytes| record(bytes)).collect();
        let check = |bytes: &[u8]| -> io::Result<Vec<Vec<u8>>> {
            std::fs::write(&path, bytes).unwrap();
            let file = File::open(&path)?;
            places(&file)?.into_iter().map(|place| read(&file, place)).collect()
        };
        assert_eq!(check(&file).unwrap(), all);
        assert!(check(b"").unwrap().is_empty());
        let ends = [0, 16, 37, 20_053, file.len()];
        for cut in (1..60).chain(20_000..file.len()).filter(|cut| !ends.contains(cut)) {
            let error = check(&file[..cut]).unwrap_err().to_string();
            assert!(error.contains("ends within the record at byte"), "{cut}: {error}");
        }
        for at in 0..file.len().min(80) {
            let mut damaged = file.clone();
            damaged[at] ^= 4;
            assert!(check(&damaged).unwrap_err().to_string().contains("checksum"), "{at}");
        }
    }
}
