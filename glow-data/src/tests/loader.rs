//! What comes out of the loader, in which order, and what happens when something fails.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::*;

/// Images of 2 × 3 pixels and one channel, whose first pixel is their index and whose last is 255.
struct Numbered {
    len: usize,
    delay: Duration,
    /// The index that fails, and whether by a panic.
    fails: Option<(usize, bool)>,
    loads: AtomicUsize,
}

impl Numbered {
    fn new(len: usize) -> Self {
        Self { len, delay: Duration::ZERO, fails: None, loads: AtomicUsize::new(0) }
    }
}

impl Dataset for Numbered {
    fn len(&self) -> usize {
        self.len
    }

    fn shape(&self) -> ImageShape {
        ImageShape { height: 2, width: 3, channels: 1 }
    }

    fn load(&self, index: usize, _chance: u64) -> Result<Example, DataError> {
        self.loads.fetch_add(1, Ordering::Relaxed);
        std::thread::sleep(self.delay);
        match self.fails {
            Some((failing, true)) if failing == index => panic!("image {index} is cursed"),
            Some((failing, false)) if failing == index => {
                Err(DataError::Option { problem: format!("image {index} is bad") })
            }
            _ => Ok(Example { pixels: vec![index as u8, 0, 255, 1, 2, 3], label: index as u32 }),
        }
    }

    fn name(&self, index: usize) -> String {
        index.to_string()
    }

    fn classes(&self) -> &[String] {
        &[]
    }
}

fn loader_options(batch_size: usize, threads: usize) -> LoaderOptions {
    LoaderOptions { batch_size, seed: 11, threads, prefetch: 2 * threads, ..Default::default() }
}

#[test]
fn parts_of_a_batch_make_up_the_batch() {
    for (batch_size, of) in [(8, 2), (7, 3), (2, 3), (5, 5), (4, 1)] {
        let options = LoaderOptions { start_image: 3, ..loader_options(batch_size, 2) };
        let whole: Vec<Batch> = loader(Numbered::new(20), &options).take(6).map(Result::unwrap).collect();
        let mut parts: Vec<Loader> = (0..of)
            .map(|index| {
                loader(Numbered::new(20), &LoaderOptions { part: Part { index, of }, ..options.clone() })
            })
            .collect();
        for batch in whole {
            let (mut images, mut labels, mut next) = (Vec::new(), Vec::new(), batch.first_image);
            for part in &mut parts {
                let part = part.next().unwrap().unwrap();
                assert_eq!((part.first_image, part.labels.len()), (next, part.count));
                next += part.count as u64;
                images.extend(part.images);
                labels.extend(part.labels);
            }
            assert_eq!((images, labels), (batch.images, batch.labels));
        }
        assert!(parts.iter().all(|part| part.position() == 3 + 6 * batch_size as u64));
    }
    let none = LoaderOptions { part: Part { index: 2, of: 2 }, ..loader_options(4, 1) };
    assert!(Loader::new(Arc::new(Numbered::new(4)), &none).is_err());
}

fn loader(dataset: Numbered, options: &LoaderOptions) -> Loader {
    Loader::new(Arc::new(dataset), options).unwrap()
}

/// The first `images` of a run: label and pixels of each.
fn run(options: &LoaderOptions, images: usize) -> Vec<(i64, Vec<u8>)> {
    let mut stream = Vec::new();
    for batch in loader(Numbered::new(23), options) {
        let batch = batch.unwrap();
        assert_eq!(batch.first_image, options.start_image + stream.len() as u64);
        assert_eq!((batch.count, batch.labels.len()), (options.batch_size, options.batch_size));
        let pixels = batch.images.chunks_exact(6).map(<[u8]>::to_vec);
        stream.extend(batch.labels.into_iter().zip(pixels));
        if stream.len() >= images {
            stream.truncate(images);
            break;
        }
    }
    stream
}

#[test]
fn the_stream_depends_on_seed_and_number_only() {
    let stream = run(&loader_options(5, 1), 100);
    for (batch_size, threads) in [(5, 2), (5, 7), (1, 3), (64, 2), (23, 4)] {
        assert_eq!(run(&loader_options(batch_size, threads), 100), stream);
    }
    for start_image in [1, 22, 23, 24, 57] {
        let options = LoaderOptions { start_image, ..loader_options(4, 3) };
        let start = start_image as usize;
        assert_eq!(run(&options, 100 - start), stream[start..]);
    }
    assert_ne!(run(&LoaderOptions { seed: 12, ..loader_options(5, 1) }, 100), stream);
}

#[test]
fn every_image_comes_once_an_epoch_and_is_mirrored_at_times() {
    let stream = run(&loader_options(5, 2), 23 * 40);
    let mut mirrored = 0;
    for epoch in stream.chunks_exact(23) {
        let mut labels: Vec<i64> = epoch.iter().map(|(label, _)| *label).collect();
        labels.sort_unstable();
        assert!(labels.into_iter().eq(0..23));
        for (label, pixels) in epoch {
            let label = *label as u8;
            let flipped = pixels[0] == 255;
            let wanted = if flipped { [255, 0, label, 3, 2, 1] } else { [label, 0, 255, 1, 2, 3] };
            assert_eq!(pixels[..], wanted);
            mirrored += usize::from(flipped);
        }
    }
    assert!((400..520).contains(&mirrored), "{mirrored} of 920");
}

#[test]
fn unshuffled_streams_repeat_the_order_of_the_data() {
    let options = LoaderOptions { shuffle: false, flip: false, ..loader_options(4, 2) };
    let labels = run(&options, 50).into_iter().map(|(label, _)| label);
    assert!(labels.eq((0..23).cycle().take(50)));
}

#[test]
fn a_sequential_pass_is_finite_and_in_order() {
    for (len, batch, threads) in [(23, 5, 1), (23, 5, 3), (20, 5, 8), (3, 64, 4), (1, 1, 1)] {
        let dataset = Arc::new(Numbered::new(len));
        let mut loader = Loader::sequential(dataset, batch, threads, threads).unwrap();
        let batches: Vec<Batch> = loader.by_ref().map(Result::unwrap).collect();
        assert_eq!(batches.len(), len.div_ceil(batch));
        let labels = batches.iter().flat_map(|b| b.labels.clone());
        assert!(labels.eq(0..len as i64));
        assert_eq!(batches.last().unwrap().count, (len - 1) % batch + 1);
        assert_eq!(loader.position(), len as u64);
        assert!(loader.next().is_none());
    }
}

#[test]
fn position_resumes() {
    let mut first = loader(Numbered::new(23), &loader_options(7, 2));
    first.by_ref().take(5).for_each(|batch| assert!(batch.is_ok()));
    assert_eq!(first.position(), 35);
    let options = LoaderOptions { start_image: first.position(), ..loader_options(7, 3) };
    let mut second = loader(Numbered::new(23), &options);
    assert_eq!(first.next().unwrap().unwrap(), second.next().unwrap().unwrap());
}

#[test]
fn dropping_stops_the_threads_at_once() {
    // A batch takes ten seconds; an image, ten milliseconds.
    let slow = Numbered { delay: Duration::from_millis(10), ..Numbered::new(10) };
    let dataset = Arc::new(slow);
    let waiting = Loader::new(dataset.clone(), &loader_options(1000, 4)).unwrap();
    std::thread::sleep(Duration::from_millis(30));
    let start = Instant::now();
    drop(waiting);
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    assert_eq!(Arc::strong_count(&dataset), 1, "a thread is left");

    // Threads that wait for room in their queues.
    let dataset = Arc::new(Numbered::new(10));
    let mut full = Loader::new(dataset.clone(), &loader_options(2, 3)).unwrap();
    full.next().unwrap().unwrap();
    std::thread::sleep(Duration::from_millis(30));
    drop(full);
    assert_eq!(Arc::strong_count(&dataset), 1, "a thread is left");
}

#[test]
fn no_more_than_prefetch_is_made_ahead() {
    for (threads, prefetch) in [(1, 1), (2, 5), (8, 3)] {
        let dataset = Arc::new(Numbered::new(10));
        let options = LoaderOptions { prefetch, ..loader_options(2, threads) };
        let mut loader = Loader::new(dataset.clone(), &options).unwrap();
        loader.next().unwrap().unwrap();
        std::thread::sleep(Duration::from_millis(50));
        let loads = dataset.loads.load(Ordering::Relaxed);
        assert!(loads <= 2 * (prefetch + 1), "{loads} images for {threads}, {prefetch}");
    }
}

#[test]
fn errors_and_panics_arrive_in_their_place_and_end_the_stream() {
    for (panics, message) in [(false, "image 13 is bad"), (true, "thread panicked: image 13 is cursed")] {
        for threads in [1, 3] {
            let dataset = Numbered { fails: Some((13, panics)), ..Numbered::new(23) };
            let mut loader = Loader::sequential(Arc::new(dataset), 4, threads, 2 * threads).unwrap();
            for _ in 0..3 {
                loader.next().unwrap().unwrap();
            }
            let error = loader.next().unwrap().unwrap_err();
            assert!(error.to_string().contains(message), "{error}");
            assert!(loader.next().is_none());
        }
    }
}

#[test]
fn waiting_is_measured() {
    let slow = Numbered { delay: Duration::from_millis(20), ..Numbered::new(10) };
    let mut loader = loader(slow, &loader_options(1, 1));
    assert_eq!(loader.waited(), Duration::ZERO);
    loader.next().unwrap().unwrap();
    assert!(loader.waited() >= Duration::from_millis(10));
}

#[test]
fn senseless_options_are_refused() {
    let good = loader_options(4, 2);
    for (options, message) in [
        (LoaderOptions { batch_size: 0, ..good.clone() }, "the batch size 0"),
        (LoaderOptions { batch_size: usize::MAX, ..good.clone() }, "the batch size"),
        (LoaderOptions { threads: 0, ..good.clone() }, "0 data loading threads"),
        (LoaderOptions { prefetch: 0, ..good.clone() }, "0 batches ahead"),
        (LoaderOptions { start_image: u64::MAX, ..good.clone() }, "no run is that long"),
    ] {
        let error = Loader::new(Arc::new(Numbered::new(3)), &options).unwrap_err();
        assert!(error.to_string().contains(message), "{error}");
    }
    let error = Loader::new(Arc::new(Numbered::new(0)), &good).unwrap_err();
    assert!(error.to_string().contains("empty"), "{error}");
}
