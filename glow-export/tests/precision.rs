//! Half precision and 8-bit integers: what they cost, what they refuse, and that they are the same every
//! time.
mod support;

use glow_export::{DataKind, DataSpec, ExportError, ExportOptions, Int8Layout, Keep, Precision, export};
use glow_models::{Architecture, Bundle, Coupling};
use safetensors::{Dtype, SafeTensors};
use std::fs;
use std::path::{Path, PathBuf};
use support::{chain, checkpoint, small, write_images};

/// A checkpoint, a folder of images for it, and a place for bundles.
struct Setup {
    folder: tempfile::TempDir,
    checkpoint: PathBuf,
    images: DataSpec,
}

impl Setup {
    fn new(architecture: &Architecture) -> Self {
        let (folder, checkpoint) = checkpoint(architecture);
        let images = folder.path().join("images");
        write_images(&images, architecture, 24);
        Self { images: folder_of(images), folder, checkpoint }
    }

    fn options(&self, precision: Precision) -> ExportOptions {
        ExportOptions { precision, images: Some(self.images.clone()), ..Default::default() }
    }

    fn out(&self) -> PathBuf {
        self.folder.path().join("bundle")
    }
}

/// A data set that is a folder of images.
fn folder_of(path: PathBuf) -> DataSpec {
    DataSpec { kind: DataKind::Images, path }
}

#[test]
fn every_kind_of_network_exports_in_every_precision() {
    let base = small();
    let mut table = vec![Architecture { classes: 3, n_bits: 5, ..base.clone() }];
    for (coupling, edge_bias, channels, levels) in [
        (Coupling::Affine, true, 3, 2),
        (Coupling::Affine, false, 1, 3),
        (Coupling::Additive, true, 3, 1),
        (Coupling::Additive, false, 3, 2),
    ] {
        table.push(Architecture { coupling, edge_bias, channels, levels, hidden: 16, ..base.clone() });
    }
    for architecture in table {
        let setup = Setup::new(&architecture);
        for (precision, dtype) in [(Precision::Fp16, Dtype::F16), (Precision::Int8, Dtype::I8)] {
            let report = export(&setup.checkpoint, setup.out(), &setup.options(precision))
                .unwrap_or_else(|error| panic!("{precision} of {architecture:?}: {}", chain(&error)));
            let (verification, quality) = (report.verification.unwrap(), report.quality.unwrap());
            assert!(verification.holds(), "{verification}");
            assert!(quality.real && quality.images >= 12, "{quality:?}");
            assert_eq!(report.manifest.precision, precision);
            let file = fs::read(setup.out().join("model.safetensors")).unwrap();
            let tensors = SafeTensors::deserialize(&file).unwrap();
            for (name, tensor) in tensors.iter() {
                if name.contains(".coupling.") && name.ends_with(".weight") {
                    assert_eq!(tensor.dtype(), dtype, "{name}");
                }
                // The flow's own path stays in float.
                assert!(name.contains(".coupling.") || tensor.dtype() == Dtype::F32, "{name}");
            }
        }
    }
}

#[test]
fn the_same_checkpoint_gives_the_same_bytes_on_any_number_of_threads() {
    let setup = Setup::new(&small());
    for precision in [Precision::Fp32, Precision::Fp16, Precision::Int8] {
        let bundles: Vec<_> = [1, 3]
            .iter()
            .map(|&threads| {
                let options = ExportOptions { verify: false, ..setup.options(precision) };
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                pool.install(|| export(&setup.checkpoint, setup.out(), &options)).unwrap();
                contents(&setup.out())
            })
            .collect();
        assert!(bundles[0] == bundles[1], "{precision}");
    }
}

#[test]
fn single_file_graphs_compute_the_same() {
    let setup = Setup::new(&small());
    for precision in [Precision::Fp32, Precision::Fp16, Precision::Int8] {
        let options = setup.options(precision);
        export(&setup.checkpoint, setup.out(), &options).unwrap();
        let inline = setup.folder.path().join("inline");
        export(&setup.checkpoint, &inline, &ExportOptions { inline: true, ..options }).unwrap();
        assert!(Bundle::open(&inline).unwrap().manifest().is_inline());
        assert!(!inline.join("model.safetensors").exists());
        let [external, inline] = [&setup.out(), &inline].map(|folder| {
            let options = glow_runtime::SampleOptions::new().seed(5);
            glow_runtime::Glow::load(folder).unwrap().sample(4, &options).unwrap()
        });
        assert_eq!(external, inline, "{precision}");
    }
}

#[test]
fn a_bundle_with_a_bad_round_trip_is_written_only_if_told_to() {
    // So large a shift leaves nothing of the image in 32 bits.
    let architecture = Architecture { coupling: Coupling::Additive, levels: 1, ..small() };
    let (folder, path) = support::changed_checkpoint(
        &architecture,
        |_| {},
        |_, name, values| {
            if name == "level0.step01.coupling.conv3.bias" {
                values.fill(1e6);
            }
        },
    );
    let out = folder.path().join("bundle");
    let error = export(&path, &out, &ExportOptions::default()).unwrap_err();
    assert!(matches!(error, ExportError::Inexact(_)), "{}", chain(&error));
    assert!(!out.exists());
    let told = ExportOptions { allow_inexact: true, ..Default::default() };
    let report = export(&path, &out, &told).unwrap();
    assert!(!report.verification.unwrap().holds());
    assert!(report.quality.unwrap().changed_values > 0.0);
}

/// Its last convolutions are zero, so that any step would do for their weights.
#[test]
fn an_untrained_model_exports_in_8_bits() {
    let (folder, path) = support::changed_checkpoint(
        &small(),
        |_| {},
        |_, name, values| {
            if name.contains("conv3") {
                values.fill(0.0);
            }
        },
    );
    let images = folder.path().join("images");
    write_images(&images, &small(), 24);
    let images = Some(folder_of(images));
    let options = ExportOptions { precision: Precision::Int8, images, ..Default::default() };
    let report = export(&path, folder.path().join("bundle"), &options)
        .unwrap_or_else(|error| panic!("{}", chain(&error)));
    assert!(report.verification.unwrap().holds());
}

#[test]
fn what_is_written_for_tensorrt_is_signed_and_proven_on_the_cpu() {
    for (coupling, edge_bias) in [(Coupling::Affine, true), (Coupling::Additive, false)] {
        let setup = Setup::new(&Architecture { coupling, edge_bias, ..small() });
        let options = ExportOptions { layout: Int8Layout::TensorRt, ..setup.options(Precision::Int8) };
        let report = export(&setup.checkpoint, setup.out(), &options)
            .unwrap_or_else(|error| panic!("{coupling:?}: {}", chain(&error)));
        assert!(report.verification.unwrap().holds());
        let made = Bundle::open(&setup.out()).unwrap().manifest().quantisation.clone().unwrap();
        assert_eq!((made.layout, made.calibration.as_str()), (Int8Layout::TensorRt, "images:images"));
        assert!(made.calibration_images > 0 && made.kept.is_empty());
        let file = fs::read(setup.out().join("model.safetensors")).unwrap();
        for (name, tensor) in SafeTensors::deserialize(&file).unwrap().iter() {
            // No zero points but 0, no unsigned and no 32-bit integers.
            assert!(matches!(tensor.dtype(), Dtype::F32 | Dtype::I8), "{name}");
            assert!(!name.ends_with("zero_point") || tensor.data().iter().all(|&byte| byte == 0), "{name}");
        }
    }
}

#[test]
fn steps_that_are_kept_stay_in_fp32_and_cost_nothing() {
    let setup = Setup::new(&small());
    let all = export(&setup.checkpoint, setup.out(), &setup.options(Precision::Int8)).unwrap();
    let steps = small().levels * small().depth;
    for layout in Int8Layout::ALL {
        for keep in [Keep::Worst(1), Keep::Steps(vec!["level1.step00".into()])] {
            let options = ExportOptions { keep: keep.clone(), layout, ..setup.options(Precision::Int8) };
            let report = export(&setup.checkpoint, setup.out(), &options).unwrap();
            assert!(report.verification.unwrap().holds());
            let kept = report.manifest.quantisation.unwrap().kept;
            assert_eq!(kept.len(), 1);
            assert!(keep == Keep::Worst(1) || kept == ["level1.step00"]);
            let file = fs::read(setup.out().join("model.safetensors")).unwrap();
            let mut floats = 0;
            for (name, tensor) in SafeTensors::deserialize(&file).unwrap().iter() {
                if name.ends_with(".coupling.conv2.weight") {
                    let is_kept = name.starts_with(&kept[0]);
                    assert_eq!(tensor.dtype(), if is_kept { Dtype::F32 } else { Dtype::I8 }, "{name}");
                    floats += usize::from(is_kept);
                }
            }
            assert_eq!(floats, 1);
        }
    }
    // All but one step in fp32 are nearer to fp32 than none.
    let options = ExportOptions { keep: Keep::Worst(steps - 1), ..setup.options(Precision::Int8) };
    let most = export(&setup.checkpoint, setup.out(), &options).unwrap();
    let cost = |report: &glow_export::Report| {
        let checks = &report.verification.as_ref().unwrap().checks;
        checks.iter().find(|check| check.quantity.contains("x against fp32")).unwrap().difference
    };
    assert!(cost(&most) < cost(&all), "{} {}", cost(&most), cost(&all));
    for keep in [Keep::Worst(steps), Keep::Worst(99), Keep::Steps(vec!["level9.step00".into()])] {
        let options = ExportOptions { keep, ..setup.options(Precision::Int8) };
        let error = export(&setup.checkpoint, setup.out(), &options).unwrap_err();
        assert!(matches!(error, ExportError::Keep { .. }), "{error:?}");
    }
}

#[test]
fn images_that_cannot_calibrate_are_refused() {
    let setup = Setup::new(&small());
    let (empty, few, missing) =
        (setup.folder.path().join("empty"), setup.folder.path().join("few"), setup.folder.path().join("no"));
    fs::create_dir(&empty).unwrap();
    write_images(&few, &small(), 1);
    let refused = |images: Option<DataSpec>, expected: &str| {
        let options = ExportOptions { images, ..setup.options(Precision::Int8) };
        let message = chain(&export(&setup.checkpoint, setup.out(), &options).expect_err(expected));
        assert!(message.contains(expected), "{message:?} does not say {expected:?}");
        assert!(!setup.out().exists());
    };
    refused(None, "--calibrate");
    refused(Some(folder_of(empty.clone())), "no images here");
    refused(Some(folder_of(few)), "at least two are needed");
    refused(Some(folder_of(missing)), "not found");
    let cifar10 = DataSpec { kind: DataKind::Cifar10, path: empty.clone() };
    refused(Some(cifar10.clone()), "test_batch.bin");
    fs::write(empty.join("data_batch_1.bin"), [0; 100]).unwrap();
    refused(Some(cifar10), "whole number of records");
}

#[test]
fn a_conditional_models_classes_are_the_sub_folders() {
    let setup = Setup::new(&Architecture { classes: 2, ..small() });
    let options = setup.options(Precision::Int8);
    let message = chain(&export(&setup.checkpoint, setup.out(), &options).unwrap_err());
    assert!(message.contains("2 classes, and the data set 3"), "{message}");
}

/// The files of a bundle.
fn contents(folder: &Path) -> Vec<Vec<u8>> {
    ["model.json", "model.safetensors", "encoder.onnx", "decoder.onnx"]
        .map(|file| fs::read(folder.join(file)).unwrap())
        .into()
}
