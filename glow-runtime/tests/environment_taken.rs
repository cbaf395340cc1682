//! An application that keeps its environment to itself is told how to give it.
#[path = "support/application.rs"]
mod application;
mod support;

use glow_runtime::{Error, ErrorKind, Glow, OnnxRuntime};
use support::unconditional;

#[test]
fn the_application_keeps_it_to_itself() {
    let environment = application::environment().build().unwrap();
    for refused in [Glow::load(unconditional()).map(drop), OnnxRuntime::open(None).map(drop)] {
        let error = refused.unwrap_err();
        assert!(matches!(error, Error::EnvironmentTaken), "{error:?}");
        assert_eq!(error.kind(), ErrorKind::Library);
        assert!(error.to_string().contains("GlowBuilder::environment"), "{error}");
    }
    application::pixels(&environment);
    Glow::builder().environment(environment).load(unconditional()).unwrap();
    Glow::load(unconditional()).unwrap();
}
