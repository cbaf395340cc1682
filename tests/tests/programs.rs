//! The programs as a person uses them: resuming, stopping, and being given what they cannot use.
use glow_tests::{assert_fails, faces, program, run, stdout};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

const TINY: [&str; 20] = [
    "--channels",
    "1",
    "--height",
    "16",
    "--width",
    "16",
    "--levels",
    "2",
    "--depth",
    "1",
    "--hidden",
    "8",
    "--batch-size",
    "8",
    "--init-batch",
    "32",
    "--warmup-steps",
    "5",
    "--device",
    "cpu",
];

fn train(out: &Path, more: &[&str]) -> std::process::Output {
    let data = format!("images:{}", faces().display());
    let mut arguments = vec!["--data", &data, "--out", out.to_str().unwrap()];
    arguments.extend(TINY);
    arguments.extend(more);
    run("glow-train", arguments)
}

/// The tensors of a run's latest checkpoint, by name.
fn tensors(run: &Path) -> Vec<(String, Vec<u8>)> {
    let bytes = std::fs::read(run.join("checkpoints/latest.safetensors")).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let mut all: Vec<_> =
        file.tensors().into_iter().map(|(name, view)| (name, view.data().to_vec())).collect();
    all.sort();
    all
}

/// The steps of the lines of one split in a run's metrics.
fn steps(run: &Path, split: &str) -> Vec<u64> {
    let metrics = std::fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    metrics
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .filter(|line| line["split"] == split)
        .map(|line| line["step"].as_u64().unwrap())
        .collect()
}

/// A limit on the size of files stands in for a full disk.
#[test]
fn a_disk_that_fills_up_loses_nothing_that_was_saved() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    stdout(train(&out, &["--steps", "5"]));
    let before = std::fs::read(out.join("checkpoints/latest.safetensors")).unwrap();
    let limit = before.len() / 2 / 512;
    let script = format!("trap '' XFSZ; ulimit -f {limit}; exec \"$@\"");
    let full = Command::new("sh")
        .args(["-c", &script, "sh"])
        .arg(program("glow-train"))
        .args(["--out", out.to_str().unwrap(), "--resume", "--steps", "9", "--device", "cpu"])
        .output()
        .unwrap();
    assert_fails(&full, 1, "latest.safetensors");
    assert_fails(&full, 1, "what was saved before still stands");
    assert!(std::fs::read(out.join("checkpoints/latest.safetensors")).unwrap() == before);
    let left: Vec<_> =
        std::fs::read_dir(out.join("checkpoints")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left.len(), 2, "no half-written file stays: {left:?}");
    stdout(run(
        "glow-train",
        ["--out", out.to_str().unwrap(), "--resume", "--steps", "9", "--device", "cpu"],
    ));
}

/// A step may be finite and yet lead to where no other can be taken; a run must be able to go on from before it.
#[test]
fn a_run_that_diverged_goes_on_from_a_sound_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let diverges =
        train(&out, &["--steps", "40", "--lr", "1e30", "--log-every", "1", "--checkpoint-every", "1"]);
    assert_fails(&diverges, 1, "20 steps in a row, first in level0.step00");
    let lines = std::fs::read_to_string(out.join("metrics.jsonl")).unwrap();
    let last: serde_json::Value = serde_json::from_str(lines.lines().last().unwrap()).unwrap();
    assert!(last["skipped_steps"].as_u64().unwrap() > 10 && last["bits_per_dim"].is_null(), "{last}");
    let on = ["--out", out.to_str().unwrap(), "--resume", "--steps", "6", "--lr", "0.001", "--device", "cpu"];
    let printed = stdout(run("glow-train", on));
    assert!(printed.contains("after 6 steps"), "{printed}");
}

#[test]
fn what_a_checkpoint_refuses_changes_nothing_of_its_run() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    stdout(train(&out, &["--steps", "3"]));
    let config = std::fs::read_to_string(out.join("config.toml")).unwrap();
    let left = out.join("checkpoints/.glow-abc123.part");
    std::fs::write(&left, "what a kill left").unwrap();
    let resume = |more: &[&str]| {
        let arguments = ["--out", out.to_str().unwrap(), "--resume", "--device", "cpu"];
        run("glow-train", arguments.iter().chain(more))
    };
    assert_fails(&resume(&["--steps", "5", "--depth", "2"]), 1, "depth is 1 there and 2 here");
    assert_eq!(std::fs::read_to_string(out.join("config.toml")).unwrap(), config);
    let on = resume(&["--steps", "5"]);
    assert!(!String::from_utf8_lossy(&on.stderr).contains("warning"));
    stdout(on);
    assert!(!left.exists());
    assert_eq!(steps(&out, "validation"), [0, 3, 5], "the validation that was resumed at is noted once");
    // A data set of other images is told.
    let data = format!("images:{}", faces().join("s1").display());
    let other = resume(&["--steps", "6", "--data", &data]);
    assert!(String::from_utf8_lossy(&other.stderr).contains("9 training images, and had 360"));
}

#[test]
fn a_resumed_run_equals_one_that_was_never_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let (whole, parts) = (folder.path().join("whole"), folder.path().join("parts"));
    stdout(train(&whole, &["--steps", "12", "--log-every", "1"]));
    stdout(train(&parts, &["--steps", "5", "--log-every", "1"]));
    let resumed =
        run("glow-train", ["--out", parts.to_str().unwrap(), "--resume", "--steps", "12", "--device", "cpu"]);
    let printed = stdout(resumed);
    assert!(printed.contains("held-out bits/dim"), "{printed}");
    assert_eq!(tensors(&whole), tensors(&parts));
    let metrics = std::fs::read_to_string(parts.join("metrics.jsonl")).unwrap();
    let steps: Vec<u64> = metrics
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .filter(|line| line["split"] == "train")
        .map(|line| line["step"].as_u64().unwrap())
        .collect();
    assert_eq!(steps, (1..=12).collect::<Vec<_>>());
    assert!(whole.join("samples/step-00000012.png").exists());
    assert!(whole.join("config.toml").exists());
    let eval =
        stdout(run("glow-train", ["eval", whole.to_str().unwrap(), "--draws", "2", "--device", "cpu"]));
    assert!(eval.contains("bits/dim at 8 bits") && eval.contains("40 images"), "{eval}");
    // An image's bits/dim is its own, to the last digit, whatever is measured with it.
    let each = |images: &str| {
        let arguments = ["eval", whole.to_str().unwrap(), "--each", "--images", images, "--device", "cpu"];
        let printed = stdout(run("glow-train", arguments));
        printed.lines().map(str::to_string).collect::<Vec<_>>()
    };
    let (ten, forty) = (each("10"), each("40"));
    assert_eq!((ten.len(), forty.len()), (11, 41));
    assert_eq!(ten[..10], forty[..10]);
}

#[cfg(unix)]
#[test]
fn ctrl_c_leaves_a_checkpoint_to_go_on_from() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let data = format!("images:{}", faces().display());
    let mut child = Command::new(program("glow-train"))
        .args(["--data", &data, "--out", out.to_str().unwrap(), "--steps", "1000000", "--log-every", "1"])
        .args(TINY)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // Once a step is in the metrics, the loop is under way.
    let metrics = out.join("metrics.jsonl");
    for _ in 0..600 {
        if std::fs::read_to_string(&metrics).is_ok_and(|text| text.contains("\"train\"")) {
            break;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    assert!(child.wait().unwrap().success());
    let meta =
        glow_models::Checkpoint::open(&out.join("checkpoints/latest.safetensors")).unwrap().meta().clone();
    assert!(meta.step > 0);
    let last = (meta.step + 2).to_string();
    stdout(run(
        "glow-train",
        ["--out", out.to_str().unwrap(), "--resume", "--steps", &last, "--device", "cpu"],
    ));
}

#[test]
fn an_unreadable_photograph_among_many_is_named_and_counted() {
    let folder = tempfile::tempdir().unwrap();
    let photographs = folder.path().join("photographs");
    std::fs::create_dir(&photographs).unwrap();
    for i in 1..=10 {
        std::fs::copy(faces().join(format!("s1/{i}.pgm")), photographs.join(format!("{i}.pgm"))).unwrap();
    }
    std::fs::write(photographs.join("notes.png"), "not a picture").unwrap();
    let data = format!("images:{}", photographs.display());
    let out = folder.path().join("run");
    let mut arguments = vec!["--data", &data, "--out", out.to_str().unwrap(), "--steps", "2"];
    arguments.extend(TINY);
    let output = run("glow-train", arguments);
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    stdout(output);
    assert!(stderr.contains("notes.png"), "{stderr}");
    assert!(stderr.contains("1 image"), "{stderr}");
}

#[test]
fn a_run_keeps_several_averages_which_are_chosen_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let [whole, parts, bundle] = ["whole", "parts", "bundle"].map(|name| folder.path().join(name));
    // The memory of one step is none.
    let averages =
        ["--further-averages", "1 step,3 steps", "--polyak-warmup", "false", "--sample-every", "none"];
    stdout(train(&whole, &[&averages[..], &["--steps", "8"]].concat()));
    stdout(train(&parts, &[&averages[..], &["--steps", "4"]].concat()));
    let on = ["--out", parts.to_str().unwrap(), "--resume", "--steps", "8", "--device", "cpu"];
    stdout(run("glow-train", on));
    assert_eq!(tensors(&whole), tensors(&parts));
    let latest = whole.join("checkpoints/latest.safetensors");
    let eval = |weights: &str| {
        let arguments = ["eval", latest.to_str().unwrap(), "--weights", weights, "--device", "cpu"];
        run("glow-train", arguments)
    };
    let [raw, averaged, one, three] =
        ["raw", "averaged", "1 step", "3 steps"].map(|weights| stdout(eval(weights)));
    assert_eq!(raw, one);
    assert!(three != raw && three != averaged, "{three}");
    assert_fails(&eval("9 steps"), 1, "1 step, 3 steps");
    let export = [latest.to_str().unwrap(), "--weights", "3 steps", "--out", bundle.to_str().unwrap()];
    stdout(run("glow-export", export));
    let manifest = std::fs::read_to_string(bundle.join("model.json")).unwrap();
    let manifest: serde_json::Value = serde_json::from_str(&manifest).unwrap();
    assert_eq!(manifest["provenance"]["average"], "3 steps");
    assert!(manifest["provenance"]["bits_per_dim"].is_null(), "another average was validated");
    // An average that is wanted only now begins at the weights; one that is wanted no longer goes.
    let more = ["--further-averages", "5 epochs", "--steps", "9"];
    stdout(run(
        "glow-train",
        ["--out", parts.to_str().unwrap(), "--resume", "--device", "cpu"].iter().chain(&more),
    ));
    let names: Vec<String> = tensors(&parts).into_iter().map(|(name, _)| name).collect();
    assert!(names.iter().any(|name| name.starts_with("averages.1/")));
    assert!(!names.iter().any(|name| name.starts_with("averages.2/")));
}

/// `ulimit -v` stands in for a machine with too little memory.
#[test]
fn memory_that_does_not_suffice_is_foretold_and_then_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let data = format!("images:{}", faces().display());
    let trained = |more: &[&str]| {
        let mut command = Command::new("sh");
        command.args(["-c", "ulimit -v 4000000; exec \"$@\"", "sh"]).arg(program("glow-train"));
        command.args(["--data", &data, "--out", out.to_str().unwrap(), "--device", "cpu", "--channels", "1"]);
        command.args(["--height", "64", "--width", "64", "--levels", "2", "--depth", "4", "--hidden", "512"]);
        command.args(["--init-batch", "2", "--validate-images", "2", "--sample-every", "none"]);
        command.args(["--train-for", "1 step"]).args(more).env("OMP_NUM_THREADS", "1").output().unwrap()
    };
    let output = trained(&["--batch-size", "300"]);
    assert_fails(
        &output,
        1,
        "computing the gradient of a step failed for want of memory (lower --batch-size",
    );
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("warning: a step takes about"), "{stderr}");
    // What was there is sound, and the way out is one.
    let output = run("glow-train", ["eval", out.to_str().unwrap(), "--images", "2", "--device", "cpu"]);
    assert!(stdout(output).contains("2 images"));
    let output = trained(&["--batch-size", "2", "--memory", "reversible", "--resume", "auto"]);
    assert!(!String::from_utf8_lossy(&output.stderr).contains("warning"), "{output:?}");
    stdout(output);
}

#[test]
fn what_glow_train_cannot_use_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_string();
    let out = path("run");
    let faces = format!("images:{}", faces().display());
    std::fs::create_dir(path("empty")).unwrap();
    std::fs::create_dir_all(path("foreign/checkpoints")).unwrap();
    std::fs::write(path("foreign/checkpoints/latest.safetensors"), "not a checkpoint").unwrap();
    std::fs::create_dir_all(path("broken")).unwrap();
    std::fs::write(path("broken/a.png"), "not a picture").unwrap();
    std::fs::write(path("typo.toml"), "[model]\ndeepth = 3\n").unwrap();
    let (empty, broken, missing) = (
        format!("images:{}", path("empty")),
        format!("images:{}", path("broken")),
        format!("images:{}", path("no")),
    );
    let (foreign, typo) = (path("foreign"), path("typo.toml"));
    let cases: Vec<(i32, &str, Vec<&str>)> = vec![
        (1, "empty", vec!["--data", &empty]),
        (1, "a.png", vec!["--data", &broken]),
        (1, "not found", vec!["--data", &missing]),
        (1, "gray", vec!["--data", &faces]),
        (1, "92", vec!["--data", &faces, "--channels", "1", "--height", "128", "--width", "128"]),
        (1, "not taken for a safetensors file", vec!["--data", &faces, "--out", &foreign, "--resume"]),
        (1, "latest.safetensors", vec!["--resume"]),
        (1, "deepth", vec!["--config", &typo, "--data", &faces]),
        (1, "cannot be opened", vec!["--data", &faces, "--channels", "1", "--device", "cuda:99"]),
        (2, "no data set", vec![]),
        (2, "--depth many", vec!["--data", &faces, "--depth", "many"]),
        (2, "levels = 60", vec!["--data", &faces, "--levels", "60"]),
        (2, "sample_temperatures", vec!["--data", &faces, "--sample-temperatures", "-1"]),
        (2, "no preset", vec!["--preset", "cifar"]),
        (2, "--no-such-flag", vec!["--no-such-flag"]),
    ];
    for (code, says, mut arguments) in cases {
        if !arguments.contains(&"--out") {
            arguments.extend(["--out", &out]);
        }
        let output = run("glow-train", &arguments);
        let stderr = String::from_utf8_lossy(&output.stderr);
        // clap words its own errors; that the exit code is 2 and the flag is named is what counts.
        let says = if says == "no preset" { "cifar" } else { says };
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {stderr}");
        assert_fails(&output, code, says);
    }
}

#[test]
fn what_glow_export_and_glow_cannot_use_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_string();
    std::fs::write(path("foreign.safetensors"), "not a checkpoint").unwrap();
    std::fs::create_dir(path("full")).unwrap();
    std::fs::write(path("full/precious.txt"), "keep me").unwrap();
    let run_folder = folder.path().join("run");
    stdout(train(&run_folder, &["--steps", "2"]));
    let run_folder = run_folder.to_str().unwrap();
    let (foreign, bundle, full, missing) =
        (path("foreign.safetensors"), path("bundle"), path("full"), path("no"));
    assert_fails(&run("glow-export", [&foreign, "--out", &bundle]), 1, "not taken for a safetensors file");
    assert_fails(&run("glow-export", [&missing, "--out", &bundle]), 1, "does not exist");
    assert_fails(&run("glow-export", [run_folder, "--out", &full]), 1, "full");
    assert!(Path::new(&path("full/precious.txt")).exists());
    assert_fails(&run("glow-export", [run_folder]), 2, "--out");
    stdout(run("glow-export", [run_folder, "--out", &bundle]));
    assert_fails(&run("glow", ["sample", &missing, "--out", &path("x.png")]), 1, "model.json");
    let png = path("x.png");
    for temperature in ["-1", "nan", "inf", "warm"] {
        let output = run("glow", ["sample", &bundle, "--out", &png, "--temperature", temperature]);
        assert!(!output.status.success(), "temperature {temperature}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("temperature"), "temperature {temperature}");
    }
    let weights = Path::new(&bundle).join("model.safetensors");
    let mut bytes = std::fs::read(&weights).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&weights, bytes).unwrap();
    assert_fails(&run("glow", ["sample", &bundle, "--out", &png]), 1, "SHA-256");
    std::fs::remove_file(Path::new(&bundle).join("decoder.onnx")).unwrap();
    assert_fails(&run("glow", ["sample", &bundle, "--out", &png]), 1, "decoder.onnx is missing");
}
