//! The program `glow`.
fn main() {}
