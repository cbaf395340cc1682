//! However a bundle is loaded, it is the same model; what cannot be used is an error.
mod support;

use glow_models::{Bundle, Precision};
use glow_runtime::{
    BundleBytes, Cuda, EncodeOptions, Error, Glow, GlowBuilder, GraphKind, LoadStep, Provider, SampleOptions,
    TensorRt,
};
use std::path::Path;
use std::sync::{Arc, Mutex};
use support::{copy, in_memory, noise, unconditional};

/// Everything that a model says of some images.
fn answers(glow: &Glow) -> (glow_runtime::Encoded, ndarray::Array4<u8>) {
    let encoded = glow.encode(&noise(5), &EncodeOptions::default()).unwrap();
    (encoded, glow.sample(7, &SampleOptions::new().seed(1)).unwrap())
}

fn load(builder: GlowBuilder) -> Glow {
    builder.load(unconditional()).unwrap()
}

#[test]
fn shared_weights_sessions_threads_and_budgets_change_nothing() {
    let reference = answers(&load(Glow::builder().share_weights(false)));
    for builder in [
        Glow::builder(),
        Glow::builder().sessions(3),
        Glow::builder().sessions(2).share_weights(false).threads(4),
        Glow::builder().memory_budget(0),
        Glow::builder().warm_up([1, 5]).check(false),
        Glow::builder().spinning(true).trim_memory(true),
        Glow::builder().map_weights(false),
        Glow::builder().map_weights(false).share_weights(false),
        Glow::builder().providers([Provider::Auto]),
    ] {
        let text = format!("{builder:?}");
        assert_eq!(answers(&load(builder)), reference, "{text}");
    }
    assert_eq!(load(Glow::builder().memory_budget(0)).max_batch(), 1);
}

fn files(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        folder.read_dir().unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn the_cache_serves_the_same_bundle_again_and_no_other() {
    let cache = tempfile::tempdir().unwrap();
    let cached = || Glow::builder().cache(cache.path());
    let first = answers(&load(cached()));
    let [folder] = &files(cache.path())[..] else { panic!("{:?}", files(cache.path())) };
    let inside = cache.path().join(folder);
    let made = ["checked", "checksums.json", "decoder.onnx", "encoder.onnx", "used", "weights.bin"];
    let written = || inside.join("weights.bin").metadata().unwrap().modified().unwrap();
    let before = written();
    assert_eq!(answers(&load(cached())), first);
    assert_eq!((written(), files(&inside)), (before, made.map(String::from).to_vec()));
    assert_eq!(files(cache.path()).len(), 1);
    // Other files, and another choice of graphs.
    cached().load(support::conditional()).unwrap();
    cached().decoder_only().load(unconditional()).unwrap();
    assert_eq!(files(cache.path()).len(), 3);
}

#[test]
fn a_damaged_cache_is_made_again() {
    let cache = tempfile::tempdir().unwrap();
    let damaged = Arc::new(Mutex::new(0));
    let seen = Arc::clone(&damaged);
    let cached = Glow::builder().cache(cache.path()).on_progress(move |step| {
        *seen.lock().unwrap() += usize::from(matches!(step, LoadStep::CacheDamaged { .. }));
    });
    let first = answers(&load(cached.clone()));
    let entry = cache.path().join(&files(cache.path())[0]);
    type Damage = fn(&Path);
    let cases: [(&str, Damage); 6] = [
        ("weights.bin", |path| {
            std::fs::File::options().write(true).open(path).unwrap().set_len(100).unwrap()
        }),
        // As after a power cut.
        ("weights.bin", |path| {
            std::fs::write(path, vec![0; path.metadata().unwrap().len() as usize]).unwrap();
        }),
        ("weights.bin", |path| {
            let mut bytes = std::fs::read(path).unwrap();
            bytes[40] ^= 1;
            std::fs::write(path, bytes).unwrap();
        }),
        ("decoder.onnx", |path| std::fs::write(path, "").unwrap()),
        ("encoder.onnx", |path| std::fs::remove_file(path).unwrap()),
        ("checksums.json", |path| std::fs::remove_file(path).unwrap()),
    ];
    for (number, (file, damage)) in cases.into_iter().enumerate() {
        damage(&entry.join(file));
        assert_eq!(answers(&load(cached.clone())), first, "{file}");
        assert_eq!(*damaged.lock().unwrap(), number + 1, "{file}");
        // Made once, it serves.
        assert_eq!(answers(&load(cached.clone())), first, "{file}");
        assert_eq!((*damaged.lock().unwrap(), files(cache.path()).len()), (number + 1, 1), "{file}");
    }
}

#[test]
fn auto_tells_what_it_passed_over() {
    let steps = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&steps);
    let builder = Glow::builder().provider(Provider::Auto);
    let glow = load(builder.on_progress(move |step| seen.lock().unwrap().push(step)));
    let told: Vec<_> = steps.lock().unwrap().iter().filter_map(passed_over).collect();
    assert_eq!(told, glow.passed_over());
    // Where the tests run there is mostly no GPU.
    if glow.providers() == [Provider::Cpu] {
        assert_eq!(told[0].0, Provider::Cuda(Cuda::default()));
        assert!(told.iter().all(|(_, reason)| !reason.is_empty()));
    }
    assert_eq!(load(Glow::builder()).passed_over(), []);
    // A bundle that is damaged is so for every provider.
    let bundle = copy(&unconditional());
    std::fs::write(bundle.path().join("model.safetensors"), "").unwrap();
    let failed = Glow::builder().provider(Provider::Auto).load(bundle.path());
    assert!(matches!(failed, Err(Error::Bundle(_))));
}

fn passed_over(step: &LoadStep) -> Option<(Provider, String)> {
    match step {
        LoadStep::PassedOver { provider, reason } => Some((provider.clone(), reason.clone())),
        _ => None,
    }
}

#[test]
fn gpus_refuse_int8_before_anything_else() {
    let folder = copy(&unconditional());
    let mut manifest = Bundle::open(folder.path()).unwrap().manifest().clone();
    manifest.precision = Precision::Int8;
    Bundle::seal(folder.path(), manifest).unwrap();
    for provider in [Provider::Cuda(Cuda::default()), Provider::TensorRt(TensorRt::default())] {
        let refused = Glow::builder().provider(provider.clone()).load(folder.path()).map(drop);
        let Err(Error::Provider { provider: named, reason, .. }) = refused else { panic!("{refused:?}") };
        assert!(named == provider && reason.contains("int8"), "{reason}");
    }
    Glow::load(folder.path()).unwrap();
}

/// A bundle whose decoder has another weight than the inverse of the encoder's, as if it were computed wrongly.
fn not_inverse(bundle: &Path) -> tempfile::TempDir {
    let folder = copy(bundle);
    let path = folder.path().join("model.safetensors");
    let mut bytes = std::fs::read(&path).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let weight = tensors.tensor("level0.step00.decode.bias").unwrap().data().as_ptr().addr();
    let place = weight - bytes.as_ptr().addr();
    let number = f32::from_le_bytes(bytes[place..place + 4].try_into().unwrap());
    bytes[place..place + 4].copy_from_slice(&(number + 0.05).to_le_bytes());
    std::fs::write(&path, bytes).unwrap();
    let manifest = Bundle::open(folder.path()).unwrap().manifest().clone();
    Bundle::seal(folder.path(), manifest).unwrap();
    folder
}

#[test]
fn a_model_that_does_not_give_an_image_back_is_refused() {
    for bundle in [unconditional(), support::conditional()] {
        let (wrong, cache) = (not_inverse(&bundle), tempfile::tempdir().unwrap());
        // Without and with a cache, and again from what the cache has by then.
        for builder in
            [Glow::builder(), Glow::builder().cache(cache.path()), Glow::builder().cache(cache.path())]
        {
            let refused = builder.load(wrong.path()).map(drop);
            assert!(matches!(refused, Err(Error::Check { allowed: 0, .. })), "{refused:?}");
        }
        let auto = Glow::builder().provider(Provider::Auto).load(wrong.path()).map(drop);
        assert!(matches!(auto, Err(Error::Check { .. })), "{auto:?}");
        Glow::builder().check(false).load(wrong.path()).unwrap();
        // There is nothing to compare with.
        Glow::builder().decoder_only().load(wrong.path()).unwrap();
        Glow::builder().encoder_only().load(wrong.path()).unwrap();
    }
}

#[test]
fn what_the_cache_has_is_checked_once() {
    let cache = tempfile::tempdir().unwrap();
    let checks = Arc::new(Mutex::new(0));
    let seen = Arc::clone(&checks);
    let cached = Glow::builder().cache(cache.path()).on_progress(move |step| {
        *seen.lock().unwrap() += usize::from(step == LoadStep::Checking);
    });
    let steps = [(cached.clone().check(false), 0), (cached.clone(), 1), (cached.clone().sessions(2), 1)];
    for (builder, expected) in steps {
        load(builder);
        assert_eq!(*checks.lock().unwrap(), expected);
    }
    // What is made anew is checked anew.
    let entry = cache.path().join(&files(cache.path())[0]);
    std::fs::write(entry.join("weights.bin"), "").unwrap();
    let glow = load(cached);
    assert_eq!(*checks.lock().unwrap(), 2);
    assert!(!glow.load_times().check.is_zero());
}

#[test]
fn a_cache_that_cannot_be_written_is_gone_without() {
    // Not even the superuser can make folders below a file.
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let steps = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&steps);
    let builder = Glow::builder().cache(file.join("cache"));
    let glow = load(builder.on_progress(move |step| seen.lock().unwrap().push(step)));
    assert_eq!(answers(&glow), answers(&support::load()));
    let told =
        |step: &LoadStep| matches!(step, LoadStep::NotCached { entry, .. } if entry.starts_with(&file));
    assert_eq!(steps.lock().unwrap().iter().filter(|step| told(step)).count(), 1);
}

#[test]
fn entries_that_nobody_used_for_long_go_when_one_is_made() {
    let cache = tempfile::tempdir().unwrap();
    let cached = || Glow::builder().cache(cache.path());
    load(cached());
    let [old] = &files(cache.path())[..] else { panic!("{:?}", files(cache.path())) };
    let used = cache.path().join(old).join("used");
    let days = |days: u64| {
        let time = std::time::SystemTime::now() - std::time::Duration::from_secs(days * 24 * 60 * 60);
        std::fs::File::options().append(true).open(&used).unwrap().set_modified(time).unwrap();
    };
    days(100);
    // To use it is to keep it.
    load(cached());
    cached().decoder_only().load(unconditional()).unwrap();
    assert_eq!(files(cache.path()).len(), 2);
    days(100);
    cached().encoder_only().load(unconditional()).unwrap();
    assert!(files(cache.path()).len() == 2 && !files(cache.path()).contains(old));
}

#[test]
fn damaged_weights_leave_nothing_in_the_cache() {
    let (bundle, cache) = (copy(&unconditional()), tempfile::tempdir().unwrap());
    let path = bundle.path().join("model.safetensors");
    let mut bytes = std::fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(path, bytes).unwrap();
    let error = Glow::builder().cache(cache.path()).load(bundle.path()).map(drop).unwrap_err();
    assert!(matches!(error, Error::Bundle(_)), "{error}");
    assert_eq!(files(cache.path()), [""; 0]);
}

#[test]
fn a_bundle_in_memory_is_the_same_model() {
    let bytes = in_memory(&unconditional());
    let glow = Glow::from_bytes(bytes.clone()).unwrap();
    assert_eq!(answers(&glow), answers(&support::load()));
    assert_eq!(glow.folder(), None);
    assert!(glow.attributes().is_ok() && glow.nodes(GraphKind::Decoder).unwrap().len() > 10);
    let apart = Glow::builder().share_weights(false).load_bytes(bytes.clone()).unwrap();
    assert_eq!(answers(&apart), answers(&glow));
    assert_eq!(apart.nodes(GraphKind::Encoder).unwrap().len(), glow.nodes(GraphKind::Encoder).unwrap().len());
    let decoder = BundleBytes { encoder: None, ..bytes };
    assert!(Glow::from_bytes(decoder.clone()).is_err());
    Glow::builder().decoder_only().load_bytes(decoder).unwrap();
}

#[test]
fn providers_that_cannot_be_used_are_errors() {
    let load = |providers: &[Provider]| {
        let builder = Glow::builder().providers(providers.iter().cloned());
        builder.load(unconditional()).map(drop).unwrap_err().to_string()
    };
    // The tests run with the library for the CPU, or where there is no GPU.
    let (cuda, tensorrt) = (Provider::Cuda(Cuda::default()), Provider::TensorRt(TensorRt::default()));
    if Glow::builder().providers([cuda.clone()]).load(unconditional()).is_err() {
        for providers in [vec![cuda.clone()], vec![cuda, Provider::Cpu]] {
            let error = load(&providers);
            assert!(error.contains("the provider CUDA, device 0 cannot be used: "), "{error}");
        }
        assert!(load(&[tensorrt]).contains("the provider TensorRT, device 0 cannot be used: "));
    }
    assert!(load(&[]).contains("at least one provider"));
    assert!(load(&[Provider::Auto, Provider::Cpu]).contains("Auto only alone"));
}

#[test]
fn each_node_has_a_provider() {
    let glow = load(Glow::builder().decoder_only());
    let nodes = glow.nodes(GraphKind::Decoder).unwrap();
    assert!(nodes.len() > 10 && nodes.iter().all(|node| node.provider == "CPUExecutionProvider"));
    assert!(matches!(glow.nodes(GraphKind::Encoder), Err(Error::NotLoaded { .. })));
    assert_eq!(glow.providers(), [Provider::Cpu]);
}

#[test]
fn loading_tells_what_it_does() {
    let steps = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&steps);
    let builder = Glow::builder().warm_up([2]);
    let glow = load(builder.on_progress(move |step| seen.lock().unwrap().push(step)));
    let steps = steps.lock().unwrap();
    for step in [LoadStep::Verifying, LoadStep::Preparing, LoadStep::WarmingUp, LoadStep::Checking] {
        assert!(steps.contains(&step), "{steps:?} lacks {step:?}");
    }
    for kind in [GraphKind::Encoder, GraphKind::Decoder] {
        assert!(steps.iter().any(|step| matches!(step, LoadStep::Building { graph, .. } if *graph == kind)));
    }
    assert_eq!(steps.last(), Some(&LoadStep::Ready));
    let times = glow.load_times();
    assert!(times.total >= times.preparation + times.sessions && !times.sessions.is_zero(), "{times:?}");
}
