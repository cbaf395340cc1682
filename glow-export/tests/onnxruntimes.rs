//! Bundles in several ONNX Runtimes: each accepted version gives the pixels, latents and likelihoods of the float64
//! reference, and one that is too old is refused.
//!
//! `make test-onnxruntimes` fetches the versions and says in the environment which they are. A process can open one
//! ONNX Runtime, so the test starts itself once for each.
#[path = "support/evaluated.rs"]
mod evaluated;

use evaluated::evaluated;
use glow_export::{Reference, ReferenceEncoding};
use glow_models::{Architecture, Bundle, Precision, thaw};
use glow_runtime::{Error, Glow, Interpolation, Latents, OnnxRuntime};
use ndarray::{Array3, Array4, ArrayView3, Axis};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Names the child's bundle, and the file that it writes its answer to.
const BUNDLE: &str = "GLOW_TEST_BUNDLE";
const ANSWER: &str = "GLOW_TEST_ANSWER";

const BUNDLES: [&str; 3] = ["models/tests/bundle", "models/tests/conditional-bundle", "models/faces64"];
const IMAGES: usize = 2;
/// Both ends and one in between.
const STEPS: usize = 3;

fn checkout() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

#[test]
#[ignore = "needs the ONNX Runtimes that `make test-onnxruntimes` fetches"]
fn every_accepted_onnx_runtime_gives_the_same() {
    if let Some(bundle) = std::env::var_os(BUNDLE) {
        let answer = child(Path::new(&bundle));
        return std::fs::write(std::env::var_os(ANSWER).unwrap(), answer.to_string()).unwrap();
    }
    let variable = |name: &str| std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set"));
    let fetched = |version: &str| checkout().join(format!(".native/onnxruntime-{version}"));
    // The pinned one is found without being named.
    let pinned = OnnxRuntime::open(None).unwrap();
    let mut versions = vec![(pinned.version, pinned.path)];
    for version in variable("GLOW_ONNXRUNTIMES").split_whitespace() {
        versions.push((version.into(), fetched(version)));
    }
    let readme = std::fs::read_to_string(checkout().join("glow-runtime/README.md")).unwrap();
    for (version, _) in &versions {
        assert!(readme.contains(version), "glow-runtime/README.md does not name {version}");
    }
    for folder in BUNDLES {
        let bundle = checkout().join(folder);
        let expected = Expected::of(&bundle);
        let mut first = None;
        for (version, library) in &versions {
            let answer = ask(library, &bundle);
            assert_eq!(answer["version"], **version, "{answer}");
            let worst = expected.compare(&answer);
            println!("{folder} in ONNX Runtime {version}: {worst}");
            let first = first.get_or_insert_with(|| answer.clone());
            expected.compare_versions(first, &answer);
        }
    }
    for version in variable("GLOW_ONNXRUNTIME_TOO_OLD").split_whitespace() {
        let answer = ask(&fetched(version), &checkout().join(BUNDLES[0]));
        assert_eq!(answer, json!({ "too old": version, "needed": "1.21" }));
        println!("ONNX Runtime {version} is refused");
    }
}

/// The answer of a process that uses this library.
fn ask(library: &Path, bundle: &Path) -> Value {
    assert!(library.exists(), "{} is missing", library.display());
    let folder = tempfile::tempdir().unwrap();
    let answer = folder.path().join("answer.json");
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", "every_accepted_onnx_runtime_gives_the_same", "--ignored"]);
    child.env("ORT_DYLIB_PATH", library).env(BUNDLE, bundle).env(ANSWER, &answer);
    let output = child.output().unwrap();
    assert!(output.status.success(), "{}: {output:?}", library.display());
    serde_json::from_slice(&std::fs::read(answer).unwrap()).unwrap()
}

/// Numbers in [0, 1) without any structure.
fn numbers(seed: u64) -> impl FnMut() -> f32 {
    let mut state = seed;
    move || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 40) as f32 / (1u64 << 24) as f32
    }
}

/// Smooth pictures with a little noise: what models of photographs know, in every size.
fn images(a: &Architecture) -> Array4<u8> {
    let mut random = numbers(1);
    Array4::from_shape_fn((IMAGES, a.height, a.width, a.channels), |(n, y, x, c)| {
        let (y, x) = (y as f32 / a.height as f32, x as f32 / a.width as f32);
        let wave = ((2 + n) as f32 * x + y * (3.0 - n as f32) + c as f32).sin();
        (128.0 + 90.0 * wave + 8.0 * random()) as u8
    })
}

fn noise(a: &Architecture) -> Array4<f32> {
    Array4::from_shape_simple_fn((IMAGES, a.height, a.width, a.channels), numbers(2))
}

/// Of the standard deviation of samples at temperature 0.6.
fn latents(a: &Architecture) -> Vec<Array4<f32>> {
    let mut random = numbers(3);
    let level = |s: &glow_models::LatentShape| {
        let shape = (IMAGES, s.channels, s.height, s.width);
        Array4::from_shape_simple_fn(shape, || 2.0 * random() - 1.0)
    };
    a.latent_shapes().iter().map(level).collect()
}

fn labels(a: &Architecture) -> Option<Vec<i64>> {
    (a.classes > 0).then(|| vec![1; IMAGES])
}

/// Runs every kind of call, on a model that shares its weights among its graphs, new and from a cache.
fn child(bundle: &Path) -> Value {
    let glow = match Glow::load(bundle) {
        Ok(glow) => glow,
        Err(Error::LibraryTooOld { version, needed, .. }) => {
            return json!({ "too old": version, "needed": needed });
        }
        Err(error) => panic!("{}", error.with_causes()),
    };
    let answer = answer(&glow);
    let cache = tempfile::tempdir().unwrap();
    for _ in 0..2 {
        let cached = Glow::builder().cache(cache.path()).load(bundle).unwrap();
        assert!(self::answer(&cached) == answer, "a model with a cache gives something else");
    }
    answer
}

fn answer(glow: &Glow) -> Value {
    let a = glow.architecture();
    let (images, labels) = (images(a), labels(a));
    let labels = labels.as_deref();
    let encoded = glow.encode_with(&images, &noise(a), labels).unwrap();
    let given = Latents::from_levels(latents(a)).unwrap();
    let decoded = glow.decode(&given, labels).unwrap();
    let reconstructed = glow.reconstruct(&images, labels).unwrap();
    let (from, to) = (given.slice(0..1).unwrap(), given.slice(1..2).unwrap());
    let label = labels.map(|labels| &labels[..1]);
    let path = glow.interpolate(&from, &to, STEPS, Interpolation::Linear, label).unwrap();
    let floats = |array: &Array4<f32>| array.iter().copied().collect::<Vec<f32>>();
    let bytes = |array: &Array4<u8>| array.iter().copied().collect::<Vec<u8>>();
    json!({
        "version": glow.onnxruntime().version,
        "eps": encoded.latents.levels().iter().map(floats).collect::<Vec<_>>(),
        "log_prob": encoded.log_prob.to_vec(),
        "x": floats(&decoded.x),
        "decoded": bytes(&decoded.images),
        "reconstructed": bytes(&reconstructed),
        "path": bytes(&path),
    })
}

/// What the bundle's parameters give in float64, layer by layer, without ONNX Runtime.
struct Expected {
    precision: Precision,
    reference: Reference,
    images: Array4<u8>,
    encoded: Vec<ReferenceEncoding>,
    /// x of the latents.
    decoded: Vec<Array3<f64>>,
    /// x of those on the way from one to the other.
    path: Vec<Array3<f64>>,
}

impl Expected {
    fn of(bundle: &Path) -> Self {
        let bundle = Bundle::open(bundle).unwrap();
        let reference = evaluated(&thaw(&bundle).unwrap());
        let a = reference.architecture();
        let (images, noise, latents) = (images(a), noise(a), latents(a));
        let label = labels(a).map(|labels| labels[0] as usize);
        let encoded = images.outer_iter().zip(noise.outer_iter());
        let encoded = encoded
            .map(|(image, noise)| reference.encode(reference.dequantise(image, noise).view(), label))
            .collect();
        let between = |t: f64| {
            let level = |level: &Array4<f32>| {
                let [from, to] = [0, 1].map(|n| level.index_axis(Axis(0), n).mapv(f64::from));
                from * (1.0 - t) + to * t
            };
            reference.decode(&latents.iter().map(level).collect::<Vec<_>>(), label)
        };
        let decoded = vec![between(0.0), between(1.0)];
        let path = (0..STEPS).map(|step| between(step as f64 / (STEPS - 1) as f64)).collect();
        Self { precision: bundle.manifest().precision, images, encoded, decoded, path, reference }
    }

    /// Compares an answer; gives the differences.
    fn compare(&self, answer: &Value) -> String {
        let a = self.reference.architecture();
        let fp32 = self.precision == Precision::Fp32;
        let floats = |value: &Value| -> Vec<f64> {
            value.as_array().unwrap().iter().map(|value| value.as_f64().unwrap_or(f64::NAN)).collect()
        };
        let mut eps = 0.0;
        for (level, actual) in answer["eps"].as_array().unwrap().iter().enumerate() {
            let expected = self.encoded.iter().flat_map(|encoded| encoded.eps[level].iter().copied());
            eps = worse(eps, difference(&floats(actual), expected.collect(), fp32));
        }
        let log_prob = floats(&answer["log_prob"]);
        assert_eq!(log_prob.len(), IMAGES);
        let bits = std::f64::consts::LN_2 * a.dims() as f64;
        let bits =
            self.encoded.iter().zip(&log_prob).fold(0.0, |worst, (expected, actual)| {
                worse(worst, (expected.log_prob - actual).abs() / bits)
            });
        let last = |x: &Array3<f64>| x.view().permuted_axes([1, 2, 0]).iter().copied().collect::<Vec<_>>();
        let x = difference(&floats(&answer["x"]), self.decoded.iter().flat_map(last).collect(), fp32);
        let decoded = self.pixels(&answer["decoded"], &self.decoded);
        let path = self.pixels(&answer["path"], &self.path);
        // An image comes back as it was, in the model's steps.
        let back = bytes(&answer["reconstructed"]);
        let step = 256.0 / f64::from(a.bins());
        let largest = back.iter().zip(&self.images).fold(0.0, |worst: f64, (back, image)| {
            let expected = (f64::from(*image) / step).floor() * step;
            worst.max((f64::from(*back) - expected).abs())
        });
        assert_eq!(back.len(), self.images.len());
        let worst = format!(
            "eps {eps:.1e}, {bits:.1e} bits/dim, x {x:.1e}, pixels {decoded:.1e} and {path:.1e} of a step, \
             reconstructed {largest}"
        );
        let [most_eps, most_bits, most_x, most_pixels, most_back] = match self.precision {
            Precision::Fp32 => [1e-4, 1e-6, 1e-5, 0.0, 0.0],
            // Rounded activations: the means of the differences.
            _ => [0.2, 0.02, 0.02, 0.7, step],
        };
        assert!(eps <= most_eps && bits <= most_bits && x <= most_x, "{worst}");
        assert!(decoded <= most_pixels && path <= most_pixels && largest <= most_back, "{worst}");
        worst
    }

    /// How far the pixels are from those of x: the mean, in steps. Where x lies at a step's edge either side will do.
    fn pixels(&self, actual: &Value, x: &[Array3<f64>]) -> f64 {
        let bins = f64::from(self.reference.architecture().bins());
        let actual = bytes(actual);
        let steps = x.iter().flat_map(|x| {
            let x: ArrayView3<'_, f64> = x.view().permuted_axes([1, 2, 0]);
            x.iter().map(|x| (x + 0.5) * bins).collect::<Vec<_>>()
        });
        let steps: Vec<f64> = steps.collect();
        assert_eq!(actual.len(), steps.len());
        let off = actual.iter().zip(&steps).map(|(actual, steps)| {
            let actual = f64::from(*actual) * bins / 256.0;
            let difference = (actual - steps.floor().clamp(0.0, bins - 1.0)).abs();
            let at_edge = (steps - steps.round()).abs() < 1e-4 * bins;
            if at_edge && difference <= 1.0 { 0.0 } else { difference }
        });
        off.sum::<f64>() / actual.len() as f64
    }

    /// Two versions differ by rounding alone, which 8-bit activations make more of.
    fn compare_versions(&self, one: &Value, other: &Value) {
        for images in ["decoded", "reconstructed", "path"] {
            let (one, other) = (bytes(&one[images]), bytes(&other[images]));
            let changed = one.iter().zip(&other).filter(|(one, other)| one != other).count();
            let most = if self.precision == Precision::Fp32 { 0 } else { one.len() / 100 };
            assert!(changed <= most, "{changed} of {} values of {images} differ", one.len());
        }
    }
}

/// The largest difference, to the size of the largest number or to 1; or the mean of them.
fn difference(actual: &[f64], expected: Vec<f64>, largest: bool) -> f64 {
    assert_eq!(actual.len(), expected.len());
    let size = expected.iter().fold(1.0, |size: f64, value| size.max(value.abs()));
    let all = actual.iter().zip(&expected).map(|(a, b)| (a - b).abs());
    if largest { all.fold(0.0, worse) / size } else { all.sum::<f64>() / actual.len() as f64 }
}

/// The larger of two; what is no number is the largest.
fn worse(a: f64, b: f64) -> f64 {
    if a.is_nan() || b.is_nan() { f64::INFINITY } else { a.max(b) }
}

fn bytes(value: &Value) -> Vec<u8> {
    value.as_array().unwrap().iter().map(|value| value.as_u64().unwrap() as u8).collect()
}
