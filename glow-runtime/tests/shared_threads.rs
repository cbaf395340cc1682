//! Threads that all sessions of a process share. They are started once, so this is a process of its own.
#![cfg(target_os = "linux")]
mod support;

use glow_runtime::{EncodeOptions, Error, ErrorKind, Glow, GlowBuilder};
use support::{noise, unconditional};

fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").unwrap().count()
}

#[test]
fn one_pool_for_all() {
    let load = |builder: GlowBuilder| builder.load(unconditional());
    let shared = |threads| Glow::builder().shared_threads(threads);
    for wrong in [shared(0), shared(3).threads(2)] {
        assert!(matches!(load(wrong).map(drop), Err(Error::Option { .. })));
    }
    let before = threads();
    let one = load(shared(3).sessions(2)).unwrap();
    // The thread that calls is the third; ONNX Runtime has another one for itself.
    let with_one = threads();
    assert!(with_one <= before + 2 + 1);
    let two = load(shared(3)).unwrap();
    assert_eq!(threads(), with_one);
    let own = load(Glow::builder().threads(3)).unwrap();
    assert_eq!(threads(), with_one + 2 * 2);

    let answer = |glow: &Glow| {
        let encoded = glow.encode(&noise(5), &EncodeOptions::new()).unwrap();
        (glow.decode(&encoded.latents, None).unwrap(), encoded)
    };
    let expected = answer(&own);
    // From several threads at once.
    std::thread::scope(|scope| {
        for glow in [&one, &one, &two, &own] {
            scope.spawn(|| (0..20).for_each(|_| assert_eq!(answer(glow), expected)));
        }
    });
    let other = load(shared(2)).map(drop).unwrap_err();
    assert!(matches!(other, Error::SharedThreads { running: 3, asked: 2 }), "{other:?}");
    assert_eq!(other.kind(), ErrorKind::Argument);
}
