//! The API of the page, which is meant for other programs too.
pub(crate) mod images;
pub(crate) mod latents;
pub(crate) mod models;
pub(crate) mod pictures;
pub(crate) mod score;
