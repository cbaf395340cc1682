//! The queue for services: the same results as without it, whatever comes together, and nothing is lost or
//! done in vain.
mod support;

use glow_runtime::{
    Counters, EncodeOptions, Error, Glow, GraphKind, Job, Latents, Noise, SampleOptions, Scheduler,
    SchedulerOptions, ScoreOptions, Ticket,
};
use ndarray::Array4;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use support::{conditional, noise, unconditional};

const LONG: Duration = Duration::from_secs(60);

fn scheduler(options: SchedulerOptions) -> Scheduler {
    Scheduler::new(support::load(), options).unwrap()
}

/// A scheduler whose thread stops behind each batch until it is let go.
struct Gated {
    scheduler: Scheduler,
    stopped: Receiver<()>,
    go: Sender<()>,
    _first: Ticket<Array4<u8>>,
}

impl Gated {
    /// With one image drawn, behind which the decoder's thread stands.
    fn behind_one_image(options: SchedulerOptions) -> Self {
        let (tell, stopped) = channel();
        let (go, wait) = channel::<()>();
        let (tell, wait) = (Mutex::new(tell), Mutex::new(wait));
        let options = options.on_batch(move |_| {
            let _ = tell.lock().unwrap().send(());
            // Let go for good once the other end is gone.
            let _ = wait.lock().unwrap().recv();
        });
        let scheduler = scheduler(options);
        let _first = scheduler.submit(sample(1, 0).within(LONG)).unwrap();
        let gated = Self { scheduler, stopped, go, _first };
        gated.stopped.recv_timeout(LONG).unwrap_or_else(|_| panic!("{gated:?}"));
        gated
    }

    /// Lets the thread go, waits until all is done, and gives the decoder's counters.
    fn finish(self) -> Counters {
        drop(self.go);
        assert!(self.scheduler.drain(LONG));
        decoder(&self.scheduler)
    }
}

impl std::fmt::Debug for Gated {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", self.scheduler.counters())
    }
}

fn decoder(scheduler: &Scheduler) -> Counters {
    let all = scheduler.counters();
    all.into_iter().find(|(graph, _)| *graph == GraphKind::Decoder).unwrap().1
}

fn sample(n: usize, seed: u64) -> Job<Array4<u8>> {
    Job::sample(n, SampleOptions::new().seed(seed))
}

#[test]
fn every_job_gives_what_its_call_gives() {
    for (bundle, sessions) in [(unconditional(), 1), (unconditional(), 2), (conditional(), 1)] {
        let glow = Arc::new(Glow::builder().sessions(sessions).load(bundle).unwrap());
        let labels = |n: usize| {
            (glow.architecture().classes > 0).then(|| (0..n as i64).map(|i| i % 3).collect::<Vec<_>>())
        };
        let options = SchedulerOptions::new().max_batch(4).warm_up(true);
        let scheduler = Scheduler::new(Arc::clone(&glow), options).unwrap();
        let (mut samples, mut codes, mut images, mut scores) = (vec![], vec![], vec![], vec![]);
        let mut noisy = vec![];
        // All wait together, in sizes below and above that of a batch.
        for n in [0, 1, 2, 3, 5, 9] {
            let seed = n as u64;
            let options = SampleOptions::new().seed(seed).first(3).truncation(2.0).labels(labels(n));
            samples.push((n, options.clone(), scheduler.submit(Job::sample(n, options)).unwrap()));
            for noise_kind in [Noise::Midpoint, Noise::Uniform { seed }] {
                let options = EncodeOptions::new().noise(noise_kind).first(7).labels(labels(n));
                let job = Job::encode(noise(n), options.clone());
                codes.push((n, options, scheduler.submit(job).unwrap()));
            }
            let given =
                Array4::from_shape_fn((n, 8, 8, 3), |(i, y, x, c)| ((i + y * x + c) % 9) as f32 / 9.0);
            let job = Job::encode_with(noise(n), given.clone(), labels(n));
            noisy.push((n, given, scheduler.submit(job).unwrap()));
            let options = ScoreOptions::new().draws(3).seed(seed).first(5).labels(labels(n));
            let job = Job::score(noise(n), options.clone());
            scores.push((n, options, scheduler.submit(job).unwrap()));
            let latents = glow.sample_latents(n, &SampleOptions::new().seed(seed + 1)).unwrap();
            let job = Job::decode(latents.clone(), labels(n));
            images.push((n, latents, scheduler.submit(job).unwrap()));
        }
        for (n, options, ticket) in samples {
            assert_eq!(ticket.wait().unwrap(), glow.sample(n, &options).unwrap(), "{n} samples");
        }
        for (n, options, ticket) in codes {
            assert_eq!(ticket.wait().unwrap(), glow.encode(&noise(n), &options).unwrap(), "{n} encoded");
        }
        for (n, given, ticket) in noisy {
            let direct = glow.encode_with(&noise(n), given.view(), labels(n).as_deref()).unwrap();
            assert_eq!(ticket.wait().unwrap(), direct, "{n} encoded with noise");
        }
        for (n, options, ticket) in scores {
            assert_eq!(ticket.wait().unwrap(), glow.score(&noise(n), &options).unwrap(), "{n} scored");
        }
        for (n, latents, ticket) in images {
            let direct = glow.decode(&latents, labels(n).as_deref()).unwrap();
            assert_eq!(ticket.wait().unwrap(), direct, "{n} decoded");
        }
        assert!(scheduler.counters().iter().all(|(_, counters)| {
            counters.completed == counters.accepted && counters.batches.keys().all(|n| [1, 2, 4].contains(n))
        }));
    }
}

#[test]
fn what_waits_is_merged() {
    let gated = Gated::behind_one_image(SchedulerOptions::new());
    let tickets: Vec<_> = (0..11).map(|seed| gated.scheduler.submit(sample(1, seed)).unwrap()).collect();
    let counters = gated.finish();
    assert_eq!(counters.batches.into_iter().collect::<Vec<_>>(), [(1, 2), (2, 1), (8, 1)]);
    assert_eq!((counters.images, counters.waiting, counters.running), (12, 0, 0));
    for (seed, ticket) in tickets.into_iter().enumerate() {
        let direct = support::load().sample(1, &SampleOptions::new().seed(seed as u64)).unwrap();
        assert_eq!(ticket.wait().unwrap(), direct);
    }
}

#[test]
fn a_full_queue_refuses() {
    let gated = Gated::behind_one_image(SchedulerOptions::new().max_queue(5));
    let first = gated.scheduler.submit(sample(3, 1)).unwrap();
    let refused = gated.scheduler.submit(sample(3, 2));
    assert!(matches!(refused, Err(Error::Overloaded { waiting: 3, limit: 5 })), "{refused:?}");
    let second = gated.scheduler.submit(sample(2, 2)).unwrap();
    // One that never fits is another error, and those who leave make room.
    assert!(matches!(gated.scheduler.submit(sample(6, 0)), Err(Error::Option { .. })));
    assert!(gated.scheduler.submit(sample(1, 0)).is_err());
    drop(first);
    let third = gated.scheduler.submit(sample(1, 3)).unwrap();
    let counters = gated.finish();
    assert_eq!((counters.overloaded, counters.cancelled, counters.images), (2, 1, 4));
    assert!(second.wait().is_ok() && third.wait().is_ok());
}

#[test]
fn nothing_is_computed_in_vain() {
    let gated = Gated::behind_one_image(SchedulerOptions::new());
    let submit = |job| gated.scheduler.submit(job).unwrap();
    drop(submit(sample(4, 1)));
    let cancelled = submit(sample(4, 2));
    cancelled.cancel();
    assert!(matches!(cancelled.wait(), Err(Error::Cancelled)));
    let late = submit(sample(4, 3).within(Duration::from_millis(1)));
    // The one who waits learns of it at once, whatever the thread does.
    assert!(matches!(late.wait(), Err(Error::Deadline)));
    let untouched = submit(sample(4, 4).within(Duration::ZERO));
    let kept = submit(sample(2, 5).within(LONG));
    let counters = gated.finish();
    assert!(matches!(untouched.wait(), Err(Error::Deadline)));
    assert_eq!(kept.wait().unwrap().dim().0, 2);
    // The one image, and the two.
    assert_eq!((counters.images, counters.cancelled, counters.expired), (3, 2, 2));
    assert_eq!((counters.accepted, counters.completed), (6, 2));
}

#[test]
fn arguments_are_checked_at_once() {
    let scheduler = scheduler(SchedulerOptions::new());
    let zeros = |shape| Array4::<u8>::zeros(shape);
    let options = SampleOptions::new;
    let wrong = scheduler.submit(Job::encode(zeros((1, 9, 8, 3)), EncodeOptions::new()));
    assert!(matches!(wrong, Err(Error::Shape { .. })));
    let wrong = scheduler.submit(Job::encode_with(noise(2), Array4::zeros((1, 8, 8, 3)), None));
    assert!(matches!(wrong, Err(Error::Shape { .. })));
    let wrong = scheduler.submit(Job::encode_with(noise(1), Array4::from_elem((1, 8, 8, 3), 1.0), None));
    assert!(matches!(wrong, Err(Error::Option { option: "noise", .. })));
    let wrong = scheduler.submit(Job::sample(1, options().temperature(f32::NAN)));
    assert!(matches!(wrong, Err(Error::Option { option: "temperature", .. })));
    let wrong = scheduler.submit(Job::sample(1, options().labels(vec![0])));
    assert!(matches!(wrong, Err(Error::Labels { .. })));
    let wrong = scheduler.submit(Job::score(zeros((1, 8, 8, 3)), ScoreOptions::new().draws(0)));
    assert!(matches!(wrong, Err(Error::Option { option: "draws", .. })));
    let wrong = scheduler.submit(Job::decode(Latents::zeros(1, &support::shapes()[..1]), None));
    assert!(matches!(wrong, Err(Error::Shape { .. })));
    let far = Job::sample(1, options().temperature(1e30));
    assert!(matches!(scheduler.submit(far).unwrap().wait(), Err(Error::NonFinite { .. })));

    let half = Glow::builder().decoder_only().load(unconditional()).unwrap();
    let half = Scheduler::new(half, SchedulerOptions::new()).unwrap();
    let wrong = half.submit(Job::encode(noise(1), EncodeOptions::new()));
    assert!(matches!(wrong, Err(Error::NotLoaded { graph: GraphKind::Encoder })));
    let none = SchedulerOptions::new().max_queue(0);
    assert!(matches!(Scheduler::new(support::load(), none), Err(Error::Option { .. })));
}

#[test]
fn draining_keeps_what_was_accepted_and_dropping_does_not() {
    let gated = Gated::behind_one_image(SchedulerOptions::new());
    let accepted = gated.scheduler.submit(sample(20, 1)).unwrap();
    assert!(!gated.scheduler.drain(Duration::from_millis(1)));
    assert!(matches!(gated.scheduler.submit(sample(1, 1)), Err(Error::Stopped)));
    assert_eq!(gated.finish().completed, 2);
    assert!(accepted.wait().is_ok());

    let gated = Gated::behind_one_image(SchedulerOptions::new());
    let waiting = gated.scheduler.submit(sample(1, 1)).unwrap();
    let Gated { scheduler, go, stopped, _first } = gated;
    drop((go, stopped));
    drop(scheduler);
    // The thread may have been quicker.
    assert!(matches!(waiting.wait(), Err(Error::Stopped) | Ok(_)));
}

#[test]
fn a_default_deadline_is_that_of_all_jobs() {
    let gated = Gated::behind_one_image(SchedulerOptions::new().deadline(Duration::from_millis(1)));
    let late = gated.scheduler.submit(sample(1, 1)).unwrap();
    let own = gated.scheduler.submit(sample(1, 2).within(LONG)).unwrap();
    assert!(matches!(late.wait(), Err(Error::Deadline)));
    gated.finish();
    assert!(own.wait().is_ok());
}

#[test]
fn a_listener_that_panics_leaves_nobody_waiting() {
    let first = AtomicBool::new(true);
    let options = SchedulerOptions::new().max_batch(4).on_batch(move |_| {
        assert!(!first.swap(false, Ordering::Relaxed), "a listener of this test, on purpose");
    });
    let scheduler = scheduler(options);
    let failed = scheduler.submit(sample(9, 1)).unwrap().wait();
    assert!(matches!(failed, Err(Error::Run { graph: GraphKind::Decoder, .. })), "{failed:?}");
    assert!(scheduler.submit(sample(9, 1)).unwrap().wait().is_ok());
    assert!(scheduler.drain(LONG));
    let counters = decoder(&scheduler);
    assert_eq!((counters.failed, counters.completed, counters.running), (1, 1, 0));
}

/// Many threads, of which some lose patience: what is given is right, and what is counted adds up.
#[test]
fn a_crowd_gets_what_one_gets() {
    const THREADS: u64 = 32;
    for sessions in [1, 3] {
        let glow = Arc::new(Glow::builder().sessions(sessions).load(unconditional()).unwrap());
        let options = SchedulerOptions::new().max_queue(48);
        let scheduler = Scheduler::new(Arc::clone(&glow), options).unwrap();
        let expected: Vec<_> =
            (0..6).map(|i| glow.sample(1 + i, &SampleOptions::new().seed(i as u64)).unwrap()).collect();
        let codes: Vec<_> =
            (0..6).map(|i| glow.encode(&noise(1 + i), &EncodeOptions::new()).unwrap()).collect();
        let end = Instant::now() + Duration::from_secs(1);
        std::thread::scope(|scope| {
            for thread in 0..THREADS {
                let (scheduler, expected, codes) = (&scheduler, &expected, &codes);
                scope.spawn(move || {
                    for call in (thread..).step_by(7).take_while(|_| Instant::now() < end) {
                        let i = (call % 6) as usize;
                        let patience = if call % 11 == 0 { Duration::from_micros(200) } else { LONG };
                        if call % 2 == 0 {
                            let job = sample(1 + i, i as u64).within(patience);
                            match scheduler.submit(job) {
                                Ok(ticket) if call % 13 == 0 => drop(ticket),
                                Ok(ticket) => match ticket.wait() {
                                    Ok(images) => assert_eq!(images, expected[i]),
                                    Err(Error::Deadline) => assert!(patience < LONG),
                                    Err(error) => panic!("{error}"),
                                },
                                Err(Error::Overloaded { .. }) => std::thread::yield_now(),
                                Err(error) => panic!("{error}"),
                            }
                        } else {
                            match scheduler.submit(Job::encode(noise(1 + i), EncodeOptions::new())) {
                                Ok(ticket) => assert_eq!(ticket.wait().unwrap(), codes[i]),
                                Err(Error::Overloaded { .. }) => std::thread::yield_now(),
                                Err(error) => panic!("{error}"),
                            }
                        }
                    }
                });
            }
        });
        assert!(scheduler.drain(LONG));
        for (graph, counters) in scheduler.counters() {
            let ended = counters.completed + counters.expired + counters.cancelled;
            assert_eq!((ended, counters.failed), (counters.accepted, 0), "{graph}: {counters:?}");
            let images: u64 = counters.batches.iter().map(|(&size, &count)| size as u64 * count).sum();
            assert_eq!(images, counters.images, "{graph}: {counters:?}");
            assert!(counters.completed > THREADS, "{graph}: {counters:?}");
        }
    }
}
