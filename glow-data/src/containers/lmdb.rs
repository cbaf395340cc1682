//! LMDB files, read in place: the one unnamed database of a file, keys in their order.
//!
//! LMDB's own library maps the file into memory and trusts what it finds there: a file that is cut short ends
//! the process with SIGBUS, a damaged page often with SIGSEGV. Here each page is read and checked, so that
//! such files get an error. The format, that of LMDB 0.9 on 64-bit little-endian machines, is laid down in its
//! `mdb.c`: a B+ tree of pages, copied on write, with two pages of metadata of which the newer one counts.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::DataError;

const MAGIC: u64 = 0xBEEF_C0DE;
const VERSION: u64 = 1;
/// Bytes before what a page holds.
const HEADER: usize = 16;
/// Bytes before a node's key.
const NODE: usize = 8;
/// A root that says that there is nothing.
const NO_PAGE: u64 = u64::MAX;
/// LMDB's own limit.
const MAX_DEPTH: usize = 32;

/// Kinds of page, in a page's flags.
const BRANCH: u64 = 1;
const LEAF: u64 = 2;
const KINDS: u64 = 0x2F;
/// A node whose value has pages of its own.
const BIG: u64 = 1;
/// A database with several values a key.
const DUPLICATES: u64 = 4;

/// The entries of an LMDB file.
#[derive(Debug)]
pub(crate) struct Lmdb {
    path: PathBuf,
    file: File,
    entries: Vec<Entry>,
    /// The keys one after the other.
    keys: Vec<u8>,
}

/// Where a key ends among the keys, and where its value is in the file.
#[derive(Debug)]
struct Entry {
    key_end: usize,
    offset: u64,
    length: usize,
}

impl Lmdb {
    /// Opens `data.mdb` in `folder` and walks through its keys; the values stay where they are.
    pub fn open(folder: &Path) -> Result<Self, DataError> {
        let path = folder.join("data.mdb");
        let file = File::open(&path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => DataError::Missing {
                path: path.clone(),
                hint: "an LMDB folder holds data.mdb; unpack it from the archive again",
            },
            _ => DataError::read(&path)(error),
        })?;
        let length = file.metadata().map_err(DataError::read(&path))?.len();
        let mut lmdb = Self { path, file, entries: Vec::new(), keys: Vec::new() };
        match Meta::read(&lmdb.file, length).and_then(|meta| lmdb.walk(&meta, length)) {
            Ok(()) => Ok(lmdb),
            Err(problem) => Err(DataError::Format { path: lmdb.path, problem }),
        }
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Key `index`, in the order of the keys.
    pub fn key(&self, index: usize) -> &[u8] {
        let begin = index.checked_sub(1).map_or(0, |before| self.entries[before].key_end);
        &self.keys[begin..self.entries[index].key_end]
    }

    /// The value of key `index`.
    pub fn value(&self, index: usize) -> io::Result<Vec<u8>> {
        let Entry { offset, length, .. } = self.entries[index];
        let mut value = vec![0; length];
        self.file.read_exact_at(&mut value, offset)?;
        Ok(value)
    }

    /// Notes the entries of every leaf, from the first.
    fn walk(&mut self, meta: &Meta, length: u64) -> Result<(), String> {
        let mut page = vec![0; meta.page_size];
        let mut visited = 0;
        let mut to_visit = vec![(meta.root, 1)];
        to_visit.retain(|&(root, _)| root != NO_PAGE);
        while let Some((number, depth)) = to_visit.pop() {
            let damaged = || format!("page {number} is damaged; unpack the file from its archive again");
            visited += 1;
            if depth > MAX_DEPTH || visited > meta.pages || number >= meta.pages {
                return Err(damaged());
            }
            self.file
                .read_exact_at(&mut page, number * meta.page_size as u64)
                .map_err(|error| format!("page {number}: {error}"))?;
            match uint::<2>(&page, 10).map(|flags| flags & KINDS) {
                Some(BRANCH) => {
                    let children = nodes(&page).map(|node| Some((child(node?)?, depth + 1)));
                    let children = children.collect::<Option<Vec<_>>>().ok_or_else(damaged)?;
                    to_visit.extend(children.into_iter().rev());
                    // Each page is somewhere once, so that a small file cannot ask for much memory.
                    if visited + to_visit.len() as u64 > meta.pages {
                        return Err(damaged());
                    }
                }
                Some(LEAF) => {
                    let start = number * meta.page_size as u64;
                    let mut room = meta.page_size - HEADER;
                    for node in nodes(&page) {
                        let size = node.and_then(|node| self.note(node, start, meta, length));
                        // Nor do nodes share their bytes.
                        room = size.and_then(|size| room.checked_sub(size)).ok_or_else(damaged)?;
                    }
                }
                _ => return Err(damaged()),
            }
        }
        if self.entries.len() as u64 != meta.entries {
            let (found, declared) = (self.entries.len(), meta.entries);
            return Err(format!("declares {declared} entries and has {found}; unpack it again"));
        }
        Ok(())
    }

    /// Notes the entry of a node on the leaf at `start` and returns the bytes that the node takes there; `None`
    /// if it cannot be one.
    fn note(&mut self, node: Node<'_>, start: u64, meta: &Meta, length: u64) -> Option<usize> {
        let bytes = node.page.get(node.at..)?;
        let size = usize::try_from(uint::<4>(bytes, 0)?).ok()?;
        let key_size = uint::<2>(bytes, 6)? as usize;
        let value = NODE + key_size;
        let (offset, end) = match uint::<2>(bytes, 4)? {
            0 => {
                bytes.get(value..value + size)?;
                (start + (node.at + value) as u64, value + size)
            }
            BIG => {
                let page = uint::<8>(bytes, value)?;
                (page.checked_mul(meta.page_size as u64)?.checked_add(HEADER as u64)?, value + 8)
            }
            // The root of another database, or several values.
            _ => return None,
        };
        (offset.checked_add(size as u64)? <= length).then_some(())?;
        self.keys.extend(bytes.get(NODE..value)?);
        self.entries.push(Entry { key_end: self.keys.len(), offset, length: size });
        Some(end)
    }
}

/// What the newer page of metadata says.
struct Meta {
    page_size: usize,
    root: u64,
    entries: u64,
    /// Pages in use.
    pages: u64,
}

impl Meta {
    fn read(file: &File, length: u64) -> Result<Self, String> {
        let mut start = [0; 152];
        file.read_exact_at(&mut start, 0)
            .map_err(|_| format!("{length} bytes are too few for an LMDB file"))?;
        let page_size = Self::page_size(&start).ok_or("it is not an LMDB file of version 0.9")?;
        let mut second = [0; 152];
        file.read_exact_at(&mut second, page_size)
            .map_err(|_| format!("{length} bytes are too few for an LMDB file"))?;
        let newer = [&start, &second]
            .into_iter()
            .filter(|page| Self::page_size(*page) == Some(page_size))
            .max_by_key(|page| uint::<8>(*page, 144));
        let newer = newer.expect("the first page is one");
        let field = |at| uint::<8>(newer, at).expect("it is within the page");
        if uint::<2>(newer, 92) != Some(0) {
            let flags = uint::<2>(newer, 92).unwrap_or_default();
            let what =
                if flags & DUPLICATES == 0 { "ordered otherwise" } else { "with several values a key" };
            return Err(format!("it is a database {what} than LSUN's; export its images and use images:"));
        }
        let pages = field(136).saturating_add(1);
        if pages.saturating_mul(page_size) > length {
            return Err(format!(
                "{length} bytes, of {pages} pages of {page_size} bytes: the file is cut short; unpack it from its \
                 archive again"
            ));
        }
        Ok(Self { page_size: page_size as usize, root: field(128), entries: field(120), pages })
    }

    /// The size of pages, if this is a page of metadata.
    fn page_size(page: &[u8]) -> Option<u64> {
        let known = uint::<4>(page, 16)? == MAGIC && uint::<4>(page, 20)? == VERSION;
        let size = uint::<4>(page, 40)?;
        (known && size.is_power_of_two() && (256..=1 << 16).contains(&size)).then_some(size)
    }
}

/// A node: where it begins on its page.
struct Node<'a> {
    page: &'a [u8],
    at: usize,
}

/// The nodes of a page, in order; `None` for one that is not on the page.
fn nodes(page: &[u8]) -> impl Iterator<Item = Option<Node<'_>>> {
    let lower = uint::<2>(page, 12).unwrap_or_default() as usize;
    let count = lower.saturating_sub(HEADER) / 2;
    (0..count).map(move |i| {
        let at = uint::<2>(page, HEADER + 2 * i)? as usize;
        (HEADER..page.len()).contains(&at).then_some(Node { page, at })
    })
}

/// The page that a node of a branch leads to: 48 bits in three parts.
fn child(node: Node<'_>) -> Option<u64> {
    Some(uint::<4>(node.page, node.at)? | uint::<2>(node.page, node.at + 4)? << 32)
}

/// An unsigned number of `N` bytes, little-endian.
fn uint<const N: usize>(bytes: &[u8], at: usize) -> Option<u64> {
    let bytes = bytes.get(at..at.checked_add(N)?)?;
    Some(bytes.iter().rev().fold(0, |number, &byte| number << 8 | u64::from(byte)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// Written by LMDB 0.9.36 in two transactions, the entries of even number first: a tree of three levels,
    /// values within a leaf, of pages of their own, and of none.
    const TREE: &[u8] = include_bytes!("../tests/lmdb/tree/data.mdb");
    const EMPTY: &[u8] = include_bytes!("../tests/lmdb/empty/data.mdb");

    /// Keys and values.
    type Entries = Vec<(Vec<u8>, Vec<u8>)>;

    /// What was put into it.
    fn entries() -> Entries {
        let entry = |i: usize| {
            let length = if i.is_multiple_of(9) { i * i * 7 % 6001 } else { i % 50 };
            let key = format!("{:03}", i * 37 % 130).repeat(100).into_bytes();
            (key, (0..length).map(|at| (at * i % 251) as u8).collect())
        };
        let mut entries: Entries = (0..130).map(entry).collect();
        entries.sort();
        entries
    }

    /// Opens a file of these bytes and reads all of it.
    fn read(bytes: &[u8]) -> Result<Entries, String> {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("data.mdb"), bytes).unwrap();
        let lmdb = Lmdb::open(folder.path()).map_err(|error| error.to_string())?;
        (0..lmdb.len())
            .map(|i| Ok((lmdb.key(i).to_vec(), lmdb.value(i).map_err(|error| error.to_string())?)))
            .collect()
    }

    #[test]
    fn reads_what_lmdb_wrote_in_the_order_of_the_keys() {
        assert_eq!(read(TREE).unwrap(), entries());
        assert!(read(EMPTY).unwrap().is_empty());
    }

    #[test]
    fn every_file_cut_short_is_an_error() {
        for length in (0..TREE.len()).step_by(777) {
            let error = read(&TREE[..length]).unwrap_err();
            assert!(error.contains("data.mdb"), "{error}");
            assert!(error.contains("cut short") || error.contains("too few"), "{error}");
        }
    }

    #[test]
    fn damage_ends_in_an_error_or_other_bytes_but_in_no_panic() {
        let (mut refused, mut state) = (0, 1u64);
        for _ in 0..300 {
            let mut damaged = TREE.to_vec();
            for _ in 0..3 {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                // The first bytes of a page hold what its tree is made of.
                let page = (state >> 40) as usize % (TREE.len() / 4096);
                damaged[page * 4096 + (state >> 20) as usize % 100] = (state >> 56) as u8;
            }
            if let Err(error) = read(&damaged) {
                assert!(error.contains("data.mdb"), "{error}");
                refused += 1;
            }
        }
        assert!(refused > 50, "{refused}");
    }

    #[test]
    fn a_tree_that_leads_into_itself_is_an_error() {
        let meta = [0, 1].into_iter().max_by_key(|page| uint::<8>(TREE, page * 4096 + 144)).unwrap();
        let root = uint::<8>(TREE, meta * 4096 + 128).unwrap() as usize * 4096;
        let mut cyclic = TREE.to_vec();
        for node in 0..2 {
            let at = root + uint::<2>(TREE, root + 16 + 2 * node).unwrap() as usize;
            cyclic[at..at + 4].copy_from_slice(&((root / 4096) as u32).to_le_bytes());
        }
        assert!(read(&cyclic).unwrap_err().contains("is damaged"));
    }

    #[test]
    fn nodes_that_share_their_bytes_are_an_error() {
        // Each leaf says that all of its nodes are the first one.
        let mut shared = TREE.to_vec();
        for page in shared.chunks_exact_mut(4096).filter(|page| uint::<2>(page, 10) == Some(LEAF)) {
            let first = [page[HEADER], page[HEADER + 1]];
            page[12..14].copy_from_slice(&1000u16.to_le_bytes());
            page[HEADER..1000].chunks_exact_mut(2).for_each(|at| at.copy_from_slice(&first));
        }
        assert!(read(&shared).unwrap_err().contains("is damaged"));
    }

    #[test]
    fn other_files_are_told_from_lmdb() {
        assert!(read(&[7; 9000]).unwrap_err().contains("not an LMDB file"));
        let mut other = TREE.to_vec();
        for page in [0, 4096] {
            other[page + 92] = DUPLICATES as u8;
        }
        assert!(read(&other).unwrap_err().contains("several values a key"));
        let folder = tempfile::tempdir().unwrap();
        let missing = Lmdb::open(folder.path()).unwrap_err().to_string();
        assert!(missing.contains("data.mdb: not found"), "{missing}");
    }
}
