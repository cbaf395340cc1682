//! What a run begins with: a fresh model, its own latest checkpoint, or somebody's weights.
use super::Run;
use super::data::{compare_data, note_unnamed_classes, open_data, share_class_names};
use super::folder::RunFolder;
use crate::distributed::Team;
use crate::error::TrainError;
use crate::trainer::{Trainer, check_architecture};
use glow_models::{Checkpoint, CheckpointMeta, Config, Pretrained, write_atomically};
use std::path::Path;
use std::rc::Rc;
use tch::Device;

/// What a run begins with.
#[derive(Debug)]
pub enum Start {
    /// A fresh model.
    Fresh,
    /// The latest checkpoint in the run's folder.
    Resume,
    /// The weights of a model that exists, at step 0.
    From(Box<Pretrained>),
}

/// Gets everything ready for the first step: data, model, folder.
pub(super) fn prepare(
    config: Config,
    out: &Path,
    start: Start,
    device: Device,
    team: &Rc<Team>,
) -> Result<Run, TrainError> {
    config.validate()?;
    config.flips()?;
    if !team.leads() {
        let class_names = share_class_names(Vec::new(), team)?;
        let splits = open_data(&config, &class_names)?;
        compare_data(&splits, team)?;
        let trainer = Trainer::follow(config, device, team)?;
        let mut run = Run::new(trainer, splits, None, team)?;
        run.share_progress()?;
        return Ok(run);
    }
    if let Start::From(pretrained) = &start {
        check_architecture(pretrained, &config.model)?;
    }
    let folder = RunFolder::new(out);
    // A folder is made only for a run that can start.
    let locked = if out.exists() { Some(folder.clone().lock()?) } else { None };
    let checkpoint = match (&start, folder.latest().exists()) {
        (Start::Resume, _) => Some(Checkpoint::open(&folder.latest())?),
        (_, true) => return Err(TrainError::RunExists { path: out.into() }),
        (_, false) => None,
    };
    let working_folder = checkpoint.as_ref().map_or("", |checkpoint| &checkpoint.meta().working_folder);
    // A model that exists, and the names of its classes.
    let model = match (&checkpoint, &start) {
        (Some(checkpoint), _) => Some((checkpoint.path(), checkpoint.meta().class_names.as_slice())),
        (None, Start::From(pretrained)) => Some((pretrained.path(), pretrained.class_names())),
        (None, _) => None,
    };
    let class_names = model.map_or_else(Vec::new, |(_, names)| names.to_vec());
    let class_names = share_class_names(class_names, team)?;
    let splits = open_data(&config, &class_names)
        .map_err(|error| error.with_working_folder(&config.data.data, working_folder))?;
    compare_data(&splits, team)?;
    if let Some((path, names)) = model {
        note_unnamed_classes(path, &config, names, splits.train.classes());
    }
    let text = config.to_toml()?;
    let images = splits.train.len();
    let conditional = config.model.classes > 0;
    let mut trainer = match (&checkpoint, &start) {
        (Some(checkpoint), _) => Trainer::resume(checkpoint, config, device)?,
        (None, Start::From(pretrained)) => Trainer::start_from(pretrained, config, images, device)?,
        (None, _) => Trainer::new(config, images, device)?,
    };
    if conditional {
        trainer.set_class_names(splits.train.classes().to_vec());
    }
    drop(start);
    let locked = match locked {
        Some(locked) => locked,
        None => folder.lock()?,
    };
    // Only now, as a configuration that the checkpoint refuses must not take the place of the run's own.
    locked.prepare()?;
    write_atomically(&locked.config(), |file| file.write_all(text.as_bytes()))
        .map_err(|source| TrainError::Write { path: locked.config(), source })?;
    let trainer = trainer.lead(team)?;
    let mut run = Run::new(trainer, splits, Some(locked), team)?;
    if let Some(meta) = checkpoint.as_ref().map(Checkpoint::meta) {
        run.resumed(meta);
    }
    run.share_progress()?;
    Ok(run)
}

impl Run {
    /// Takes over what the run's earlier process knew and did at the step of the checkpoint.
    fn resumed(&mut self, began: &CheckpointMeta) {
        let step = self.trainer.step_count();
        self.saved = Some((step, None));
        let (now, images) = (self.trainer.config(), self.splits.train.len() as u64);
        if began.train_images != images {
            self.journal.note(&format!(
                "warning: the data set has {images} training images, and had {} when the run began: the order of \
                 the images is another, and what was best on the former ones may not be so on these",
                began.train_images
            ));
        }
        // What it measured holds for the same images and weights.
        let measured = |config: &Config| {
            let Config { data, training, .. } = config;
            (data.clone(), training.seed, training.validate_images, training.weights)
        };
        if began.train_images == images && measured(&began.config) == measured(now) {
            let grids = self.journal.noted().iter().filter(|line| line["split"] == "samples").count();
            if grids == now.training.sample_temperatures.len() {
                self.sampled = Some(step);
            }
            self.recall_validation();
        }
    }
}
