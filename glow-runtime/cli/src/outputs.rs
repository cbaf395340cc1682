//! Where results go.
use crate::failure::Misuse;
use anyhow::{Context, Result, bail};
use clap::Args;
use glow_runtime::Partial;
use glow_runtime::images::{self, GridOptions};
use image::DynamicImage;
use ndarray::{Array4, ArrayView4, Axis};
use std::collections::HashSet;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Tells something on stderr.
pub fn say(text: &str) {
    // Nobody may be listening, which is no reason to stop.
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Prints a line of results on stdout.
pub fn print(line: &str) -> Result<()> {
    // Without context, so that a closed pipe is recognised.
    Ok(writeln!(std::io::stdout(), "{line}")?)
}

/// Whether a file of latents is one for numpy.
pub fn is_npy(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("npy"))
}

/// Checks, before any work, that the file `out` can be written: that its folder exists, and that it is none
/// of the images that are read.
pub fn check_file(out: &Path, inputs: &[PathBuf]) -> Result<()> {
    if let Some(folder) = out.parent().filter(|folder| !folder.as_os_str().is_empty() && !folder.is_dir()) {
        bail!(
            "cannot write {}: the folder {} does not exist; make it first",
            out.display(),
            folder.display()
        );
    }
    if let Ok(out) = out.canonicalize()
        && inputs.iter().any(|input| out.is_file() && is_among(&out, input))
    {
        let problem =
            format!("{} is an image that is read: write the result elsewhere (--out)", out.display());
        return Err(Misuse(problem).into());
    }
    Ok(())
}

/// Whether the file `out` is `input`, or an image below the folder `input`.
fn is_among(out: &Path, input: &Path) -> bool {
    let Ok(input) = input.canonicalize() else { return false };
    let is_image = out
        .extension()
        .and_then(|extension| extension.to_str())
        .is_some_and(|extension| images::EXTENSIONS.contains(&extension.to_ascii_lowercase().as_str()));
    out == input || is_image && out.starts_with(&input)
}

/// Checks that the name of a grid promises what is written.
fn check_png(out: &Path) -> Result<()> {
    if out.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("png")) {
        return Ok(());
    }
    Err(Misuse(format!(
        "--out {}: pictures are written as PNG; give a name that ends in .png",
        out.display()
    ))
    .into())
}

/// How a grid of images looks.
#[derive(Args)]
pub struct Sheet {
    /// Enlarge each pixel N times [default: so that small images can be seen]
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    pub scale: usize,
}

impl Sheet {
    /// Checks, before any work, that a grid can be written to `out`.
    pub fn check(&self, out: &Path, inputs: &[PathBuf]) -> Result<()> {
        check_png(out)?;
        check_file(out, inputs)
    }

    /// Writes a grid and prints its path.
    pub fn write(&self, images: ArrayView4<'_, u8>, columns: usize, path: &Path) -> Result<()> {
        let options = GridOptions::new().columns(columns).scale(self.scale);
        images::write_png(&images::grid(images, &options)?, path)?;
        print(&path.display().to_string())
    }
}

/// Images as one grid or as single files.
#[derive(Args)]
pub struct ImageOutput {
    /// A grid if it ends in .png, otherwise a folder for single files
    #[arg(long, value_name = "FILE.png|DIR")]
    pub out: PathBuf,
    /// Images a row of the grid [default: about square]
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    columns: usize,
    #[command(flatten)]
    sheet: Sheet,
}

impl ImageOutput {
    /// Checks, before any work, that images can be written, none of them over one of `inputs`.
    pub fn check(&self, inputs: &[PathBuf]) -> Result<()> {
        let extension = self.out.extension().and_then(|extension| extension.to_str());
        let extension = extension.map(str::to_ascii_lowercase);
        if extension.is_some_and(|extension| images::EXTENSIONS.contains(&extension.as_str())) {
            check_png(&self.out)?;
        }
        check_file(&self.out, inputs)
    }

    /// Whether one file is written.
    pub fn is_file(&self) -> bool {
        self.out.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("png"))
    }

    /// Begins to write; a grid has `columns` columns unless the command line says otherwise.
    pub fn begin(&self, prefix: &'static str, columns: Option<usize>) -> Result<ImageWriter<'_>> {
        let single = !self.is_file();
        if single {
            std::fs::create_dir_all(&self.out)
                .with_context(|| format!("cannot make the folder {}", self.out.display()))?;
        }
        let columns = if self.columns == 0 { columns.unwrap_or(0) } else { self.columns };
        Ok(ImageWriter {
            output: self,
            prefix,
            single,
            columns,
            count: 0,
            names: HashSet::new(),
            grid: None,
            failed: Vec::new(),
        })
    }
}

fn same_file(a: &Path, b: &Path) -> bool {
    matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b)
}

/// Writes what was made of the image at `original`, though not over it, and prints its path.
fn write_beside(original: Option<&Path>, image: &DynamicImage, file: &Path) -> Result<()> {
    if original.is_some_and(|original| same_file(original, file)) {
        bail!("{} is the image that was read: write to another folder (--out)", file.display());
    }
    images::write_png(image, file)?;
    print(&file.display().to_string())
}

/// Takes images as they come.
pub struct ImageWriter<'a> {
    output: &'a ImageOutput,
    prefix: &'static str,
    single: bool,
    columns: usize,
    count: usize,
    /// The files named after originals.
    names: HashSet<PathBuf>,
    /// The images so far, unless they are single files.
    grid: Option<Array4<u8>>,
    /// Images that are not there, by their numbers.
    failed: Vec<usize>,
}

impl ImageWriter<'_> {
    /// Adds images of which some may have failed: those have no file, and are black in a grid. [`ImageWriter::finish`]
    /// tells which.
    pub fn add(&mut self, images: Partial<Array4<u8>>) -> Result<()> {
        let Partial { value, non_finite, .. } = images;
        let first = self.count;
        self.failed.extend(non_finite.iter().map(|place| first + place));
        if !self.single {
            self.count += value.dim().0;
            return self.add_of(None, value);
        }
        for image in value.axis_chunks_iter(Axis(0), 1) {
            if self.failed.contains(&self.count) {
                self.count += 1;
            } else {
                self.add_of(None, image.to_owned())?;
            }
        }
        Ok(())
    }

    /// Adds what was made of the image at `path`, after which single files are named.
    pub fn add_of(&mut self, path: Option<&Path>, images: Array4<u8>) -> Result<()> {
        if self.single {
            let several = images.dim().0 > 1;
            for (number, image) in images::from_array(&images)?.into_iter().enumerate() {
                let file = match path {
                    Some(path) => self.name_after(path, several.then_some(number)),
                    None => self.output.out.join(format!("{}-{:05}.png", self.prefix, self.count)),
                };
                write_beside(path, &image, &file)?;
                self.count += 1;
            }
        } else if let Some(grid) = &mut self.grid {
            grid.append(Axis(0), images.view()).context("images of one model have one shape")?;
        } else {
            self.grid = Some(images);
        }
        Ok(())
    }

    /// Writes a picture of any size that was made of the image at `path`: to the one file that is named, or into the
    /// folder.
    pub fn add_picture(&mut self, path: &Path, picture: &DynamicImage) -> Result<()> {
        let file = if self.single { self.name_after(path, None) } else { self.output.out.clone() };
        write_beside(Some(path), picture, &file)
    }

    /// A name after the original's, which no other image of this call has taken.
    fn name_after(&mut self, path: &Path, number: Option<usize>) -> PathBuf {
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        let number = number.map_or(String::new(), |number| format!("-{number}"));
        let names = std::iter::once(format!("{stem}{number}.png"))
            .chain((2..).map(|again| format!("{stem}-{again}{number}.png")));
        let mut files = names.map(|name| self.output.out.join(name));
        let file = files.find(|file| !self.names.contains(file)).expect("there is always a further name");
        self.names.insert(file.clone());
        file
    }

    pub fn finish(self) -> Result<()> {
        if let Some(grid) = self.grid {
            self.output.sheet.write(grid.view(), self.columns, &self.output.out)?;
        }
        match self.failed.is_empty() {
            true => Ok(()),
            false => Err(glow_runtime::Error::NonFinite {
                array: "the decoded value",
                images: self.failed,
                hint: "; what is finite is written. Such latents lie too far out: try a lower temperature",
            }
            .into()),
        }
    }
}
