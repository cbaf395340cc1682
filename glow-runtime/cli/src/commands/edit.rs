//! `glow edit`
use crate::failure::Misuse;
use crate::inputs::ImageInput;
use crate::outputs::ImageOutput;
use crate::progress::Progress;
use crate::runtime::Runtime;
use anyhow::{Context, Result, bail};
use clap::Args;
use glow_runtime::{Attributes, EncodeOptions, Glow, Latents, images};
use ndarray::{Array4, Axis};

#[derive(Args)]
#[command(
    after_help = "Examples:\n  glow edit anna.jpg --attribute Smiling=1 --attribute Male=-0.5 --out anna.png\n  \
    glow edit photos/ --attribute Smiling=1 --steps 7 --out smiles.png\n  \
    glow edit anna.jpg --each --out all.png\n  \
    glow edit party.jpg --face 410,220,96,128 --attribute Smiling=1 --paste --out party-smile.png\n\n\
    Strength 1 goes as far as the mean of the images with the attribute is from that of those without.\n\
    With --steps, each image becomes a row of the grid, from the strengths given times -1 to times 1;\n\
    with an odd number the image itself is in the middle. `glow attributes list` tells which attributes there\n\
    are, and `glow attributes fit` makes others.\n\n\
    Photographs are cut as those that the model was trained on: faces64 takes the middle, as CelebA has it.\n\
    --face says where the face is in any other photograph, and --crop which part to use. The head should be\n\
    upright: nothing is turned."
)]
pub struct Arguments {
    #[command(flatten)]
    input: ImageInput,
    /// An attribute and how far to go along it; may be given several times
    #[arg(long, required_unless_present = "each", value_name = "NAME=STRENGTH", value_parser = strength)]
    attribute: Vec<(String, f32)>,
    /// Draw a row of N strengths for each image
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(2..=1000))]
    steps: Option<u32>,
    /// Draw a row for each attribute by itself [default: for all that there are, with strength 1.5, in 5 steps]
    #[arg(long)]
    each: bool,
    /// Write the whole photograph, with the change put into it, instead of the model's small image
    #[arg(long, conflicts_with_all = ["steps", "each", "columns", "scale"])]
    paste: bool,
    #[command(flatten)]
    output: ImageOutput,
}

fn strength(text: &str) -> Result<(String, f32), String> {
    let (name, strength) = text.split_once('=').ok_or("write NAME=STRENGTH, such as Smiling=1")?;
    match strength.parse::<f32>() {
        Ok(strength) if strength.is_finite() => Ok((name.into(), strength)),
        _ => Err(format!("{strength:?} is not a number")),
    }
}

pub fn run(runtime: &Runtime, arguments: &Arguments) -> Result<()> {
    arguments.output.check(&arguments.input.paths()?)?;
    let glow = arguments.input.model()?.load(runtime.builder())?;
    let edit = Edit::new(&glow, arguments)?;
    if arguments.paste { edit.photographs() } else { edit.images() }
}

/// What is done to an image: for each of its results, how far to go along which attributes.
type Moves = Vec<Vec<(String, f32)>>;

struct Edit<'a> {
    glow: &'a Glow,
    attributes: Attributes,
    moves: Moves,
    /// Images a row, of a grid that has rows.
    columns: Option<usize>,
    arguments: &'a Arguments,
}

/// How far to go along each attribute by itself, and in how many steps, unless the command line says otherwise.
const EACH: (f32, u32) = (1.5, 5);

impl<'a> Edit<'a> {
    fn new(glow: &'a Glow, arguments: &'a Arguments) -> Result<Self> {
        let attributes = glow.attributes()?;
        // Names are checked before anything is encoded.
        for (name, _) in &arguments.attribute {
            attributes.get(name)?;
        }
        let given = match arguments.attribute.as_slice() {
            [] => attributes.iter().map(|attribute| (attribute.name().to_string(), EACH.0)).collect(),
            given => given.to_vec(),
        };
        if given.is_empty() {
            bail!("the bundle has no attributes; fit some with `glow attributes fit`");
        }
        let steps = arguments.steps.or(arguments.each.then_some(EACH.1));
        let factors: Vec<f32> = match steps {
            None => vec![1.0],
            Some(steps) => (0..steps).map(|step| 2.0 * step as f32 / (steps - 1) as f32 - 1.0).collect(),
        };
        let rows = if arguments.each { given.chunks(1).collect() } else { vec![given.as_slice()] };
        let scaled = |row: &[(String, f32)], factor: f32| {
            row.iter().map(|(name, strength)| (name.clone(), factor * strength)).collect()
        };
        let moves = rows.iter().flat_map(|row| factors.iter().map(|&factor| scaled(row, factor))).collect();
        Ok(Self { glow, attributes, moves, columns: steps.map(|steps| steps as usize), arguments })
    }

    /// One image, moved in each of these ways.
    fn moved(&self, latents: &Latents, moves: &Moves, label: Option<i64>) -> Result<Array4<u8>> {
        let moved = |strengths: &Vec<(String, f32)>| {
            let strengths: Vec<(&str, f32)> = strengths.iter().map(|(name, s)| (name.as_str(), *s)).collect();
            self.attributes.apply(latents, &strengths)
        };
        let all: Vec<Latents> = moves.iter().map(moved).collect::<Result<_, _>>()?;
        let labels = label.map(|label| vec![label; moves.len()]);
        Ok(self.glow.decode(&Latents::concat(&all)?, labels.as_deref())?.images)
    }

    fn images(&self) -> Result<()> {
        let Self { glow, arguments, .. } = self;
        let mut reader = arguments.input.open(glow)?;
        let mut writer = arguments.output.begin("edited", self.columns)?;
        let mut progress = Progress::new("decoded", reader.total() * self.moves.len());
        while let Some(batch) = progress.aside(|| reader.next(glow.max_batch()))? {
            let options = EncodeOptions::new().labels(batch.labels.clone());
            let latents = glow.encode(&batch.pixels, &options)?.latents;
            // Image by image, so that a grid has a row for each.
            for (image, path) in batch.paths.iter().enumerate() {
                let label = batch.labels.as_ref().map(|labels| labels[image]);
                let images = self.moved(&latents.slice(image..image + 1)?, &self.moves, label)?;
                progress.aside(|| writer.add_of(Some(path), images))?;
                progress.add(self.moves.len());
            }
        }
        drop(progress);
        writer.finish()
    }

    /// Photographs, each with the change put into it.
    fn photographs(&self) -> Result<()> {
        let Self { glow, arguments, .. } = self;
        let paths = arguments.input.paths()?;
        if paths.len() > 1 && arguments.output.is_file() {
            return Err(Misuse("--paste writes a picture for each: give --out a folder".into()).into());
        }
        let labels = arguments.input.class.labels(glow.manifest(), 1)?;
        let label = labels.as_ref().map(|labels| labels[0]);
        let a = glow.architecture();
        let mut writer = arguments.output.begin("edited", None)?;
        for path in &paths {
            let photograph = images::open(path)?;
            let window = arguments.input.part.window(&photograph, glow.manifest())?;
            let cut = window.cut(&photograph, glow.manifest().into());
            let cut = cut.with_context(|| path.display().to_string())?;
            let pixels = Array4::from_shape_vec((1, a.height, a.width, a.channels), cut.pixels)?;
            let latents = glow.encode(&pixels, &EncodeOptions::new().labels(labels.clone()))?.latents;
            // Beside what comes back unchanged, so that only the change counts.
            let pair = self.moved(&latents, &vec![Vec::new(), self.moves[0].clone()], label)?;
            let [before, after] = [0, 1].map(|place| pair.index_axis(Axis(0), place));
            writer.add_picture(path, &window.change(&photograph, before, after).into())?;
        }
        writer.finish()
    }
}
