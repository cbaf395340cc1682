//! What libtorch refuses for want of memory is an error that says what to do, and costs nothing trained.
//! A test of its own: the limit is the process's.
#![cfg(target_os = "linux")]
use glow_data::Batch;
use glow_models::{Architecture, Config, Training};
use glow_train::{TrainError, Trainer};
use tch::Device;

fn batch(count: usize) -> Batch {
    let images = (0..count * 32 * 32 * 3).map(|i| (i * 37 % 251) as u8).collect();
    Batch { images, labels: vec![0; count], count, first_image: 0 }
}

/// Lets the process have `more` bytes beyond what it has mapped, or anything again.
fn limit_memory(more: Option<u64>) {
    let status = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = status.split(' ').next().unwrap().parse().unwrap();
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: both calls read or write the struct alone.
    unsafe {
        assert_eq!(libc::getrlimit(libc::RLIMIT_AS, &mut limit), 0);
        limit.rlim_cur = more.map_or(limit.rlim_max, |more| pages * 4096 + more);
        assert_eq!(libc::setrlimit(libc::RLIMIT_AS, &limit), 0);
    }
}

#[test]
fn a_batch_too_large_for_memory_is_an_error_and_the_model_goes_on() {
    tch::set_num_threads(1);
    let model = Architecture { levels: 2, depth: 2, hidden: 64, ..Default::default() };
    let config = Config { model, training: Training::default(), ..Default::default() };
    let mut trainer = Trainer::new(config.clone(), 1000, Device::Cpu).unwrap();
    trainer.initialise_actnorm(&batch(8)).unwrap();
    trainer.step(&batch(8)).unwrap();
    let large = batch(2048);
    // Too little for the first hidden layer, of 134 MB.
    limit_memory(Some(100 << 20));
    let step = trainer.step(&large);
    let sound = trainer.is_sound(&large);
    limit_memory(None);
    for (doing, result) in [("a step", step), ("an evaluation", sound.map(|_| ()))] {
        let error = result.expect_err(doing);
        assert!(matches!(error, TrainError::Torch { .. }), "{error:?}");
        assert!(error.to_string().contains("--batch-size"), "{error}");
    }
    assert_eq!((trainer.step_count(), trainer.images_seen()), (1, 8), "what was refused does not count");
    trainer.step(&batch(8)).unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    trainer.save(file.path()).unwrap();

    // Wherever in a step memory runs out. That a step succeeds in the end is not asked for: libtorch's oneDNN
    // remembers that a product of a size could not be prepared.
    let middling = batch(256);
    let refused = (4..20u64).filter_map(|quarter| {
        // Layers are multiples of 4 MiB. What is left beside them is for what cannot be refused.
        limit_memory(Some((quarter << 22) + (3 << 19)));
        let step = trainer.step(&middling);
        limit_memory(None);
        step.err()
    });
    let refused: Vec<TrainError> = refused.collect();
    assert!(refused.len() > 8, "{}: the limits should fall into all parts of a step", refused.len());
    for error in refused {
        assert!(matches!(error, TrainError::Torch { .. }), "{error:?}");
        assert!(error.to_string().contains("--batch-size"), "{error}");
    }
    let steps = trainer.step_count();
    trainer.step(&batch(8)).unwrap();
    assert_eq!(trainer.step_count(), steps + 1);

    // The same of a model.
    let large = Architecture { hidden: 8192, ..config.model.clone() };
    limit_memory(Some(100 << 20));
    let refused = Trainer::new(Config { model: large, ..config }, 1000, Device::Cpu);
    limit_memory(None);
    let error = refused.expect_err("a matrix of it takes 268 MB");
    assert!(matches!(error, TrainError::Torch { .. }), "{error:?}");
    assert!(error.to_string().contains("--hidden"), "{error}");
}
