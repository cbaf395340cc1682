//! From checkpoint to verified bundle, over every option of the architecture, and what goes wrong.
mod support;

use glow_export::{ExportError, ExportOptions, Reference, Weights, export, verify};
use glow_models::{Architecture, Bundle, Checkpoint, Coupling, Group, Permutation};
use glow_runtime::{Glow, GraphKind, SampleOptions};
use std::fs;
use std::num::NonZeroUsize;
use std::path::Path;
use support::{chain, changed_checkpoint, checkpoint, small};

#[test]
fn every_architecture_exports_and_agrees_with_the_reference() {
    let base = small();
    let (affine, additive) = (Coupling::Affine, Coupling::Additive);
    let mut table = Vec::new();
    for permutation in Permutation::ALL {
        for (coupling, edge_bias) in [(affine, true), (additive, true), (affine, false), (additive, false)] {
            table.push(Architecture { permutation, coupling, edge_bias, ..base.clone() });
        }
    }
    // 8 and 5 have no common divisor: every number of bits meets every number of levels.
    for i in 0..40 {
        let levels = 1 + i % 5;
        let permutations =
            [Permutation::Invconv, Permutation::Shuffle, Permutation::InvconvPlain, Permutation::Reverse];
        table.push(Architecture {
            height: 8.max(1 << levels),
            width: 8.max(1 << levels),
            levels,
            n_bits: 1 + i as u32 % 8,
            channels: [3, 1][i / 2 % 2],
            classes: [0, 3, 0, 2, 0, 1, 0][i % 7],
            permutation: permutations[i / 3 % 4],
            coupling: [affine, additive][i % 2],
            edge_bias: i / 4 % 2 == 0,
            learn_top: i % 3 > 0,
            depth: 1 + i % 2,
            ..base.clone()
        });
    }
    table.push(Architecture { depth: 1, hidden: 1, levels: 2, ..base.clone() });
    table.push(Architecture { classes: 3, edge_bias: false, ..base.clone() });
    table.push(Architecture { classes: 3, ..base });
    for architecture in table {
        let (folder, path) = checkpoint(&architecture);
        let weights = if architecture.n_bits == 8 { Weights::Averaged } else { Weights::Raw };
        let options = ExportOptions { weights, ..Default::default() };
        let report = export(&path, folder.path().join("bundle"), &options)
            .unwrap_or_else(|error| panic!("{architecture:?}: {}", chain(&error)));
        assert!(report.verification.unwrap().holds());
        assert_eq!(report.manifest.provenance.weights, weights);
    }
}

#[test]
fn the_same_checkpoint_gives_the_same_bytes() {
    let (folder, path) = checkpoint(&small());
    let files: Vec<Vec<Vec<u8>>> = ["a", "b"]
        .iter()
        .map(|out| {
            let out = folder.path().join(out);
            export(&path, &out, &unverified()).unwrap();
            bundle_files().map(|file| fs::read(out.join(file)).unwrap()).into()
        })
        .collect();
    assert_eq!(files[0], files[1]);
}

#[test]
fn verification_notices_other_weights() {
    let (folder, path) = checkpoint(&small());
    let out = folder.path().join("bundle");
    export(&path, &out, &unverified()).unwrap();
    let reference = Reference::new(&Checkpoint::open(&path).unwrap(), Weights::Raw).unwrap();
    let error = verify(&out, &reference).unwrap_err();
    let ExportError::Verification(verification) = error else { panic!("{error}") };
    for quantity in ["eps", "log_prob (bits/dim)", "x (image steps)", "image (pixels)"] {
        let check = verification.checks.iter().find(|check| check.quantity == quantity).unwrap();
        assert!(!check.holds(), "{check:?}");
    }
    // What the bundle computes is still invertible.
    assert!(verification.checks.last().unwrap().holds());
    assert!(verification.to_string().contains('✗'), "{verification}");
}

#[test]
fn verification_notices_one_wrong_number() {
    let (folder, path) = checkpoint(&small());
    let out = folder.path().join("bundle");
    export(&path, &out, &unverified()).unwrap();
    for (tensor, index) in [
        // A tap of the border channel, which only one edge of the map meets.
        ("level0.step01.coupling.conv3.weight", 9 * 9 - 2),
        ("level1.step00.permutation.upper", 1),
        ("top.edge", 1),
        ("top.logs", 47),
    ] {
        let (_other, other) = changed_checkpoint(
            &small(),
            |_| {},
            |_, name, values| {
                if name == tensor {
                    values[index] += 0.01;
                }
            },
        );
        let reference = Reference::new(&Checkpoint::open(&other).unwrap(), Weights::Averaged).unwrap();
        assert!(matches!(verify(&out, &reference), Err(ExportError::Verification(_))), "{tensor}");
    }
}

#[test]
fn broken_checkpoints_are_refused_and_an_older_bundle_stays() {
    let (folder, path) = checkpoint(&small());
    let out = folder.path().join("bundle");
    export(&path, &out, &unverified()).unwrap();
    fs::write(out.join("attributes.safetensors"), "directions").unwrap();
    let before: Vec<_> = bundle_files().map(|file| fs::read(out.join(file)).unwrap()).into();

    type Change = fn(&str, &mut [f32]);
    let plain = Architecture { permutation: Permutation::InvconvPlain, ..small() };
    let additive = Architecture { coupling: Coupling::Additive, levels: 1, ..small() };
    let cases: Vec<(&str, Architecture, Change)> = vec![
        (
            "averages/level1.step00.coupling.conv2.weight of the checkpoint holds NaN",
            small(),
            |name, values| {
                if name == "level1.step00.coupling.conv2.weight" {
                    values[3] = f32::NAN;
                }
            },
        ),
        ("level0.step01.permutation cannot be inverted", plain, |name, values| {
            if name == "level0.step01.permutation.weight" {
                let (first, rest) = values.split_at_mut(12);
                rest[..12].copy_from_slice(first);
            }
        }),
        ("level1.step01.encode.weight is too large", small(), |name, values| {
            if name == "level1.step01.actnorm.logs" {
                values[0] = 40.0;
            }
        }),
        // So large a shift leaves nothing of the image in 32 bits.
        ("worse than its number format should be", additive, |name, values| {
            if name == "level0.step01.coupling.conv3.bias" {
                values.fill(1e6);
            }
        }),
    ];
    for (expected, architecture, change) in cases {
        let (_broken, path) = changed_checkpoint(
            &architecture,
            |_| {},
            |group, name, values| {
                if group == Group::Averages {
                    change(name, values);
                }
            },
        );
        let message = chain(&export(&path, &out, &ExportOptions::default()).expect_err(expected));
        assert!(message.contains(expected), "{message:?} does not say {expected:?}");
        let new = folder.path().join("new");
        export(&path, &new, &ExportOptions::default()).expect_err(expected);
        assert!(!new.exists());
    }
    let (_new, uninitialised) =
        changed_checkpoint(&small(), |meta| meta.actnorm_initialised = false, |_, _, _| {});
    let error = export(&uninitialised, &out, &unverified()).unwrap_err();
    assert!(matches!(error, ExportError::Uninitialised { .. }), "{error}");
    fs::write(&uninitialised, "not a checkpoint").unwrap();
    assert!(matches!(export(&uninitialised, &out, &unverified()), Err(ExportError::Checkpoint(_))));

    let after: Vec<_> = bundle_files().map(|file| fs::read(out.join(file)).unwrap()).into();
    assert_eq!(before, after);
    assert_eq!(names(folder.path()), ["bundle", "random.safetensors"]);
    let report = export(&path, &out, &unverified()).unwrap();
    assert_eq!(report.kept, ["attributes.safetensors"]);
    assert_eq!(fs::read(out.join("attributes.safetensors")).unwrap(), b"directions");
    assert_eq!(names(folder.path()), ["bundle", "random.safetensors"]);
    assert_eq!(Bundle::open(&out).unwrap().manifest(), &report.manifest);
}

#[test]
fn only_a_new_an_empty_or_a_bundles_folder_is_written_to() {
    let (folder, path) = checkpoint(&small());
    let (empty, other) = (folder.path().join("empty"), folder.path().join("other"));
    fs::create_dir(&empty).unwrap();
    fs::create_dir(&other).unwrap();
    fs::write(other.join("diary.txt"), "dear diary").unwrap();
    for refused in [&other, &path, Path::new("/")] {
        let error = export(&path, refused, &unverified()).unwrap_err();
        assert!(matches!(error, ExportError::Destination { .. }), "{}", chain(&error));
    }
    export(&path, &empty, &unverified()).unwrap();
    export(&path, folder.path().join("deep/in/it"), &unverified()).unwrap();
    assert_eq!(names(&other), ["diary.txt"]);
    assert_eq!(
        names(&empty),
        ["README.md", "decoder.onnx", "encoder.onnx", "model.json", "model.safetensors"]
    );
}

/// Batches of another size are filled up, or go through in pieces, to the same images.
#[test]
fn a_fixed_batch_gives_the_same_images() {
    let (folder, path) = checkpoint(&Architecture { classes: 3, ..small() });
    let glow = |name: &str, batch| {
        let out = folder.path().join(name);
        export(&path, &out, &ExportOptions { batch, ..Default::default() }).unwrap();
        Glow::load(out).unwrap()
    };
    let (open, fixed) = (glow("open", None), glow("fixed", NonZeroUsize::new(4)));
    assert_eq!((fixed.manifest().batch, fixed.max_batch()), (Some(4), 4));
    for images in [1, 4, 7] {
        let options = SampleOptions::new().labels(vec![1; images]);
        let sampled = open.sample(images, &options).unwrap();
        assert_eq!(fixed.sample(images, &options).unwrap(), sampled);
        let labels = vec![1; images];
        assert_eq!(fixed.reconstruct(&sampled, Some(&labels)).unwrap(), sampled);
    }
    assert!(!fixed.nodes(GraphKind::Decoder).unwrap().is_empty());
    // A manifest that says another size than the graphs have is noticed.
    let out = folder.path().join("fixed");
    let mut manifest = Bundle::open(&out).unwrap().manifest().clone();
    manifest.batch = Some(5);
    Bundle::seal(&out, manifest).unwrap();
    assert!(matches!(Glow::load(&out), Err(glow_runtime::Error::Graph { .. })));
}

/// In full white, which is beyond the largest of the model's steps.
#[test]
fn a_model_whose_samples_leave_the_range_loads() {
    for n_bits in [8, 5, 1] {
        let architecture = Architecture { n_bits, ..small() };
        let (folder, path) = changed_checkpoint(
            &architecture,
            |_| {},
            |_, name, values| {
                if name == "level0.step00.actnorm.logs" {
                    // x becomes e^2.4 times as large.
                    values.iter_mut().for_each(|logs| *logs -= 0.8);
                }
            },
        );
        let out = folder.path().join("bundle");
        export(path, &out, &unverified()).unwrap();
        let glow = Glow::builder().check(true).load(&out).unwrap();
        let sample = glow.sample(1, &SampleOptions::new()).unwrap();
        assert!(sample.iter().any(|value| *value == 255), "{n_bits} bits: {sample:?}");
    }
}

#[test]
fn a_model_card_is_written_and_somebodys_own_words_stay() {
    let (folder, path) = checkpoint(&small());
    let out = folder.path().join("bundle");
    let card = || fs::read_to_string(out.join("README.md")).unwrap();
    export(&path, &out, &unverified()).unwrap();
    assert!(card().contains("not stated"));
    let licensed = ExportOptions { licence: Some("CC BY 4.0".into()), ..unverified() };
    assert!(export(&path, &out, &licensed).unwrap().kept.is_empty());
    assert!(card().contains("CC BY 4.0"));
    let mine = card() + "My notes.\n";
    fs::write(out.join("README.md"), &mine).unwrap();
    assert_eq!(export(&path, &out, &unverified()).unwrap().kept, ["README.md"]);
    assert_eq!(card(), mine);
}

fn unverified() -> ExportOptions {
    ExportOptions { verify: false, ..Default::default() }
}

fn bundle_files() -> [&'static str; 4] {
    ["model.json", "model.safetensors", "encoder.onnx", "decoder.onnx"]
}

fn names(folder: &Path) -> Vec<String> {
    let name = |entry: std::io::Result<fs::DirEntry>| entry.unwrap().file_name().into_string().unwrap();
    let mut names: Vec<_> = fs::read_dir(folder).unwrap().map(name).collect();
    names.sort();
    names
}
