//! The file formats that data sets are stored in.
pub(crate) mod idx;
pub(crate) mod lmdb;
pub(crate) mod npz;
pub(crate) mod pickle;
pub mod tfrecord;
