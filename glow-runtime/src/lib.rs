//! Runs a frozen Glow.
