//! Trains a Glow.
