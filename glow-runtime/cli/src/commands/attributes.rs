//! `glow attributes`
use crate::class::Class;
use crate::inputs::{ImageInput, encode};
use crate::labelled::{self, Labelled};
use crate::model::BundleArgument;
use crate::outputs::{print, say};
use crate::runtime::Runtime;
use anyhow::{Context, Result};
use clap::{ArgGroup, Args, Subcommand, ValueEnum};
use glow_runtime::{Attribute, Attributes, FitOptions, Method};
use serde_json::json;
use std::path::PathBuf;

#[derive(Args)]
#[command(
    after_help = "Example:\n  glow attributes fit my-model.glow --celeba celeba/ --attribute Smiling\n  \
    glow attributes list\n\n\
    Attributes are named directions in latent space, kept in the bundle's attributes.safetensors;\n\
    `glow edit` moves images along them."
)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Fit attributes to images that have them and images that have not
    Fit(Fit),
    /// List a bundle's attributes
    List(List),
    /// Take attributes out of a bundle
    Remove(Remove),
    /// Tell how much images have of each attribute
    Project(Project),
}

#[derive(Args)]
#[command(
    group = ArgGroup::new("images").required(true).args(["positive", "celeba"]),
    after_help = "Examples:\n  \
    glow attributes fit my-model.glow --positive smiling/ --negative serious/ --name Smiling\n  \
    glow attributes fit my-model.glow --celeba celeba/ --attribute Smiling --attribute Eyeglasses --limit 5000\n\n\
    Prints a line for each attribute that was fitted, as `glow attributes list` does. It takes 4 bytes of\n\
    memory a number of a latent: 49 kB an image of 64×64 pixels."
)]
struct Fit {
    /// The bundle's folder
    bundle: PathBuf,
    /// Image files with the attribute, or folders of them
    #[arg(long, value_name = "IMAGES", requires_all = ["negative", "name"], num_args = 1..)]
    positive: Vec<PathBuf>,
    /// Image files without the attribute, or folders of them
    #[arg(long, value_name = "IMAGES", requires = "positive", num_args = 1..)]
    negative: Vec<PathBuf>,
    /// The attribute's name
    #[arg(long, requires = "positive")]
    name: Option<String>,
    /// CelebA's folder: `images` or `img_align_celeba` beside list_attr_celeba.txt
    #[arg(long, value_name = "DIR", conflicts_with_all = ["positive", "negative", "name"])]
    celeba: Option<PathBuf>,
    /// An attribute of CelebA; may be given several times [default: all that its file has]
    #[arg(long, value_name = "NAME", requires = "celeba")]
    attribute: Vec<String>,
    /// The most images to take; of folders, of each of the two kinds
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// How the direction is found
    #[arg(long, value_enum, default_value_t = MethodName::Mean)]
    method: MethodName,
    /// Penalty of ridge and logistic regression, in units of the latents' variance [default: 1 and 0.25]
    #[arg(long, value_name = "P", allow_negative_numbers = true)]
    penalty: Option<f64>,
    /// Let only the N coarsest levels take part: better where few images have the attribute, and smaller
    /// [default: all]
    #[arg(long, value_name = "N")]
    levels: Option<usize>,
    /// Make each direction orthogonal to those of the other attributes that are there
    #[arg(long)]
    orthogonalise: bool,
    #[command(flatten)]
    class: Class,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum MethodName {
    /// The difference of the two means
    Mean,
    /// Ridge regression
    Ridge,
    /// Logistic regression
    Logistic,
}

#[derive(Args)]
#[command(after_help = "Example:\n  glow attributes list --json")]
struct List {
    #[command(flatten)]
    bundle: BundleArgument,
    /// Print a JSON object a line instead of a table
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
#[command(after_help = "Example:\n  glow attributes remove my-model.glow Smiling")]
struct Remove {
    /// The bundle's folder
    bundle: PathBuf,
    /// Names of the attributes
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
}

#[derive(Args)]
#[command(after_help = "Example:\n  glow attributes project photos/ > coordinates.tsv\n\n\
    Prints one line an image: path, and a coordinate for each attribute. The mean of the images with the\n\
    attribute is at 0.5, that of those without at -0.5; a strength of `glow edit` is added.")]
struct Project {
    #[command(flatten)]
    input: ImageInput,
}

pub fn run(runtime: &Runtime, arguments: &Arguments) -> Result<()> {
    match &arguments.command {
        Command::Fit(arguments) => fit(runtime, arguments),
        Command::List(arguments) => list(arguments),
        Command::Remove(arguments) => remove(arguments),
        Command::Project(arguments) => project(runtime, arguments),
    }
}

fn fit(runtime: &Runtime, arguments: &Fit) -> Result<()> {
    let method = match (arguments.method, arguments.penalty) {
        (MethodName::Mean, _) => Method::MeanDifference,
        (MethodName::Ridge, None) => Method::RIDGE,
        (MethodName::Ridge, Some(penalty)) => Method::Ridge { penalty },
        (MethodName::Logistic, None) => Method::LOGISTIC,
        (MethodName::Logistic, Some(penalty)) => Method::Logistic { penalty },
    };
    let options =
        FitOptions::new().method(method).orthogonalise(arguments.orthogonalise).levels(arguments.levels);
    // What is there must be readable before hours of encoding.
    let mut attributes = Attributes::open(&arguments.bundle)?;
    let Labelled { images, labels } = match &arguments.celeba {
        Some(folder) => labelled::celeba(folder, &arguments.attribute, arguments.limit)?,
        None => {
            let name = arguments.name.clone().unwrap_or_default();
            labelled::folders(name, &arguments.positive, &arguments.negative, arguments.limit)?
        }
    };
    let glow = runtime.builder().encoder_only().load(&arguments.bundle)?;
    let (latents, read) = encode(&glow, images, &arguments.class)?;
    let flat = latents.flat();
    drop(latents);
    heading()?;
    for (name, labels) in labels {
        let labels: Vec<bool> = read.iter().map(|&image| labels[image]).collect();
        let fitted = attributes.fit(&name, flat.view(), &labels, &options)?;
        print(&line(fitted))?;
    }
    attributes.save(&arguments.bundle)?;
    say(&format!("wrote {} attributes to {}", attributes.len(), arguments.bundle.display()));
    Ok(())
}

fn heading() -> Result<()> {
    print("attribute\tmethod\timages_with\timages_without\theld_out_accuracy")
}

fn line(attribute: &Attribute) -> String {
    let statistics = attribute.statistics();
    let method = match statistics.method {
        Method::MeanDifference => "mean".to_string(),
        Method::Ridge { penalty } => format!("ridge {penalty}"),
        Method::Logistic { penalty } => format!("logistic {penalty}"),
        other => format!("{other:?}"),
    };
    let orthogonal = if statistics.orthogonalised { ", orthogonal" } else { "" };
    let levels = statistics.levels.map_or(String::new(), |levels| match levels {
        1 => ", coarsest level".into(),
        levels => format!(", {levels} coarsest levels"),
    });
    let accuracy = statistics.held_out_accuracy.map_or("-".to_string(), |accuracy| format!("{accuracy:.3}"));
    let (name, with, without) = (attribute.name(), statistics.positives, statistics.negatives);
    format!("{name}\t{method}{levels}{orthogonal}\t{with}\t{without}\t{accuracy}")
}

fn list(arguments: &List) -> Result<()> {
    let attributes = Attributes::open(&arguments.bundle.model()?.on_disk()?.path)?;
    if !arguments.json {
        heading()?;
        return attributes.iter().try_for_each(|attribute| print(&line(attribute)));
    }
    attributes.iter().try_for_each(|attribute| {
        let statistics =
            serde_json::to_value(attribute.statistics()).context("statistics are plain numbers")?;
        print(&json!({ "attribute": attribute.name(), "fit": statistics }).to_string())
    })
}

fn remove(arguments: &Remove) -> Result<()> {
    let mut attributes = Attributes::open(&arguments.bundle)?;
    for name in &arguments.names {
        attributes.remove(name)?;
    }
    attributes.save(&arguments.bundle)?;
    arguments.names.iter().try_for_each(|name| print(name))
}

fn project(runtime: &Runtime, arguments: &Project) -> Result<()> {
    let glow = arguments.input.model()?.load(runtime.builder().encoder_only())?;
    let attributes = glow.attributes()?;
    let names: Vec<&str> = attributes.iter().map(Attribute::name).collect();
    print(&format!("image\t{}", names.join("\t")))?;
    let mut reader = arguments.input.open(&glow)?;
    while let Some(batch) = reader.next(glow.max_batch())? {
        let options = glow_runtime::EncodeOptions::new().labels(batch.labels);
        let coordinates = attributes.project(&glow.encode(&batch.pixels, &options)?.latents)?;
        for (path, coordinates) in batch.paths.iter().zip(coordinates.outer_iter()) {
            let coordinates: String = coordinates.iter().map(|value| format!("\t{value:.4}")).collect();
            print(&format!("{}{coordinates}", path.display()))?;
        }
    }
    Ok(())
}
