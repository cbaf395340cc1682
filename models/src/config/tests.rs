use super::*;
use crate::{CheckpointMeta, Coupling, Optimizer, Schedule, Weights};
use std::error::Error;

#[test]
fn overrides_by_name_set_the_right_key() {
    let mut config = Config::default();
    for (name, value) in
        [("depth", "4"), ("coupling", "affine"), ("lr", "1"), ("edge_bias", "false"), ("data", "mnist:7")]
    {
        config.set(name, value).unwrap();
    }
    assert_eq!((config.model.depth, config.model.coupling), (4, Coupling::Affine));
    assert_eq!((config.training.lr, config.model.edge_bias), (1.0, false));
    assert_eq!(config.data.data, "mnist:7");
    config.set("data", "42").unwrap();
    assert_eq!(config.data.data, "42");
    config.set("sample_temperatures", "0, 0.7,1").unwrap();
    assert_eq!(config.training.sample_temperatures, [0.0, 0.7, 1.0]);
    config.set("optimizer", "adam").unwrap();
    assert_eq!(config.training.optimizer, Optimizer::Adam);
}

#[test]
fn what_is_got_can_be_set() {
    let mut config = Config::preset("lsun64").unwrap();
    assert_eq!(config.get("coupling").as_deref(), Some("affine"));
    assert_eq!(config.get("sample_temperatures").as_deref(), Some("0.0,0.25,0.5,0.6,0.7,0.8,0.9,1.0"));
    assert_eq!(config.get("deepth"), None);
    let before = config.clone();
    for field in Config::fields().into_iter().flat_map(|(_, fields)| fields) {
        config.set(field.name, &before.get(field.name).unwrap()).unwrap();
    }
    assert_eq!(config, before);
}

#[test]
fn bad_overrides_name_the_flag_and_change_nothing() {
    let mut config = Config::default();
    for name in ["deepth", "Steps", ""] {
        assert!(matches!(config.set(name, "4"), Err(ConfigError::UnknownField { .. })), "{name}");
    }
    for (name, value) in [
        ("depth", "many"),
        ("depth", "-1"),
        ("batch_size", "1.5"),
        ("coupling", "afine"),
        ("sample_temperatures", "warm"),
        ("warmup", "10"),
        ("warmup", "10 parsecs"),
        ("train_for", "none"),
        ("train_for", "-1 steps"),
        ("steps", "many"),
        ("steps", "1e18"),
        ("max_minutes", "1e18"),
        ("max_minutes", "nan"),
        ("epochs", "-1"),
        ("clip_grad_norm", "auto"),
        ("flip", "maybe"),
        ("seed", "10000000000000000000"),
        ("seed", "-1"),
    ] {
        match config.set(name, value) {
            Err(ConfigError::BadValue { name: named, .. }) => assert_eq!(named, name),
            other => panic!("{name} = {value}: {other:?}"),
        }
        assert_eq!(config, Config::default());
    }
    let error = config.set("warmup", "10").unwrap_err();
    let source = error.source().unwrap().to_string();
    assert!(source.contains("lacks its unit") && source.contains("none"), "{source}");
}

#[test]
fn values_out_of_range_are_named() {
    for (name, value) in [
        ("lr", "nan"),
        ("lr", "0"),
        ("lr", "inf"),
        ("batch_size", "0"),
        ("sample_temperatures", "0.7,-1"),
        ("beta1", "1"),
        ("beta2", "1"),
        ("clip_grad_norm", "-1"),
        ("epoch_images", "0"),
        ("keep_last", "0"),
        ("sample_images", "100000000"),
    ] {
        let mut config = Config::default();
        config.set(name, value).unwrap();
        match config.validate() {
            Err(ConfigError::OutOfRange { name: named, .. }) => assert_eq!(named, name),
            other => panic!("{name} = {value}: {other:?}"),
        }
    }
}

#[test]
fn durations_that_cannot_be_meant_are_named() {
    let cases: [(&str, &[(&str, &str)]); 12] = [
        ("train_for", &[("train_for", "5 %")]),
        ("train_for", &[("train_for", "0 steps")]),
        ("train_for", &[("train_for", "2 h"), ("schedule", "cosine")]),
        ("time_limit", &[("time_limit", "10 steps")]),
        ("time_limit", &[("time_limit", "0 min")]),
        ("warmup", &[("warmup", "3 min")]),
        ("warmup", &[("warmup", "5 %"), ("train_for", "2 h")]),
        ("polyak", &[("polyak", "3 min")]),
        ("polyak", &[("polyak", "0 epochs")]),
        ("log_every", &[("log_every", "0")]),
        ("sample_every", &[("sample_every", "0 epochs")]),
        ("checkpoint_every", &[("checkpoint_every", "0 min")]),
    ];
    for (expected, overrides) in cases {
        let mut config = Config::default();
        for (name, value) in overrides {
            config.set(name, value).unwrap();
        }
        match config.validate() {
            Err(ConfigError::Duration { name, .. }) => assert_eq!(name, expected),
            other => panic!("{overrides:?}: {other:?}"),
        }
    }
}

#[test]
fn numbers_that_toml_cannot_hold_are_errors_and_no_panics() {
    for change in [
        |config: &mut Config| config.training.seed = u64::MAX,
        |config: &mut Config| config.data.cache_bytes = 1 << 63,
    ] {
        let mut config = Config::default();
        change(&mut config);
        assert!(matches!(config.to_toml(), Err(ConfigError::Unwritable(_))));
        assert!(matches!(config.set("depth", "4"), Err(ConfigError::Unwritable(_))));
        assert!(matches!(config.validate(), Err(ConfigError::OutOfRange { .. })));
        assert_eq!(config.get("depth"), None);
    }
    let mut config = Config::default();
    config.set("seed", "9223372036854775807").unwrap();
    config.validate().unwrap();
    assert_eq!(config.get("seed").as_deref(), Some("9223372036854775807"));
}

#[test]
fn durations_and_words_are_set_as_text() {
    let mut config = Config::default();
    for (name, value) in [
        ("warmup", "50 steps"),
        ("train_for", "3.5 min"),
        ("sample_every", "none"),
        ("clip_grad_norm", "50"),
        ("validate_images", "100"),
        ("beta2", "0.99"),
        ("flip", "false"),
        ("log_every", "5 %"),
    ] {
        config.set(name, value).unwrap();
    }
    let t = &config.training;
    assert_eq!((t.warmup, t.train_for), (Some(Duration::Steps(50)), Duration::Minutes(3.5)));
    assert_eq!((t.sample_every, t.clip_grad_norm), (None, Some(50.0)));
    assert_eq!((t.validate_images, t.beta2, t.flip), (Some(100), Some(0.99), Some(false)));
    assert_eq!(t.log_every, Duration::Percent(5.0));
    config.validate().unwrap();
    for (name, word) in [("warmup", "none"), ("validate_images", "all"), ("beta2", "auto"), ("flip", "auto")]
    {
        config.set(name, word).unwrap();
        assert_eq!(config.get(name).as_deref(), Some(word));
    }
}

/// A `config.toml` as version 0.1 wrote it, of the demo with a few more overrides.
const OLD_CONFIG: &str = include_str!("old_config.toml");

#[test]
fn old_files_keep_their_meaning() {
    let config = Config::parse(OLD_CONFIG, "old_config.toml").unwrap();
    config.validate().unwrap();
    let t = &config.training;
    assert_eq!((t.train_for, t.time_limit), (Duration::Steps(2500), Some(Duration::Minutes(3.5))));
    assert_eq!((t.warmup, t.polyak), (Some(Duration::Steps(50)), Duration::Epochs(6.0)));
    assert_eq!((t.log_every, t.validate_every), (Duration::Steps(100), Duration::Steps(500)));
    assert_eq!((t.sample_every, t.checkpoint_every), (None, Duration::Steps(500)));
    assert_eq!((t.clip_grad_norm, t.beta2, t.anchor_size, t.validate_images), (Some(50.0), None, None, None));
    // What there was no choice about in version 0.1.
    assert_eq!((t.flip, t.polyak_warmup, t.epoch_images), (Some(true), true, None));
    assert_eq!(
        (t.optimizer, t.schedule, t.weights),
        (Optimizer::Adam, Schedule::Constant, Weights::Averaged)
    );
    assert_eq!((config.model.hidden, config.data.data.as_str()), (64, "images:photos"));
    // The other units: where steps are 0, epochs count; 0 minutes are no limit.
    let text = OLD_CONFIG
        .replace("steps = 2500\n", "steps = 0\n")
        .replace("warmup_steps = 50\n", "warmup_steps = 0\n")
        .replace("max_minutes = 3.5\n", "max_minutes = 0.0\n")
        .replace("clip_grad_norm = 50.0\n", "clip_grad_norm = 0.0\n")
        .replace("beta2 = 0.0\n", "beta2 = 0.99\n");
    let t = Config::parse(&text, "old").unwrap().training;
    assert_eq!((t.train_for, t.time_limit), (Duration::Epochs(1000.0), None));
    assert_eq!((t.warmup, t.clip_grad_norm, t.beta2), (Some(Duration::Epochs(10.0)), None, Some(0.99)));
    // And what is written now reads back the same.
    assert_eq!(Config::parse(&config.to_toml().unwrap(), "new").unwrap(), config);
}

#[test]
fn old_checkpoints_metadata_keep_their_meaning() {
    let tree: toml::Value = toml::from_str(OLD_CONFIG).unwrap();
    let meta = serde_json::json!({
        "config": tree, "step": 7, "images_seen": 56, "train_images": 324, "actnorm_initialised": true,
        "bits_per_dim": null, "best_bits_per_dim": 2.5,
    });
    let meta: CheckpointMeta = serde_json::from_str(&meta.to_string()).unwrap();
    assert_eq!(meta.config, Config::parse(OLD_CONFIG, "old").unwrap());
    let again: CheckpointMeta = serde_json::from_str(&serde_json::to_string(&meta).unwrap()).unwrap();
    assert_eq!(again, meta);
}

#[test]
fn a_name_in_both_forms_is_refused() {
    for (old, new) in Config::old_names() {
        let text = format!("[training]\n{old} = 1\n{new} = \"1 epoch\"\n");
        match Config::parse(&text, "both") {
            Err(ConfigError::Parse { source, .. }) => assert!(source.to_string().contains(old), "{source}"),
            other => panic!("{old}: {other:?}"),
        }
    }
    let unknown = Config::parse("[training]\nlearning_rate = 1\n", "unknown").unwrap_err();
    assert!(unknown.source().unwrap().to_string().contains("learning_rate"));
}

#[test]
fn old_flags_keep_their_meaning() {
    let mut config = Config::default();
    for (name, value) in [
        ("steps", "300"),
        ("warmup_steps", "1"),
        ("polyak_epochs", "2"),
        ("max_minutes", "0.5"),
        ("validate_every", "100"),
        ("sample_every", "0"),
        ("checkpoint_every", "20"),
        ("clip_grad_norm", "0"),
        ("validate_images", "0"),
        ("anchor_size", "0"),
        ("beta2", "0"),
    ] {
        config.set(name, value).unwrap();
    }
    config.validate().unwrap();
    let t = &config.training;
    assert_eq!((t.train_for, t.warmup), (Duration::Steps(300), Some(Duration::Steps(1))));
    assert_eq!((t.polyak, t.time_limit), (Duration::Epochs(2.0), Some(Duration::Minutes(0.5))));
    assert_eq!((t.validate_every, t.checkpoint_every), (Duration::Steps(100), Duration::Steps(20)));
    assert_eq!((t.sample_every, t.clip_grad_norm, t.validate_images), (None, None, None));
    assert_eq!((t.anchor_size, t.beta2), (None, None));
    // 0 steps were "as epochs says".
    for (name, value) in [("steps", "0"), ("warmup_steps", "0"), ("max_minutes", "0")] {
        config.set(name, value).unwrap();
    }
    let t = &config.training;
    assert_eq!((t.train_for, t.warmup), (Duration::Steps(300), Some(Duration::Steps(1))));
    assert_eq!(t.time_limit, None);
    config.set("epochs", "2.5").unwrap();
    assert_eq!(config.training.train_for, Duration::Epochs(2.5));
}

#[test]
fn digits_are_not_flipped() {
    let mut config = Config::default();
    assert!(config.flips().unwrap());
    config.set("data", "mnist:digits").unwrap();
    assert!(!config.flips().unwrap());
    config.set("flip", "true").unwrap();
    assert!(matches!(config.flips(), Err(ConfigError::FlippedDigits)));
    config.set("data", "images:mnist").unwrap();
    assert!(config.flips().unwrap());
}
