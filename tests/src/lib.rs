//! End-to-end tests across the crates, on real images.
