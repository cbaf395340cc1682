//! Other implementations' checkpoints against what their own code computes with them.
//!
//! The checkpoints lie in `shared/data/peer-checkpoints` beside the checkout, or where `GLOW_PEER_CHECKPOINTS`
//! says; without them these tests say that they have not run.
mod support;

use glow_export::import::{ImportError, Imported, Peer, Settings, Source, import};
use glow_export::{ExportOptions, Reference, Weights, export};
use glow_models::{Architecture, Checkpoint, Group};
use glow_runtime::{Glow, Latents};
use ndarray::{Array, Array1, Array2, Array3, Array4, ArrayD, Axis, Dimension};
use serde_json::Value;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// One golden case.
struct Case {
    folder: PathBuf,
    json: Value,
}

impl Case {
    fn all() -> Vec<Self> {
        let root = std::env::var_os("GLOW_PEER_CHECKPOINTS").map_or_else(
            || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/peer-checkpoints"),
            PathBuf::from,
        );
        let folders = |folder: &Path| -> Vec<PathBuf> {
            let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
            let mut folders: Vec<_> =
                entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect();
            folders.sort();
            folders
        };
        let cases: Vec<Self> = folders(&root)
            .iter()
            .flat_map(|peer| folders(peer))
            .filter_map(|folder| {
                let text = std::fs::read_to_string(folder.join("case.json")).ok()?;
                Some(Self { folder, json: serde_json::from_str(&text).unwrap() })
            })
            .collect();
        if cases.is_empty() {
            println!("not run: there are no peers' checkpoints in {}", root.display());
        }
        cases
    }

    fn name(&self) -> String {
        let names: Vec<_> = self.folder.iter().rev().take(2).map(|name| name.to_string_lossy()).collect();
        format!("{}/{}", names[1], names[0])
    }

    fn peer(&self) -> String {
        self.folder.parent().unwrap().file_name().unwrap().to_string_lossy().into_owned()
    }

    fn checkpoint(&self) -> PathBuf {
        self.folder.join(self.json["checkpoint"].as_str().unwrap())
    }

    fn exact(&self) -> bool {
        self.json["imports_exactly"] == true
    }

    fn architecture(&self) -> Option<Architecture> {
        serde_json::from_value(self.json.get("architecture")?.clone()).ok()
    }

    /// Sizes by name, the rest from the implementation's own settings file.
    fn settings(&self) -> Settings {
        let architecture = self.architecture();
        let text = |key: &str| Some(self.json["settings"].get(key)?.as_str()?.to_string());
        let settings = ["hparams.json", "train.txt"].map(|name| self.folder.join(name));
        Settings {
            hparams: settings.into_iter().find(|path| path.is_file()),
            height: architecture.as_ref().map(|a| a.height),
            width: architecture.as_ref().map(|a| a.width),
            n_bits: architecture.as_ref().map(|a| a.n_bits),
            split_mode: text("split_mode"),
            scale_map: text("scale_map"),
            leaky: self.json["settings"].get("leaky").and_then(Value::as_f64),
            ..Default::default()
        }
    }

    fn import(&self, settings: Settings, out: &Path) -> Result<Imported, ImportError> {
        import(&self.checkpoint(), out, settings, None)
    }

    /// An array of `golden.npz`, if it is there: version 1 of NumPy's format, little-endian and row-major.
    fn array<T: Element, D: Dimension>(&self, name: &str) -> Option<Array<T, D>> {
        let mut npz = zip::ZipArchive::new(File::open(self.folder.join("golden.npz")).ok()?).unwrap();
        let mut bytes = Vec::new();
        npz.by_name(&format!("{name}.npy")).ok()?.read_to_end(&mut bytes).unwrap();
        let end = 10 + usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
        let header = std::str::from_utf8(&bytes[10..end]).unwrap();
        assert!(
            header.contains(T::DESCRIPTION) && header.contains("'fortran_order': False"),
            "{name}: {header}"
        );
        let shape = header.split(['(', ')']).nth(1).unwrap();
        let shape: Vec<usize> = shape.split(',').filter_map(|size| size.trim().parse().ok()).collect();
        let array = ArrayD::from_shape_vec(shape, T::all(&bytes[end..])).unwrap();
        Some(array.into_dimensionality().unwrap())
    }

    /// Those of the images, if there are no others.
    fn decoded_labels(&self) -> Option<Vec<usize>> {
        self.labels("dec_labels").or_else(|| self.labels("labels"))
    }

    fn labels(&self, name: &str) -> Option<Vec<usize>> {
        let labels: Array1<i64> = self.array(name)?;
        Some(labels.iter().map(|&label| label as usize).collect())
    }
}

/// An element type of NumPy's.
trait Element: Sized {
    const DESCRIPTION: &'static str;
    fn all(bytes: &[u8]) -> Vec<Self>;
}

macro_rules! element {
    ($type:ty, $description:literal) => {
        impl Element for $type {
            const DESCRIPTION: &'static str = $description;
            fn all(bytes: &[u8]) -> Vec<Self> {
                bytes.as_chunks().0.iter().map(|&bytes| Self::from_le_bytes(bytes)).collect()
            }
        }
    };
}
element!(u8, "'|u1'");
element!(f32, "'<f4'");
element!(f64, "'<f8'");
element!(i64, "'<i8'");

fn reference(path: &Path, weights: Weights) -> Reference {
    Reference::new(&Checkpoint::open(path).unwrap(), weights).unwrap()
}

fn largest<'a>(a: impl IntoIterator<Item = &'a f64>, b: impl IntoIterator<Item = &'a f32>) -> f64 {
    a.into_iter().zip(b).fold(0.0, |largest, (a, b)| worse(largest, (a - f64::from(*b)).abs()))
}

/// The larger of two; what is no number is the largest.
fn worse(a: f64, b: f64) -> f64 {
    if a.is_nan() || b.is_nan() { f64::INFINITY } else { a.max(b) }
}

/// The largest relative difference of log p(image) from what the peer's code gives.
fn log_prob(case: &Case, reference: &Reference, golden: &str) -> f64 {
    let images: Array4<u8> = case.array("images").unwrap();
    let noise: Array4<f32> = case.array("noise").unwrap();
    let golden: Array1<f64> = case.array(golden).unwrap();
    let labels = case.labels("labels");
    let conditional = reference.architecture().classes > 0;
    let mut worst = 0.0f64;
    for (i, expected) in golden.iter().enumerate() {
        let x = reference.dequantise(images.index_axis(Axis(0), i), noise.index_axis(Axis(0), i));
        let label = labels.as_ref().filter(|_| conditional).map(|labels| labels[i]);
        let encoding = reference.encode(x.view(), label);
        worst = worse(worst, ((encoding.log_prob - expected) / expected).abs());
    }
    worst
}

/// Compares everything that the case holds; gives the differences of log p, latents and x.
fn compare(case: &Case, checkpoint: &Path) -> [f64; 3] {
    let reference = reference(checkpoint, Weights::Raw);
    let levels = reference.architecture().latent_shapes().len();
    let conditional = reference.architecture().classes > 0;
    let images: Array4<u8> = case.array("images").unwrap();
    let noise: Array4<f32> = case.array("noise").unwrap();
    let labels = case.labels("labels");
    let mut worst = [log_prob(case, &reference, "log_prob"), 0.0, 0.0];
    for i in 0..images.len_of(Axis(0)) {
        let x = reference.dequantise(images.index_axis(Axis(0), i), noise.index_axis(Axis(0), i));
        let label = labels.as_ref().filter(|_| conditional).map(|labels| labels[i]);
        let encoding = reference.encode(x.view(), label);
        for (level, eps) in encoding.eps.iter().enumerate() {
            if let Some(expected) = case.array::<f32, ndarray::Ix4>(&format!("eps_{level}")) {
                worst[1] = worse(worst[1], largest(eps, expected.index_axis(Axis(0), i)));
            }
        }
    }
    let pixels: Array4<u8> = case.array("dec_image").unwrap();
    let dec_x: Array4<f32> = case.array("dec_x_project").unwrap();
    let dec_eps: Vec<Array4<f32>> =
        (0..levels).map(|l| case.array(&format!("dec_eps_{l}")).unwrap()).collect();
    let labels = case.decoded_labels();
    for i in 0..pixels.len_of(Axis(0)) {
        let eps: Vec<Array3<f64>> =
            dec_eps.iter().map(|level| level.index_axis(Axis(0), i).mapv(f64::from)).collect();
        let label = labels.as_ref().filter(|_| conditional).map(|labels| labels[i]);
        let x = reference.decode(&eps, label);
        let expected = dec_x.index_axis(Axis(0), i);
        worst[2] = worse(worst[2], largest(x.view().permuted_axes([1, 2, 0]).iter(), expected));
        assert_eq!(reference.quantise(x.view()), pixels.index_axis(Axis(0), i), "pixels of {}", case.name());
    }
    worst
}

/// The classifier's answer to the golden top z.
fn classifier(case: &Case, checkpoint: &Path) -> Option<f64> {
    let checkpoint = Checkpoint::open(checkpoint).unwrap();
    let architecture = checkpoint.meta().config.model.clone();
    let z: Array4<f32> = case.array(&format!("z_{}", architecture.levels - 1))?;
    let logits: Array2<f32> = case.array("y_logits")?;
    let vector = |part: &str| -> Array1<f64> {
        let bytes = checkpoint.bytes(Group::Params, &format!("classifier.{part}")).unwrap();
        bytes.as_chunks().0.iter().map(|&bytes| f64::from(f32::from_le_bytes(bytes))).collect()
    };
    let (classes, channels) = (architecture.classes, z.dim().1);
    let weight = vector("weight").into_shape_with_order((classes, channels)).unwrap();
    let mean = z.mapv(f64::from).mean_axis(Axis(3))?.mean_axis(Axis(2))?;
    let answer = (mean.dot(&weight.t()) + vector("bias")) * vector("logs").mapv(|logs| (3.0 * logs).exp());
    Some(largest(answer.iter(), logits.iter()))
}

#[test]
fn what_can_be_imported_computes_the_same() {
    for case in Case::all().iter().filter(|case| case.exact()) {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("imported.safetensors");
        let mut settings = case.settings();
        if case.json["condition"] == "multi-classes" {
            let attributes: Array2<f32> = case.array("attributes").unwrap();
            settings.attributes = Some(attributes.row(0).iter().copied().map(f64::from).collect());
        }
        let imported = case.import(settings, &out).unwrap_or_else(|error| {
            panic!("{}: {}", case.name(), support::chain(&error));
        });
        let Source::Peer(peer) = imported.source else { panic!("a bundle") };
        assert_eq!(peer.name(), case.peer());
        let expected = case.architecture().unwrap();
        let channel_inv = matches!(case.json["settings"]["split_mode"].as_str(), Some("channel_inv"));
        if !channel_inv {
            assert_eq!(imported.architecture, expected, "{}", case.name());
        }
        let found = compare(case, &out);
        // openai's code is float32 throughout.
        let bounds = if peer == Peer::Openai { [1e-6, 1e-5, 5e-6] } else { [1e-6, 5e-6, 2e-6] };
        println!("{}: log_prob {:.1e}, latents {:.1e}, x {:.1e}", case.name(), found[0], found[1], found[2]);
        assert!(found.iter().zip(bounds).all(|(found, bound)| *found < bound), "{}: {found:?}", case.name());
        if expected.classes > 0
            && let Some(difference) = classifier(case, &out)
        {
            println!("{}: logits {difference:.1e}", case.name());
            assert!(difference < 1e-5, "{}: logits {difference}", case.name());
        }
        if case.array::<f64, ndarray::Ix1>("log_prob_averages").is_some() {
            let difference = log_prob(case, &reference(&out, Weights::Averaged), "log_prob_averages");
            println!("{}: log_prob of the averages {difference:.1e}", case.name());
            assert!(imported.averages && difference < 1e-6, "{}: {difference}", case.name());
        }
    }
}

#[test]
fn what_cannot_be_imported_is_refused() {
    for case in Case::all().iter().filter(|case| !case.exact()) {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("imported.safetensors");
        let error = case.import(case.settings(), &out).expect_err(&case.name());
        assert!(matches!(error, ImportError::Refused { .. }), "{}: {}", case.name(), support::chain(&error));
        assert!(!out.exists());
        println!("{}: {error}", case.name());
        // One class at a time is another matter.
        if case.json["refuse"].as_str().is_some_and(|reason| reason.contains("one class at a time")) {
            let class = case.labels("labels").map(|labels| labels[0]);
            case.import(Settings { class, ..case.settings() }, &out).unwrap();
            let found = compare(case, &out);
            println!(
                "{}, one class: log_prob {:.1e}, latents {:.1e}, x {:.1e}",
                case.name(),
                found[0],
                found[1],
                found[2]
            );
            assert!(found.iter().zip([1e-6, 5e-6, 2e-6]).all(|(found, bound)| *found < bound), "{found:?}");
        }
    }
}

#[test]
fn a_frozen_graph_holds_the_same_weights() {
    for case in Case::all().iter().filter(|case| case.json.get("frozen_graph").is_some()) {
        let folder = tempfile::tempdir().unwrap();
        let [checkpoint, graph] = ["checkpoint", "graph"].map(|name| folder.path().join(name));
        case.import(case.settings(), &checkpoint).unwrap();
        let file = case.folder.join(case.json["frozen_graph"]["file"].as_str().unwrap());
        import(&file, &graph, case.settings(), None).unwrap();
        let [checkpoint, graph] = [checkpoint, graph].map(|path| Checkpoint::open(&path).unwrap());
        for parameter in checkpoint.meta().config.model.parameters() {
            let [a, b] = [&checkpoint, &graph].map(|c| c.bytes(Group::Params, &parameter.name).unwrap());
            assert_eq!(a, b, "{} of {}", parameter.name, case.name());
        }
    }
}

#[test]
fn what_the_file_does_not_say_is_asked_for_by_name() {
    let ask = |case: &Case, settings: Settings| {
        let out = tempfile::tempdir().unwrap();
        match case.import(settings, &out.path().join("out")) {
            Err(ImportError::Ask { setting, .. }) => setting,
            other => panic!("{}: {other:?}", case.name()),
        }
    };
    for case in Case::all().iter().filter(|case| case.exact()) {
        let whole = case.settings();
        if ["rosinality", "openai"].contains(&case.peer().as_str()) {
            let without = |change: fn(&mut Settings)| {
                let mut settings = Settings { hparams: None, ..whole.clone() };
                change(&mut settings);
                ask(case, settings)
            };
            assert_eq!(without(|settings| settings.height = None), "--height");
            assert_eq!(without(|settings| settings.width = None), "--width");
            assert_eq!(without(|settings| settings.n_bits = None), "--n-bits");
        }
    }
    for case in Case::all().iter().filter(|case| case.name().ends_with("/shuffle")) {
        assert_eq!(ask(case, Settings::default()), "--permutation");
    }
}

/// The whole way: imported, frozen and verified, and the graphs decode to the peer's pixels.
#[test]
fn an_imported_model_is_frozen_and_decodes_to_the_peers_pixels() {
    for case in Case::all().iter().filter(|case| case.exact() && case.name().contains("-lu")) {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("imported.safetensors");
        case.import(case.settings(), &out).unwrap();
        let options = ExportOptions { weights: Weights::Raw, ..Default::default() };
        export(&out, folder.path().join("bundle"), &options).unwrap();
        let model = Glow::load(folder.path().join("bundle")).unwrap();
        let levels = model.architecture().latent_shapes().len();
        let latents = (0..levels).map(|level| case.array(&format!("dec_eps_{level}")).unwrap()).collect();
        let labels: Option<Vec<i64>> =
            case.decoded_labels().map(|labels| labels.into_iter().map(|label| label as i64).collect());
        let pixels: Array4<u8> = case.array("dec_image").unwrap();
        let decoded = model.decode(&Latents::from_levels(latents).unwrap(), labels.as_deref()).unwrap();
        assert_eq!(decoded.images, pixels, "{}", case.name());
        println!("{}: frozen, verified, and decoded to the same pixels", case.name());
    }
}
