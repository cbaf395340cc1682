//! Runs that end before their last step: killed, stopped, without their data, on a full disk, or beside
//! another one in the same folder. None may lose what it had, and none may differ afterwards.
use glow_models::Checkpoint;
use glow_tests::{assert_fails, faces, program, run, stdout};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

const MODEL: &str = "--channels 1 --height 16 --width 16 --levels 2 --depth 1 --hidden 8 --batch-size 8 \
                     --init-batch 32 --warmup 5steps --log-every 1 --device cpu";

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split_whitespace()
}

/// `glow-train` on the photographs in `data`, started anew in `out`.
fn start(data: &Path, out: &Path, more: &str) -> Command {
    let mut command = Command::new(program("glow-train"));
    // One thread: several tests run at once, and threads that wait for each other would only slow them.
    command.env("OMP_NUM_THREADS", "1");
    command.arg("--data").arg(format!("images:{}", data.display())).arg("--out").arg(out);
    // A flag in `more` stands for that of the model.
    let model: Vec<&str> = words(MODEL).collect();
    let kept = model.chunks(2).filter(|flag| !words(more).any(|word| word == flag[0]));
    command.args(kept.flatten()).args(words(more)).stdout(Stdio::null());
    command
}

fn resume(out: &Path, more: &str) -> Output {
    let arguments = ["--out", out.to_str().unwrap(), "--resume", "--device", "cpu"];
    run("glow-train", arguments.into_iter().chain(words(more)))
}

/// The lines of one split in a run's metrics; none where there is no file yet.
fn lines(out: &Path, split: &str) -> Vec<serde_json::Value> {
    let metrics = std::fs::read_to_string(out.join("metrics.jsonl")).unwrap_or_default();
    let lines = metrics.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    lines.filter(|line| line["split"] == split).collect()
}

fn steps(out: &Path, split: &str) -> Vec<u64> {
    lines(out, split).iter().map(|line| line["step"].as_u64().unwrap()).collect()
}

fn checkpoint_step(out: &Path) -> u64 {
    Checkpoint::open(&out.join("checkpoints/latest.safetensors")).unwrap().meta().step
}

/// Waits until a run has noted `step`.
fn wait_for_step(child: &mut Child, out: &Path, step: u64) {
    let patience = Instant::now();
    while steps(out, "train").last().is_none_or(|&last| last < step) {
        assert!(patience.elapsed() < Duration::from_secs(300), "step {step} was not reached");
        assert!(child.try_wait().unwrap().is_none(), "the run ended before step {step}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn signal(child: &Child, name: &str) {
    let sent = Command::new("kill").args([&format!("-{name}"), &child.id().to_string()]).status();
    assert!(sent.unwrap().success());
}

fn copies_of_faces(folder: &Path, people: usize) {
    for person in 1..=people {
        for i in 1..=10 {
            let to = folder.join(format!("{person}-{i}.pgm"));
            std::fs::copy(faces().join(format!("s{person}/{i}.pgm")), to).unwrap();
        }
    }
}

/// The tensors of a run's latest checkpoint, by name.
fn tensors(out: &Path) -> Vec<(String, Vec<u8>)> {
    let bytes = std::fs::read(out.join("checkpoints/latest.safetensors")).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let mut all: Vec<_> =
        file.tensors().into_iter().map(|(name, view)| (name, view.data().to_vec())).collect();
    all.sort();
    all
}

/// Which file a run's metrics are: another one each time that a run is resumed.
fn metrics_file(out: &Path) -> Option<u64> {
    std::fs::metadata(out.join("metrics.jsonl")).ok().map(|metadata| metadata.ino())
}

/// Kills a run `kills` times, resumes it each time, and looks for a difference to one that was left alone.
///
/// Each kill comes once the process has taken a number of steps that `seed` decides, from none to twice as
/// many as lie between checkpoints, and a fraction of a step later, so that kills fall into the start, steps,
/// checkpoints, validations and sample grids. A machine under load kills later, and that is as good.
fn killed_and_resumed(kills: u64, seed: u64, more: &str) {
    let folder = tempfile::tempdir().unwrap();
    let (whole, killed) = (folder.path().join("whole"), folder.path().join("killed"));
    let often = format!(
        "--checkpoint-every 3 --validate-every 5 --sample-every 7 --sample-images 4 --shift 2 {more} --steps"
    );
    // One thread throughout, as the number of threads decides the last bits.
    let resumption = |more: &str| {
        let mut command = Command::new(program("glow-train"));
        command.env("OMP_NUM_THREADS", "1").stdout(Stdio::null());
        command.args(["--out", killed.to_str().unwrap(), "--resume", "--device", "cpu"]).args(words(more));
        command
    };
    let mut random = seed;
    for kill in 0..kills {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        // The first kills may come before there is a checkpoint.
        let resumed = killed.join("checkpoints/latest.safetensors").exists();
        let began = if resumed { checkpoint_step(&killed) } else { 0 };
        let mut command =
            if resumed { resumption("") } else { start(&faces(), &killed, &format!("{often} 1000000")) };
        let file = metrics_file(&killed);
        let mut child = command.stderr(Stdio::null()).spawn().unwrap();
        let patience = Instant::now();
        while metrics_file(&killed) == file {
            assert!(patience.elapsed() < Duration::from_secs(300), "kill {kill}: the run did not start");
            assert!(child.try_wait().unwrap().is_none(), "the run ended before kill {kill}");
            std::thread::sleep(Duration::from_micros(200));
        }
        match (random >> 33) % 7 {
            0 => {}
            further => wait_for_step(&mut child, &killed, began + further),
        }
        std::thread::sleep(Duration::from_micros((random >> 40) % 8000));
        child.kill().unwrap();
        assert!(!child.wait().unwrap().success(), "the run ended before kill {kill}");
    }
    let last = checkpoint_step(&killed) + 8;
    stdout(resumption(&format!("--steps {last}")).output().unwrap());
    stdout(start(&faces(), &whole, &format!("{often} {last}")).output().unwrap());
    assert_eq!(tensors(&whole), tensors(&killed), "seed {seed}");
    for split in ["train", "validation", "samples"] {
        let numbers = |out: &Path| -> Vec<serde_json::Value> {
            let mut lines = lines(out, split);
            for line in &mut lines {
                // What depends on the machine's pace.
                let line = line.as_object_mut().unwrap();
                line.retain(|name, _| !["images_per_s", "data_wait"].contains(&name.as_str()));
            }
            lines
        };
        assert_eq!(numbers(&whole), numbers(&killed), "seed {seed}, {split}");
    }
}

#[test]
fn a_run_killed_again_and_again_equals_one_that_was_never_killed() {
    killed_and_resumed(6, 1, "");
}

#[test]
#[ignore = "takes minutes: cargo test -p glow-tests --test interrupted -- --ignored"]
fn a_hundred_kills_change_nothing_of_a_cached_or_a_streaming_run() {
    killed_and_resumed(50, 2, "");
    killed_and_resumed(50, 3, "--cache-bytes 0");
}

#[test]
fn sigterm_ends_a_validation_and_the_checkpoint_due_with_it_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let data = folder.path().join("photographs");
    std::fs::create_dir(&data).unwrap();
    copies_of_faces(&data, 10);
    // 90 images are validated two at a time, by a model that takes its time: half a second at least.
    let slow = "--validation-fraction 0.9 --batch-size 2 --init-batch 10 --depth 16 --hidden 128 --steps 100 \
                --sample-every 0 --validate-every 4 --checkpoint-every 4";
    let mut child = start(&data, &out, slow).stderr(Stdio::null()).spawn().unwrap();
    wait_for_step(&mut child, &out, 4);
    signal(&child, "TERM");
    assert!(child.wait().unwrap().success());
    assert_eq!(checkpoint_step(&out), 4);
    assert_eq!(steps(&out, "train"), [1, 2, 3, 4]);
    assert_eq!(steps(&out, "validation"), [0], "the validation was not waited for");
    // The resumed run makes up for it, once.
    stdout(resume(&out, "--steps 5"));
    assert_eq!(steps(&out, "validation"), [0, 4, 5]);
}

#[test]
fn data_that_vanish_cost_no_step() {
    let folder = tempfile::tempdir().unwrap();
    let (data, out) = (folder.path().join("photographs"), folder.path().join("run"));
    std::fs::create_dir(&data).unwrap();
    copies_of_faces(&data, 4);
    let mut command = start(&data, &out, "--cache-bytes 0 --steps 100000 --sample-every 0");
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    wait_for_step(&mut child, &out, 3);
    std::fs::remove_dir_all(&data).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_fails(&output, 1, "what was trained is saved");
    let trained = *steps(&out, "train").last().unwrap();
    assert_eq!(checkpoint_step(&out), trained);
    // With its data back the run goes on as if nothing had been.
    std::fs::create_dir(&data).unwrap();
    copies_of_faces(&data, 4);
    stdout(resume(&out, &format!("--steps {}", trained + 2)));
    assert_eq!(steps(&out, "train"), (1..=trained + 2).collect::<Vec<_>>());
}

#[test]
fn a_folder_in_use_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let mut child = start(&faces(), &out, "--steps 1000000").stderr(Stdio::null()).spawn().unwrap();
    wait_for_step(&mut child, &out, 1);
    let config = std::fs::read(out.join("config.toml")).unwrap();
    assert_fails(&resume(&out, "--lr 0.1"), 1, &format!("process {}", child.id()));
    let second = start(&faces(), &out, "--steps 3").output().unwrap();
    assert_fails(&second, 1, "is in use");
    assert_eq!(std::fs::read(out.join("config.toml")).unwrap(), config);
    // A kill leaves no lock behind.
    child.kill().unwrap();
    child.wait().unwrap();
    stdout(resume(&out, &format!("--steps {}", checkpoint_step(&out) + 1)));
}

#[test]
fn what_was_validated_and_drawn_is_not_done_again() {
    let folder = tempfile::tempdir().unwrap();
    let (out, whole) = (folder.path().join("run"), folder.path().join("whole"));
    let often = "--validate-every 4 --sample-every 4 --checkpoint-every 4 --sample-images 4";
    let trained = |out: &Path, steps: &str| {
        stdout(run("glow-train", start(&faces(), out, &format!("{often} {steps}")).get_args()));
    };
    trained(&out, "--steps 4");
    // The best checkpoint is the latest one under a second name, with its own validation in it.
    let [latest, best] = ["latest", "best"].map(|name| out.join(format!("checkpoints/{name}.safetensors")));
    let inode = |path: &Path| std::fs::metadata(path).unwrap().ino();
    assert_eq!(inode(&latest), inode(&best));
    let validated = Checkpoint::open(&best).unwrap().meta().bits_per_dim.map(f64::to_bits);
    let noted = lines(&out, "validation").last().unwrap()["bits_per_dim"].as_f64().map(f64::to_bits);
    assert_eq!(validated, noted);
    let first = lines(&out, "validation");
    let grid = out.join("samples/step-00000004.png");
    let drawn = std::fs::metadata(&grid).unwrap().modified().unwrap();
    let best = std::fs::metadata(out.join("checkpoints/best.safetensors")).unwrap().modified().unwrap();
    let printed = resume(&out, "--steps 6");
    assert!(!String::from_utf8_lossy(&printed.stderr).contains("step 4: validation"), "{printed:?}");
    stdout(printed);
    assert_eq!(std::fs::metadata(&grid).unwrap().modified().unwrap(), drawn);
    assert_eq!(lines(&out, "validation")[..2], first[..]);
    assert!(std::fs::metadata(out.join("checkpoints/best.safetensors")).unwrap().modified().unwrap() >= best);
    // And what is in the checkpoint of the end is what a run without a break has there.
    trained(&whole, "--steps 6");
    let meta =
        |out: &Path| Checkpoint::open(&out.join("checkpoints/latest.safetensors")).unwrap().meta().clone();
    let (broken, unbroken) = (meta(&out), meta(&whole));
    assert_eq!(broken.best_bits_per_dim.map(f64::to_bits), unbroken.best_bits_per_dim.map(f64::to_bits));
    assert_eq!(broken.bits_per_dim.map(f64::to_bits), unbroken.bits_per_dim.map(f64::to_bits));
}

/// A limit on the size of files stands in for a full disk: pictures make the event file outgrow it, the
/// checkpoint stays below.
#[test]
fn a_disk_too_full_for_events_does_not_end_a_run() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let grids = "--steps 24 --sample-every 1 --sample-images 64";
    stdout(run("glow-train", start(&faces(), &out, "--steps 1").get_args()));
    let checkpoint = std::fs::metadata(out.join("checkpoints/latest.safetensors")).unwrap().len();
    let script = format!("trap '' XFSZ; ulimit -f {}; exec \"$@\"", checkpoint * 5 / 4 / 512);
    let full = Command::new("sh")
        .args(["-c", &script, "sh"])
        .arg(program("glow-train"))
        .args(["--out", out.to_str().unwrap(), "--resume", "--device", "cpu"])
        .args(words(grids))
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&full.stderr).into_owned();
    stdout(full);
    assert_eq!(stderr.matches("warning").count(), 1, "{stderr}");
    assert!(stderr.contains("events.out.tfevents") && stderr.contains("the run goes on"), "{stderr}");
    assert_eq!(checkpoint_step(&out), 24);
    assert_eq!(steps(&out, "samples"), (1..=24).collect::<Vec<_>>());
}
