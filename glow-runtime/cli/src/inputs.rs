//! Images from the command line: files, folders of them, data sets.
use crate::class::Class;
use crate::failure::{Misuse, chain};
use crate::model::{self, Model};
use crate::outputs::say;
use crate::photograph::{FaceBox, Window};
use crate::progress::Progress;
use anyhow::{Context, Result, bail};
use clap::Args;
use glow_data::{DataKind, DataSpec, Dataset, ImageShape, OpenOptions, Opened, folder};
use glow_models::{Crop, Data, Manifest};
use glow_runtime::images::{self, Fit, Fitted};
use glow_runtime::{EncodeOptions, Glow, Latents};
use image::DynamicImage;
use ndarray::{Array3, Array4, Axis, stack};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The images that a command works on.
#[derive(Args)]
pub struct ImageInput {
    /// Image files, folders of them, or data sets KIND:PATH as in training, of which all images are taken;
    /// before them the bundle's folder [default: faces64, the model that comes with this program]
    #[arg(required = true, value_name = "BUNDLE|IMAGES")]
    arguments: Vec<PathBuf>,
    /// The most images to take
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    #[command(flatten)]
    pub part: Part,
    #[command(flatten)]
    pub class: Class,
}

/// Which part of each image is used.
#[derive(Args, Default)]
pub struct Part {
    /// Part of each image that is used, LEFT,TOP,WIDTH,HEIGHT in percent of its width and height; "" for all of it, as
    /// of the model's own samples [default: as in the model's training]
    #[arg(long, value_name = "PERCENT")]
    crop: Option<Crop>,
    /// Where the face is in each photograph: a box in pixels, from the hairline to the chin and from ear to ear;
    /// around it the square is taken in which the face lies as in the images of faces64
    #[arg(long, value_name = "X,Y,WIDTH,HEIGHT", conflicts_with = "crop", allow_negative_numbers = true)]
    face: Option<FaceBox>,
}

impl Part {
    /// How images become those of the model.
    pub fn fit(&self, manifest: &Manifest) -> Fit {
        let mut fit = Fit::from(manifest);
        fit.preprocessing.crop = self.crop.unwrap_or(fit.preprocessing.crop);
        fit
    }

    /// The window of a photograph that the model takes.
    pub fn window(&self, photograph: &DynamicImage, manifest: &Manifest) -> Result<Window> {
        let size = [photograph.width(), photograph.height()];
        match self.face {
            Some(face) => Window::around(face, size, &manifest.architecture),
            None => Ok(Window::of(self.fit(manifest), size)),
        }
    }

    /// An image file, as the model takes it.
    pub fn read(&self, path: &Path, manifest: &Manifest) -> Result<Fitted> {
        if self.face.is_none() {
            return Ok(images::read_fitted(path, self.fit(manifest))?);
        }
        let photograph = images::open(path)?;
        let window = self.window(&photograph, manifest)?;
        window.cut(&photograph, manifest.into()).with_context(|| path.display().to_string())
    }

    fn check_data_set(&self) -> Result<()> {
        match self.face {
            Some(_) => Err(Misuse("--face is for image files, not for data sets".into()).into()),
            None => Ok(()),
        }
    }
}

/// The part that the bundle names.
static AS_TRAINED: Part = Part { crop: None, face: None };

/// Images read together.
pub struct Batch {
    /// Their files.
    pub paths: Vec<PathBuf>,
    /// Their places among all files.
    pub places: Vec<usize>,
    /// Their pixels [N, H, W, C].
    pub pixels: Array4<u8>,
    /// Their labels.
    pub labels: Option<Vec<i64>>,
}

impl ImageInput {
    /// The model that is to work on them.
    pub fn model(&self) -> Result<Model> {
        Model::choose(model::split(&self.arguments)?.0)
    }

    /// Finds the images; they are read batch by batch.
    pub fn open<'a>(&'a self, glow: &'a Glow) -> Result<ImageReader<'a>> {
        let (_, paths) = model::split(&self.arguments)?;
        let limit = self.limit.unwrap_or(usize::MAX);
        ImageReader::open(paths, limit, &self.class, &self.part, glow.manifest())
    }

    /// The files and folders that are read.
    pub fn paths(&self) -> Result<Vec<PathBuf>> {
        let (_, paths) = model::split(&self.arguments)?;
        let file = |path: &PathBuf| data_set(path).map_or_else(|| path.clone(), |spec| spec.path);
        Ok(paths.iter().map(file).collect())
    }
}

/// The data set that an argument names, if it is not the path of something that exists.
fn data_set(argument: &Path) -> Option<DataSpec> {
    if argument.exists() { None } else { argument.to_str()?.parse().ok() }
}

/// Whether an argument names several images: a folder, or a data set.
pub fn is_collection(argument: &Path) -> bool {
    argument.is_dir() || data_set(argument).is_some()
}

/// The image files that are meant: each with whether it was named, rather than found in a folder.
pub fn find(paths: &[PathBuf]) -> Result<Vec<(PathBuf, bool)>> {
    let mut files = Vec::new();
    for path in paths {
        if path.is_dir() {
            let found = folder::list(path)?;
            if !found.left_out.is_empty() {
                say(&format!("{}: {}", path.display(), found.left_out));
            }
            if found.files.is_empty() {
                bail!("{} holds no images ({})", path.display(), folder::EXTENSIONS.join(", "));
            }
            files.extend(found.files.into_iter().map(|(file, _)| (path.join(file), false)));
        } else {
            files.push((path.clone(), true));
        }
    }
    Ok(files)
}

/// Latents, with [`Noise::Midpoint`](glow_runtime::Noise), of those of the images that can be read, and
/// which these are.
pub fn encode(glow: &Glow, files: Vec<(PathBuf, bool)>, class: &Class) -> Result<(Latents, Vec<usize>)> {
    let mut reader = ImageReader::new(files, usize::MAX, class, glow.manifest());
    let mut progress = Progress::new("encoded", reader.total());
    let (mut latents, mut read) = (Vec::new(), Vec::new());
    while let Some(batch) = progress.aside(|| reader.next(glow.max_batch()))? {
        let options = EncodeOptions::new().labels(batch.labels);
        latents.push(glow.encode(&batch.pixels, &options)?.latents);
        progress.add(batch.paths.len());
        read.extend(batch.places);
    }
    drop(progress);
    Ok((Latents::concat(&latents)?, read))
}

/// Where an image is.
enum Place {
    File {
        path: PathBuf,
        /// Whether it was named on the command line, rather than found in a folder.
        named: bool,
    },
    Example {
        data: Arc<Source>,
        index: usize,
    },
}

/// An opened data set.
struct Source {
    /// Its folder.
    root: PathBuf,
    images: Arc<dyn Dataset>,
    /// Whether its labels are those of the model.
    labelled: bool,
}

impl Source {
    fn open(spec: &DataSpec, class: &Class, fit: Fit, manifest: &Manifest) -> Result<(Self, Opened)> {
        let a = &manifest.architecture;
        // Labels go by the names of classes; without names, --label says what the images are.
        let labelled = a.classes > 0 && !class.is_given() && !manifest.class_names.is_empty();
        let (crop, background) = (fit.preprocessing.crop, fit.preprocessing.background);
        // Each image is read once, so none is kept; but npz files may be compressed.
        let cache_bytes = if spec.kind == DataKind::Imagenet { Data::default().cache_bytes } else { 0 };
        let options = OpenOptions {
            data: Data { crop, background, cache_bytes, ..Data::default() },
            classes: if labelled { a.classes } else { 0 },
            class_names: manifest.class_names.clone(),
            ..OpenOptions::default()
        };
        let shape = ImageShape { height: a.height, width: a.width, channels: a.channels };
        let opened = glow_data::open_all(spec, shape, &options)?;
        // Records have names of their own below the folder; LSUN's may name one category in it.
        let root = match (spec.kind, spec.path.parent()) {
            (DataKind::Lsun, Some(parent)) if !spec.path.is_dir() => parent.into(),
            _ => spec.path.clone(),
        };
        Ok((Self { root, images: opened.dataset.clone(), labelled }, opened))
    }
}

/// An image as the model takes it.
struct Read {
    path: PathBuf,
    pixels: Vec<u8>,
    label: Option<i64>,
}

/// Reads images batch by batch. One that was named on the command line must be readable; one in a
/// folder or in a data set is skipped.
pub struct ImageReader<'a> {
    class: &'a Class,
    manifest: &'a Manifest,
    part: &'a Part,
    images: std::iter::Enumerate<std::vec::IntoIter<Place>>,
    /// Data sets, for their accounts of images that were skipped.
    opened: Vec<Opened>,
    left: usize,
    total: usize,
    read: usize,
    skipped: usize,
    /// Gray images that became RGB.
    gray: usize,
}

impl<'a> ImageReader<'a> {
    /// Reads `limit` at most of the images that the arguments name.
    pub fn open(
        arguments: &[PathBuf],
        limit: usize,
        class: &'a Class,
        part: &'a Part,
        manifest: &'a Manifest,
    ) -> Result<Self> {
        let (mut images, mut opened) = (Vec::new(), Vec::new());
        for argument in arguments {
            let Some(spec) = data_set(argument) else {
                let files = find(std::slice::from_ref(argument))?.into_iter();
                images.extend(files.map(|(path, named)| Place::File { path, named }));
                continue;
            };
            part.check_data_set()?;
            let (source, whole) = Source::open(&spec, class, part.fit(manifest), manifest)?;
            let data = Arc::new(source);
            images.extend((0..data.images.len()).map(|index| Place::Example { data: data.clone(), index }));
            opened.push(whole);
        }
        Ok(Self::of(images, opened, limit, class, (part, manifest)))
    }

    /// Reads `limit` of the files at most, leaving those out that cannot be read.
    pub fn new(files: Vec<(PathBuf, bool)>, limit: usize, class: &'a Class, manifest: &'a Manifest) -> Self {
        let images = files.into_iter().map(|(path, named)| Place::File { path, named }).collect();
        Self::of(images, Vec::new(), limit, class, (&AS_TRAINED, manifest))
    }

    fn of(
        images: Vec<Place>,
        opened: Vec<Opened>,
        limit: usize,
        class: &'a Class,
        (part, manifest): (&'a Part, &'a Manifest),
    ) -> Self {
        let (total, left) = (images.len().min(limit), limit);
        let images = images.into_iter().enumerate();
        Self { class, manifest, part, images, opened, left, total, read: 0, skipped: 0, gray: 0 }
    }

    /// The most images that there can be.
    pub fn total(&self) -> usize {
        self.total
    }

    /// The next images, `most` at most; nothing after the last.
    pub fn next(&mut self, most: usize) -> Result<Option<Batch>> {
        let (mut paths, mut places) = (Vec::new(), Vec::new());
        let (mut pixels, mut labels) = (Vec::new(), Vec::new());
        let shape = Fit::from(self.manifest).shape;
        let dim = (shape.height, shape.width, shape.channels);
        while pixels.len() < most.min(self.left) {
            let Some((place, image)) = self.images.next() else { break };
            let Some(read) = self.image(image)? else { continue };
            pixels.push(Array3::from_shape_vec(dim, read.pixels)?);
            paths.push(read.path);
            labels.push(read.label);
            places.push(place);
        }
        self.left -= pixels.len();
        self.read += pixels.len();
        if pixels.is_empty() {
            return self.finish().map(|()| None);
        }
        let views: Vec<_> = pixels.iter().map(|image| image.view()).collect();
        let labels = self.labels(&labels)?;
        Ok(Some(Batch { paths, places, pixels: stack(Axis(0), &views)?, labels }))
    }

    /// One image; `None` if it is skipped.
    fn image(&mut self, place: Place) -> Result<Option<Read>> {
        let (path, named) = match place {
            Place::File { path, named } => (path, named),
            Place::Example { data, index } => {
                let path = data.root.join(data.images.name(index));
                let example = data.images.get(index).with_context(|| path.display().to_string())?;
                return Ok(example.map(|example| Read {
                    path,
                    label: data.labelled.then_some(i64::from(example.label)),
                    pixels: example.pixels,
                }));
            }
        };
        match self.part.read(&path, self.manifest) {
            Ok(image) => {
                self.gray += usize::from(image.was_gray);
                Ok(Some(Read { path, pixels: image.pixels, label: None }))
            }
            Err(error) if named => Err(error),
            Err(error) => {
                self.skipped += 1;
                say(&format!("skipped: {}", chain(&error)));
                Ok(None)
            }
        }
    }

    /// The labels of a batch: those of --label, or those of the data sets.
    fn labels(&self, own: &[Option<i64>]) -> Result<Option<Vec<i64>>> {
        if own.iter().all(Option::is_none) {
            return self.class.labels(self.manifest, own.len());
        }
        let labels: Option<Vec<i64>> = own.iter().copied().collect();
        let problem = "some of the images have no class: give data sets and files apart, or --label for all";
        Ok(Some(labels.ok_or_else(|| Misuse(problem.into()))?))
    }

    fn finish(&self) -> Result<()> {
        let skipped = self.skipped + self.opened.iter().map(|data| data.skipped.count()).sum::<usize>();
        if skipped > 0 {
            say(&format!("{skipped} images were skipped, {} were read", self.read));
        }
        let gray = self.gray + self.opened.iter().map(|data| data.skipped.gray()).sum::<usize>();
        if gray > 0 {
            say(&format!("{gray} images are gray; for this RGB model, R = G = B in them"));
        }
        if self.read == 0 {
            bail!("there is no image to work on");
        }
        Ok(())
    }
}
