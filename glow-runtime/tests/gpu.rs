//! What only a GPU can show of the runtime: run by `make test-gpu`, one test at a time. Where there is no GPU each says
//! that it was not run; where there is one, a provider that does not work is a failure.
mod support;

use glow_runtime::{
    ConvSearch, Cuda, EncodeOptions, Error, ErrorKind, Glow, GlowBuilder, GraphKind, Job, LoadStep, Provider,
    SampleOptions, Scheduler, SchedulerOptions, TensorRt,
};
use ndarray::Array4;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use support::{checkpoint, in_memory, noise, unconditional};

/// A model of real size, with trained weights: the faces that come with the project, in 8 bits.
fn faces() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/faces64")
}

fn there_is_a_gpu() -> bool {
    ["/dev/nvidiactl", "/dev/dxg"].iter().any(|path| Path::new(path).exists())
}

/// The model on a provider, or a line that says why not.
fn load(builder: GlowBuilder, provider: Provider, bundle: &Path) -> Option<Glow> {
    match builder.provider(provider.clone()).load(bundle) {
        Ok(glow) => Some(glow),
        Err(Error::Provider { reason, .. }) if !there_is_a_gpu() => {
            eprintln!("not run: {provider} cannot be used ({reason})");
            None
        }
        // TensorRT is installed by itself.
        Err(Error::Provider { provider: Provider::TensorRt(_), reason, .. })
            if reason.contains("libnvinfer") =>
        {
            eprintln!("not run: {reason}");
            None
        }
        Err(error) => panic!("{}", error.with_causes()),
    }
}

fn cuda() -> Provider {
    Provider::Cuda(Cuda::default())
}

fn cpu(bundle: &Path) -> Glow {
    Glow::load(bundle).unwrap()
}

/// Whether two models say the same: the same pixels but for so many of a thousand by one level, and likelihoods that are apart by no
/// more than so many bits/dim.
fn same(actual: &Glow, expected: &Glow, images: &Array4<u8>, pixels: f64, bits: f64) {
    let encode = |glow: &Glow| glow.encode(images, &EncodeOptions::default()).unwrap();
    let (a, b) = (encode(actual), encode(expected));
    let dims = expected.architecture();
    for (a, b) in a.log_prob.iter().zip(&b.log_prob) {
        let apart = (dims.bits_per_dim(f64::from(*a)) - dims.bits_per_dim(f64::from(*b))).abs();
        assert!(apart <= bits, "{a} and {b} nats are {apart} bits/dim apart");
    }
    let sample = |glow: &Glow| glow.sample(9, &SampleOptions::new().seed(1)).unwrap();
    let (a, b) = (sample(actual), sample(expected));
    let other = a.iter().zip(&b).filter(|(a, b)| a != b).count() as f64 / a.len() as f64;
    assert!(other <= pixels, "{other} of the values are others");
}

/// First day, 1: no node falls to the CPU, and nothing is copied between two nodes.
#[test]
#[ignore = "needs a GPU: make test-gpu"]
fn all_nodes_run_on_the_gpu() {
    let Some(glow) = load(Glow::builder(), cuda(), &unconditional()) else { return };
    for graph in [GraphKind::Encoder, GraphKind::Decoder] {
        let nodes = glow.nodes(graph).unwrap();
        let there = |node: &&glow_runtime::Node| node.provider != "CUDAExecutionProvider";
        assert_eq!(nodes.iter().find(there), None);
        assert_eq!(nodes.iter().find(|node| node.operator.starts_with("Memcpy")), None);
        let transposes = nodes.iter().filter(|node| node.operator == "Transpose").count();
        println!("{graph}: {} nodes, {transposes} of them transpose", nodes.len());
    }
}

/// First day, 2: float32 without TF32 gives every pixel back, and agrees with the CPU.
#[test]
#[ignore = "needs a GPU: make test-gpu"]
fn cuda_computes_the_same_model() {
    for options in
        [Cuda::default(), Cuda::default().nhwc(true), Cuda::default().search(ConvSearch::Heuristic)]
    {
        let Some(glow) = load(Glow::builder().check(true), Provider::Cuda(options), &unconditional()) else {
            return;
        };
        for n in [1, 2, 3, 5, 8, 9, 33] {
            assert_eq!(glow.reconstruct(&noise(n), None).unwrap(), noise(n), "{n} images");
        }
        same(&glow, &cpu(&unconditional()), &noise(9), 1e-3, 1e-4);
    }
}

/// Batches that are filled up give what they give alone.
#[test]
#[ignore = "needs a GPU: make test-gpu"]
fn filled_batches_change_little() {
    let Some(glow) = load(Glow::builder(), cuda(), &unconditional()) else { return };
    let all = glow.encode(&noise(9), &EncodeOptions::default()).unwrap();
    for n in 1..9 {
        let some = glow.encode(&noise(n), &EncodeOptions::default()).unwrap();
        for (a, b) in some.log_prob.iter().zip(&all.log_prob) {
            // cuDNN takes another algorithm for another size.
            assert!((a - b).abs() <= 1e-5 * b.abs(), "{n} images: {a} and {b}");
        }
    }
}

/// First day, 3 and 5: many threads, many sizes, with and without CUDA graphs: each gets what a single caller gets.
#[test]
#[ignore = "needs a GPU: make test-gpu"]
fn threads_get_what_one_gets() {
    for graphs in [false, true] {
        let builder = Glow::builder().warm_up([1, 2, 4, 8, 16, 32]);
        let provider = Provider::Cuda(Cuda::default().graphs(graphs));
        let Some(glow) = load(builder, provider, &unconditional()) else { return };
        let sample = |i: u64| glow.sample(1 + i as usize % 7, &SampleOptions::new().seed(i)).unwrap();
        let expected: Vec<_> = (0..24).map(sample).collect();
        let end = Instant::now() + Duration::from_secs(5);
        std::thread::scope(|scope| {
            for thread in 0..16 {
                let (sample, expected) = (&sample, &expected);
                scope.spawn(move || {
                    for i in (thread..).map(|i| i % 24).take_while(|_| Instant::now() < end) {
                        assert_eq!(sample(i), expected[i as usize], "call {i}, graphs {graphs}");
                    }
                });
            }
        });
    }
}

/// The queue for services, on a GPU.
#[test]
#[ignore = "needs a GPU: make test-gpu"]
fn a_scheduler_gives_what_the_model_gives() {
    let Some(glow) = load(Glow::builder(), cuda(), &unconditional()) else { return };
    let expected: Vec<_> =
        (0..32).map(|seed| glow.sample(1, &SampleOptions::new().seed(seed)).unwrap()).collect();
    let scheduler = Scheduler::new(glow, SchedulerOptions::new().warm_up(true)).unwrap();
    let submit = |seed| scheduler.submit(Job::sample(1, SampleOptions::new().seed(seed))).unwrap();
    let tickets: Vec<_> = (0..32).map(submit).collect();
    for (ticket, expected) in tickets.into_iter().zip(&expected) {
        let actual = ticket.wait().unwrap();
        let other = actual.iter().zip(expected).filter(|(a, b)| a != b).count();
        assert!(other * 1000 <= actual.len(), "{other} values are others in a batch");
    }
}

/// First day, 6: TensorRT is exact if the environment forbids TF32, and within 4 levels otherwise. The variable is read
/// when the process begins with CUDA, so each is a process of its own.
#[test]
#[ignore = "needs a GPU: make test-gpu"]
fn tensorrt_is_as_exact_as_it_is_told_to_be() {
    for forbidden in ["0", "1"] {
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.args(["--ignored", "--exact", "tensorrt_reconstructs", "--nocapture"]);
        assert!(child.env("NVIDIA_TF32_OVERRIDE", forbidden).status().unwrap().success());
    }
}

#[test]
#[ignore = "needs a GPU: make test-gpu"]
fn tensorrt_reconstructs() {
    let exact = std::env::var("NVIDIA_TF32_OVERRIDE").is_ok_and(|value| value == "0");
    let Some(glow) = load(Glow::builder(), Provider::TensorRt(TensorRt::default()), &unconditional()) else {
        return;
    };
    let back = glow.reconstruct(&noise(9), None).unwrap();
    let most = back.iter().zip(&noise(9)).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
    assert!(most <= if exact { 0 } else { 4 }, "{most} levels apart, exact: {exact}");
}

/// Engines are built once, by whoever is first, and found again; behind TensorRT another provider takes what it leaves.
#[test]
#[ignore = "needs a GPU: make test-gpu"]
fn engines_are_kept() {
    let cache = tempfile::tempdir().unwrap();
    let tensorrt = || Provider::TensorRt(TensorRt::default().batches([1, 4, 8]));
    let build = || {
        let begin = Instant::now();
        let damaged = |step| assert!(!matches!(step, LoadStep::CacheDamaged { .. }), "{step:?}");
        let builder = Glow::builder().cache(cache.path()).on_progress(damaged);
        load(builder, tensorrt(), &unconditional()).map(|glow| (glow, begin.elapsed()))
    };
    let Some((first, built)) = build() else { return };
    let (second, found) = build().unwrap();
    assert!(found * 2 < built, "built in {built:?}, found in {found:?}");
    same(&second, &first, &noise(9), 0.0, 0.0);
    let lists = Glow::builder().providers([tensorrt(), cuda()]).check(true).load(unconditional()).unwrap();
    same(&lists, &first, &noise(9), 1e-2, 1e-2);
}

/// First day, 7: half precision stays within what its bundles promise.
#[test]
#[ignore = "needs a GPU: make test-gpu"]
fn half_precision_is_close() {
    if load(Glow::builder(), cuda(), &unconditional()).is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (bundle, whole) = (folder.path().join("half"), folder.path().join("whole"));
    checkpoint::export(0, &bundle, &["--precision", "fp16"]);
    checkpoint::export(0, &whole, &[]);
    let glow = load(Glow::builder().check(true), cuda(), &bundle).unwrap();
    same(&glow, &cpu(&whole), &noise(9), 0.02, 0.01);
    if let Some(glow) = load(Glow::builder(), Provider::TensorRt(TensorRt::default().fp16(true)), &bundle) {
        same(&glow, &cpu(&whole), &noise(9), 0.1, 0.05);
    }
}

/// ONNX Runtime takes the weights of a bundle in memory from there.
#[test]
#[ignore = "needs a GPU: make test-gpu"]
fn a_bundle_in_memory_is_the_same_model() {
    let Some(folder) = load(Glow::builder(), cuda(), &unconditional()) else { return };
    let bytes = in_memory(&unconditional());
    let memory = Glow::builder().provider(cuda()).load_bytes(bytes).unwrap();
    same(&memory, &folder, &noise(9), 0.0, 0.0);
}

/// What has no kernels there says so before anything is loaded.
#[test]
#[ignore = "needs a GPU: make test-gpu"]
fn int8_is_refused() {
    for provider in [cuda(), Provider::TensorRt(TensorRt::default())] {
        let refused = Glow::builder().provider(provider).load(faces()).map(drop).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Provider, "{refused}");
    }
}

/// Memory that ends is told apart, and what comes after it works.
#[test]
#[ignore = "needs a GPU: make test-gpu"]
fn memory_that_ends_is_an_error_of_its_kind() {
    let limited = Cuda::default().memory_limit(8 << 20);
    let builder = Glow::builder().max_batch(4096);
    let Some(glow) = load(builder, Provider::Cuda(limited), &unconditional()) else { return };
    let failed = glow.sample(4096, &SampleOptions::new()).map(drop).unwrap_err();
    assert_eq!(failed.kind(), ErrorKind::Memory, "{}", failed.with_causes());
    glow.health().unwrap();
    glow.sample(1, &SampleOptions::new()).unwrap();
}

/// Sessions come and go, and the GPU's memory is what it was.
#[test]
#[ignore = "needs a GPU: make test-gpu"]
fn loading_again_and_again_leaks_nothing() {
    let used = || {
        let query = ["--query-gpu=memory.used", "--format=csv,noheader,nounits"];
        let output = Command::new("nvidia-smi").args(query).output().ok()?;
        String::from_utf8(output.stdout).ok()?.lines().next()?.trim().parse::<u64>().ok()
    };
    let round = || {
        load(Glow::builder(), cuda(), &unconditional())
            .map(|glow| glow.sample(4, &SampleOptions::new()).unwrap())
    };
    if round().is_none() {
        return;
    }
    let before = used();
    (0..10).for_each(|_| drop(round()));
    let after = used();
    if let (Some(before), Some(after)) = (before, after) {
        assert!(after <= before + 64, "{before} MB, then {after} MB");
    }
}

/// The figures for the documentation: median time of a call, beside the CPU's in the same run.
#[test]
#[ignore = "needs a GPU: make test-gpu"]
fn latencies() {
    let providers = [
        Provider::Cpu,
        cuda(),
        Provider::Cuda(Cuda::default().graphs(true)),
        Provider::TensorRt(TensorRt::default()),
    ];
    let bundle = std::env::var_os("GLOW_BUNDLE").map_or_else(unconditional, PathBuf::from);
    for provider in providers {
        let Some(glow) = load(Glow::builder().warm_up([1, 16]), provider.clone(), &bundle) else { return };
        for n in [1, 16] {
            let mut times: Vec<Duration> = (0..50)
                .map(|seed| {
                    let begin = Instant::now();
                    glow.sample(n, &SampleOptions::new().seed(seed)).unwrap();
                    begin.elapsed()
                })
                .collect();
            times.sort();
            println!("{provider}: {n} samples in {:.2} ms, 99 % in {:.2} ms", ms(times[25]), ms(times[49]));
        }
    }
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
