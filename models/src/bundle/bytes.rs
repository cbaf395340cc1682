//! A bundle in memory.
use super::{
    ATTRIBUTES_FILE, BundleError, COPY_AGAIN, DECODER_FILE, ENCODER_FILE, MANIFEST_FILE, WEIGHTS_FILE,
};
use std::borrow::Cow;
use std::fmt;

/// The files of a bundle in memory, such as one that an executable holds within itself:
///
/// ```
/// use glow_models::{Bundle, BundleBytes};
///
/// # macro_rules! include_bytes { ($file:literal) => {
/// #     std::include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/bundle/", $file)) } }
/// let files = BundleBytes {
///     manifest: include_bytes!("model.json")[..].into(),
///     weights: include_bytes!("model.safetensors")[..].into(),
///     // A sampler need not hold the encoder.
///     decoder: Some(include_bytes!("decoder.onnx")[..].into()),
///     ..Default::default()
/// };
/// let bundle = Bundle::from_bytes(files)?;
/// bundle.verify("decoder.onnx")?;
/// # Ok::<(), glow_models::BundleError>(())
/// ```
#[derive(Clone, Default)]
pub struct BundleBytes {
    /// `model.json`.
    pub manifest: Cow<'static, [u8]>,
    /// `model.safetensors`.
    pub weights: Cow<'static, [u8]>,
    /// `encoder.onnx`; needed to encode and score.
    pub encoder: Option<Cow<'static, [u8]>>,
    /// `decoder.onnx`; needed to sample and decode.
    pub decoder: Option<Cow<'static, [u8]>>,
    /// `attributes.safetensors`, if there are any.
    pub attributes: Option<Cow<'static, [u8]>>,
}

impl BundleBytes {
    /// The content of a file, by its name in a bundle's folder.
    pub(super) fn get(&self, file: &str) -> Option<&[u8]> {
        let Self { manifest, weights, encoder, decoder, attributes } = self;
        match file {
            MANIFEST_FILE => Some(manifest),
            WEIGHTS_FILE => Some(weights),
            ENCODER_FILE => encoder.as_deref(),
            DECODER_FILE => decoder.as_deref(),
            ATTRIBUTES_FILE => attributes.as_deref(),
            _ => None,
        }
    }

    pub(super) fn require(&self, file: &str) -> Result<&[u8], BundleError> {
        self.get(file).ok_or_else(|| BundleError::Missing { path: file.into(), hint: COPY_AGAIN })
    }
}

/// The sizes, not the contents.
impl fmt::Debug for BundleBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut files = f.debug_struct("BundleBytes");
        for name in [MANIFEST_FILE, WEIGHTS_FILE, ENCODER_FILE, DECODER_FILE, ATTRIBUTES_FILE] {
            files.field(name, &self.get(name).map(<[u8]>::len));
        }
        files.finish()
    }
}
