//! Whether a shared library of Linux is all there. The loader maps what the headers promise, and a
//! process that touches what is missing is killed by SIGBUS.
use std::io::{self, Read, Seek, SeekFrom};

/// Size of a 64-bit ELF file's header.
const HEADER: usize = 64;
/// Size of one of its program headers.
const PROGRAM_HEADER: usize = 56;

/// Whether the file is as long as its program headers promise. Files of other kinds pass: the loader
/// judges them.
pub(super) fn is_complete(file: &mut (impl Read + Seek)) -> io::Result<bool> {
    let length = file.seek(SeekFrom::End(0))?;
    let mut header = [0; HEADER];
    file.seek(SeekFrom::Start(0))?;
    // Magic number, 64 bits, little-endian.
    if file.read_exact(&mut header).is_err() || header[..6] != *b"\x7fELF\x02\x01" {
        return Ok(true);
    }
    let (begin, size, count) = (u64_at(&header, 32), u16_at(&header, 54), u16_at(&header, 56));
    if usize::from(size) != PROGRAM_HEADER {
        return Ok(true);
    }
    file.seek(SeekFrom::Start(begin))?;
    for _ in 0..count {
        let mut program = [0; PROGRAM_HEADER];
        if file.read_exact(&mut program).is_err() {
            return Ok(false);
        }
        if u64_at(&program, 8).saturating_add(u64_at(&program, 32)) > length {
            return Ok(false);
        }
    }
    Ok(true)
}

fn u64_at(bytes: &[u8], offset: usize) -> u64 {
    u64::from_le_bytes(bytes[offset..offset + 8].try_into().expect("eight bytes"))
}

fn u16_at(bytes: &[u8], offset: usize) -> u16 {
    u16::from_le_bytes(bytes[offset..offset + 2].try_into().expect("two bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    #[cfg(all(target_os = "linux", target_pointer_width = "64", target_endian = "little"))]
    #[test]
    fn a_truncated_library_is_noticed() {
        // Any ELF file will do; this test is one.
        let whole = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        assert!(is_complete(&mut Cursor::new(&whole)).unwrap());
        for length in [HEADER, 1000, whole.len() / 10] {
            assert!(!is_complete(&mut Cursor::new(&whole[..length])).unwrap(), "{length}");
        }
    }

    #[test]
    fn other_files_pass() {
        for other in [&b""[..], b"MZ", &[7; 200]] {
            assert!(is_complete(&mut Cursor::new(other)).unwrap());
        }
    }
}
