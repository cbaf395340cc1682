//! A run's whole configuration: `config.toml`, the presets, and overrides by key.
use crate::fields::hyperparameters;
use crate::presets::{self, preset_names};
use crate::{
    Architecture, ArchitectureError, Colour, Crop, Duration, Field, Preprocessing, Schedule, Training, legacy,
};
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
        /// Whether a model that takes RGB may be trained on images that are all gray, with R = G = B; single ones among others always may.
        gray_as_rgb: bool = false,
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
    #[serde(deserialize_with = "legacy::training")]
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
    /// A duration that the hyperparameter cannot take.
    #[error("{name} = \"{value}\" cannot be: {allowed}")]
    Duration {
        /// The hyperparameter.
        name: &'static str,
        /// Its value.
        value: Duration,
        /// What is allowed.
        allowed: &'static str,
    },
    /// A number too large for TOML, whose whole numbers end below 2^63.
    #[error("the configuration cannot be written as TOML")]
    Unwritable(#[from] toml::ser::Error),
    /// Digits would be trained on mirrored.
    #[error("flip = true: mirrored digits are no digits; leave --flip out for mnist:, or set it to false")]
    FlippedDigits,
    /// A hyperparameter of the model is out of range.
    #[error("the architecture cannot be built")]
    Architecture(#[from] ArchitectureError),
}

impl Data {
    /// What is done to each image of the data set.
    pub fn preprocessing(&self) -> Preprocessing {
        Preprocessing { crop: self.crop, background: self.background }
    }
}

impl Config {
    /// The paper's configuration of this name.
    ///
    /// # Errors
    /// [`ConfigError::UnknownPreset`], with the names that there are.
    pub fn preset(name: &str) -> Result<Self, ConfigError> {
        let text = presets::text(name).ok_or_else(|| ConfigError::UnknownPreset { name: name.into() })?;
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

    /// Reads the text of a TOML file, which `origin` names in errors; as [`load`](Self::load).
    ///
    /// # Errors
    /// As for [`load`](Self::load).
    pub fn parse(text: &str, origin: &str) -> Result<Self, ConfigError> {
        toml::from_str(text)
            .map_err(|source| ConfigError::Parse { origin: origin.into(), source: Box::new(source) })
    }

    /// The tables of `config.toml` with their hyperparameters.
    pub fn fields() -> [(&'static str, &'static [Field]); 3] {
        [("model", Architecture::FIELDS), ("training", Training::FIELDS), ("data", Data::FIELDS)]
    }

    /// Names of hyperparameters in version 0.1 that [`set`](Self::set) still takes, each with the one that has
    /// taken its place.
    pub fn old_names() -> &'static [(&'static str, &'static str)] {
        &legacy::RENAMED
    }

    /// Sets one hyperparameter from text, as a command-line flag gives it. Takes old names as well.
    ///
    /// # Errors
    /// An unknown name, or a value of the wrong type; the configuration is then unchanged.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), ConfigError> {
        let new_name = legacy::RENAMED.iter().find(|(old, _)| *old == name).map_or(name, |(_, new)| *new);
        let table =
            Self::table_of(new_name).ok_or_else(|| ConfigError::UnknownField { name: name.into() })?;
        let tree = toml::Table::try_from(&*self)?;
        // A value that TOML reads as a number or a truth value is one; anything else is a string, and so is
        // that where the hyperparameter takes no number.
        let literal: toml::Value = value
            .parse::<i64>()
            .map(toml::Value::Integer)
            .or_else(|_| value.parse::<f64>().map(toml::Value::Float))
            .or_else(|_| value.parse::<bool>().map(toml::Value::Boolean))
            .unwrap_or_else(|_| toml::Value::String(value.into()));
        let with = |literal: toml::Value| -> Result<Self, toml::de::Error> {
            let mut tree = tree.clone();
            let fields = tree[table].as_table_mut().expect("a table of hyperparameters");
            let before = fields.remove(new_name);
            let literal = match (&before, literal) {
                (Some(toml::Value::Array(_)), _) => toml::Value::Array(
                    value
                        .split(',')
                        .filter(|item| !item.trim().is_empty())
                        .map(|item| match item.trim().parse::<f64>() {
                            Ok(number) => toml::Value::Float(number),
                            Err(_) => toml::Value::String(item.trim().into()),
                        })
                        .collect(),
                ),
                // A whole number may stand for a float.
                (Some(toml::Value::Float(_)), toml::Value::Integer(whole)) => {
                    toml::Value::Float(whole as f64)
                }
                (_, literal) => literal,
            };
            fields.insert(name.into(), literal);
            if name != new_name {
                legacy::upgrade(fields).map_err(serde::de::Error::custom)?;
                // Of two old names, 0 left the meaning to the other.
                if let Some(before) = before
                    && !fields.contains_key(new_name)
                {
                    fields.insert(new_name.into(), before);
                }
            }
            tree.try_into()
        };
        *self = with(literal)
            .or_else(|error| with(toml::Value::String(value.into())).map_err(|_| error))
            .map_err(|source| ConfigError::BadValue {
                name: name.into(),
                value: value.into(),
                source: Box::new(source),
            })?;
        Ok(())
    }

    /// A hyperparameter's value as text that [`set`](Self::set) takes; `None` if there is none of this name, or
    /// if it cannot be written, see [`ConfigError::Unwritable`].
    pub fn get(&self, name: &str) -> Option<String> {
        let table = Self::table_of(name)?;
        let tree = toml::Table::try_from(self).ok()?;
        Some(match &tree[table][name] {
            toml::Value::String(text) => text.clone(),
            toml::Value::Array(items) => {
                let text =
                    |item: &toml::Value| item.as_str().map_or_else(|| item.to_string(), str::to_string);
                items.iter().map(text).collect::<Vec<_>>().join(",")
            }
            other => other.to_string(),
        })
    }

    /// The table that a hyperparameter stands in.
    fn table_of(name: &str) -> Option<&'static str> {
        let mut tables = Self::fields().into_iter();
        tables.find(|(_, fields)| fields.iter().any(|field| field.name == name)).map(|(table, _)| table)
    }

    /// The text of `config.toml`: every resolved hyperparameter.
    ///
    /// # Errors
    /// [`ConfigError::Unwritable`]: a number of 2^63 or more, which [`validate`](Self::validate) refuses.
    pub fn to_toml(&self) -> Result<String, ConfigError> {
        // A text would be written, but not read.
        toml::Table::try_from(self)?;
        Ok(toml::to_string(self)?)
    }

    /// Whether training images are flipped: as `flip` says, or by the kind of data set.
    ///
    /// # Errors
    /// [`ConfigError::FlippedDigits`]: `flip` is set and the data set is one of digits.
    pub fn flips(&self) -> Result<bool, ConfigError> {
        let digits = self.data.data.starts_with("mnist:");
        match self.training.flip {
            Some(true) if digits => Err(ConfigError::FlippedDigits),
            Some(flip) => Ok(flip),
            None => Ok(!digits),
        }
    }

    /// Checks every hyperparameter against its range.
    ///
    /// # Errors
    /// The first one that is out of range, by name.
    pub fn validate(&self) -> Result<(), ConfigError> {
        self.model.validate()?;
        self.validate_durations()?;
        let t = &self.training;
        let below_2_63 = 1u64 << 63;
        let at_least_one = "at least 1";
        let bad_temperature =
            t.sample_temperatures.iter().copied().find(|value| !(value.is_finite() && *value >= 0.0));
        let checks = [
            ("lr", t.lr, t.lr.is_finite() && t.lr > 0.0, "a number above 0"),
            ("beta1", t.beta1, (0.0..1.0).contains(&t.beta1), "0 up to, without, 1"),
            (
                "beta2",
                t.beta2.unwrap_or(0.0),
                t.beta2.is_none_or(|beta2| (0.0..1.0).contains(&beta2)),
                "\"auto\", or 0 up to, without, 1",
            ),
            ("epsilon", t.epsilon, t.epsilon.is_finite() && t.epsilon > 0.0, "a number above 0"),
            ("batch_size", t.batch_size as f64, (1..=1 << 20).contains(&t.batch_size), at_least_one),
            ("init_batch", t.init_batch as f64, (1..=1 << 20).contains(&t.init_batch), at_least_one),
            (
                "clip_grad_norm",
                t.clip_grad_norm.unwrap_or(1.0),
                t.clip_grad_norm.is_none_or(|limit| limit.is_finite() && limit > 0.0),
                "\"none\", or a number above 0",
            ),
            ("weight_y", t.weight_y, t.weight_y.is_finite() && t.weight_y >= 0.0, "at least 0"),
            (
                "anchor_size",
                t.anchor_size.unwrap_or(1) as f64,
                t.anchor_size.is_none_or(|side| (1..=1 << 15).contains(&side)),
                "\"none\", or 1 to 32768",
            ),
            (
                "epoch_images",
                t.epoch_images.unwrap_or(1) as f64,
                t.epoch_images.is_none_or(|images| (1..=1 << 53).contains(&images)),
                "\"auto\", or 1 to 2^53",
            ),
            (
                "validate_images",
                t.validate_images.unwrap_or(1) as f64,
                t.validate_images != Some(0),
                "\"all\", or at least 1",
            ),
            ("keep_last", t.keep_last.unwrap_or(1) as f64, t.keep_last != Some(0), "\"none\", or at least 1"),
            (
                "further_averages",
                t.further_averages.len() as f64,
                t.further_averages.len() <= 255
                    && t.further_averages
                        .iter()
                        .enumerate()
                        .all(|(n, d)| !t.further_averages[..n].contains(d)),
                "at most 255, no two alike",
            ),
            ("seed", t.seed as f64, t.seed < below_2_63, "below 2^63"),
            ("sample_images", t.sample_images as f64, t.sample_images <= 1 << 16, "at most 65536"),
            ("prefetch", self.data.prefetch as f64, self.data.prefetch >= 1, at_least_one),
            ("cache_bytes", self.data.cache_bytes as f64, self.data.cache_bytes < below_2_63, "below 2^63"),
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

    /// Checks every duration against what it can be.
    fn validate_durations(&self) -> Result<(), ConfigError> {
        let t = &self.training;
        let by_clock = matches!(t.train_for, Duration::Minutes(_));
        // Minutes would make what a step computes depend on the machine.
        let in_steps = |value: Duration| match value {
            Duration::Minutes(_) => false,
            Duration::Percent(_) => !by_clock,
            _ => true,
        };
        const IN_STEPS: &str = "steps, images or epochs, or a part of a run that is given in these";
        let refuse = |name, value, allowed| Err(ConfigError::Duration { name, value, allowed });
        if t.train_for.is_zero() || matches!(t.train_for, Duration::Percent(_)) {
            return refuse(
                "train_for",
                t.train_for,
                "more than none, in steps, images, epochs, minutes or hours",
            );
        }
        if by_clock && t.schedule == Schedule::Cosine {
            return refuse("train_for", t.train_for, "the cosine schedule asks for steps, images or epochs");
        }
        if let Some(limit) = t.time_limit
            && (limit.is_zero() || !matches!(limit, Duration::Minutes(_)))
        {
            return refuse("time_limit", limit, "\"none\", or minutes or hours, more than none");
        }
        if t.polyak.is_zero() || !in_steps(t.polyak) {
            return refuse("polyak", t.polyak, IN_STEPS);
        }
        if let Some(&memory) =
            t.further_averages.iter().find(|memory| memory.is_zero() || !in_steps(**memory))
        {
            return refuse("further_averages", memory, IN_STEPS);
        }
        if let Some(warmup) = t.warmup.filter(|&warmup| !in_steps(warmup)) {
            return refuse("warmup", warmup, IN_STEPS);
        }
        let intervals = [
            ("log_every", Some(t.log_every)),
            ("validate_every", Some(t.validate_every)),
            ("sample_every", t.sample_every),
            ("checkpoint_every", Some(t.checkpoint_every)),
        ];
        match intervals.into_iter().find_map(|(name, value)| Some((name, value.filter(|v| v.is_zero())?))) {
            Some((name, value)) => refuse(name, value, "more than none"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
