//! `--init-from`: new runs from the weights of a model that exists, on real images.
use glow_models::{Checkpoint, CheckpointMeta, Group, Permutation, write_atomically};
use glow_tests::{assert_fails, faces, run, stdout};
use std::path::{Path, PathBuf};

fn train(out: &Path, more: &[&str]) -> std::process::Output {
    train_on(&faces(), out, more)
}

fn train_on(data: &Path, out: &Path, more: &[&str]) -> std::process::Output {
    let data = format!("images:{}", data.display());
    let mut arguments = vec!["--data", &data, "--out", out.to_str().unwrap(), "--device", "cpu"];
    arguments.extend(["--batch-size", "8", "--sample-every", "none", "--warmup", "5 steps"]);
    arguments.extend(more);
    run("glow-train", arguments)
}

/// Bits/dim of a run's first validation.
fn first_validation(run: &Path) -> (u64, f64) {
    let metrics = std::fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let mut lines = metrics.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let line = lines.find(|line| line["split"] == "validation").expect("a run validates before it trains");
    (line["step"].as_u64().unwrap(), line["bits_per_dim"].as_f64().unwrap())
}

#[test]
fn a_run_starts_where_the_model_that_it_is_given_stands() {
    let folder = tempfile::tempdir().unwrap();
    let [first, bundle] = ["first", "bundle"].map(|name| folder.path().join(name));
    let model = ["--channels", "1", "--height", "16", "--width", "16", "--levels", "2", "--depth", "1"];
    let size = ["--hidden", "8", "--coupling", "affine", "--train-for", "40 steps", "--lr", "0.01"];
    stdout(train(&first, &[&model[..], &size].concat()));
    stdout(run("glow-export", [first.as_os_str(), "--out".as_ref(), bundle.as_os_str()]));
    let best = Checkpoint::open(&first.join("checkpoints/best.safetensors")).unwrap().meta().clone();
    assert!(best.step > 0, "the first run learned something");

    for (source, permutation) in [(&first, Permutation::Invconv), (&bundle, Permutation::InvconvPlain)] {
        let from = source.to_str().unwrap();
        let out = source.with_extension("fine");
        stdout(train(&out, &["--init-from", from, "--train-for", "3 steps", "--seed", "0"]));
        let (step, bits_per_dim) = first_validation(&out);
        let expected = best.bits_per_dim.unwrap();
        assert_eq!(step, 0);
        assert!((bits_per_dim - expected).abs() < 1e-4, "{bits_per_dim} and {expected} from {from}");
        let latest = Checkpoint::open(&out.join("checkpoints/latest.safetensors")).unwrap();
        assert_eq!((latest.meta().step, latest.meta().config.model.permutation), (3, permutation));
        latest.check_resumable().unwrap();
        // The run is one like others.
        stdout(run(
            "glow-train",
            ["--out", out.to_str().unwrap(), "--resume", "--train-for", "5 steps", "--device", "cpu"],
        ));

        let other = source.with_extension("other");
        let refused = train(&other, &["--init-from", from, "--depth", "2"]);
        assert_fails(&refused, 1, "depth is 1 there and 2 here");
        assert_fails(&train(&other, &["--init-from", from, "--preset", "smoke"]), 1, "channels is 1 there");
        assert!(!other.exists(), "nothing is made of a run that cannot start");
        assert_fails(&train(&out, &["--init-from", from]), 1, "already holds a run");
        assert_fails(&train(&out, &["--init-from", from, "--resume"]), 2, "--resume");
    }
    let nothing = folder.path().join("nothing");
    assert_fails(&train(&nothing, &["--init-from", nothing.to_str().unwrap()]), 1, "does not exist");
}

/// A folder of classes, each with the photographs of one person.
fn classes(folder: PathBuf, names: &[&str]) -> PathBuf {
    for (person, name) in (1..).zip(names) {
        std::fs::create_dir_all(folder.join(name)).unwrap();
        for photograph in 1..=10 {
            let from = faces().join(format!("s{person}/{photograph}.pgm"));
            std::fs::copy(from, folder.join(name).join(format!("{photograph}.pgm"))).unwrap();
        }
    }
    folder
}

#[test]
fn labels_follow_the_names_of_the_classes_of_the_model() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let [first, bundle] = ["first", "bundle"].map(path);
    let model = ["--channels", "1", "--height", "16", "--width", "16", "--levels", "2", "--depth", "1"];
    let size = ["--hidden", "8", "--classes", "3", "--train-for", "2 steps"];
    let names = ["cats", "dogs", "owls"];
    stdout(train_on(&classes(path("pets"), &names), &first, &[&model[..], &size].concat()));
    stdout(run("glow-export", [first.as_os_str(), "--out".as_ref(), bundle.as_os_str()]));
    // One class is missing: by position owls would be dogs.
    let fewer = classes(path("fewer"), &["cats", "owls"]);
    let others = classes(path("others"), &["bats", "cats"]);
    for source in [&first, &bundle] {
        let from = ["--init-from", source.to_str().unwrap(), "--train-for", "1 step"];
        let out = source.with_extension("fine");
        stdout(train_on(&fewer, &out, &from));
        let latest = Checkpoint::open(&out.join("checkpoints/latest.safetensors")).unwrap();
        assert_eq!(latest.meta().class_names, names);
        let refused = source.with_extension("refused");
        assert_fails(&train_on(&others, &refused, &from), 1, "bats");
        assert!(!refused.exists());
    }

    // A checkpoint of a version that did not name its classes.
    let latest = Checkpoint::open(&first.join("checkpoints/latest.safetensors")).unwrap();
    let (old, meta) =
        (path("old.safetensors"), CheckpointMeta { class_names: vec![], ..latest.meta().clone() });
    write_atomically(&old, |out| {
        Checkpoint::write(out, &meta, &Group::WEIGHTS, |group, parameter, out| {
            out.write_all(&latest.bytes(group, &parameter.name).unwrap())
        })
    })
    .unwrap();
    let from = ["--init-from", old.to_str().unwrap(), "--train-for", "1 step"];
    let output = train_on(&others, &path("unnamed"), &from);
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    stdout(output);
    assert!(stderr.contains("old.safetensors") && stderr.contains("bats, cats"), "{stderr}");
}
