//! End-to-end tests across the crates, on real images: what the tests in `tests/tests/` share.
//!
//! The images are the photographs that `make setup` fetches for the demo; the programs are built on
//! first use, in the profile of the tests, so that `cargo test -p glow-tests` alone works too.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

/// The checkout.
pub fn checkout() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate lies in the checkout").into()
}

/// The folder of the 400 ORL faces, 92×112 grayscale PGM files in a folder a person.
///
/// # Panics
/// If they have not been fetched.
pub fn faces() -> PathBuf {
    let folder = checkout().join(".native/data/orl-faces");
    assert!(folder.is_dir(), "{} is missing: run `make setup` once", folder.display());
    folder
}

/// A program of the workspace, built if need be.
///
/// # Panics
/// If it cannot be built.
pub fn program(name: &str) -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let folder = BUILT.get_or_init(|| {
        let tests = std::env::current_exe().expect("a test knows its own path");
        let profile = tests.ancestors().nth(2).expect("tests lie in PROFILE/deps").to_path_buf();
        let mut build = Command::new(env!("CARGO"));
        build.current_dir(checkout()).args(["build", "--quiet"]);
        build.args(["-p", "glow-train", "-p", "glow-export", "-p", "glow-cli"]);
        build.arg("--target-dir").arg(profile.parent().expect("the target folder"));
        if profile.ends_with("release") {
            build.arg("--release");
        }
        assert!(build.status().expect("cargo starts").success(), "the programs cannot be built");
        profile
    });
    folder.join(name)
}

/// Runs a program to its end.
///
/// # Panics
/// If it cannot be started.
pub fn run<I, S>(name: &str, arguments: I) -> Output
where
    I: IntoIterator<Item = S>,
    S: AsRef<std::ffi::OsStr>,
{
    Command::new(program(name)).args(arguments).output().unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// What a program printed on stdout, given that it succeeded.
///
/// # Panics
/// If it failed; the message is what it printed on stderr.
pub fn stdout(output: Output) -> String {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {stderr}", output.status);
    String::from_utf8(output.stdout).expect("programs print UTF-8")
}

/// Asserts that a program failed with this exit code and said this on stderr, without a panic.
///
/// # Panics
/// If it did not.
pub fn assert_fails(output: &Output, code: i32, says: &str) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{stderr}");
    assert!(stderr.contains(says), "{stderr:?} does not say {says:?}");
    assert!(!stderr.contains("panicked"), "{stderr}");
}
