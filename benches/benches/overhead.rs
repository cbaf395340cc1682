//! What `Glow::decode` and `Glow::encode` cost above the bare call of ONNX Runtime's C API that they make:
//! on the model of a preset, and on one so small that the cost stands out.
//!
//! The two are measured in turn, call by call, so that what the machine does meanwhile meets both.
use criterion::{Criterion, criterion_group, criterion_main};
use glow_benches::{FrozenModel, preset};
use glow_runtime::{EncodeOptions, Glow, Latents, Precision, SampleOptions};
use ort::sys;
use std::ffi::CString;
use std::path::Path;
use std::ptr::{null, null_mut};
use std::time::{Duration, Instant};

/// A session of ONNX Runtime's C API, with the options that the runtime sets. It lives as long as the
/// process: this is a benchmark.
struct Bare {
    session: *mut sys::OrtSession,
    input_names: Vec<CString>,
    output_names: Vec<CString>,
}

fn check(status: sys::OrtStatusPtr) {
    // SAFETY: the status is new, and used up here.
    unsafe { ort::Error::<()>::result_from_status(status) }.expect("ONNX Runtime");
}

impl Bare {
    fn new(graph: &Path, threads: i32, inputs: &[&str], outputs: &[&str]) -> Self {
        let api = ort::api();
        let name = |text: &&str| CString::new(*text).expect("no NUL");
        let path = CString::new(graph.to_str().expect("UTF-8")).expect("no NUL");
        let spinning = [
            ("session.intra_op.allow_spinning", c"0"),
            ("session.inter_op.allow_spinning", c"0"),
            ("session.force_spinning_stop", c"1"),
        ]
        .map(|(key, value)| (name(&key), value));
        let (mut environment, mut options, mut session) = (null_mut(), null_mut(), null_mut());
        // SAFETY: all pointers are valid, and the environment is the one that the process has already.
        unsafe {
            let warning = sys::OrtLoggingLevel::ORT_LOGGING_LEVEL_FATAL;
            check((api.CreateEnv)(warning, c"glow".as_ptr(), &mut environment));
            check((api.CreateSessionOptions)(&mut options));
            check((api.SetIntraOpNumThreads)(options, threads));
            for (key, value) in &spinning {
                check((api.AddSessionConfigEntry)(options, key.as_ptr(), value.as_ptr()));
            }
            check((api.CreateSession)(environment, path.as_ptr(), options, &mut session));
        }
        Self {
            session,
            input_names: inputs.iter().map(name).collect(),
            output_names: outputs.iter().map(name).collect(),
        }
    }

    /// A tensor over memory that outlives it.
    fn tensor(data: &[f32], shape: &[usize]) -> *const sys::OrtValue {
        let api = ort::api();
        let shape: Vec<i64> = shape.iter().map(|&n| n as i64).collect();
        let (mut memory, mut value) = (null_mut(), null_mut());
        // SAFETY: ONNX Runtime compares length and shape, and only reads an input.
        unsafe {
            let allocator = sys::OrtAllocatorType::OrtDeviceAllocator;
            check((api.CreateCpuMemoryInfo)(allocator, sys::OrtMemType::OrtMemTypeDefault, &mut memory));
            check((api.CreateTensorWithDataAsOrtValue)(
                memory,
                data.as_ptr().cast_mut().cast(),
                size_of_val(data),
                shape.as_ptr(),
                shape.len(),
                sys::ONNXTensorElementDataType::ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT,
                &mut value,
            ));
        }
        value
    }

    fn run(&mut self, inputs: &[*const sys::OrtValue]) {
        let api = ort::api();
        let input_names: Vec<_> = self.input_names.iter().map(|name| name.as_ptr()).collect();
        let output_names: Vec<_> = self.output_names.iter().map(|name| name.as_ptr()).collect();
        let mut outputs = vec![null_mut(); output_names.len()];
        // SAFETY: as many names as values, all alive; the outputs are released at once.
        unsafe {
            check((api.Run)(
                self.session,
                null(),
                input_names.as_ptr(),
                inputs.as_ptr(),
                inputs.len(),
                output_names.as_ptr(),
                output_names.len(),
                outputs.as_mut_ptr(),
            ));
            outputs.into_iter().for_each(|output| (api.ReleaseValue)(output));
        }
    }
}

/// Measures the two in turn for some seconds; the ratio of the medians and both in milliseconds.
fn paired(seconds: f64, mut ours: impl FnMut(), mut bare: impl FnMut()) -> (f64, f64, f64) {
    let time = |call: &mut dyn FnMut()| {
        let begin = Instant::now();
        call();
        begin.elapsed().as_secs_f64() * 1e3
    };
    let end = Instant::now() + Duration::from_secs_f64(seconds);
    let (mut a, mut b) = (Vec::new(), Vec::new());
    while a.len() < 20 || Instant::now() < end {
        a.push(time(&mut ours));
        b.push(time(&mut bare));
        b.push(time(&mut bare));
        a.push(time(&mut ours));
    }
    let median = |times: &mut Vec<f64>| {
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    };
    let (a, b) = (median(&mut a), median(&mut b));
    (a / b, a, b)
}

fn overhead(criterion: &mut Criterion) {
    let small = {
        let mut config = preset("cifar10");
        (config.model.depth, config.model.hidden) = (2, 16);
        config
    };
    for (name, config) in [("small", small), ("cifar10", preset("cifar10"))] {
        let frozen = FrozenModel::new(config, Precision::Fp32);
        let glow = Glow::builder().threads(2).load(frozen.bundle()).expect("a bundle");
        let names: Vec<String> =
            (0..glow.manifest().latent_shapes.len()).map(|l| format!("eps_{l}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let mut bare = Bare::new(&frozen.bundle().join("decoder.onnx"), 2, &names, &["image", "x"]);
        for n in [1, 8] {
            let latents: Latents = glow.sample_latents(n, &SampleOptions::default()).expect("latents");
            let inputs: Vec<_> = latents
                .levels()
                .iter()
                .map(|level| Bare::tensor(level.as_slice().expect("standard layout"), level.shape()))
                .collect();
            let (ratio, ours, alone) = paired(
                if n == 1 { 4.0 } else { 8.0 },
                || drop(glow.decode(&latents, None).expect("images")),
                || bare.run(&inputs),
            );
            println!(
                "overhead of decode, {name}, batch {n}: {:+.2} %, {ours:.3} ms against {alone:.3} ms",
                (ratio - 1.0) * 100.0
            );
            let mut group = criterion.benchmark_group(format!("overhead/{name}"));
            group.sample_size(10);
            group.bench_function(format!("decode/{n}"), |b| b.iter(|| glow.decode(&latents, None)));
            group.bench_function(format!("bare/{n}"), |b| b.iter(|| bare.run(&inputs)));
            group.finish();
        }
        let images = glow.sample(1, &SampleOptions::default()).expect("a sample");
        let mut group = criterion.benchmark_group(format!("overhead/{name}"));
        group.sample_size(10);
        group.bench_function("encode/1", |b| {
            b.iter(|| glow.encode(&images, &EncodeOptions::default()).expect("latents"));
        });
        group.finish();
    }
}

criterion_group!(benches, overhead);
criterion_main!(benches);
