//! Freezes a trained Glow.
