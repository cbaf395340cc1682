//! Directions from labelled latents.
use super::solve::{Rows, add_scaled, conjugate_gradients, dot, orthogonal_part};
use super::{Attribute, Attributes, check_name};
use crate::Error;
use glow_models::LatentShape;
use ndarray::ArrayView2;
use serde::{Deserialize, Serialize};

/// How a direction is found. The penalties are in units of the latents' mean variance v̄, so that they mean
/// the same for every model.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Method {
    /// μ₊ − μ₋, as in the paper.
    #[default]
    MeanDifference,
    /// Ridge regression of the labels y ∈ {0, 1}: the w of the least
    /// mean (⟨w, z⟩ + b − y)² + penalty · v̄ · |w|². It leaves out in part what varies anyway, whether an
    /// image has the attribute or not.
    Ridge {
        /// The penalty, above 0.
        penalty: f64,
    },
    /// Logistic regression: the w of the least
    /// mean ln(1 + exp(−s·(⟨w, z⟩ + b))) + ½ · penalty · v̄ · |w|², where s = ±1.
    Logistic {
        /// The penalty, above 0.
        penalty: f64,
    },
}

impl Method {
    /// Ridge regression with a penalty of 1.
    pub const RIDGE: Self = Self::Ridge { penalty: 1.0 };
    /// Logistic regression with a penalty of 0.25; the curvature of its loss is at most a quarter of that
    /// of the squares.
    pub const LOGISTIC: Self = Self::Logistic { penalty: 0.25 };
}

/// How to fit an attribute.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
#[non_exhaustive]
pub struct FitOptions {
    /// How the direction is found. Default [`Method::MeanDifference`].
    pub method: Method,
    /// Whether the direction is made orthogonal to those of all other attributes that are there, so that
    /// to apply it leaves their coordinates as they are. Default false.
    pub orthogonalise: bool,
    /// How many of the coarsest levels take part; the direction is 0 in the others. Default `None`: all.
    ///
    /// The finest levels hold half of the numbers or more, and little of what a photograph shows. Where few
    /// images have the attribute, a direction through all levels is mostly the noise of those few images: it
    /// tells them from others, but no new images. With the coarsest level alone, rare attributes are told far
    /// better, and the file is a fraction of the size.
    pub levels: Option<usize>,
}

impl FitOptions {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets [`FitOptions::method`].
    pub fn method(mut self, method: Method) -> Self {
        self.method = method;
        self
    }

    /// Sets [`FitOptions::orthogonalise`].
    pub fn orthogonalise(mut self, orthogonalise: bool) -> Self {
        self.orthogonalise = orthogonalise;
        self
    }

    /// Sets [`FitOptions::levels`].
    pub fn levels(mut self, levels: impl Into<Option<usize>>) -> Self {
        self.levels = levels.into();
        self
    }
}

/// How an attribute was fitted, and how well.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct FitStatistics {
    /// The method.
    pub method: Method,
    /// Whether it was made orthogonal to those fitted before.
    pub orthogonalised: bool,
    /// How many of the coarsest levels took part; `None` for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub levels: Option<usize>,
    /// Images with the attribute.
    pub positives: usize,
    /// Images without it.
    pub negatives: usize,
    /// How often the sign of the coordinate is right, as the mean of the shares among images with and
    /// without the attribute; ½ is chance. It is that of a fit to four fifths of the images, measured on
    /// the others; nothing where there are fewer than five of a kind.
    pub held_out_accuracy: Option<f64>,
}

impl Attributes {
    /// Fits an attribute to flat latents [N, H·W·C] of images and whether each has it, and adds it, in the
    /// place of one of the same name. The noise of the encoding should be
    /// [`Noise::Midpoint`](crate::Noise::Midpoint).
    ///
    /// Ridge and logistic regression are solved by iteration (conjugate gradients; Newton's method, with
    /// conjugate gradients in each step), without a matrix of H·W·C squared.
    ///
    /// # Errors
    /// [`Error::Shape`] or [`Error::NonFinite`] for latents that do not suit, [`Error::Option`] for a name,
    /// penalty or number of levels that is not allowed, [`Error::Fit`] if the labels do not fit or no direction comes out.
    pub fn fit(
        &mut self,
        name: &str,
        latents: ArrayView2<'_, f32>,
        labels: &[bool],
        options: &FitOptions,
    ) -> Result<&Attribute, Error> {
        check_name(name)?;
        check_method(options.method)?;
        let first = self.first_number(options.levels)?;
        let failed = |reason: String| Error::Fit { name: name.into(), reason };
        if latents.ncols() != self.dims() {
            let expected = format!("[N, {}]", self.dims());
            return Err(Error::Shape { array: "latents".into(), expected, actual: latents.shape().to_vec() });
        }
        if latents.nrows() != labels.len() {
            return Err(failed(format!("there are {} labels for {} images", labels.len(), latents.nrows())));
        }
        if let Some(place) = latents.iter().position(|value| !value.is_finite()) {
            let image = place / latents.ncols();
            return Err(Error::NonFinite { array: "the given latent", images: vec![image], hint: "" });
        }
        let place = self.attributes.iter().position(|attribute| attribute.name == name);
        let others = self.attributes.iter().enumerate().filter(|&(other, _)| Some(other) != place);
        let others: Vec<Vec<f64>> = match options.orthogonalise {
            true => others
                .map(|(_, other)| other.direction.iter().skip(first).map(|&v| v.into()).collect())
                .collect(),
            false => Vec::new(),
        };
        let latents = latents.slice_move(ndarray::s![.., first..]);
        let latents = latents.as_standard_layout();
        let fit = |chosen: &[usize]| {
            direction(Rows { matrix: latents.view(), chosen }, labels, options.method, &others)
                .map_err(failed)
        };
        let all: Vec<usize> = (0..labels.len()).collect();
        let found = fit(&all)?;
        let held_out_accuracy = match hold_out(labels) {
            Some((kept, held_out)) => Some(fit(&kept)?.accuracy(latents.view(), labels, &held_out)),
            None => None,
        };
        let positives = labels.iter().filter(|&&label| label).count();
        let attribute = Attribute {
            name: name.into(),
            direction: std::iter::repeat_n(0.0, first)
                .chain(found.w.iter().map(|&value| value as f32))
                .collect(),
            offset: found.offset,
            statistics: FitStatistics {
                method: options.method,
                orthogonalised: options.orthogonalise,
                levels: options.levels,
                positives,
                negatives: labels.len() - positives,
                held_out_accuracy,
            },
        };
        let place = place.unwrap_or(self.attributes.len());
        self.attributes.splice(place..self.attributes.len().min(place + 1), [attribute]);
        Ok(&self.attributes[place])
    }

    /// Where the coarsest `levels` begin in a flat latent.
    fn first_number(&self, levels: Option<usize>) -> Result<usize, Error> {
        match levels {
            None => Ok(0),
            Some(levels) if (1..=self.shapes.len()).contains(&levels) => {
                let finer = &self.shapes[..self.shapes.len() - levels];
                Ok(finer.iter().map(LatentShape::len).sum())
            }
            Some(levels) => Err(Error::Option {
                option: "levels",
                value: levels.to_string(),
                allowed: "from 1 to the number of levels that the model has",
            }),
        }
    }
}

fn check_method(method: Method) -> Result<(), Error> {
    match method {
        Method::Ridge { penalty } | Method::Logistic { penalty }
            if !(penalty.is_finite() && penalty >= LEAST_PENALTY) =>
        {
            let value = penalty.to_string();
            Err(Error::Option { option: "penalty", value, allowed: "a finite number, at least 0.0001" })
        }
        _ => Ok(()),
    }
}

/// With less the solvers would need more steps than they may take where images are fewer than dimensions.
const LEAST_PENALTY: f64 = 1e-4;

/// Every fifth image of each kind apart from the others; nothing if there are too few.
fn hold_out(labels: &[bool]) -> Option<(Vec<usize>, Vec<usize>)> {
    let mut seen = [0; 2];
    let (held_out, kept) = (0..labels.len()).partition(|&image| {
        let seen = &mut seen[usize::from(labels[image])];
        *seen += 1;
        *seen % 5 == 0
    });
    seen.iter().all(|&seen| seen >= 5).then_some((kept, held_out))
}

/// A direction in float64.
struct Direction {
    w: Vec<f64>,
    offset: f64,
}

impl Direction {
    /// The mean of the shares of each kind whose coordinate has the right sign.
    fn accuracy(&self, latents: ArrayView2<'_, f32>, labels: &[bool], images: &[usize]) -> f64 {
        let (mut right, mut all) = ([0.0; 2], [0.0; 2]);
        for &image in images {
            let row = latents.row(image);
            let along = dot(row.to_slice().expect("standard layout"), &self.w) - self.offset;
            let kind = usize::from(labels[image]);
            all[kind] += 1.0;
            right[kind] += f64::from((along > 0.0) == labels[image]);
        }
        (right[0] / all[0] + right[1] / all[1]) / 2.0
    }
}

fn direction(
    rows: Rows<'_>,
    labels: &[bool],
    method: Method,
    others: &[Vec<f64>],
) -> Result<Direction, String> {
    let problem = Problem::new(rows, labels)?;
    let along = match method {
        Method::MeanDifference => problem.mean_difference(),
        Method::Ridge { penalty } => problem.ridge(penalty)?,
        Method::Logistic { penalty } => problem.logistic(penalty)?,
    };
    let along = match others {
        [] => along,
        others => {
            let part = orthogonal_part(&along, others.iter().cloned());
            if dot(&part, &part) <= 1e-10 * dot(&along, &along) {
                return Err("its direction is a mixture of those of the other attributes".into());
            }
            part
        }
    };
    // As long as the means are apart along it.
    let [without, with] = &problem.means;
    let factor = (dot(&along, with) - dot(&along, without)) / dot(&along, &along);
    if !(factor.is_finite() && factor > 0.0) {
        return Err("the images with it and those without do not differ".into());
    }
    let w: Vec<f64> = along.iter().map(|value| factor * value).collect();
    let offset = (dot(&w, with) + dot(&w, without)) / 2.0;
    Ok(Direction { w, offset })
}

/// Residual of the linear systems, relative to their right-hand side.
const TOLERANCE: f64 = 1e-5;
/// Steps of conjugate gradients after which a system counts as unsolvable.
const MAX_STEPS: usize = 2000;
/// Steps of Newton's method; it needs about ten.
const MAX_NEWTON_STEPS: usize = 100;

/// Latents with labels.
struct Problem<'a> {
    rows: Rows<'a>,
    /// 1 or 0 for each of the rows.
    targets: Vec<f64>,
    /// Mean latents without and with the attribute.
    means: [Vec<f64>; 2],
    /// Mean latent.
    mean: Vec<f64>,
    /// Mean variance of a latent's numbers.
    variance: f64,
}

impl<'a> Problem<'a> {
    fn new(rows: Rows<'a>, labels: &[bool]) -> Result<Self, String> {
        let targets: Vec<f64> = rows.chosen.iter().map(|&row| f64::from(labels[row])).collect();
        let with: f64 = targets.iter().sum();
        let without = targets.len() as f64 - with;
        if with == 0.0 || without == 0.0 {
            let kind = if with == 0.0 { "with" } else { "without" };
            return Err(format!("there is no image {kind} it"));
        }
        let nothing = vec![0.0; rows.columns()];
        let means = [
            rows.sum(&nothing, |place, _| (1.0 - targets[place]) / without).0,
            rows.sum(&nothing, |place, _| targets[place] / with).0,
        ];
        let n = targets.len() as f64;
        let mut mean = vec![0.0; rows.columns()];
        add_scaled(&mut mean, without / n, &means[0]);
        add_scaled(&mut mean, with / n, &means[1]);
        let squares: f64 = rows
            .chosen
            .iter()
            .map(|&row| {
                let x = rows.matrix.row(row);
                let x = x.to_slice().expect("standard layout");
                dot(x, x)
            })
            .sum();
        let variance = (squares / n - dot(&mean, &mean)) / rows.columns() as f64;
        Ok(Self { rows, targets, means, mean, variance })
    }

    fn count(&self) -> f64 {
        self.targets.len() as f64
    }

    fn mean_difference(&self) -> Vec<f64> {
        let mut difference = self.means[1].clone();
        add_scaled(&mut difference, -1.0, &self.means[0]);
        difference
    }

    /// Σ f(place, ⟨x − mean, v⟩) · (x − mean) / n, and Σ f / n.
    fn centred(&self, v: &[f64], f: impl Fn(usize, f64) -> f64 + Sync) -> (Vec<f64>, f64) {
        let centre = dot(&self.mean, v);
        let (mut sum, factors) = self.rows.sum(v, |place, along| f(place, along - centre) / self.count());
        let total: f64 = factors.iter().sum();
        add_scaled(&mut sum, -total, &self.mean);
        (sum, total)
    }

    fn ridge(&self, penalty: f64) -> Result<Vec<f64>, String> {
        let penalty = penalty * self.variance;
        let mean = self.targets.iter().sum::<f64>() / self.count();
        let (right, _) = self.centred(&self.mean, |place, _| self.targets[place] - mean);
        let product = |v: &[f64]| {
            let (mut product, _) = self.centred(v, |_, along| along);
            add_scaled(&mut product, penalty, v);
            product
        };
        let solved = conjugate_gradients(product, &right, TOLERANCE, MAX_STEPS);
        solved.map(|(w, _)| w).ok_or_else(|| unsolved(MAX_STEPS))
    }

    /// Newton's method on w and b, each step by conjugate gradients and, if need be, shortened.
    fn logistic(&self, penalty: f64) -> Result<Vec<f64>, String> {
        let penalty = penalty * self.variance;
        let dims = self.rows.columns();
        let mut point = vec![0.0; dims + 1];
        // What the loss of the images depends on: ⟨w, x − mean⟩ + b.
        let mut scores = vec![0.0; self.targets.len()];
        let loss = |scores: &[f64], w: &[f64]| {
            let of_images: f64 = scores.iter().zip(&self.targets).map(|(&s, &y)| softplus(s) - y * s).sum();
            of_images / self.count() + penalty / 2.0 * dot(w, w)
        };
        let mut goal = None;
        for _ in 0..MAX_NEWTON_STEPS {
            let probabilities: Vec<f64> = scores.iter().map(|&s| sigmoid(s)).collect();
            let (mut gradient, of_b) =
                self.centred(&point[..dims], |place, _| probabilities[place] - self.targets[place]);
            add_scaled(&mut gradient, penalty, &point[..dims]);
            gradient.push(of_b);
            let size = dot(&gradient, &gradient).sqrt();
            if size <= *goal.get_or_insert(TOLERANCE * size) {
                point.truncate(dims);
                return Ok(point);
            }
            let product = |v: &[f64]| {
                let curvature = |place: usize, along: f64| {
                    let p = probabilities[place];
                    p * (1.0 - p) * (along + v[dims])
                };
                let (mut product, of_b) = self.centred(&v[..dims], curvature);
                add_scaled(&mut product, penalty, &v[..dims]);
                product.push(of_b);
                product
            };
            // A system that is not solved to the end still gives a way down.
            let (step, _) = conjugate_gradients(product, &gradient, 1e-3, MAX_STEPS)
                .ok_or_else(|| unsolved(MAX_STEPS))?;
            let slope = dot(&gradient, &step);
            let along = self.along(&step);
            let before = loss(&scores, &point[..dims]);
            let shorten = (0..40).map(|halvings| 0.5f64.powi(halvings)).find(|length| {
                let next: Vec<f64> = scores.iter().zip(&along).map(|(s, a)| s - length * a).collect();
                let mut w = point[..dims].to_vec();
                add_scaled(&mut w, -length, &step[..dims]);
                loss(&next, &w) <= before - 1e-4 * length * slope
            });
            let Some(length) = shorten else {
                // As far down as float64 can tell.
                point.truncate(dims);
                return Ok(point);
            };
            add_scaled(&mut point, -length, &step);
            add_scaled(&mut scores, -length, &along);
        }
        Err(unsolved(MAX_NEWTON_STEPS))
    }

    /// ⟨x − mean, w⟩ + b for every row.
    fn along(&self, point: &[f64]) -> Vec<f64> {
        let (w, b) = point.split_at(self.rows.columns());
        let constant = b[0] - dot(&self.mean, w);
        self.rows
            .chosen
            .iter()
            .map(|&row| {
                let x = self.rows.matrix.row(row);
                dot(x.to_slice().expect("standard layout"), w) + constant
            })
            .collect()
    }
}

fn unsolved(steps: usize) -> String {
    format!("no direction was found in {steps} steps: raise the penalty")
}

/// ln(1 + exp(s)), without overflow.
fn softplus(s: f64) -> f64 {
    s.max(0.0) + (-s.abs()).exp().ln_1p()
}

fn sigmoid(s: f64) -> f64 {
    (s - softplus(s)).exp()
}
