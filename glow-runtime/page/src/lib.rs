//! The page on which faces are drawn, edited and blended: its files, and writing it as a site.
//!
//! The page is plain ES modules without a build step (`web/`). It runs over two back ends: a model in the
//! browser itself, by ONNX Runtime for WebAssembly and WebGPU, or a server. [`write_site`] makes a folder for
//! any static host out of the page, that runtime and a bundle.
mod onnxruntime_web;
mod site;

pub use onnxruntime_web::find_onnxruntime_web;
pub use site::{Site, write_site};

use glow_models::BundleError;
use std::io;
use std::path::PathBuf;
use thiserror::Error;

/// The page's files: path, with `/` between folders, and content.
pub static FILES: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/files.rs"));

/// The media type of a file of the page, by its extension.
pub fn media_type(path: &str) -> &'static str {
    match path.rsplit_once('.').map_or("", |(_, extension)| extension) {
        "html" => "text/html; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "json" => "application/json",
        "svg" => "image/svg+xml",
        "wasm" => "application/wasm",
        "txt" => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

/// Why a site was not written.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PageError {
    /// The bundle is not whole.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// onnxruntime-web is not there.
    #[error(
        "onnxruntime-web is not found{}: run `make setup WEB=1` in the checkout, or unpack `npm pack \
         onnxruntime-web@{version}` and name its folder `dist`",
        folder.as_ref().map(|folder| format!(" in {}", folder.display())).unwrap_or_default()
    )]
    NoOnnxruntimeWeb {
        /// The folder that was given, if one was.
        folder: Option<PathBuf>,
        /// The version that the page is tested with.
        version: &'static str,
    },
    /// The folder holds something else.
    #[error("{} is no site that glow page wrote, and is not replaced; name a new folder", path.display())]
    Occupied {
        /// The folder.
        path: PathBuf,
    },
    /// A file cannot be read or written.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried, such as "write".
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
}
