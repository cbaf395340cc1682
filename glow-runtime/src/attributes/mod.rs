//! Named directions in latent space, such as that from faces that do not smile to faces that do.
mod file;
mod fit;
mod solve;

pub use fit::{FitOptions, FitStatistics, Method};

use crate::{Error, Latents, Manifest};
use glow_models::LatentShape;
use ndarray::{Array1, Array2, Axis};

/// Named directions in the latent space of one model (paper, section 5.3 and figure 6).
///
/// Each is a vector w of flat latents ([`Latents::flat`]). They are fitted to latents of images of which
/// it is known whether they have the attribute. Let μ₊ and μ₋ be the mean latents with and without it:
///
/// - [`apply`](Attributes::apply) gives z + Σ strength · w. As ⟨w, μ₊ − μ₋⟩ = |w|², strength 1 goes as far
///   along w as one mean is from the other.
/// - [`project`](Attributes::project) gives the coordinate ⟨z − (μ₊ + μ₋)/2, w⟩ / |w|²: +½ for μ₊, −½
///   for μ₋, and above 0 nearer to those with the attribute. A strength adds to the coordinate of its
///   attribute, and to those of others in as far as they are not orthogonal.
///
/// ```
/// use glow_runtime::{Attributes, EncodeOptions, FitOptions, Glow};
/// # use ndarray::{Array4, Axis, concatenate};
///
/// # let bundle = concat!(env!("CARGO_MANIFEST_DIR"), "/../models/tests/bundle");
/// let glow = Glow::load(bundle)?;
/// # let (dark, bright) = (Array4::from_elem((4, 8, 8, 3), 60u8), Array4::from_elem((4, 8, 8, 3), 180));
/// # let images = concatenate![Axis(0), dark, bright];
/// # let labels = [false, false, false, false, true, true, true, true];
/// // Images [N, H, W, C], and whether each has the attribute.
/// let latents = glow.encode(&images, &EncodeOptions::default())?.latents;
/// let mut attributes = Attributes::new(glow.manifest());
/// attributes.fit("Bright", latents.flat().view(), &labels, &FitOptions::default())?;
///
/// let brighter = attributes.apply(&latents, &[("Bright", 0.5)])?;
/// let pixels = glow.decode(&brighter, None)?.images;
/// # assert_eq!(pixels.dim(), images.dim());
/// assert!(attributes.project(&brighter)?[[0, 0]] > attributes.project(&latents)?[[0, 0]]);
/// # Ok::<(), glow_runtime::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Attributes {
    model_sha256: String,
    shapes: Vec<LatentShape>,
    attributes: Vec<Attribute>,
}

/// One of a model's [`Attributes`].
#[derive(Debug, Clone, PartialEq)]
pub struct Attribute {
    name: String,
    direction: Array1<f32>,
    offset: f64,
    statistics: FitStatistics,
}

impl Attribute {
    /// The name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The direction w, a flat latent [H·W·C].
    pub fn direction(&self) -> &Array1<f32> {
        &self.direction
    }

    /// ⟨w, (μ₊ + μ₋)/2⟩, where the coordinate is 0.
    pub fn offset(&self) -> f64 {
        self.offset
    }

    /// How it was fitted, and how well.
    pub fn statistics(&self) -> &FitStatistics {
        &self.statistics
    }
}

impl Attributes {
    /// None yet, for the model of a manifest.
    pub fn new(manifest: &Manifest) -> Self {
        Self {
            model_sha256: manifest.model_sha256().into(),
            shapes: manifest.latent_shapes.clone(),
            attributes: Vec::new(),
        }
    }

    /// The attributes, in the order in which they were fitted.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Attribute> {
        self.attributes.iter()
    }

    /// Their number, K.
    pub fn len(&self) -> usize {
        self.attributes.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.attributes.is_empty()
    }

    /// The attribute of a name.
    ///
    /// # Errors
    /// [`Error::UnknownAttribute`].
    pub fn get(&self, name: &str) -> Result<&Attribute, Error> {
        Ok(&self.attributes[self.position(name)?])
    }

    /// Takes an attribute out.
    ///
    /// # Errors
    /// [`Error::UnknownAttribute`].
    pub fn remove(&mut self, name: &str) -> Result<Attribute, Error> {
        let place = self.position(name)?;
        Ok(self.attributes.remove(place))
    }

    /// Moves every image of a batch along several directions at once: z + Σ strength · w.
    ///
    /// # Errors
    /// [`Error::UnknownAttribute`], [`Error::Shape`] for latents of another model, [`Error::Option`] for a
    /// strength that is NaN or infinite.
    pub fn apply(&self, latents: &Latents, strengths: &[(&str, f32)]) -> Result<Latents, Error> {
        latents.check(&self.shapes)?;
        let mut sum = Array2::<f32>::zeros((1, self.dims()));
        for &(name, strength) in strengths {
            if !strength.is_finite() {
                return Err(Error::Option {
                    option: "strength",
                    value: strength.to_string(),
                    allowed: "a finite number",
                });
            }
            sum.row_mut(0).scaled_add(strength, &self.get(name)?.direction);
        }
        latents.add(&Latents::from_flat(sum.view(), &self.shapes)?)
    }

    /// Coordinates [N, K] of the images of a batch: ⟨z − (μ₊ + μ₋)/2, w⟩ / |w|² for each attribute.
    ///
    /// # Errors
    /// [`Error::Shape`] for latents of another model.
    pub fn project(&self, latents: &Latents) -> Result<Array2<f64>, Error> {
        latents.check(&self.shapes)?;
        let flat = latents.flat();
        let mut coordinates = Array2::zeros((latents.batch(), self.len()));
        for (mut column, attribute) in coordinates.axis_iter_mut(Axis(1)).zip(&self.attributes) {
            let w = attribute.direction.as_slice().expect("a direction lies in one piece");
            for (to, z) in column.iter_mut().zip(flat.outer_iter()) {
                let along = solve::dot(z.as_slice().expect("so does a row"), w);
                *to = (along - attribute.offset) / solve::dot(w, w);
            }
        }
        Ok(coordinates)
    }

    fn position(&self, name: &str) -> Result<usize, Error> {
        self.attributes.iter().position(|attribute| attribute.name == name).ok_or_else(|| {
            let known = self.attributes.iter().map(|attribute| attribute.name.clone()).collect();
            Error::UnknownAttribute { name: name.into(), known }
        })
    }

    fn dims(&self) -> usize {
        self.shapes.iter().map(LatentShape::len).sum()
    }
}

/// Names are also those of tensors and are given as `NAME=STRENGTH`.
fn check_name(name: &str) -> Result<(), Error> {
    let valid = (1..=100).contains(&name.chars().count())
        && !name.contains(|c: char| c == '=' || c.is_control())
        && !name.starts_with("__");
    if valid {
        return Ok(());
    }
    Err(Error::Option {
        option: "name",
        value: format!("{name:?}"),
        allowed: "1 to 100 characters, without '=' and control characters, and not beginning with '__'",
    })
}

#[cfg(test)]
mod tests;
