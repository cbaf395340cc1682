//! The bundles in `models/tests`, `bundle` and `conditional-bundle`: random models, frozen by glow-export. After a
//! change of the format, make them again with
//!
//! ```text
//! cargo test -p glow-runtime --test bundles -- --ignored
//! ```
mod support;

use glow_runtime::Glow;
use support::checkpoint::{architecture, export};
use support::{conditional, unconditional};

#[test]
fn they_are_what_is_written_here() {
    for (folder, classes) in [(unconditional(), 0), (conditional(), 3)] {
        assert_eq!(Glow::load(&folder).unwrap().architecture(), &architecture(classes));
        let bytes: u64 = folder.read_dir().unwrap().map(|file| file.unwrap().metadata().unwrap().len()).sum();
        assert!(bytes < 100_000, "{} has {bytes} bytes", folder.display());
    }
}

#[test]
#[ignore = "writes the bundles"]
fn make() {
    for (folder, classes) in [(unconditional(), 0), (conditional(), 3)] {
        export(classes, &folder, &[]);
    }
}
