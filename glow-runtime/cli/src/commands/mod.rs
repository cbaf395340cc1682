//! The commands, one a file: its arguments, and what it does with them.
pub mod attributes;
pub mod decode;
pub mod edit;
pub mod encode;
pub mod info;
pub mod interpolate;
mod loading;
pub mod page;
pub mod reconstruct;
pub mod sample;
pub mod score;
pub mod serve;
