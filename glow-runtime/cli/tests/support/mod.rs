//! Running the program and looking at what it wrote.
use std::path::Path;
use std::process::{Command, Output};

/// The program.
pub fn glow() -> Command {
    Command::new(env!("CARGO_BIN_EXE_glow"))
}

/// What it printed; it must have succeeded.
pub fn stdout(output: &Output) -> String {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {stderr}", output.status);
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// Width and height of an image file.
pub fn size(path: &Path) -> (u32, u32) {
    image::image_dimensions(path).unwrap()
}
