//! Embeds the page's files, all that is below `web/`, and tells where the checkout keeps the packages of npm
//! that `make setup WEB=1` fetches. A program that is built to be passed on, with `GLOW_RELOCATABLE=1` set,
//! and a crate from a registry know no such place.
use std::env;
use std::fmt::Write;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

fn main() -> io::Result<()> {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=web");
    println!("cargo::rerun-if-env-changed=GLOW_RELOCATABLE");
    let package = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR"));
    let web = package.join("web");
    let mut files = Vec::new();
    collect(&web, &mut files)?;
    files.sort();
    let mut table = String::from("&[\n");
    for file in files {
        let name = file.strip_prefix(&web).expect("it lies there").to_str().expect("names are ASCII");
        writeln!(table, "    ({:?}, include_bytes!({:?})),", name.replace('\\', "/"), file)
            .expect("a string takes all");
    }
    table.push(']');
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    fs::write(out.join("files.rs"), table)?;

    let checkout = package.ancestors().nth(2).filter(|folder| folder.join("native.mk").is_file());
    if let Some(checkout) = checkout
        && env::var_os("GLOW_RELOCATABLE").is_none()
    {
        println!("cargo::rustc-env=GLOW_CHECKOUT={}", checkout.display());
    }
    Ok(())
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in folder.read_dir()? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}
