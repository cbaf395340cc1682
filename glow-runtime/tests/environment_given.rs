//! An application that has started ONNX Runtime gives its environment.
#[path = "support/application.rs"]
mod application;
mod support;

use glow_runtime::ort::environment::GlobalThreadPoolOptions;
use glow_runtime::ort::logging::LogLevel;
use glow_runtime::{Error, Glow, OnnxRuntime, SampleOptions};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use support::unconditional;

#[test]
fn the_application_is_first() {
    let messages = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&messages);
    let builder = application::environment().with_logger(Arc::new(
        move |_: LogLevel, _: &str, _: &str, _: &str, _: &str| {
            count.fetch_add(1, Ordering::Relaxed);
        },
    ));
    let threads = GlobalThreadPoolOptions::default().with_intra_threads(2).unwrap();
    let environment = builder.with_global_thread_pool(threads).build().unwrap();
    environment.set_log_level(LogLevel::Verbose);
    let before = application::pixels(&environment);

    let builder = || Glow::builder().environment(environment.clone());
    let glow = builder().load(unconditional()).unwrap();
    assert_eq!(
        glow.onnxruntime().path.canonicalize().unwrap(),
        application::library().canonicalize().unwrap()
    );
    assert!(glow.onnxruntime().version.starts_with("1."));
    let images = glow.sample(2, &SampleOptions::new()).unwrap();
    // It is the one of this process by now, and its threads can be shared.
    let again = Glow::load(unconditional()).unwrap();
    let shared = builder().shared_threads(2).sessions(2).load(unconditional()).unwrap();
    for other in [again, shared] {
        assert_eq!(other.sample(2, &SampleOptions::new()).unwrap(), images);
    }
    let other = Glow::builder().onnxruntime("/nowhere").load(unconditional()).map(drop);
    assert!(matches!(other, Err(Error::LibraryAlreadyLoaded { .. })), "{other:?}");
    assert!(OnnxRuntime::environment().is_some());

    // The log stays as it was.
    messages.store(0, Ordering::Relaxed);
    assert_eq!(application::pixels(&environment), before);
    assert!(messages.load(Ordering::Relaxed) > 0);
}
