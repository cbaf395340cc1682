//! What goes to a device and comes back, on a fake one: the session is the CPU's, and its tensors are where the host
//! must not look.
use super::fake::{Event, Fake};
use crate::error::RunFailure;
use crate::graph::Graph;
use crate::ports::{Input, Wanted};
use crate::session::{GraphFile, Model, SessionOptions};
use crate::{Error, Glow, GlowBuilder, GraphKind, Provider, library};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

fn bundle() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../models/tests/bundle"))
}

fn decoder(device: Option<&Fake>, captures: bool) -> Graph {
    let glow: Glow = GlowBuilder::default().load(bundle()).unwrap();
    let options = SessionOptions {
        library: library::start(None, library::Preference::Usual).unwrap(),
        providers: vec![Provider::Cpu],
        device: device.map(|device| Arc::new(device.clone()) as _),
        captures,
        ..glow.session_options.clone()
    };
    let graph = GraphFile::OnDisk(bundle().join(GraphKind::Decoder.file()));
    let model = Model { graph, constants: None, prepacked: None, optimised: false };
    Graph::load(&model, GraphKind::Decoder, glow.architecture(), &options, 1).unwrap()
}

/// Latents of two levels, other ones for each seed.
fn latents(n: usize, seed: usize) -> [Vec<f32>; 2] {
    let level = |size: usize, seed: usize| -> Vec<f32> {
        (0..n * size).map(|i| ((i * 37 + seed * 101) % 19) as f32 / 9.5 - 1.0).collect()
    };
    [level(96, seed), level(96, seed + 1)]
}

/// What a graph makes of them: images, x, and which are not finite.
fn run(
    graph: &Graph,
    (n, chunk, seed): (usize, usize, usize),
    wanted: Wanted,
) -> (Vec<u8>, Vec<f32>, Vec<usize>) {
    let levels = latents(n, seed);
    let inputs = [Input::Floats(&levels[0]), Input::Floats(&levels[1])];
    let mut outputs = graph.run(&inputs, n, chunk, wanted).unwrap();
    (
        std::mem::take(&mut outputs[0].bytes),
        std::mem::take(&mut outputs[1].floats),
        outputs[1].non_finite.clone(),
    )
}

/// Sizes that come back, that are filled up, that go through in chunks, and more of them than are kept.
const CALLS: [(usize, usize, usize); 13] = [
    (3, 4, 1),
    (1, 4, 2),
    (3, 4, 3),
    (11, 4, 4),
    (5, 3, 5),
    (0, 4, 6),
    (64, 64, 7),
    (32, 64, 8),
    (16, 64, 9),
    (8, 64, 10),
    (2, 64, 11),
    (1, 64, 12),
    (63, 64, 13),
];

/// Every number that comes from a device has been there in this very run, of this very run's inputs.
#[test]
fn nothing_is_left_of_a_device_but_what_it_computed() {
    let host = decoder(None, false);
    for captures in [false, true] {
        let fake = Fake::default();
        let other = decoder(Some(&fake), captures);
        other.warm_up(&[3], 4).unwrap();
        for call in CALLS {
            assert_eq!(run(&other, call, Wanted::ALL), run(&host, call, Wanted::ALL), "{call:?}, {captures}");
        }
    }
}

/// Pinned memory alone, unless addresses must stay: then each tensor is copied once a run, and what nobody wants is not.
#[test]
fn no_more_is_copied_than_is_wanted() {
    let counts = |fake: &Fake| {
        [Event::Pinned, Event::Allocated, Event::Uploaded, Event::Downloaded].map(|event| fake.count(event))
    };
    let fake = Fake::default();
    let graph = decoder(Some(&fake), false);
    run(&graph, (3, 4, 1), Wanted::ALL);
    run(&graph, (4, 4, 2), Wanted::ALL);
    // Two inputs and two outputs, of one batch size.
    assert_eq!(counts(&fake), [4, 0, 0, 0]);

    let fake = Fake::default();
    let graph = decoder(Some(&fake), true);
    run(&graph, (3, 4, 1), Wanted::ALL);
    run(&graph, (4, 4, 2), Wanted::ALL);
    assert_eq!(counts(&fake), [4, 4, 4, 4]);
    run(&graph, (4, 4, 2), Wanted::last(2));
    assert_eq!(counts(&fake), [4, 4, 6, 5]);
}

#[test]
fn what_is_not_wanted_stays_away_and_is_looked_through() {
    for (device, captures) in [(None, false), (Some(Fake::default()), false), (Some(Fake::default()), true)] {
        let graph = decoder(device.as_ref(), captures);
        let all = run(&graph, (5, 2, 1), Wanted::ALL);
        let images = run(&graph, (5, 2, 1), Wanted::IMAGES);
        assert_eq!((&images.0, images.1.len(), &images.2), (&all.0, 0, &vec![]));
        // The third image is beyond all that float can hold.
        let mut levels = latents(5, 1);
        levels[0][2 * 96..3 * 96].fill(1e38);
        let inputs = [Input::Floats(&levels[0]), Input::Floats(&levels[1])];
        let outputs = graph.run(&inputs, 5, 2, Wanted::IMAGES).unwrap();
        assert_eq!(outputs[1].non_finite, [2]);
        let row = 8 * 8 * 3;
        assert_eq!(
            (&outputs[0].bytes[..2 * row], &outputs[0].bytes[3 * row..]),
            (&all.0[..2 * row], &all.0[3 * row..])
        );
    }
}

/// Whoever calls, the device sees one thread, from the first tensor to the last.
#[test]
fn a_device_belongs_to_one_thread() {
    let host = decoder(None, false);
    for captures in [false, true] {
        let fake = Fake::default();
        let graph = decoder(Some(&fake), captures);
        std::thread::scope(|scope| {
            for thread in 0..8 {
                let (graph, host) = (&graph, &host);
                scope.spawn(move || {
                    for i in 0..10 {
                        let call = (1 + (thread + i) % 7, 4, thread * 100 + i);
                        assert_eq!(run(graph, call, Wanted::ALL), run(host, call, Wanted::ALL));
                    }
                });
            }
        });
        drop(graph);
        // What was freed was freed by it as well, and before the graph was gone.
        assert_eq!(fake.threads().len(), 1);
        assert_ne!(fake.threads()[0], std::thread::current().id());
        assert_eq!(fake.count(Event::Allocated), fake.count(Event::Freed));
        assert!(fake.memory().is_empty());
    }
}

/// A captured graph reads and writes where it was captured: its tensors live as long as it does.
#[test]
fn captured_sizes_are_never_evicted() {
    let fake = Fake::default();
    let graph = decoder(Some(&fake), true);
    for n in [1, 2, 4, 8, 16, 32, 64, 1, 2] {
        run(&graph, (n, 64, n), Wanted::ALL);
    }
    assert_eq!((fake.count(Event::Allocated), fake.count(Event::Freed)), (7 * 4, 0));
}

#[test]
fn a_lost_device_fails_once_and_is_not_asked_again() {
    let fake = Fake::default();
    let graph = decoder(Some(&fake), true);
    run(&graph, (2, 4, 1), Wanted::ALL);
    graph.health().unwrap();
    fake.lost.store(true, Ordering::Relaxed);
    let call = || {
        let levels = latents(2, 1);
        let inputs = [Input::Floats(&levels[0]), Input::Floats(&levels[1])];
        graph.run(&inputs, 2, 4, Wanted::ALL).map(drop)
    };
    assert!(matches!(call(), Err(Error::Run { kind: RunFailure::DeviceLost, .. })));
    let copies = fake.count(Event::Uploaded);
    fake.lost.store(false, Ordering::Relaxed);
    for _ in 0..2 {
        assert!(matches!(call(), Err(Error::Unavailable { graph: GraphKind::Decoder })));
        assert!(matches!(graph.health(), Err(Error::Unavailable { .. })));
    }
    assert_eq!(fake.count(Event::Uploaded), copies);
}
