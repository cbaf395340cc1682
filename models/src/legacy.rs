//! The hyperparameters of version 0.1: durations had two names, one for each unit, and 0 meant "none". Files
//! and flags that use them keep their meaning.
//!
//! | then | now |
//! | --- | --- |
//! | `steps = 300` (0: as `epochs` says), `epochs = 10.0` | `train_for = "300 steps"`, `"10 epochs"` |
//! | `warmup_steps = 50` (0: as `warmup_epochs` says), `warmup_epochs = 1.0` | `warmup = "50 steps"`, `"1 epoch"` |
//! | `polyak_epochs = 6.0` | `polyak = "6 epochs"` |
//! | `max_minutes = 3.5` (0: no limit) | `time_limit = "3.5 min"` |
//! | `log_every = 100`, also validate, sample, checkpoint | `log_every = "100 steps"` |
//! | `sample_every`, `clip_grad_norm`, `anchor_size` = 0 | `"none"` |
//! | `validate_images = 0` | `"all"` |
//! | `beta2 = 0` | `"auto"` |
use crate::{Duration, Training};
use serde::de::Error;
use serde::{Deserialize, Deserializer};
use toml::{Table, Value};

/// Old names with the hyperparameter that has taken their place.
pub(crate) const RENAMED: [(&str, &str); 6] = [
    ("steps", "train_for"),
    ("epochs", "train_for"),
    ("warmup_steps", "warmup"),
    ("warmup_epochs", "warmup"),
    ("polyak_epochs", "polyak"),
    ("max_minutes", "time_limit"),
];

/// Intervals that were numbers of steps.
const IN_STEPS: [&str; 4] = ["log_every", "validate_every", "sample_every", "checkpoint_every"];

/// Values for which 0 stood, with the word that does now.
const ZERO: [(&str, &str); 5] = [
    ("sample_every", "none"),
    ("clip_grad_norm", "none"),
    ("anchor_size", "none"),
    ("validate_images", "all"),
    ("beta2", "auto"),
];

/// Reads the table `training` of a configuration, old or new.
pub(crate) fn training<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Training, D::Error> {
    let mut table = Table::deserialize(deserializer)?;
    upgrade(&mut table).map_err(D::Error::custom)?;
    table.try_into().map_err(|error: toml::de::Error| D::Error::custom(error.to_string().trim_end()))
}

/// Gives old names and values their new form.
///
/// # Errors
/// A name is there in both forms, or an old value is none.
pub(crate) fn upgrade(table: &mut Table) -> Result<(), String> {
    for (old, new) in RENAMED {
        if table.contains_key(old) && table.contains_key(new) {
            return Err(format!(
                "{old} and {new} are given: {old} is the old name of {new}, keep one of them"
            ));
        }
    }
    // Steps, where they were not 0, had precedence over epochs.
    for (steps, epochs, new) in
        [("steps", "epochs", "train_for"), ("warmup_steps", "warmup_epochs", "warmup")]
    {
        let (steps, epochs) = (number(table, steps)?, number(table, epochs)?);
        let duration = match steps.filter(|&steps| steps != 0.0) {
            Some(steps) => Some(in_unit(steps, "steps")?),
            None => epochs.map(|epochs| in_unit(epochs, "epochs")).transpose()?,
        };
        if let Some(duration) = duration {
            table.insert(new.into(), text(duration));
        }
    }
    if let Some(epochs) = number(table, "polyak_epochs")? {
        table.insert("polyak".into(), text(in_unit(epochs, "epochs")?));
    }
    if let Some(minutes) = number(table, "max_minutes")? {
        let limit = match minutes {
            0.0 => Value::from("none"),
            _ => text(in_unit(minutes, "min")?),
        };
        table.insert("time_limit".into(), limit);
    }
    for (name, word) in ZERO {
        if let Some(value) = table.get_mut(name)
            && matches!(value, Value::Integer(0) | Value::Float(0.0))
        {
            *value = word.into();
        }
    }
    for name in IN_STEPS {
        if let Some(value) = table.get_mut(name)
            && let Value::Integer(steps) = *value
        {
            *value = text(in_unit(steps as f64, "steps")?);
        }
    }
    Ok(())
}

/// Takes a number out of the table.
fn number(table: &mut Table, name: &str) -> Result<Option<f64>, String> {
    match table.remove(name) {
        None => Ok(None),
        Some(Value::Integer(n)) => Ok(Some(n as f64)),
        Some(Value::Float(n)) => Ok(Some(n)),
        Some(other) => Err(format!("{name} = {other}: not a number")),
    }
}

fn in_unit(value: f64, unit: &str) -> Result<Duration, String> {
    format!("{value} {unit}").parse().map_err(|error: crate::DurationError| error.to_string())
}

fn text(duration: Duration) -> Value {
    Value::String(duration.to_string())
}
