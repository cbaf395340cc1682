//! The server from outside, over its connections.
mod api;
mod client;
mod clients;
mod fuzz;
mod load;
mod pixels;
mod protocol;
mod stopping;
mod support;
