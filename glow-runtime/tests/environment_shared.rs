//! An application takes the environment of a model that was loaded before.
#[path = "support/application.rs"]
mod application;
mod support;

use glow_runtime::{Glow, OnnxRuntime, SampleOptions};
use support::unconditional;

#[test]
fn the_model_is_first() {
    assert!(OnnxRuntime::environment().is_none());
    let glow = Glow::load(unconditional()).unwrap();
    let images = glow.sample(2, &SampleOptions::new()).unwrap();
    assert!(application::environment().build().is_err());
    let environment = OnnxRuntime::environment().unwrap();
    let pixels = application::pixels(&environment);
    // Neither goes with the other.
    drop(glow);
    assert_eq!(application::pixels(&environment), pixels);
    drop(environment);
    assert_eq!(Glow::load(unconditional()).unwrap().sample(2, &SampleOptions::new()).unwrap(), images);
}
