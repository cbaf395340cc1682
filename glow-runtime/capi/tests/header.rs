//! The committed header is the one that the sources make.
use std::path::Path;

#[test]
fn the_header_is_that_of_the_sources() {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let config = cbindgen::Config::from_file(package.join("cbindgen.toml")).unwrap();
    let bindings = cbindgen::generate_with_config(package, config).unwrap();
    let mut made = Vec::new();
    bindings.write(&mut made);
    let path = package.join("include/glow.h");
    if std::env::var_os("GLOW_WRITE_HEADER").is_some() {
        std::fs::write(&path, &made).unwrap();
    }
    let made = String::from_utf8(made).unwrap();
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        made == committed,
        "include/glow.h is not that of the sources: GLOW_WRITE_HEADER=1 cargo test -p glow-capi --test header"
    );
}
