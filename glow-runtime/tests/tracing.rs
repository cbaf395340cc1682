//! What a subscriber of the crate `tracing` sees. One test in a process of its own, since subscriber and ONNX Runtime are
//! the process's.
mod support;

use glow_runtime::{EncodeOptions, Glow, Job, SampleOptions, Scheduler, SchedulerOptions, ScoreOptions};
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_core::span::Current;

/// What was seen: of a span its parent's number as well.
#[derive(Debug, Clone)]
struct Seen {
    name: String,
    target: String,
    level: Level,
    fields: BTreeMap<String, String>,
    parent: Option<u64>,
}

impl Visit for Seen {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.fields.insert(field.name().into(), format!("{value:?}"));
    }
}

impl Seen {
    fn new(metadata: &Metadata<'_>, parent: Option<u64>) -> Self {
        let (name, target) = (metadata.name().into(), metadata.target().into());
        Self { name, target, level: *metadata.level(), fields: BTreeMap::new(), parent }
    }
}

#[derive(Default)]
struct Recorder {
    last: AtomicU64,
    spans: Mutex<BTreeMap<u64, (Seen, &'static Metadata<'static>)>>,
    events: Mutex<Vec<Seen>>,
    follows: Mutex<Vec<(u64, u64)>>,
}

thread_local! {
    static ENTERED: std::cell::RefCell<Vec<u64>> = const { std::cell::RefCell::new(Vec::new()) };
}

fn entered() -> Option<u64> {
    ENTERED.with_borrow(|spans| spans.last().copied())
}

struct Shared(Arc<Recorder>);

impl Subscriber for Shared {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        ["glow_runtime", "onnxruntime", "test"].contains(&metadata.target())
    }

    fn new_span(&self, attributes: &Attributes<'_>) -> Id {
        let id = self.0.last.fetch_add(1, Ordering::Relaxed) + 1;
        let mut seen = Seen::new(attributes.metadata(), entered());
        attributes.record(&mut seen);
        self.0.spans.lock().unwrap().insert(id, (seen, attributes.metadata()));
        Id::from_u64(id)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, span: &Id, follows: &Id) {
        self.0.follows.lock().unwrap().push((span.into_u64(), follows.into_u64()));
    }

    fn event(&self, event: &Event<'_>) {
        let mut seen = Seen::new(event.metadata(), entered());
        event.record(&mut seen);
        self.0.events.lock().unwrap().push(seen);
    }

    fn enter(&self, span: &Id) {
        ENTERED.with_borrow_mut(|spans| spans.push(span.into_u64()));
    }

    fn exit(&self, _: &Id) {
        ENTERED.with_borrow_mut(|spans| spans.pop());
    }

    fn current_span(&self) -> Current {
        let spans = self.0.spans.lock().unwrap();
        entered().map_or_else(Current::none, |id| Current::new(Id::from_u64(id), spans[&id].1))
    }
}

#[test]
fn a_subscriber_sees_loading_calls_batches_and_onnx_runtime() {
    let recorder = Arc::new(Recorder::default());
    tracing::subscriber::set_global_default(Shared(Arc::clone(&recorder))).unwrap();
    let glow = Glow::load(support::unconditional()).unwrap();

    let spans = || -> Vec<(u64, Seen)> {
        let spans = recorder.spans.lock().unwrap();
        spans.iter().map(|(id, (seen, _))| (*id, seen.clone())).collect()
    };
    let one = |name: &str| {
        let found: Vec<_> = spans().into_iter().filter(|(_, span)| span.name == name).collect();
        assert!(!found.is_empty(), "no span {name}");
        found[found.len() - 1].clone()
    };
    let (load, span) = one("load");
    assert_eq!((&*span.target, span.level), ("glow_runtime", Level::INFO));
    // Also that of the thread that hashes the weights.
    for step in ["library", "weights", "prepare", "sessions", "try_out"] {
        assert_eq!(one(step).1.parent, Some(load), "{step}");
    }
    let events = recorder.events.lock().unwrap().clone();
    assert!(events.iter().any(|event| event.target == "glow_runtime" && event.parent.is_some()));
    let of_onnxruntime: Vec<_> = events.iter().filter(|event| event.target == "onnxruntime").collect();
    assert!(!of_onnxruntime.is_empty());
    assert!(of_onnxruntime.iter().all(|event| event.fields["message"].len() > 2), "{of_onnxruntime:?}");
    assert!(of_onnxruntime.iter().any(|event| event.level == Level::TRACE));

    glow.encode(&support::noise(3), &EncodeOptions::default()).unwrap();
    assert_eq!(one("encode").1.fields["images"], "3");
    glow.sample(2, &SampleOptions::default()).unwrap();
    let (sample, _) = one("sample");
    assert_eq!((one("decode").1.parent, &*one("decode").1.fields["images"]), (Some(sample), "2"));
    glow.log_prob(&support::noise(1), &ScoreOptions::default()).unwrap();
    assert_eq!(one("encode").1.parent, Some(one("score").0));

    let scheduler = Scheduler::new(glow, SchedulerOptions::new()).unwrap();
    let request = tracing::info_span!(target: "test", "request");
    let job = Job::sample(4, SampleOptions::default());
    let ticket = request.in_scope(|| scheduler.submit(job)).unwrap();
    ticket.wait().unwrap();
    let (batch, span) = one("batch");
    assert_eq!((&*span.fields["graph"], &*span.fields["images"]), ("decoder", "4"));
    assert_eq!(span.fields["jobs"], "1");
    assert!(span.fields["waited"].ends_with('s'), "{span:?}");
    assert_eq!(*recorder.follows.lock().unwrap(), [(batch, one("request").0)]);
}
