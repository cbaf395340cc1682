//! Many threads at one model, or at one scheduler: every result is the one that a single thread gets, and memory does not
//! grow.
//!
//! The long versions, the first on a bundle of one's own, the second on `models/faces64` unless one is named:
//! `GLOW_BUNDLE=$PWD/models/faces GLOW_SECONDS=120 cargo test --release -p glow-runtime --test stress for_minutes -- --ignored --nocapture`
//! `GLOW_SECONDS=600 cargo test --release -p glow-runtime --test stress scheduler -- --ignored --nocapture`
mod support;

use glow_runtime::{
    Counters, EncodeOptions, Encoded, Error, Glow, Job, Noise, SampleOptions, Scheduler, SchedulerOptions,
    Score, ScoreOptions, Ticket,
};
use ndarray::Array4;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const THREADS: u64 = 16;
/// Different calls; thread t begins with call t.
const CALLS: u64 = 12;

/// What one of the calls gives.
#[derive(Debug, PartialEq)]
enum Answer {
    Images(Array4<u8>),
    Encoded(Box<Encoded>),
    Scores(Vec<f64>),
}

/// Call number `i`, of one to five images.
fn call(glow: &Glow, images: &Array4<u8>, i: u64) -> Answer {
    let n = 1 + (i % 5) as usize;
    let some = images.slice(ndarray::s![..n, .., .., ..]);
    let labels = (glow.architecture().classes > 0).then(|| vec![0; n]);
    match i % 3 {
        0 => {
            let options = SampleOptions::new().seed(i).labels(labels);
            Answer::Images(glow.sample(n, &options).unwrap())
        }
        1 => {
            let noise = Noise::Uniform { seed: i };
            let encoded = glow.encode(some, &EncodeOptions::new().noise(noise).labels(labels));
            Answer::Encoded(Box::new(encoded.unwrap()))
        }
        _ => Answer::Scores(glow.log_prob(some, &ScoreOptions::new().seed(i).labels(labels)).unwrap()),
    }
}

/// Resident memory of its own, in bytes; `None` where the system does not tell.
fn memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? << 10)
}

/// The first quarter fills the arenas and the stacks.
fn assert_flat(memory: &[u64]) {
    let [early, late] = [&memory[memory.len() / 4..memory.len() / 2], &memory[memory.len() / 2..]]
        .map(|part| *part.iter().max().unwrap());
    let megabytes: Vec<u64> = memory.iter().map(|bytes| bytes / 1_000_000).collect();
    assert!(late <= early + early / 20, "memory grows: {megabytes:?}");
}

/// Runs all threads for a while; gives the number of calls, and the memory as time went on.
fn stress(glow: &Glow, seconds: f64) -> (usize, Vec<u64>) {
    let a = glow.architecture();
    let images = Array4::from_shape_fn((5, a.height, a.width, a.channels), |(n, y, x, c)| {
        (n * 31 + y * 7 + x * 5 + c * 11) as u8
    });
    let expected: Vec<Answer> = (0..CALLS).map(|i| call(glow, &images, i)).collect();
    let calls = AtomicUsize::new(0);
    let end = Instant::now() + Duration::from_secs_f64(seconds);
    let mut memories = Vec::new();
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (expected, images, calls) = (&expected, &images, &calls);
            scope.spawn(move || {
                for i in (thread..).map(|i| i % CALLS).take_while(|_| Instant::now() < end) {
                    assert_eq!(call(glow, images, i), expected[i as usize], "call {i}");
                    calls.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        while Instant::now() < end {
            std::thread::sleep(Duration::from_secs_f64(seconds / 12.0));
            memories.extend(memory());
        }
    });
    (calls.into_inner(), memories)
}

#[test]
fn sixteen_threads_get_what_one_gets() {
    for sessions in [1, 3] {
        let glow = Glow::builder().sessions(sessions).load(support::unconditional()).unwrap();
        let (calls, _) = stress(&glow, 1.0);
        assert!(calls > THREADS as usize, "{calls}");
    }
}

#[test]
#[ignore = "takes minutes; needs GLOW_BUNDLE"]
fn for_minutes() {
    let variable = |name: &str| std::env::var(name).ok();
    let bundle = variable("GLOW_BUNDLE").expect("GLOW_BUNDLE names a bundle");
    let number = |name, default: f64| variable(name).map_or(default, |text| text.parse().unwrap());
    let sessions = number("GLOW_SESSIONS", 1.0) as usize;
    let mut builder = Glow::builder().sessions(sessions).providers(
        variable("GLOW_PROVIDER").unwrap_or("cpu".into()).split(',').map(|text| text.parse().unwrap()),
    );
    if let Some(folder) = variable("GLOW_CACHE") {
        builder = builder.cache(folder);
    }
    let glow = builder.load(bundle).unwrap();
    let seconds = number("GLOW_SECONDS", 120.0);
    let (calls, memory) = stress(&glow, seconds);
    let megabytes: Vec<u64> = memory.iter().map(|bytes| bytes / 1_000_000).collect();
    println!(
        "{calls} calls in {seconds} s, {:.1} a second; memory in MB: {megabytes:?}",
        calls as f64 / seconds
    );
    assert_flat(&memory);
}

/// A job for the scheduler, and what it must give.
enum Case {
    Sample(usize, SampleOptions, Array4<u8>),
    Encode(Array4<u8>, EncodeOptions, Box<Encoded>),
    Score(Array4<u8>, ScoreOptions, Vec<Score>),
}

impl Case {
    /// Case number `i`, of one image to more than a batch.
    fn new(glow: &Glow, images: &Array4<u8>, i: u64) -> Self {
        let n = [1, 1, 2, 3, 5, 11][(i % 6) as usize];
        let some = images.slice(ndarray::s![..n, .., .., ..]).to_owned();
        let labels = (glow.architecture().classes > 0).then(|| vec![0; n]);
        match i % 4 {
            0 | 1 => {
                let options = SampleOptions::new().seed(i).labels(labels);
                let expected = glow.sample(n, &options).unwrap();
                Self::Sample(n, options, expected)
            }
            2 => {
                let options = EncodeOptions::new().noise(Noise::Uniform { seed: i }).labels(labels);
                let expected = glow.encode(&some, &options).unwrap();
                Self::Encode(some, options, Box::new(expected))
            }
            _ => {
                let options = ScoreOptions::new().seed(i).labels(labels);
                let expected = glow.score(&some, &options).unwrap();
                Self::Score(some, options, expected)
            }
        }
    }

    /// Submits it, and treats the ticket in the way of a random number.
    fn submit(&self, scheduler: &Scheduler, random: u64, ends: &Ends) {
        match self {
            Self::Sample(n, options, expected) => {
                treat(scheduler, Job::sample(*n, options.clone()), expected, random, ends);
            }
            Self::Encode(images, options, expected) => {
                treat(scheduler, Job::encode(images.clone(), options.clone()), expected, random, ends);
            }
            Self::Score(images, options, expected) => {
                treat(scheduler, Job::score(images.clone(), options.clone()), expected, random, ends);
            }
        }
    }
}

/// How jobs ended.
#[derive(Debug, Default)]
struct Ends {
    done: AtomicU64,
    late: AtomicU64,
    cancelled: AtomicU64,
    overloaded: AtomicU64,
    left: AtomicU64,
}

fn treat<T, E>(scheduler: &Scheduler, job: Job<T>, expected: &E, random: u64, ends: &Ends)
where
    T: Send + PartialEq<E> + std::fmt::Debug + 'static,
    E: std::fmt::Debug,
{
    let soon = Duration::from_micros(random >> 8 & 0x7fff);
    let job = if random.is_multiple_of(4) { job.within(soon) } else { job };
    let ticket = match scheduler.submit(job) {
        Ok(ticket) => ticket,
        Err(Error::Overloaded { .. }) => {
            ends.overloaded.fetch_add(1, Ordering::Relaxed);
            return std::thread::sleep(soon);
        }
        Err(error) => panic!("{}", error.with_causes()),
    };
    let result = match random % 16 {
        // A caller that gives up, and takes the result if it is there all the same.
        1 => {
            std::thread::sleep(soon);
            ticket.cancel();
            ticket.wait()
        }
        // One that leaves.
        2 => {
            std::thread::sleep(soon);
            ends.left.fetch_add(1, Ordering::Relaxed);
            return drop(ticket);
        }
        3 => ticket.wait_timeout(soon).unwrap_or_else(Ticket::wait),
        // A future.
        5 => block_on(ticket),
        _ => ticket.wait(),
    };
    match result {
        Ok(result) => {
            assert!(result == *expected, "a result is another than that of a single thread");
            ends.done.fetch_add(1, Ordering::Relaxed);
        }
        Err(Error::Deadline) if random.is_multiple_of(4) => {
            ends.late.fetch_add(1, Ordering::Relaxed);
        }
        Err(Error::Cancelled) if random % 16 == 1 => {
            ends.cancelled.fetch_add(1, Ordering::Relaxed);
        }
        Err(error) => panic!("{}", error.with_causes()),
    }
}

fn block_on<T>(ticket: Ticket<T>) -> Result<T, Error> {
    struct Thread(std::thread::Thread);
    impl std::task::Wake for Thread {
        fn wake(self: std::sync::Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = std::sync::Arc::new(Thread(std::thread::current())).into();
    let mut context = std::task::Context::from_waker(&waker);
    let mut ticket = std::pin::pin!(ticket);
    loop {
        match ticket.as_mut().poll(&mut context) {
            std::task::Poll::Ready(result) => return result,
            std::task::Poll::Pending => std::thread::park(),
        }
    }
}

/// Sixteen threads at one scheduler for a while; gives how jobs ended, the counters of both graphs, and the memory as
/// time went on.
fn stress_scheduler(glow: Glow, seconds: f64) -> (Ends, Vec<Counters>, Vec<u64>) {
    let a = glow.architecture();
    let images = Array4::from_shape_fn((11, a.height, a.width, a.channels), |(n, y, x, c)| {
        (n * 31 + y * 7 + x * 5 + c * 11) as u8
    });
    let cases: Vec<Case> = (0..CALLS).map(|i| Case::new(&glow, &images, i)).collect();
    // A queue that is full at times.
    let scheduler = Scheduler::new(glow, SchedulerOptions::new().max_queue(24)).unwrap();
    let ends = Ends::default();
    let end = Instant::now() + Duration::from_secs_f64(seconds);
    let mut memories = Vec::new();
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (cases, scheduler, ends) = (&cases, &scheduler, &ends);
            scope.spawn(move || {
                let mut state = thread + 1;
                for i in (thread..).take_while(|_| Instant::now() < end) {
                    state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                    cases[(i % CALLS) as usize].submit(scheduler, state >> 33, ends);
                }
            });
        }
        while Instant::now() < end {
            std::thread::sleep(Duration::from_secs_f64(seconds / 12.0));
            memories.extend(memory());
        }
    });
    assert!(scheduler.drain(Duration::from_secs(60)), "jobs are left: {:?}", scheduler.counters());
    let counters: Vec<Counters> = scheduler.counters().into_iter().map(|(_, counters)| counters).collect();
    for of in &counters {
        assert_eq!((of.waiting, of.running, of.failed), (0, 0, 0), "{of:?}");
        assert_eq!(of.accepted, of.completed + of.expired + of.cancelled, "{of:?}");
    }
    (ends, counters, memories)
}

#[test]
fn a_scheduler_gives_sixteen_threads_what_one_gets() {
    for sessions in [1, 3] {
        // Which ends there are is a matter of chance, and of what else the machine does.
        let mut seen = [0; 3];
        for _round in 0..30 {
            let glow = Glow::builder().sessions(sessions).load(support::unconditional()).unwrap();
            let (ends, ..) = stress_scheduler(glow, 1.0);
            for (seen, end) in seen.iter_mut().zip([&ends.done, &ends.cancelled, &ends.left]) {
                *seen += end.load(Ordering::Relaxed);
            }
            if !seen.contains(&0) {
                break;
            }
        }
        assert!(!seen.contains(&0), "done, cancelled, left: {seen:?}");
    }
}

#[test]
#[ignore = "takes minutes"]
fn a_scheduler_for_minutes() {
    let variable = |name: &str| std::env::var(name).ok();
    let faces = concat!(env!("CARGO_MANIFEST_DIR"), "/../models/faces64");
    let seconds = variable("GLOW_SECONDS").map_or(600.0, |text| text.parse().unwrap());
    let sessions = variable("GLOW_SESSIONS").map_or(2, |text| text.parse().unwrap());
    let glow =
        Glow::builder().sessions(sessions).load(variable("GLOW_BUNDLE").unwrap_or(faces.into())).unwrap();
    let (ends, counters, memory) = stress_scheduler(glow, seconds);
    let megabytes: Vec<u64> = memory.iter().map(|bytes| bytes / 1_000_000).collect();
    println!("{ends:?} in {seconds} s; memory in MB: {megabytes:?}");
    for of in counters {
        println!("{} images in batches {:?}", of.images, of.batches);
    }
    assert_flat(&memory);
}
