//! A run's whole configuration: `config.toml`, the presets, and overrides by key.
use crate::fields::hyperparameters;
use crate::{Architecture, ArchitectureError, Colour, Crop, Field, Training};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use thiserror::Error;

hyperparameters! {
    /// Where the images come from.
    pub struct Data {
        /// The data set as KIND:PATH, such as "images:photos" or "cifar10:cifar-10-batches-bin".
        data: String = String::new(),
        /// Images to validate on, as KIND:PATH or a folder of images; empty for the data set's own validation images, or a part of it.
        validation: String = String::new(),
        /// Share of the images held out for validation, where neither the data set nor --validation has any.
        validation_fraction: f64 = 0.1,
        /// Bytes of decoded images kept in memory; a larger data set is decoded as it is read.
        cache_bytes: u64 = 2 << 30,
        /// Pixels that an image's shorter side is averaged down to, if it has more, before the model's size is cropped from it at random; 0 for the centre, averaged down to the model's size.
        random_crop: usize = 0,
        /// Attribute of celeba: that gives the images their two classes, such as Smiling; empty for none.
        attribute: String = String::new(),
        /// Part of each image that is used, LEFT,TOP,WIDTH,HEIGHT in percent of its width and height, such as "6.7%,17.4%,85.4%,69.7%"; empty for the whole image.
        crop: Crop = Crop::WHOLE,
        /// Colour behind transparent pixels, #rrggbb.
        background: Colour = Colour::WHITE,
        /// Threads that read and decode images; 0 for one a core, 8 at most.
        loader_threads: usize = 0,
        /// Batches that are read ahead of training.
        prefetch: usize = 8,
    }
}

/// Every hyperparameter of a run, in the three tables of `config.toml`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// What the model computes.
    pub model: Architecture,
    /// How it is trained.
    pub training: Training,
    /// On what.
    pub data: Data,
}

/// A configuration that cannot be used.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The text is not a configuration; the message names line and key.
    #[error("{origin} is not a valid configuration")]
    Parse {
        /// The file, preset or flag.
        origin: String,
        /// Where and why.
        source: Box<toml::de::Error>,
    },
    /// No preset of this name.
    #[error("there is no preset {name:?}; the presets are {}", preset_names().join(", "))]
    UnknownPreset {
        /// The name asked for.
        name: String,
    },
    /// No hyperparameter of this name.
    #[error("there is no hyperparameter {name:?}")]
    UnknownField {
        /// The name asked for.
        name: String,
    },
    /// A value that the hyperparameter cannot take.
    #[error("--{} {value}: not a value of this hyperparameter", name.replace('_', "-"))]
    BadValue {
        /// The hyperparameter.
        name: String,
        /// The value given.
        value: String,
        /// What it takes.
        source: Box<toml::de::Error>,
    },
    /// A hyperparameter of training out of range.
    #[error("{name} = {value} is out of range: {allowed}")]
    OutOfRange {
        /// The hyperparameter.
        name: &'static str,
        /// Its value.
        value: f64,
        /// What is allowed.
        allowed: &'static str,
    },
    /// A hyperparameter of the model is out of range.
    #[error("the architecture cannot be built")]
    Architecture(#[from] ArchitectureError),
}

macro_rules! presets {
    ($($name:literal),+ $(,)?) => {
        const PRESETS: &[(&str, &str)] = &[$(($name, include_str!(concat!("../presets/", $name, ".toml")))),+];
    };
}
presets!(
    "cifar10",
    "cifar10-cond",
    "ablation",
    "imagenet32",
    "imagenet32-cond",
    "imagenet64",
    "lsun64",
    "lsun96",
    "lsun128",
    "celeba64",
    "celebahq256",
);

/// Names of the presets, as `--preset` takes them; each is a file of `models/presets/`.
pub fn preset_names() -> Vec<&'static str> {
    PRESETS.iter().map(|(name, _)| *name).collect()
}

impl Config {
    /// The paper's configuration of this name.
    ///
    /// # Errors
    /// [`ConfigError::UnknownPreset`], with the names that there are.
    pub fn preset(name: &str) -> Result<Self, ConfigError> {
        let (_, text) = PRESETS
            .iter()
            .find(|(preset, _)| *preset == name)
            .ok_or_else(|| ConfigError::UnknownPreset { name: name.into() })?;
        Self::parse(text, &format!("preset {name}"))
    }

    /// Reads a TOML file; missing keys take their defaults.
    ///
    /// # Errors
    /// The file cannot be read, is not TOML, or has a key that is unknown or of the wrong type.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Read { path: path.into(), source })?;
        Self::parse(&text, &path.display().to_string())
    }

    fn parse(text: &str, origin: &str) -> Result<Self, ConfigError> {
        toml::from_str(text)
            .map_err(|source| ConfigError::Parse { origin: origin.into(), source: Box::new(source) })
    }

    /// The tables of `config.toml` with their hyperparameters.
    pub fn fields() -> [(&'static str, &'static [Field]); 3] {
        [("model", Architecture::FIELDS), ("training", Training::FIELDS), ("data", Data::FIELDS)]
    }

    /// Sets one hyperparameter from text, as a command-line flag gives it.
    ///
    /// # Errors
    /// An unknown name, or a value of the wrong type; the configuration is then unchanged.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), ConfigError> {
        let table = Self::fields()
            .into_iter()
            .find(|(_, fields)| fields.iter().any(|field| field.name == name))
            .map(|(table, _)| table)
            .ok_or_else(|| ConfigError::UnknownField { name: name.into() })?;
        // A value that TOML reads as a number or a truth value is one; anything else is a string.
        // A whole number may stand for a float.
        let literal: toml::Value = value
            .parse::<i64>()
            .map(toml::Value::Integer)
            .or_else(|_| value.parse::<f64>().map(toml::Value::Float))
            .or_else(|_| value.parse::<bool>().map(toml::Value::Boolean))
            .unwrap_or_else(|_| toml::Value::String(value.into()));
        let mut tree =
            toml::Value::try_from(&*self).expect("a configuration is always representable as TOML");
        let slot = &mut tree[table][name];
        *slot = match (&*slot, literal) {
            (toml::Value::Array(_), _) => toml::Value::Array(
                value
                    .split(',')
                    .map(|item| match item.trim().parse::<f64>() {
                        Ok(number) => toml::Value::Float(number),
                        Err(_) => toml::Value::String(item.into()),
                    })
                    .collect(),
            ),
            (toml::Value::Float(_), toml::Value::Integer(whole)) => toml::Value::Float(whole as f64),
            (toml::Value::String(_), _) => toml::Value::String(value.into()),
            (_, literal) => literal,
        };
        *self = tree.try_into().map_err(|source| ConfigError::BadValue {
            name: name.into(),
            value: value.into(),
            source: Box::new(source),
        })?;
        Ok(())
    }

    /// A hyperparameter's value as text that [`set`](Self::set) takes; `None` if there is none of this name.
    pub fn get(&self, name: &str) -> Option<String> {
        let (table, _) =
            Self::fields().into_iter().find(|(_, fields)| fields.iter().any(|f| f.name == name))?;
        let tree = toml::Value::try_from(self).expect("a configuration is always representable as TOML");
        Some(match &tree[table][name] {
            toml::Value::String(text) => text.clone(),
            toml::Value::Array(items) => {
                items.iter().map(toml::Value::to_string).collect::<Vec<_>>().join(",")
            }
            other => other.to_string(),
        })
    }

    /// The text of `config.toml`: every resolved hyperparameter.
    pub fn to_toml(&self) -> String {
        toml::to_string(self).expect("a configuration is always representable as TOML")
    }

    /// Checks every hyperparameter against its range.
    ///
    /// # Errors
    /// The first one that is out of range, by name.
    pub fn validate(&self) -> Result<(), ConfigError> {
        self.model.validate()?;
        let t = &self.training;
        let at_least_one = "at least 1";
        let bad_temperature =
            t.sample_temperatures.iter().copied().find(|value| !(value.is_finite() && *value >= 0.0));
        let checks = [
            ("lr", t.lr, t.lr.is_finite() && t.lr > 0.0, "a number above 0"),
            ("beta1", t.beta1, (0.0..1.0).contains(&t.beta1), "0 up to, without, 1"),
            ("beta2", t.beta2, (0.0..1.0).contains(&t.beta2), "0 up to, without, 1"),
            ("epsilon", t.epsilon, t.epsilon.is_finite() && t.epsilon > 0.0, "a number above 0"),
            (
                "polyak_epochs",
                t.polyak_epochs,
                t.polyak_epochs.is_finite() && t.polyak_epochs > 0.0,
                "above 0",
            ),
            ("batch_size", t.batch_size as f64, (1..=1 << 20).contains(&t.batch_size), at_least_one),
            ("init_batch", t.init_batch as f64, (1..=1 << 20).contains(&t.init_batch), at_least_one),
            (
                "warmup_epochs",
                t.warmup_epochs,
                t.warmup_epochs.is_finite() && t.warmup_epochs >= 0.0,
                "at least 0",
            ),
            ("epochs", t.epochs, t.epochs.is_finite() && t.epochs > 0.0, "a number above 0"),
            (
                "clip_grad_norm",
                t.clip_grad_norm,
                t.clip_grad_norm.is_finite() && t.clip_grad_norm >= 0.0,
                "at least 0",
            ),
            ("max_minutes", t.max_minutes, t.max_minutes.is_finite() && t.max_minutes >= 0.0, "at least 0"),
            ("weight_y", t.weight_y, t.weight_y.is_finite() && t.weight_y >= 0.0, "at least 0"),
            ("log_every", t.log_every as f64, t.log_every > 0, at_least_one),
            ("validate_every", t.validate_every as f64, t.validate_every > 0, at_least_one),
            ("checkpoint_every", t.checkpoint_every as f64, t.checkpoint_every > 0, at_least_one),
            ("anchor_size", t.anchor_size as f64, t.anchor_size <= 1 << 15, "at most 32768"),
            (
                "shift",
                t.shift as f64,
                t.shift < self.model.height.min(self.model.width),
                "less than the image's sides",
            ),
            (
                "sample_temperatures",
                bad_temperature.unwrap_or(0.0),
                bad_temperature.is_none() && !t.sample_temperatures.is_empty(),
                "numbers of at least 0, one or more",
            ),
            (
                "random_crop",
                self.data.random_crop as f64,
                self.data.random_crop == 0
                    || (self.model.height.max(self.model.width)..=1 << 15).contains(&self.data.random_crop),
                "0, or from the image's longer side to 32768",
            ),
            (
                "validation_fraction",
                self.data.validation_fraction,
                (0.0..1.0).contains(&self.data.validation_fraction),
                "0 up to, without, 1",
            ),
        ];
        match checks.into_iter().find(|(_, _, holds, _)| !holds) {
            Some((name, value, _, allowed)) => Err(ConfigError::OutOfRange { name, value, allowed }),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Coupling, Optimizer};

    #[test]
    fn every_preset_is_valid_and_survives_its_own_toml() {
        for name in preset_names() {
            let config = Config::preset(name).unwrap();
            config.validate().unwrap();
            assert_eq!(Config::parse(&config.to_toml(), name).unwrap(), config);
        }
        assert!(Config::preset("cifar").unwrap_err().to_string().contains("cifar10"));
    }

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
        assert_eq!(config.get("sample_temperatures").as_deref(), Some("0.7"));
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
        for (name, value, expected) in [
            ("deepth", "4", "no hyperparameter \"deepth\""),
            ("depth", "many", "--depth many"),
            ("depth", "-1", "--depth -1"),
            ("batch_size", "1.5", "--batch-size 1.5"),
            ("coupling", "afine", "--coupling afine"),
            ("sample_temperatures", "warm", "--sample-temperatures warm"),
        ] {
            let error = config.set(name, value).unwrap_err().to_string();
            assert!(error.contains(expected), "{error:?} does not say {expected:?}");
            assert_eq!(config, Config::default());
        }
    }

    #[test]
    fn values_out_of_range_are_named() {
        for (name, value) in [
            ("lr", "nan"),
            ("lr", "0"),
            ("batch_size", "0"),
            ("sample_temperatures", "0.7,-1"),
            ("beta1", "1"),
        ] {
            let mut config = Config::default();
            config.set(name, value).unwrap();
            assert!(config.validate().unwrap_err().to_string().starts_with(name), "{name}");
        }
    }
}
