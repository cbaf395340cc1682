//! The program `glow`, from outside.
mod support;

use glow_runtime::Glow;
use image::{DynamicImage, RgbImage};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use support::{glow, size, stdout};

/// The bundles of the library's tests: a random model of 8×8 RGB images.
fn unconditional() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/tests/bundle")
}

/// One like it that is conditional on three classes.
fn conditional() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/tests/conditional-bundle")
}

/// A bundle to change.
fn copy(bundle: &Path) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for entry in bundle.read_dir().unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), folder.path().join(entry.file_name())).unwrap();
    }
    folder
}

/// A folder with three images, one of them in a folder below, and one file that is none.
fn pictures() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("more")).unwrap();
    for (seed, name) in ["a.png", "b.png", "more/c.png"].into_iter().enumerate() {
        let pixel = |x, y| image::Rgb([(x * 13 + y) as u8, (y * 7) as u8, 80 * seed as u8]);
        DynamicImage::from(RgbImage::from_fn(20, 16, pixel)).save(folder.path().join(name)).unwrap();
    }
    std::fs::write(folder.path().join("broken.png"), "no image").unwrap();
    folder
}

#[test]
fn info_tells_what_the_bundle_is() {
    let text = stdout(&glow().arg("info").arg(unconditional()).output().unwrap());
    for expected in
        ["8×8, 3 channels, 8 bits", "2 levels of 2 steps", "[N, 24, 2, 2]", "intact", "ONNX Runtime  1."]
    {
        assert!(text.contains(expected), "{text} does not say {expected:?}");
    }
    let json = stdout(&glow().arg("info").arg(conditional()).arg("--json").output().unwrap());
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["architecture"]["classes"], 3);
    assert_eq!(json["files"]["encoder.onnx"]["problem"], serde_json::Value::Null);
}

#[test]
fn samples_as_a_grid_and_as_files() {
    let folder = tempfile::tempdir().unwrap();
    let sample = |out: &Path, more: &[&str]| {
        let mut command = glow();
        command
            .args(["sample", "--count", "5", "--seed", "3"])
            .arg(unconditional())
            .arg("--out")
            .arg(out)
            .args(more);
        stdout(&command.output().unwrap())
    };
    let grid = folder.path().join("grid.png");
    assert_eq!(sample(&grid, &["--columns", "5", "--scale", "2"]).trim_end(), grid.to_str().unwrap());
    assert_eq!(size(&grid), (5 * (2 * 8 + 2) + 2, 2 * 8 + 4));
    let files = folder.path().join("files");
    assert_eq!(sample(&files, &[]).lines().count(), 5);
    assert_eq!(size(&files.join("sample-00004.png")), (8, 8));
}

#[test]
fn latents_go_to_a_file_and_back() {
    let (pictures, folder) = (pictures(), tempfile::tempdir().unwrap());
    let latents = folder.path().join("latents.safetensors");
    let encoded = glow()
        .arg("encode")
        .arg(unconditional())
        .arg(pictures.path())
        .arg("--out")
        .arg(&latents)
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&encoded.stderr).into_owned();
    assert!(
        stderr.contains("broken.png cannot be decoded") && stderr.contains("1 images were skipped"),
        "{stderr}"
    );
    let listed = stdout(&encoded);
    assert!(listed.starts_with("0\t") && listed.ends_with("more/c.png\n"), "{listed}");
    let out = folder.path().join("decoded");
    let decode = glow().arg("decode").arg(unconditional()).arg(&latents).arg("--out").arg(&out).output();
    assert_eq!(stdout(&decode.unwrap()).lines().count(), 3);
    let seen =
        glow_runtime::images::read(pictures.path().join("b.png"), &Glow::load(unconditional()).unwrap())
            .unwrap();
    let decoded = image::open(out.join("image-00001.png")).unwrap().to_rgb8().into_raw();
    assert_eq!(decoded, seen.into_raw_vec_and_offset().0);
}

#[test]
fn latents_go_through_numpys_format() {
    let (pictures, folder) = (pictures(), tempfile::tempdir().unwrap());
    let [npy, out] = ["latents.npy", "decoded"].map(|name| folder.path().join(name));
    let picture = pictures.path().join("a.png");
    stdout(&glow().arg("encode").arg(unconditional()).arg(&picture).arg("--out").arg(&npy).output().unwrap());
    assert_eq!(&std::fs::read(&npy).unwrap()[..6], b"\x93NUMPY");
    stdout(&glow().arg("decode").arg(unconditional()).arg(&npy).arg("--out").arg(&out).output().unwrap());
    let safetensors = folder.path().join("latents.safetensors");
    stdout(
        &glow()
            .arg("encode")
            .arg(unconditional())
            .arg(&picture)
            .arg("--out")
            .arg(&safetensors)
            .output()
            .unwrap(),
    );
    let again = folder.path().join("again");
    stdout(
        &glow()
            .arg("decode")
            .arg(unconditional())
            .arg(&safetensors)
            .arg("--out")
            .arg(&again)
            .output()
            .unwrap(),
    );
    let read = |folder: &Path| std::fs::read(folder.join("image-00000.png")).unwrap();
    assert_eq!(read(&out), read(&again));
}

#[test]
fn reconstruction_is_strict_and_interpolation_is_drawn() {
    let (pictures, folder) = (pictures(), tempfile::tempdir().unwrap());
    let out = folder.path().join("reconstruction.png");
    let mut reconstruct = glow();
    reconstruct
        .arg("reconstruct")
        .arg(unconditional())
        .arg(pictures.path())
        .arg("--out")
        .arg(&out)
        .arg("--strict");
    let text = stdout(&reconstruct.output().unwrap());
    assert!(text.contains("3 images of 8×8 pixels at 8 bits"), "{text}");
    assert!(text.contains("fp32                      3         100.0000%                     0"), "{text}");
    let out = folder.path().join("between.png");
    let mut interpolate = glow();
    interpolate.arg("interpolate").arg(unconditional());
    interpolate.args(["a.png", "b.png", "b.png", "more/c.png"].map(|name| pictures.path().join(name)));
    interpolate.args(["--steps", "5", "--scale", "1", "--out"]).arg(&out);
    stdout(&interpolate.output().unwrap());
    assert_eq!(size(&out), (5 * 10 + 2, 2 * 10 + 2));
}

#[test]
fn scores_are_a_table_or_json() {
    let pictures = pictures();
    let score = |more: &[&str]| {
        let mut command = glow();
        command
            .arg("score")
            .arg(conditional())
            .arg(pictures.path())
            .args(["--label", "1", "--draws", "2"])
            .args(more);
        command.output().unwrap()
    };
    let table = score(&[]);
    assert!(String::from_utf8_lossy(&table.stderr).contains("mean of 3 images"));
    let table = stdout(&table);
    let rows: Vec<Vec<&str>> = table.lines().map(|line| line.split('\t').collect()).collect();
    assert_eq!(rows[0], ["image", "log_prob", "standard_error", "bits_per_dim"]);
    assert_eq!(rows.len(), 4);
    let json = stdout(&score(&["--json", "--limit", "1"]));
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let bits: f64 = rows[1][3].parse().unwrap();
    assert!((json["bits_per_dim"].as_f64().unwrap() - bits).abs() < 1e-5);
}

#[test]
fn scores_are_compared_with_a_reference() {
    let (pictures, folder) = (pictures(), tempfile::tempdir().unwrap());
    let reference = folder.path().join("reference.json");
    let score = |more: &[&str]| {
        let mut command = glow();
        command.arg("score").arg(unconditional()).arg(pictures.path().join("a.png")).args(more);
        command.output().unwrap()
    };
    let (pictures, reference) = (pictures.path().to_str().unwrap(), reference.to_str().unwrap());
    for complexity in [&[][..], &["--complexity"]] {
        let with =
            |more: &[&str]| score(&[complexity, &["--draws", "2", "--json", "--reference"], more].concat());
        let first: serde_json::Value =
            serde_json::from_str(&stdout(&with(&[pictures, "--save-reference", reference]))).unwrap();
        let again: serde_json::Value = serde_json::from_str(&stdout(&with(&[reference]))).unwrap();
        assert_eq!(first, again);
        // Of the three references the image is one itself.
        assert!(first["p_value"].as_f64().unwrap() >= 0.5 && first["typicality"].as_f64().unwrap() < 2.0);
        assert!(first["standard_error"].as_f64().unwrap() > 0.0);
        assert_eq!(first["compared"] == first["bits_per_dim"], complexity.is_empty());
    }
    let table = stdout(&score(&["--reference", pictures]));
    assert!(
        table.starts_with("image\tlog_prob\tstandard_error\tbits_per_dim\tcompared\ttypicality\tp_value\n")
    );
    let wrong = score(&["--reference", reference]);
    assert_eq!(wrong.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("was made with --complexity"));
}

#[test]
fn data_sets_are_scored_as_in_training() {
    let (pictures, folder) = (pictures(), tempfile::tempdir().unwrap());
    // Two images of 8×8, as MNIST's files hold them.
    let idx = |dimensions: &[u32], bytes: Vec<u8>| {
        let header = std::iter::once(0x800 + dimensions.len() as u32).chain(dimensions.iter().copied());
        header.flat_map(u32::to_be_bytes).chain(bytes).collect::<Vec<u8>>()
    };
    let digits = folder.path().join("digits");
    std::fs::create_dir(&digits).unwrap();
    std::fs::write(digits.join("train-images-idx3-ubyte"), idx(&[2, 8, 8], (0..128).collect())).unwrap();
    std::fs::write(digits.join("train-labels-idx1-ubyte"), idx(&[2], vec![3, 1])).unwrap();
    let score = |bundle: &Path, images: &[String], more: &[&str]| {
        glow().arg("score").arg(bundle).args(images).args(more).output().unwrap()
    };
    let mnist = format!("mnist:{}", digits.display());
    let output = score(&unconditional(), std::slice::from_ref(&mnist), &[]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("mean of 2 images"));
    assert_eq!(stdout(&output).lines().count(), 3);
    // A folder gives the same as a data set and by itself; what is broken is skipped, not replaced.
    let rows = |output: &Output| -> Vec<String> { stdout(output).lines().map(String::from).collect() };
    let here = pictures.path().display().to_string();
    let as_data_set = score(&unconditional(), &[format!("images:{here}")], &[]);
    assert!(String::from_utf8_lossy(&as_data_set.stderr).contains("1 images were skipped, 3 were read"));
    assert_eq!(rows(&as_data_set), rows(&score(&unconditional(), &[here], &[])));
    let reference = score(&unconditional(), std::slice::from_ref(&mnist), &["--reference", &mnist]);
    assert!(stdout(&reference).contains("p_value"));
}

#[test]
fn labels_of_a_data_set_go_by_the_names_of_classes() {
    let bundle = copy(&conditional());
    let manifest = bundle.path().join("model.json");
    let mut json: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(&manifest).unwrap()).unwrap();
    json["class_names"] = serde_json::json!(["cat", "dog", "owl"]);
    std::fs::write(&manifest, json.to_string()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    for (seed, class) in ["cat", "owl"].into_iter().enumerate() {
        std::fs::create_dir(folder.path().join(class)).unwrap();
        let image =
            RgbImage::from_fn(8, 8, |x, y| image::Rgb([(x * 20) as u8, (y * 9) as u8, 90 * seed as u8]));
        DynamicImage::from(image).save(folder.path().join(class).join("1.png")).unwrap();
    }
    let score = |images: String, more: &[&str]| {
        glow().arg("score").arg(bundle.path()).arg(images).args(more).output().unwrap()
    };
    let own = stdout(&score(format!("images:{}", folder.path().display()), &[]));
    let [cats, dogs, owls] = ["cat", "dog", "owl"]
        .map(|class| stdout(&score(folder.path().display().to_string(), &["--label", class])));
    let row = |text: &str, row: usize| text.lines().nth(row).map(String::from);
    assert_eq!(own.lines().count(), 3);
    assert_eq!((row(&own, 1), row(&own, 2)), (row(&cats, 1), row(&owls, 2)));
    assert_ne!(row(&owls, 2), row(&dogs, 2));
    // A class that the model has not.
    std::fs::rename(folder.path().join("owl"), folder.path().join("cow")).unwrap();
    let unknown = score(format!("images:{}", folder.path().display()), &[]);
    assert_eq!(unknown.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("cow"));
}

#[test]
fn what_cannot_be_written_is_refused_before_any_work() {
    let (pictures, bundle) = (pictures(), unconditional());
    let (folder, bundle) = (pictures.path().to_str().unwrap(), bundle.to_str().unwrap());
    let at = |name: &str| pictures.path().join(name).to_str().unwrap().to_string();
    let (a, c, jpeg, nowhere) = (at("a.png"), at("more/c.png"), at("out.jpg"), at("missing/out.png"));
    let latents = at("missing/latents.npy");
    let set = format!("images:{folder}");
    let cases: &[(i32, &[&str])] = &[
        (2, &["reconstruct", bundle, &a, "--out", &a]),
        (2, &["reconstruct", bundle, folder, "--out", &c]),
        (2, &["reconstruct", bundle, &set, "--out", &c]),
        (2, &["encode", bundle, &a, "--out", &a]),
        (2, &["reconstruct", bundle, folder, "--out", &jpeg]),
        (2, &["sample", bundle, "--out", &jpeg]),
        (1, &["reconstruct", bundle, folder, "--out", &nowhere]),
        (1, &["encode", bundle, folder, "--out", &latents]),
        (1, &["sample", bundle, "--out", &nowhere]),
    ];
    let before = [&a, &c].map(|file| std::fs::read(file).unwrap());
    for (code, arguments) in cases {
        let output = glow().args(*arguments).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(*code), "{arguments:?}: {stderr}");
        assert!(output.stdout.is_empty() && !stderr.contains("panicked"), "{arguments:?}: {stderr}");
    }
    assert_eq!([&a, &c].map(|file| std::fs::read(file).unwrap()), before);
    assert!(!Path::new(&jpeg).exists() && !Path::new(&nowhere).exists());
}

/// CelebA's layout: six images, of which the odd ones are bright.
fn celeba() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("images")).unwrap();
    let mut text = "6\nBright Round\n".to_string();
    for number in 0..6 {
        let pixel = |x, y| image::Rgb([(x * 3 + y + number * 2) as u8 + 150 * (number % 2) as u8; 3]);
        let name = format!("{number}.png");
        DynamicImage::from(RgbImage::from_fn(8, 8, pixel))
            .save(folder.path().join("images").join(&name))
            .unwrap();
        text.push_str(&format!(
            "{name} {} {}\n",
            if number % 2 == 1 { 1 } else { -1 },
            if number < 2 { 1 } else { -1 }
        ));
    }
    std::fs::write(folder.path().join("list_attr_celeba.txt"), text).unwrap();
    folder
}

#[test]
fn attributes_are_fitted_listed_applied_and_removed() {
    let (bundle, celeba) = (copy(&unconditional()), celeba());
    let run = |arguments: &[&str]| glow().args(arguments).output().unwrap();
    let path = |path: &Path| path.to_str().unwrap().to_string();
    let (images, bundle) = (path(&celeba.path().join("images")), path(bundle.path()));
    let one = |number: usize| format!("{images}/{number}.png");

    let fit =
        stdout(&run(&["attributes", "fit", &bundle, "--celeba", &path(celeba.path()), "--orthogonalise"]));
    let rows: Vec<Vec<&str>> = fit.lines().map(|line| line.split('\t').collect()).collect();
    assert_eq!(rows[1], ["Bright", "mean, orthogonal", "3", "3", "-"]);
    assert_eq!(rows[2][..4], ["Round", "mean, orthogonal", "2", "4"]);
    let folders = ["--negative", &one(0), &one(2), "--positive", &one(1), &one(3), "--name", "Light"];
    stdout(&run(&[&["attributes", "fit", &bundle, "--method", "ridge"], &folders[..]].concat()));
    let listed = stdout(&run(&["attributes", "list", &bundle]));
    assert!(listed.ends_with("\nLight\tridge 1\t2\t2\t-\n"), "{listed}");
    let json = stdout(&run(&["attributes", "list", &bundle, "--json"]));
    let first: serde_json::Value = serde_json::from_str(json.lines().next().unwrap()).unwrap();
    assert_eq!((&first["attribute"], &first["fit"]["positives"]), (&"Bright".into(), &3.into()));

    let projected = stdout(&run(&["attributes", "project", &bundle, &images]));
    let rows: Vec<Vec<&str>> = projected.lines().map(|line| line.split('\t').collect()).collect();
    assert_eq!(rows[0], ["image", "Bright", "Round", "Light"]);
    for (number, row) in rows[1..].iter().enumerate() {
        assert_eq!(row[1].parse::<f64>().unwrap() > 0.0, number % 2 == 1, "{projected}");
    }

    let out = path(&celeba.path().join("edited.png"));
    let strengths = ["--attribute", "Bright=0.2", "--attribute", "Round=-0.1"];
    let edit = |more: &[&str]| {
        run(&[&["edit", &bundle, &one(0), &one(1), "--scale", "1", "--out", &out], &strengths[..], more]
            .concat())
    };
    stdout(&edit(&["--steps", "5"]));
    assert_eq!(size(Path::new(&out)), (5 * 10 + 2, 2 * 10 + 2));
    // In the middle of a row is the image itself.
    let middle = image::open(&out).unwrap().crop_imm(2 * 10 + 2, 2, 8, 8).to_rgb8();
    assert_eq!(middle, image::open(one(0)).unwrap().to_rgb8());
    stdout(&edit(&[]));
    assert_eq!(size(Path::new(&out)), (2 * 10 + 2, 12));

    assert_eq!(stdout(&run(&["attributes", "remove", &bundle, "Bright", "Light"])), "Bright\nLight\n");
    let cases: &[(i32, &str, &[&str])] = &[
        (
            2,
            "there is no attribute \"Bright\": there are Round",
            &["attributes", "remove", &bundle, "Bright"],
        ),
        (
            2,
            "there is no attribute \"Bright\"",
            &["edit", &bundle, &one(0), "--attribute", "Bright=1", "--out", &out],
        ),
        (2, "write NAME=STRENGTH", &["edit", &bundle, &one(0), "--attribute", "Round", "--out", &out]),
        (2, "\"x\" is not a number", &["edit", &bundle, &one(0), "--attribute", "Round=x", "--out", &out]),
        (2, "Usage", &["attributes", "fit", &bundle]),
        (2, "required", &["attributes", "fit", &bundle, "--positive", &one(0), "--name", "A"]),
        (
            1,
            "has no attribute \"Sad\"; it has Bright, Round",
            &["attributes", "fit", &bundle, "--celeba", &path(celeba.path()), "--attribute", "Sad"],
        ),
        (1, "list_attr_celeba.txt: not found", &["attributes", "fit", &bundle, "--celeba", &images]),
        (
            2,
            "penalty = -1",
            &[
                "attributes",
                "fit",
                &bundle,
                "--method",
                "ridge",
                "--penalty",
                "-1",
                "--positive",
                &one(0),
                "--negative",
                &one(1),
                "--name",
                "A",
            ],
        ),
        (
            1,
            "do not differ",
            &["attributes", "fit", &bundle, "--positive", &one(0), "--negative", &one(0), "--name", "A"],
        ),
    ];
    for (code, says, arguments) in cases {
        let output = run(arguments);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(*code), "{arguments:?}: {stderr}");
        assert!(stderr.contains(says), "{arguments:?}: {stderr:?} does not say {says:?}");
    }
}

/// One image that fails is named, and the others are written.
#[test]
fn an_image_that_is_not_finite_leaves_the_others() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("latents.safetensors");
    let model = Glow::load(unconditional()).unwrap();
    let mut levels = model.sample_latents(4, &Default::default()).unwrap().into_levels();
    levels[0].index_axis_mut(ndarray::Axis(0), 1).fill(1e38);
    glow_runtime::Latents::from_levels(levels).unwrap().save(&file).unwrap();
    let decode = |out: &str| {
        let out = folder.path().join(out);
        let output =
            glow().arg("decode").arg(unconditional()).arg(&file).arg("--out").arg(&out).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        assert!(stderr.contains("of image 1 is NaN or infinite"), "{stderr}");
        out
    };
    let files: Vec<_> = (0..4).map(|i| decode("images").join(format!("image-{i:05}.png")).exists()).collect();
    assert_eq!(files, [true, false, true, true]);
    assert!(decode("grid.png").exists());
}

#[test]
fn failures_have_their_exit_code_and_say_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let (good, with_labels, nothing) = (unconditional(), conditional(), folder.path().to_path_buf());
    let out = folder.path().join("out.png");
    let (good, with_labels, nothing, out) =
        [&good, &with_labels, &nothing, &out].map(|path| path.to_str().unwrap()).into();
    let cases: &[(i32, &str, &[&str])] = &[
        (2, "Usage", &[]),
        (2, "unexpected argument", &["sample", good, "--cuont", "3"]),
        (2, "temperature = -1", &["sample", good, "--temperature", "-1", "--out", out]),
        (2, "needs a label for each image (see --label)", &["sample", with_labels, "--out", out]),
        (2, "truncation = 0.001", &["sample", good, "--truncation", "0.001", "--out", out]),
        (2, "or a smaller scale", &["sample", good, "--scale", "1000000", "--out", out]),
        (2, "threads = 0", &["sample", good, "--threads", "0", "--out", out]),
        (2, "even number", &["interpolate", good, "a", "b", "c"]),
        (
            1,
            "model.json is missing: a bundle is a folder that glow-export wrote",
            &["sample", nothing, "--out", out],
        ),
        (1, "make setup", &["sample", good, "--onnxruntime", nothing, "--out", out]),
        (1, "cannot read missing.png\n  because: No such file", &["score", good, "missing.png"]),
        (1, "holds no images (png, jpg", &["score", good, nothing]),
        (1, "does not hold latents", &["decode", good, &format!("{good}/model.safetensors"), "--out", out]),
        (1, "cannot write /missing/out.png", &["sample", good, "--out", "/missing/out.png"]),
    ];
    for (code, says, arguments) in cases {
        let output = glow().args(*arguments).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(*code), "{arguments:?}: {stderr}");
        assert!(stderr.contains(says), "{arguments:?}: {stderr:?} does not say {says:?}");
        assert!(!stderr.contains("panicked"), "{stderr}");
    }
}

#[test]
fn a_reader_that_leaves_is_no_error() {
    let pictures = pictures();
    let mut score = glow();
    score
        .arg("score")
        .arg(unconditional())
        .arg(pictures.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = score.spawn().unwrap();
    drop(child.stdout.take());
    let mut stderr = String::new();
    child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    assert!(child.wait().unwrap().success() && !stderr.contains("panicked"), "{stderr}");
}

#[test]
fn without_a_temporary_folder_a_model_is_loaded_all_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("r.png");
    let mut command = glow();
    command.env("TMPDIR", folder.path().join("missing")).arg("reconstruct").arg(unconditional());
    let output = command.arg(pictures().path()).arg("--out").arg(&out).output().unwrap();
    stdout(&output);
    assert!(out.is_file());
    let said = String::from_utf8_lossy(&output.stderr);
    // On Linux the weights are shared in memory; elsewhere in a file of the temporary folder, if there is one.
    assert_eq!(said.contains("weights of its own"), cfg!(all(unix, not(target_os = "linux"))), "{said}");
}

/// A program that is installed finds the library in `lib`, beside its own folder.
#[cfg(target_os = "linux")]
#[test]
fn the_library_is_found_where_programs_are_installed() {
    let prefix = tempfile::tempdir().unwrap();
    let (bin, lib) = (prefix.path().join("bin"), prefix.path().join("lib"));
    std::fs::create_dir(&bin).unwrap();
    std::fs::create_dir(&lib).unwrap();
    std::fs::copy(env!("CARGO_BIN_EXE_glow"), bin.join("glow")).unwrap();
    let real = Glow::load(unconditional()).unwrap().onnxruntime().path.clone();
    std::os::unix::fs::symlink(&real, lib.join("libonnxruntime.so.1.99.0")).unwrap();
    let mut installed = Command::new(bin.join("glow"));
    installed.env_remove("ORT_DYLIB_PATH").arg("info").arg("--json").arg(unconditional());
    let info: serde_json::Value = serde_json::from_str(&stdout(&installed.output().unwrap())).unwrap();
    assert_eq!(info["onnxruntime"]["path"], lib.join("libonnxruntime.so.1.99.0").to_str().unwrap());
}
