//! The C interface of `glow-runtime`. The header `include/glow.h` is made from these files by cbindgen, with the rules of
//! errors, ownership and threads at its head.
//!
//! Each function checks its pointers and lengths ([`arguments`]), and runs in [`status::guard`], which turns errors
//! and panics into a status.
#![allow(
    clippy::missing_safety_doc,
    reason = "the head of glow.h says what pointers must be, for all functions"
)]

mod arguments;
mod attributes;
mod images;
mod latents;
mod model;
mod options;
mod reference;
mod score;
mod status;

use std::ffi::c_char;

/// The version of this library, such as "0.1.0". The text is constant.
#[unsafe(no_mangle)]
pub extern "C" fn glow_version() -> *const c_char {
    concat!(env!("CARGO_PKG_VERSION"), "\0").as_ptr().cast()
}
