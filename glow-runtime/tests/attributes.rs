//! Attributes of a bundle: kept in its folder, refused when they are another model's or broken.
mod support;

use glow_models::{
    ATTRIBUTES_FILE, Bundle, Dtype, MANIFEST_FILE, TensorBytes, TensorFileError, write_atomically,
    write_tensors,
};
use glow_runtime::{Attributes, EncodeOptions, Error, ErrorKind, FitOptions, Glow, Method};
use ndarray::{Array4, Axis, concatenate};
use serde_json::{Value as Json, json};
use std::collections::BTreeMap;
use std::path::Path;
use support::{conditional, copy, noise, unconditional};

/// Noise that is brighter for every other image.
fn images() -> (Array4<u8>, Vec<bool>) {
    let dark = noise(10).mapv(|value| value / 2);
    let bright = noise(10).mapv(|value| 100 + value / 2);
    (concatenate![Axis(0), dark, bright], (0..20).map(|i| i >= 10).collect())
}

/// Fits `Bright` to the bundle in a folder.
fn fitted(folder: &Path) -> (Glow, Attributes) {
    let (images, labels) = images();
    let glow = Glow::load(folder).unwrap();
    let latents = glow.encode(&images, &EncodeOptions::default()).unwrap().latents;
    let mut attributes = glow.attributes().unwrap();
    attributes.fit("Bright", latents.flat().view(), &labels, &FitOptions::default()).unwrap();
    (glow, attributes)
}

#[test]
fn what_is_saved_is_there_again() {
    let folder = copy(&unconditional());
    let (glow, mut attributes) = fitted(folder.path());
    assert!(glow.attributes().unwrap().is_empty());
    let latents = glow.encode(&images().0, &EncodeOptions::default()).unwrap().latents;
    for (name, method) in [("Grün und mehr", Method::RIDGE), ("a", Method::LOGISTIC)] {
        let options = FitOptions::new().method(method).orthogonalise(true);
        let labels: Vec<bool> = (0..20).map(|i| i % 3 == 0).collect();
        attributes.fit(name, latents.flat().view(), &labels, &options).unwrap();
        if method == Method::RIDGE {
            attributes.remove(name).unwrap();
        }
    }
    attributes.save(folder.path()).unwrap();
    assert_eq!(glow.attributes().unwrap(), attributes);
    assert_eq!(Attributes::open(folder.path()).unwrap(), attributes);
    attributes.remove("a").unwrap();
    attributes.remove("Bright").unwrap();
    attributes.save(folder.path()).unwrap();
    assert!(!folder.path().join(ATTRIBUTES_FILE).exists());
    attributes.save(folder.path()).unwrap();
}

/// A direction through the coarsest level alone is kept without the zeros before it.
#[test]
fn directions_through_coarse_levels_take_less_space() {
    let folder = copy(&unconditional());
    let (glow, mut attributes) = fitted(folder.path());
    attributes.save(folder.path()).unwrap();
    let size = || std::fs::metadata(folder.path().join(ATTRIBUTES_FILE)).unwrap().len();
    let whole = size();
    let (images, labels) = images();
    let latents = glow.encode(&images, &EncodeOptions::default()).unwrap().latents;
    let dims = glow.architecture().dims();
    for (levels, zeros) in [(1, dims / 2), (2, 0)] {
        let options = FitOptions::new().levels(levels);
        let fitted = attributes.fit("Bright", latents.flat().view(), &labels, &options).unwrap();
        assert_eq!(fitted.statistics().levels, Some(levels));
        assert_eq!(fitted.direction().iter().take_while(|&&v| v == 0.0).count(), zeros);
        attributes.save(folder.path()).unwrap();
        assert_eq!(glow.attributes().unwrap(), attributes);
        assert_eq!(size() < whole, levels == 1);
    }
    for levels in [0, 3] {
        let options = FitOptions::new().levels(levels);
        let error = attributes.fit("Bright", latents.flat().view(), &labels, &options).unwrap_err();
        assert!(matches!(error, Error::Option { option: "levels", .. }), "{error}");
    }
}

#[test]
fn an_edit_goes_where_it_should() {
    let (glow, attributes) = fitted(copy(&unconditional()).path());
    let (images, _) = images();
    let mean =
        |images: &Array4<u8>| images.iter().map(|&value| f64::from(value)).sum::<f64>() / images.len() as f64;
    let brighter = glow.edit(&images, &attributes, &[("Bright", 0.3)], None).unwrap();
    let darker = glow.edit(&images, &attributes, &[("Bright", -0.3)], None).unwrap();
    let unchanged = glow.edit(&images, &attributes, &[("Bright", 0.0)], None).unwrap();
    assert_eq!(unchanged, images);
    assert!(mean(&darker) + 5.0 < mean(&images) && mean(&images) + 5.0 < mean(&brighter));
}

#[test]
fn files_that_are_broken() {
    let folder = copy(&unconditional());
    let (glow, attributes) = fitted(folder.path());
    attributes.save(folder.path()).unwrap();
    let path = folder.path().join(ATTRIBUTES_FILE);
    let good = std::fs::read(&path).unwrap();
    let sha256 = glow.manifest().model_sha256().to_string();
    let statistics = r#"{"method":"mean-difference","orthogonalised":false,"positives":1,"negatives":1,"held_out_accuracy":null}"#;
    let entry = |name: &str| format!(r#"{{"name":"{name}","offset":0.0,"statistics":{statistics}}}"#);
    let list = |entries: &[String]| format!("[{}]", entries.join(","));
    let write = |change: &[(&str, &str)], shape: &[usize], value: f32| {
        let mut metadata: BTreeMap<String, String> = [
            ("format", "glow-attributes"),
            ("version", "1"),
            ("model_sha256", &sha256),
            ("attributes", &list(&[entry("A")])),
        ]
        .map(|(key, value)| (key.to_string(), value.to_string()))
        .into();
        metadata.extend(change.iter().map(|(key, value)| (key.to_string(), value.to_string())));
        let bytes: Vec<u8> =
            vec![value; shape.iter().product()].iter().flat_map(|v| v.to_le_bytes()).collect();
        let tensor = TensorBytes { name: "A", dtype: Dtype::F32.into(), shape, bytes: &bytes };
        write_atomically(&path, |out| write_tensors(out, &metadata, &[tensor]).map(|_| ())).unwrap();
    };
    write(&[], &[192], 1.0);
    assert_eq!(glow.attributes().unwrap().len(), 1);
    let two = list(&[entry("A"), entry("A")]);
    type Damage<'a> = Box<dyn Fn() + 'a>;
    let cases: Vec<(&str, Damage<'_>)> = vec![
        ("where its header says", Box::new(|| std::fs::write(&path, &good[..good.len() - 1]).unwrap())),
        ("has 4 bytes", Box::new(|| std::fs::write(&path, "none").unwrap())),
        (
            "its format is \"\"",
            Box::new(|| drop(std::fs::copy(folder.path().join("model.safetensors"), &path))),
        ),
        ("its version is \"3\"", Box::new(|| write(&[("version", "3")], &[192], 1.0))),
        ("is F32 [193], not F32 [192]", Box::new(|| write(&[("version", "2")], &[193], 1.0))),
        ("is F32 [0], not F32 [192]", Box::new(|| write(&[("version", "2")], &[0], 1.0))),
        (
            "it belongs to the weights with SHA-256 00",
            Box::new(|| write(&[("model_sha256", "00")], &[192], 1.0)),
        ),
        ("expected", Box::new(|| write(&[("attributes", "yes")], &[192], 1.0))),
        ("it has no tensor \"B\"", Box::new(|| write(&[("attributes", &list(&[entry("B")]))], &[192], 1.0))),
        (
            "name = \"\" is out of range",
            Box::new(|| write(&[("attributes", &list(&[entry("")]))], &[192], 1.0)),
        ),
        ("it lists \"A\" twice", Box::new(|| write(&[("attributes", &two)], &[192], 1.0))),
        ("is F32 [191], not F32 [192]", Box::new(|| write(&[], &[191], 1.0))),
        ("is F32 [2, 96], not F32 [192]", Box::new(|| write(&[], &[2, 96], 1.0))),
        ("\"A\" is not a direction", Box::new(|| write(&[], &[192], f32::NAN))),
        ("\"A\" is not a direction", Box::new(|| write(&[], &[192], 0.0))),
    ];
    for (expected, damage) in cases {
        damage();
        let error = glow.attributes().expect_err(expected);
        let source = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
        let text = format!("{error}: {source}");
        assert!(text.contains(expected) && text.contains(ATTRIBUTES_FILE), "{text:?}: no {expected:?}");
    }
}

#[test]
fn they_belong_to_one_model() {
    let (folder, other) = (copy(&unconditional()), copy(&conditional()));
    let (_, attributes) = fitted(folder.path());
    let error = attributes.save(other.path()).unwrap_err();
    assert!(matches!(error, Error::Attributes { .. }), "{error}");
    assert!(error.to_string().contains("they belong to the weights with SHA-256"), "{error}");
    std::fs::remove_file(folder.path().join(MANIFEST_FILE)).unwrap();
    assert!(matches!(attributes.save(folder.path()), Err(Error::Bundle(_))));
}

/// `attributes.safetensors`: its metadata, a direction of so many numbers of a value.
fn file(metadata: Json, dtype: &str, length: usize, value: f32) -> Vec<u8> {
    let size = if dtype == "F64" { 8 } else { 4 };
    let tensor = json!({ "dtype": dtype, "shape": [length], "data_offsets": [0, size * length] });
    let mut header = json!({ "__metadata__": metadata, "Dark": tensor }).to_string();
    header.extend(std::iter::repeat_n(' ', header.len().next_multiple_of(8) - header.len()));
    let numbers = value.to_le_bytes().repeat(length * size / 4);
    [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &numbers].concat()
}

#[test]
fn attributes_that_are_none() {
    let bundle = support::unconditional();
    let sha256 = Bundle::open(&bundle).unwrap().manifest().model_sha256().to_string();
    let entry = |name: &str, offset: Json| {
        let statistics = json!({ "method": "mean-difference", "orthogonalised": false, "positives": 1, "negatives": 1,
                                 "held_out_accuracy": null });
        json!({ "name": name, "offset": offset, "statistics": statistics })
    };
    let metadata = |key: &str, value: &str| {
        let entries = json!([entry("Dark", json!(0.5))]).to_string();
        let mut all = json!({ "format": "glow-attributes", "version": "1", "model_sha256": sha256, "attributes": entries });
        all[key] = json!(value);
        all
    };
    let whole = || metadata("version", "1");
    let entries = |entries: Json| metadata("attributes", &entries.to_string());
    let good = file(whole(), "F32", 192, 1.0);
    let cases = [
        ("length", vec![]),
        ("header", b"not a file of tensors".to_vec()),
        ("format", [&8u64.to_le_bytes()[..], b"no JSON!"].concat()),
        ("header", [&u64::MAX.to_le_bytes()[..], b"{}"].concat()),
        ("length", good[..good.len() - 4].to_vec()),
        ("length", [&good[..], &[0; 4]].concat()),
        ("attributes", file(metadata("format", "other"), "F32", 192, 1.0)),
        ("attributes", file(metadata("version", "3"), "F32", 192, 1.0)),
        ("attributes", file(metadata("model_sha256", "00"), "F32", 192, 1.0)),
        ("attributes", file(metadata("attributes", "["), "F32", 192, 1.0)),
        ("attributes", file(entries(json!([entry("", json!(0.5))])), "F32", 192, 1.0)),
        ("attributes", file(entries(json!([entry("a=b", json!(0.5))])), "F32", 192, 1.0)),
        ("attributes", file(entries(json!([entry("Bright", json!(0.5))])), "F32", 192, 1.0)),
        ("attributes", file(entries(json!([entry("Dark", json!("far"))])), "F32", 192, 1.0)),
        ("attributes", {
            let twice = json!([entry("Dark", json!(0.5)), entry("Dark", json!(0.5))]);
            file(entries(twice), "F32", 192, 1.0)
        }),
        ("attributes", file(whole(), "F32", 191, 1.0)),
        ("attributes", file(metadata("version", "2"), "F32", 193, 1.0)),
        ("attributes", file(metadata("version", "2"), "F32", 0, 1.0)),
        ("attributes", file(whole(), "F64", 192, 1.0)),
        ("attributes", file(whole(), "F32", 192, 0.0)),
        ("attributes", file(whole(), "F32", 192, f32::NAN)),
        ("attributes", file(whole(), "F32", 192, f32::INFINITY)),
    ];
    let folder = support::copy(&bundle);
    let glow = Glow::load(folder.path()).unwrap();
    std::fs::write(folder.path().join(ATTRIBUTES_FILE), &good).unwrap();
    assert_eq!(glow.attributes().unwrap().len(), 1);
    for (number, (expected, file)) in cases.into_iter().enumerate() {
        std::fs::write(folder.path().join(ATTRIBUTES_FILE), file).unwrap();
        let error = glow.attributes().err().unwrap_or_else(|| panic!("case {number} was read"));
        let text = error.with_causes();
        let found = match &error {
            Error::Attributes { .. } => "attributes",
            Error::TensorFile(TensorFileError::Header { .. }) => "header",
            Error::TensorFile(TensorFileError::Format { .. }) => "format",
            Error::TensorFile(TensorFileError::Length { .. }) => "length",
            _ => "another",
        };
        assert_eq!((found, error.kind()), (expected, ErrorKind::File), "case {number}: {text}");
    }
}
