//! Where results go.
use anyhow::{Context, Result};
use clap::Args;
use glow_runtime::images::{self, GridOptions};
use ndarray::{Array4, ArrayView4};
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

/// How a grid of images looks.
#[derive(Args)]
pub struct Sheet {
    /// Enlarge each pixel N times [default: so that small images can be seen]
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    pub scale: usize,
}

impl Sheet {
    /// Writes a grid and prints its path.
    pub fn write(&self, images: ArrayView4<'_, u8>, columns: usize, path: &Path) -> Result<()> {
        let options = GridOptions { columns, scale: self.scale, ..Default::default() };
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
    /// Begins to write; a grid has `columns` columns unless the command line says otherwise.
    pub fn begin(&self, prefix: &'static str, columns: Option<usize>) -> Result<ImageWriter<'_>> {
        let single = !self.out.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("png"));
        if single {
            std::fs::create_dir_all(&self.out)
                .with_context(|| format!("cannot make the folder {}", self.out.display()))?;
        }
        let columns = if self.columns == 0 { columns.unwrap_or(0) } else { self.columns };
        Ok(ImageWriter { output: self, prefix, single, columns, count: 0, grid: None })
    }
}

/// Takes images as they come.
pub struct ImageWriter<'a> {
    output: &'a ImageOutput,
    prefix: &'static str,
    single: bool,
    columns: usize,
    count: usize,
    /// The images so far, unless they are single files.
    grid: Option<Array4<u8>>,
}

impl ImageWriter<'_> {
    pub fn add(&mut self, images: Array4<u8>) -> Result<()> {
        if self.single {
            for image in images::from_array(&images)? {
                let file = self.output.out.join(format!("{}-{:05}.png", self.prefix, self.count));
                images::write_png(&image, &file)?;
                print(&file.display().to_string())?;
                self.count += 1;
            }
        } else if let Some(grid) = &mut self.grid {
            grid.append(ndarray::Axis(0), images.view()).context("images of one model have one shape")?;
        } else {
            self.grid = Some(images);
        }
        Ok(())
    }

    pub fn finish(self) -> Result<()> {
        match self.grid {
            Some(grid) => self.output.sheet.write(grid.view(), self.columns, &self.output.out),
            None => Ok(()),
        }
    }
}
