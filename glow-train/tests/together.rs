//! The program in several processes against the program in one: the same steps, and faults that end all.
use glow_models::{Checkpoint, Group, Role};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// Photographs' stand-ins: smooth shades with an edge and some grain, no two alike.
fn write_images(folder: &Path, count: u32) {
    std::fs::create_dir_all(folder).unwrap();
    for number in 0..count {
        let picture = image::RgbImage::from_fn(16, 16, |x, y| {
            let wave = |phase: u32| {
                let angle = (x * (1 + number % 3) + y * (1 + number % 2) + phase * number) as f64 / 9.0;
                100.0 + 60.0 * angle.sin()
            };
            let edge = if x + number % 7 > y { 40.0 } else { 0.0 };
            let grain = ((x * 7919 + y * 104_729 + number * 1_299_709) % 13) as f64;
            image::Rgb([0, 1, 2].map(|channel| (wave(channel) + edge + grain) as u8))
        });
        picture.save(folder.join(format!("{number:03}.png"))).unwrap();
    }
}

/// A run of 20 steps of a small model; `more` are further arguments.
fn command(images: &Path, out: &Path, more: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_glow-train"));
    command
        .args(["--height", "16", "--width", "16", "--levels", "2", "--depth", "2", "--hidden", "16"])
        .args(["--n-bits", "5", "--init-batch", "16", "--device", "cpu"])
        .args(["--lr", "0.003", "--log-every", "1", "--validate-every", "10", "--sample-every", "20"])
        .args(["--sample-images", "5", "--timeout", "60"])
        .arg("--data")
        .arg(format!("images:{}", images.display()))
        .arg("--out")
        .arg(out)
        .args(more)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    for (option, value) in [("--steps", "20"), ("--checkpoint-every", "10"), ("--batch-size", "8")] {
        if !more.contains(&option) {
            command.args([option, value]);
        }
    }
    for variable in ["RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "GLOO_SOCKET_IFNAME"] {
        command.env_remove(variable);
    }
    command
}

fn run(images: &Path, out: &Path, more: &[&str]) -> Output {
    command(images, out, more).output().unwrap()
}

fn succeed(images: &Path, out: &Path, more: &[&str]) -> String {
    let Output { status, stderr, .. } = run(images, out, more);
    let stderr = String::from_utf8_lossy(&stderr).into_owned();
    assert!(status.success(), "{more:?}: {stderr}");
    stderr
}

/// The lines of metrics of one split.
fn metrics(out: &Path, split: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(out.join("metrics.jsonl")).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.filter(|line| line["split"] == split).collect()
}

fn assert_same_curves(one: &Path, several: &Path, name: &str) {
    for (split, count) in [("train", 20), ("validation", 3)] {
        let (one, several) = (metrics(one, split), metrics(several, split));
        assert_eq!((one.len(), several.len()), (count, count), "{name}, {split}");
        for (one, several) in one.iter().zip(&several) {
            for key in ["step", "images_seen", "images"] {
                assert_eq!(one[key], several[key], "{name}, {split}");
            }
            let (a, b) = (one["bits_per_dim"].as_f64().unwrap(), several["bits_per_dim"].as_f64().unwrap());
            assert!(((a - b) / a).abs() < 1e-5, "{name}, {split}, step {}: {a}, {b}", one["step"]);
        }
    }
}

struct Case {
    /// Dropped last.
    _folder: tempfile::TempDir,
    images: PathBuf,
    root: PathBuf,
}

fn case() -> Case {
    let folder = tempfile::tempdir().unwrap();
    let (images, root) = (folder.path().join("images"), folder.path().to_path_buf());
    write_images(&images, 40);
    Case { _folder: folder, images, root }
}

#[test]
fn several_processes_take_the_steps_of_one() {
    let Case { images, root, .. } = &case();
    let one = root.join("one");
    succeed(images, &one, &[]);
    // 3 does not divide the batch of 8.
    for processes in ["2", "3", "4"] {
        let several = root.join(processes);
        succeed(images, &several, &["--processes", processes]);
        assert_same_curves(&one, &several, processes);
        assert!(several.join("samples/step-00000020.png").exists());
    }
}

#[test]
fn options_of_the_step_work_in_several_processes() {
    let Case { images, root, .. } = &case();
    for (name, options) in [
        (
            "reversible",
            &["--memory", "reversible", "--clip-grad-norm", "0.5", "--further-averages", "3 steps"][..],
        ),
        ("checkpoint", &["--memory", "checkpoint", "--optimizer", "adam", "--coupling", "affine"]),
        // Of three processes one has no image of a batch.
        ("empty", &["--batch-size", "2", "--learn-top", "false"]),
    ] {
        let (one, two) = (root.join(format!("{name}-1")), root.join(format!("{name}-2")));
        succeed(images, &one, options);
        let processes = if name == "empty" { "3" } else { "2" };
        succeed(images, &two, &[options, &["--processes", processes]].concat());
        assert_same_curves(&one, &two, name);
    }
}

#[test]
fn a_run_goes_on_with_any_number_of_processes() {
    let Case { images, root, .. } = &case();
    // Without a checkpoint, auto starts a run; with the same number of processes it goes on as if unbroken.
    let (unbroken, broken) = (root.join("unbroken"), root.join("broken"));
    succeed(images, &unbroken, &["--processes", "2"]);
    succeed(images, &broken, &["--processes", "2", "--resume", "auto", "--steps", "10"]);
    let resumed = root.join("resumed");
    copy_run(&broken, &resumed);
    succeed(images, &broken, &["--processes", "2", "--resume", "auto"]);
    assert_same_tensors(&broken, &unbroken);
    succeed(images, &resumed, &["--processes", "3", "--resume", "auto"]);
    assert_same_curves(&unbroken, &resumed, "from 2 to 3");
    // And with one.
    succeed(images, &resumed, &["--resume", "auto", "--steps", "21"]);
}

#[test]
fn gradients_that_travel_in_bfloat16_lead_near() {
    let Case { images, root, .. } = &case();
    let (one, two) = (root.join("one"), root.join("two"));
    succeed(images, &one, &[]);
    succeed(images, &two, &["--processes", "2", "--gradient-sums", "bf16"]);
    let last = |out: &Path| metrics(out, "train").last().unwrap()["bits_per_dim"].as_f64().unwrap();
    let apart = (last(&one) / last(&two) - 1.0).abs();
    assert!(apart > 0.0 && apart < 1e-2, "{apart}");
}

fn assert_same_tensors(one: &Path, other: &Path) {
    let [one, other] =
        [one, other].map(|out| Checkpoint::open(&out.join("checkpoints/latest.safetensors")).unwrap());
    assert_eq!(one.meta().step, other.meta().step);
    for group in Group::ALL {
        for parameter in one.meta().config.model.parameters() {
            if group == Group::Params || parameter.role == Role::Trained {
                let bytes = |of: &Checkpoint| of.bytes(group, &parameter.name).unwrap();
                assert!(bytes(&one) == bytes(&other), "{group:?} {}", parameter.name);
            }
        }
    }
}

fn copy_run(from: &Path, to: &Path) {
    std::fs::create_dir_all(to.join("checkpoints")).unwrap();
    for file in
        ["checkpoints/latest.safetensors", "checkpoints/best.safetensors", "metrics.jsonl", "config.toml"]
    {
        std::fs::copy(from.join(file), to.join(file)).unwrap();
    }
}

/// A long run in `processes` ranks that has begun.
fn begin(images: &Path, out: &Path, processes: &str) -> Child {
    let more = ["--processes", processes, "--steps", "1000000", "--checkpoint-every", "1000000"];
    let mut child = command(images, out, &more).stderr(Stdio::null()).spawn().unwrap();
    let started = Instant::now();
    while !out.join("metrics.jsonl").exists() || metrics(out, "train").len() < 3 {
        assert!(child.try_wait().unwrap().is_none(), "the run ended early");
        assert!(started.elapsed() < Duration::from_secs(120), "no step was taken");
        std::thread::sleep(Duration::from_millis(50));
    }
    child
}

/// The ranks of a launcher, by their numbers.
fn ranks_of(launcher: &Child, processes: usize) -> Vec<u32> {
    let path = format!("/proc/{0}/task/{0}/children", launcher.id());
    let mut ranks = vec![0; processes];
    for child in std::fs::read_to_string(path).unwrap().split_whitespace() {
        let environment = std::fs::read(format!("/proc/{child}/environ")).unwrap();
        let rank = environment.split(|&byte| byte == 0).find_map(|entry| entry.strip_prefix(b"RANK="));
        let rank: usize = std::str::from_utf8(rank.unwrap()).unwrap().parse().unwrap();
        ranks[rank] = child.parse().unwrap();
    }
    ranks
}

fn signal(process: u32, signal: libc::c_int) {
    // SAFETY: a process that this test started.
    assert_eq!(unsafe { libc::kill(process as libc::pid_t, signal) }, 0);
}

#[test]
fn sigterm_to_one_process_stops_all_and_saves_once() {
    let Case { images, root, .. } = &case();
    let out = root.join("stopped");
    let mut run = begin(images, &out, "2");
    signal(ranks_of(&run, 2)[1], libc::SIGTERM);
    assert!(run.wait().unwrap().success());
    let steps = metrics(&out, "train").last().unwrap()["step"].as_u64().unwrap();
    let checkpoint = Checkpoint::open(&out.join("checkpoints/latest.safetensors")).unwrap();
    assert_eq!(checkpoint.meta().step, steps);
}

#[test]
fn a_killed_process_ends_all_and_nothing_trained_is_lost() {
    let Case { images, root, .. } = &case();
    let out = root.join("killed");
    let mut run = begin(images, &out, "3");
    signal(ranks_of(&run, 3)[1], libc::SIGKILL);
    let killed = Instant::now();
    assert_eq!(run.wait().unwrap().code(), Some(1));
    assert!(killed.elapsed() < Duration::from_secs(40), "{:?}", killed.elapsed());
    // Rank 0 saved the last whole step, of which it may not have written the metrics yet; a run in another number of
    // processes goes on from there.
    let noted = metrics(&out, "train").last().unwrap()["step"].as_u64().unwrap();
    let checkpoint = Checkpoint::open(&out.join("checkpoints/latest.safetensors")).unwrap();
    let steps = checkpoint.meta().step;
    assert!((noted..=noted + 1).contains(&steps), "{steps} of {noted}");
    drop(checkpoint);
    let more = (steps + 2).to_string();
    succeed(images, &out, &["--resume", "auto", "--processes", "2", "--steps", &more]);
}

#[test]
fn an_error_of_one_process_reaches_the_user_with_its_rank() {
    let Case { images, root, .. } = &case();
    let (out, errors) = (root.join("refused"), root.join("error.json"));
    std::fs::create_dir_all(&out).unwrap();
    std::fs::write(out.join("checkpoints"), "in the way").unwrap();
    let output =
        command(images, &out, &["--processes", "2"]).env("TORCHELASTIC_ERROR_FILE", &errors).output();
    let output = output.unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("rank 0: cannot write"), "{stderr}");
    assert!(stderr.contains("rank 1: rank 0 failed: cannot write"), "{stderr}");
    let error: Value = serde_json::from_slice(&std::fs::read(errors).unwrap()).unwrap();
    let message = error["message"]["message"].as_str().unwrap();
    assert!(message.contains("cannot write"), "{message}");
}

#[test]
fn wrong_use_is_said_once() {
    let Case { images, root, .. } = &case();
    let output = run(images, &root.join("wrong"), &["--processes", "3", "--lr", "-1"]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), stderr.matches("lr").count()), (Some(2), 1), "{stderr}");
    let own = run(images, &root.join("wrong"), &["--preset", "cifar10", "--resume"]);
    assert_eq!(own.status.code(), Some(2));
    let nested = command(images, &root.join("wrong"), &["--processes", "2"])
        .envs([("RANK", "0"), ("WORLD_SIZE", "2"), ("MASTER_ADDR", "127.0.0.1"), ("MASTER_PORT", "1")])
        .output();
    assert_eq!(nested.unwrap().status.code(), Some(2));
}

#[test]
fn data_that_differ_between_processes_are_refused() {
    let Case { images, root, .. } = &case();
    let other = root.join("other");
    write_images(&other, 39);
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
    let start = |rank: &str, images: &Path| {
        command(images, &root.join("run"), &[])
            .envs([("RANK", rank), ("WORLD_SIZE", "2"), ("MASTER_ADDR", "127.0.0.1"), ("MASTER_PORT", &port)])
            .spawn()
            .unwrap()
    };
    for process in [start("0", images), start("1", &other)] {
        let output = process.wait_with_output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        assert!(stderr.contains("the number of training images is"), "{stderr}");
    }
}
