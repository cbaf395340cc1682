//! Checkpoints written, read again, and damaged.
use super::*;
use crate::{Dtype, write_atomically};

fn tiny() -> CheckpointMeta {
    let mut config = Config::default();
    for (name, value) in [("height", "4"), ("width", "4"), ("levels", "1"), ("depth", "1"), ("hidden", "4")] {
        config.set(name, value).unwrap();
    }
    CheckpointMeta {
        config,
        step: 7,
        images_seen: 448,
        train_images: 100,
        actnorm_initialised: true,
        bits_per_dim: Some(3.5),
        ..Default::default()
    }
}

/// Zeros, but for the first byte, which tells the group.
fn marked(group: Group, parameter: &Parameter, out: &mut dyn Write) -> io::Result<()> {
    let size = match parameter.dtype {
        Dtype::F32 => 4,
        Dtype::I64 => 8,
    };
    let mut bytes = vec![0; size * parameter.shape.iter().product::<usize>()];
    bytes[0] = mark(group);
    out.write_all(&bytes)
}

fn mark(group: Group) -> u8 {
    match group {
        Group::Params => 1,
        Group::Averages => 2,
        Group::OptimizerMean => 3,
        Group::OptimizerSize => 4,
        Group::FurtherAverages(n) => 10 + n,
    }
}

fn written(meta: &CheckpointMeta, groups: &[Group]) -> Vec<u8> {
    let mut file = Vec::new();
    Checkpoint::write(&mut file, meta, groups, marked).unwrap();
    file
}

const BIAS: &str = "level0.step00.actnorm.bias";

#[test]
fn a_checkpoint_reads_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("c.safetensors");
    write_atomically(&path, |out| Checkpoint::write(out, &tiny(), &Group::ALL, marked)).unwrap();
    let checkpoint = Checkpoint::open(&path).unwrap();
    assert_eq!((checkpoint.meta(), checkpoint.groups()), (&tiny(), &Group::ALL[..]));
    checkpoint.check_resumable().unwrap();
    for group in Group::ALL {
        let bytes = checkpoint.bytes(group, BIAS).unwrap();
        assert_eq!((bytes.len(), bytes[0]), (4 * 12, mark(group)));
    }
    assert!(matches!(checkpoint.bytes(Group::Params, "bias"), Err(CheckpointError::Tensor { .. })));
}

#[test]
fn groups_may_be_missing_but_not_in_part() {
    let path = Path::new("c.safetensors");
    let open = |groups: &[Group]| Checkpoint::from_bytes(written(&tiny(), groups), path);
    for groups in [&Group::WEIGHTS[..], &Group::WEIGHTS[..1]] {
        let checkpoint = open(groups).unwrap();
        assert_eq!(checkpoint.groups(), groups);
        assert!(matches!(checkpoint.check_resumable(), Err(CheckpointError::WeightsAlone { .. })));
        assert!(checkpoint.bytes(Group::OptimizerMean, BIAS).is_err());
        // Averages that are not there are the parameters.
        let average = mark(*groups.last().unwrap());
        assert_eq!(checkpoint.bytes(Group::Averages, BIAS).unwrap()[0], average);
    }
    let one_alone = open(&[Group::Params, Group::OptimizerSize]);
    assert!(
        matches!(one_alone, Err(CheckpointError::Tensor { tensor, .. }) if tensor.starts_with("optimizer.m"))
    );
    let without = Checkpoint::write(&mut Vec::new(), &tiny(), &[Group::Averages], marked);
    assert_eq!(without.unwrap_err().kind(), io::ErrorKind::InvalidInput);
}

#[test]
fn there_may_be_several_averages() {
    let path = Path::new("c.safetensors");
    let meta = CheckpointMeta { further_averages: vec!["10 epochs".into(), "5 %".into()], ..tiny() };
    let groups = [&Group::ALL[..], &[Group::FurtherAverages(1), Group::FurtherAverages(2)]].concat();
    let checkpoint = Checkpoint::from_bytes(written(&meta, &groups), path).unwrap();
    checkpoint.check_resumable().unwrap();
    for group in groups {
        assert_eq!(checkpoint.bytes(group, BIAS).unwrap()[0], mark(group));
    }
    for (name, group) in [
        ("raw", Group::Params),
        ("averaged", Group::Averages),
        ("10 epochs", Group::FurtherAverages(1)),
        ("5%", Group::FurtherAverages(2)),
    ] {
        assert_eq!(checkpoint.weights(name).unwrap(), group, "{name}");
    }
    let unknown = checkpoint.weights("20 epochs");
    assert!(matches!(unknown, Err(CheckpointError::NoWeights { known, .. }) if known.len() == 4));
    let unnamed = written(&tiny(), &[Group::Params, Group::FurtherAverages(1)]);
    assert!(matches!(Checkpoint::from_bytes(unnamed, path), Err(CheckpointError::Foreign { .. })));
    let missing = written(&meta, &Group::ALL);
    assert!(matches!(Checkpoint::from_bytes(missing, path), Err(CheckpointError::Tensor { .. })));
}

#[test]
fn broken_checkpoints_say_what_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("c.safetensors");
    let whole = written(&tiny(), &Group::ALL);
    let replaced = |from: &str, to: &str| {
        assert_eq!(from.len(), to.len());
        let at = whole.windows(from.len()).position(|w| w == from.as_bytes()).expect(from);
        let mut bytes = whole.clone();
        bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
        bytes
    };
    let mut foreign = Vec::new();
    stream_tensors(&mut foreign, &BTreeMap::new(), &[], |_, _| Ok(())).unwrap();
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("has 5 bytes where its header says", b"hello".to_vec()),
        ("has 0 bytes where its header says", Vec::new()),
        ("where its header says", whole[..whole.len() - 1].to_vec()),
        ("states a header of", vec![0xff; 64]),
        ("reads versions 1 and 2", replaced(r#""version":"2""#, r#""version":"3""#)),
        ("not a checkpoint of glow-train", foreign),
        ("not a checkpoint of glow-train", replaced("glow-checkpoint", "grow-checkpoint")),
        (
            "params/level0.step00.actnorm.bias is missing",
            replaced("params/level0.step00.actnorm.bias", "params/level0.step00.actnorm.bios"),
        ),
        ("has shape", replaced(r#"\"hidden\":4"#, r#"\"hidden\":5"#)),
        ("is not valid", replaced(r#"\"levels\":1"#, r#"\"levels\":9"#)),
    ];
    for (expected, bytes) in cases {
        std::fs::write(&path, bytes).unwrap();
        let error = Checkpoint::open(&path).expect_err(expected);
        let mut message = error.to_string();
        let mut source = std::error::Error::source(&error);
        while let Some(cause) = source {
            message = format!("{message}: {cause}");
            source = cause.source();
        }
        assert!(message.contains(expected), "{message:?} does not say {expected:?}");
    }
}

#[test]
fn the_best_checkpoint_of_a_run_is_taken() {
    let run = tempfile::tempdir().unwrap();
    assert!(matches!(find_checkpoint(run.path()), Err(CheckpointError::NoneInRun { .. })));
    assert!(matches!(find_checkpoint(&run.path().join("no")), Err(CheckpointError::NotFound { .. })));
    let folder = run.path().join("checkpoints");
    std::fs::create_dir(&folder).unwrap();
    for name in ["latest", "best"] {
        let file = folder.join(name).with_extension("safetensors");
        std::fs::write(&file, "").unwrap();
        assert_eq!(find_checkpoint(run.path()).unwrap(), file);
    }
}

#[test]
fn the_last_few_checkpoints_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let latest = folder.path().join("latest.safetensors");
    for name in ["best.safetensors", "step-x.safetensors", "step-00000001.txt", "step-00000099.safetensors"] {
        std::fs::write(folder.path().join(name), "other").unwrap();
    }
    for step in [1, 2, 10, 11] {
        write_atomically(&latest, |out| write!(out, "{step}")).unwrap();
        keep_checkpoint(&latest, step, 3).unwrap();
        keep_checkpoint(&latest, step, 3).unwrap();
    }
    for (step, there) in [(1, false), (2, true), (10, true), (11, true), (99, true)] {
        let path = folder.path().join(format!("step-{step:08}.safetensors"));
        assert_eq!(path.exists(), there, "{step}");
        if there && step < 99 {
            assert_eq!(std::fs::read_to_string(path).unwrap(), step.to_string());
        }
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 8, "others are left alone");
}

/// What the fuzz target `checkpoint` looks for, on a few thousand files.
#[test]
fn damaged_bytes_are_refused_or_read_and_never_panic() {
    let whole = written(&tiny(), &Group::WEIGHTS);
    let header = whole.len().min(20_000);
    let mut state = 1u64;
    let mut random = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    for _ in 0..3000 {
        let mut bytes = whole.clone();
        for _ in 0..=random(3) {
            bytes[random(header)] = random(256) as u8;
        }
        if random(4) == 0 {
            bytes.truncate(random(whole.len()));
        }
        let Ok(checkpoint) = Checkpoint::from_bytes(bytes, Path::new("damaged")) else { continue };
        for parameter in checkpoint.meta().config.model.parameters() {
            checkpoint.bytes(Group::Params, &parameter.name).expect("a checked checkpoint has it");
        }
    }
}
