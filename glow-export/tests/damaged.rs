//! Damaged files of other implementations: an error or a model, never a panic, a hang or runaway memory.
//!
//! A short version runs always, `cargo test --test damaged -- --ignored` damages each form 10,000 times. The
//! files are those of `tests/peers.rs`.
#![allow(unsafe_code, reason = "an allocator that counts")]
mod support;

use glow_export::import::{Settings, import};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::alloc::{GlobalAlloc, Layout, System};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// Counts what is allocated.
struct Counting;

static NOW: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);
static LARGEST: AtomicUsize = AtomicUsize::new(0);
/// The counters are of one test at a time.
static ALONE: Mutex<()> = Mutex::new(());

// SAFETY: every call goes to the system's allocator as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let now = NOW.fetch_add(layout.size(), Relaxed) + layout.size();
        MOST.fetch_max(now, Relaxed);
        LARGEST.fetch_max(layout.size(), Relaxed);
        // SAFETY: the caller's promises are those that the system's allocator asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Relaxed);
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Far more than any of these models of a hundred kilobytes needs, far less than a length field can say.
const MOST_BYTES: usize = 256 << 20;
const LONGEST: Duration = Duration::from_secs(20);

/// A form of file: its name, the checkpoint, and which of its files is damaged.
fn forms() -> Vec<(&'static str, PathBuf, &'static str)> {
    let root = std::env::var_os("GLOW_PEER_CHECKPOINTS").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/peer-checkpoints"),
        PathBuf::from,
    );
    let openai = root.join("openai/affine-invconv-8bit/model_best_loss.ckpt");
    let forms = vec![
        ("zip", root.join("rosinality/affine-lu-5bit/model_010001.pt"), ""),
        ("zip, with an optimiser", root.join("chaiyujin/additive-lu-classes/trained.pkg"), ""),
        ("legacy", root.join("y0ast/affine-lu-learned/glow_affine_coupling.pt"), ""),
        ("TensorFlow index", openai.clone(), ".index"),
        ("TensorFlow data", openai, ".data-00000-of-00001"),
        ("frozen graph", root.join("openai/affine-invconv-8bit/graph_unoptimized.pb"), ""),
    ];
    if !root.is_dir() {
        println!("not run: there are no peers' checkpoints in {}", root.display());
        return Vec::new();
    }
    forms
}

/// One damage: bits turned over, an end cut off, a length field of another size, a part moved.
fn damage(bytes: &mut Vec<u8>, random: &mut ChaCha8Rng) {
    let at = |bytes: &[u8], random: &mut ChaCha8Rng| {
        // Half of all damage goes to the first and last kilobytes, where the structure is.
        let length = bytes.len().max(1);
        match random.random_range(0..4) {
            0 => random.random_range(0..length.min(4096)),
            1 => length - 1 - random.random_range(0..length.min(4096)),
            _ => random.random_range(0..length),
        }
    };
    for _ in 0..random.random_range(1..4) {
        let place = at(bytes, random);
        match random.random_range(0..5) {
            0 | 1 => {
                for _ in 0..random.random_range(1..6) {
                    let place = at(bytes, random);
                    if let Some(byte) = bytes.get_mut(place) {
                        *byte ^= 1 << random.random_range(0..8);
                    }
                }
            }
            2 => bytes.truncate(place),
            3 => {
                let size = [2, 4, 8][random.random_range(0..3)];
                let value = [0, 1, 0x7f, 0xffff, 0x7fff_ffff, 0xffff_ffff, u64::MAX, u64::MAX >> 1, 1 << 40];
                let value: u64 = value[random.random_range(0..value.len())];
                let end = (place + size).min(bytes.len());
                let place = place.min(end);
                bytes[place..end].copy_from_slice(&value.to_le_bytes()[..end - place]);
            }
            _ => {
                let length = random.random_range(0..64).min(bytes.len() - place.min(bytes.len()));
                let part: Vec<u8> = bytes[place.min(bytes.len())..][..length].to_vec();
                let target = at(bytes, random).min(bytes.len());
                bytes.splice(target..target, part);
            }
        }
    }
}

fn run(times: usize) {
    let _alone = ALONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    for (name, checkpoint, suffix) in forms() {
        let folder = tempfile::tempdir().unwrap();
        let copy = folder.path().join(checkpoint.file_name().unwrap());
        let with = |path: &Path, suffix: &str| PathBuf::from(format!("{}{suffix}", path.display()));
        let files = if suffix.is_empty() { vec![""] } else { vec![".index", ".data-00000-of-00001"] };
        for file in files {
            std::fs::copy(with(&checkpoint, file), with(&copy, file)).unwrap();
        }
        let whole = std::fs::read(with(&checkpoint, suffix)).unwrap();
        let settings = Settings {
            height: Some(8),
            width: Some(8),
            n_bits: Some(8),
            condition: Some("single-class".into()),
            ..Default::default()
        };
        let (mut imported, mut longest) = (0, Duration::ZERO);
        let before = NOW.load(Relaxed);
        MOST.store(before, Relaxed);
        LARGEST.store(0, Relaxed);
        for seed in 0..times {
            let mut bytes = whole.clone();
            damage(&mut bytes, &mut ChaCha8Rng::seed_from_u64(seed as u64));
            std::fs::write(with(&copy, suffix), &bytes).unwrap();
            let begin = Instant::now();
            let out = folder.path().join("out");
            let result = std::panic::catch_unwind(|| import(&copy, &out, settings.clone(), None));
            let result = result.unwrap_or_else(|_| panic!("{name}: damage {seed} panics"));
            longest = longest.max(begin.elapsed());
            imported += usize::from(result.is_ok());
        }
        let most = MOST.load(Relaxed) - before;
        println!(
            "{name}: {times} damaged files, {imported} still imported, at most {:.1} MB (largest piece {:.1} MB), \
             longest {longest:.1?}",
            most as f64 / 1e6,
            LARGEST.load(Relaxed) as f64 / 1e6
        );
        assert!(most < MOST_BYTES, "{name}: {most} bytes");
        assert!(longest < LONGEST, "{name}: {longest:?}");
    }
}

#[test]
fn damaged_files_do_no_harm() {
    run(150);
}

#[test]
#[ignore = "minutes: ten thousand of each form"]
fn ten_thousand_damaged_files_of_each_form_do_no_harm() {
    run(10_000);
}
