//! A run's data set: opened for its configuration, with labels that follow the names of the model's classes, and
//! compared between the processes of a team.
use crate::distributed::{Team, describe_data};
use crate::error::TrainError;
use glow_data::{ImageShape, OpenOptions, Opened, Splits, notice};
use glow_models::Config;
use std::path::Path;

/// Opens the data set of a configuration, and checks its classes against the model's, whose names are
/// `class_names`, or not known yet if that is empty.
///
/// # Errors
/// The data set cannot be used, or has no classes or more than a model with classes.
pub fn open_data(config: &Config, class_names: &[String]) -> Result<Splits, TrainError> {
    let splits =
        glow_data::open(&config.data.data.parse()?, shape(config), &open_options(config, class_names))?;
    let classes = splits.train.classes().len();
    if config.model.classes > 0 && (classes > config.model.classes || classes == 0) {
        return Err(TrainError::Classes { data: classes, model: config.model.classes });
    }
    Ok(splits)
}

/// Opens all images of the data set of a configuration, to evaluate the model on.
///
/// # Errors
/// The data set cannot be used.
pub fn open_all_data(config: &Config, class_names: &[String]) -> Result<Opened, TrainError> {
    let options = open_options(config, class_names);
    Ok(glow_data::open_all(&config.data.data.parse()?, shape(config), &options)?)
}

fn shape(config: &Config) -> ImageShape {
    ImageShape { height: config.model.height, width: config.model.width, channels: config.model.channels }
}

fn open_options(config: &Config, class_names: &[String]) -> OpenOptions {
    OpenOptions {
        data: config.data.clone(),
        seed: config.training.seed,
        classes: config.model.classes,
        class_names: class_names.to_vec(),
    }
}

/// Says that the classes of the model at `path` have no names, and which ones their labels are given by; nothing
/// where they have names, or the model no classes.
pub fn note_unnamed_classes(path: &Path, config: &Config, class_names: &[String], of_data: &[String]) {
    if config.model.classes == 0 || !class_names.is_empty() {
        return;
    }
    const SHOWN: usize = 8;
    let shown: Vec<&str> = of_data.iter().take(SHOWN).map(String::as_str).collect();
    let more = if of_data.len() > SHOWN { ", …" } else { "" };
    notice::note(format_args!(
        "warning: {} was written before checkpoints named their classes: label 0 and so on are taken to be those of \
         the data set in its order: {}{more}",
        path.display(),
        shown.join(", "),
    ));
}

/// The names of the model's classes as rank 0's checkpoint has them: labels are the same in all processes.
pub(super) fn share_class_names(ours: Vec<String>, team: &Team) -> Result<Vec<String>, TrainError> {
    let names = team.of_lead(ours.join("\0").into_bytes(), "sharing the names of the classes")?;
    let names = String::from_utf8_lossy(&names).into_owned();
    Ok(names.split('\0').filter(|name| !name.is_empty()).map(str::to_string).collect())
}

/// Makes sure that all processes read the same images.
pub(super) fn compare_data(splits: &Splits, team: &Team) -> Result<(), TrainError> {
    if team.size() > 1 {
        team.compare(&describe_data(splits)?, "comparing the data sets")?;
    }
    Ok(())
}
