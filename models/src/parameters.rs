//! Names and shapes of a Glow's parameters, as they stand in a checkpoint.
//!
//! | name | shape | meaning |
//! | --- | --- | --- |
//! | `levelL.stepKK.actnorm.{bias,logs}` | \[C\] | y = (x + bias) · exp(3·logs) |
//! | `levelL.stepKK.permutation.indices` | \[C\] i64 | shuffle: y\[i\] = x\[indices\[i\]\] |
//! | `levelL.stepKK.permutation.{lower,upper}` | \[C, C\] | invconv: strictly lower / upper parts count, the rest is ignored |
//! | `levelL.stepKK.permutation.{log_s,sign_s}` | \[C\] | invconv: the diagonal, sign_s · exp(log_s) |
//! | `levelL.stepKK.permutation.rows` | \[C\] i64 | invconv: P, as (P·M)\[i\] = M\[rows\[i\]\] |
//! | `levelL.stepKK.permutation.weight` | \[C, C\] | invconv-plain: W |
//! | `levelL.stepKK.coupling.conv1.weight` | \[w, C/2 (+1), 3, 3\] | first convolution; +1 is the border channel of edge bias, the last |
//! | `levelL.stepKK.coupling.conv2.weight` | \[w, w, 1, 1\] | second convolution |
//! | `….conv1.actnorm.{bias,logs}`, `….conv2.actnorm.{bias,logs}` | \[w\] | the actnorm behind each |
//! | `levelL.stepKK.coupling.conv3.weight` | \[C/2 or C, w (+1), 3, 3\] | last one, starts at zero; affine: even channels shift, odd ones raw scale |
//! | `levelL.stepKK.coupling.conv3.{bias,logs}` | \[C/2 or C\] | y = (conv + bias) · exp(3·logs) |
//! | `levelL.split.{weight,bias,logs}` | \[C, C/2 (+1), 3, 3\], \[C\], \[C\] | prior of a split: even channels mean, odd ones log scale |
//! | `top.{bias,logs}` | \[2C\] | learned top prior: first half mean, second half log scale |
//! | `top.edge` | \[2C, 1, 3, 3\] | its response to the border channel (its other weights meet only zeros) |
//! | `top.label.{weight,bias,logs}` | \[2C, classes\], \[2C\], \[2C\] | class-conditional top prior: (weight·onehot + bias) · exp(3·logs) |
//! | `classifier.{weight,bias,logs}` | \[classes, C\], \[classes\], \[classes\] | class-conditional: classifier on the spatial mean of the top z |
use crate::{Architecture, LevelShape, Permutation};

/// Element type of a parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dtype {
    /// 32-bit float.
    F32,
    /// 64-bit integer.
    I64,
}

impl From<Dtype> for safetensors::Dtype {
    fn from(dtype: Dtype) -> Self {
        match dtype {
            Dtype::F32 => Self::F32,
            Dtype::I64 => Self::I64,
        }
    }
}

/// Whether training changes a parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Changed by the optimiser.
    Trained,
    /// Drawn once, then fixed: permutations and signs.
    Fixed,
}

/// How a parameter begins, before the actnorms are initialised from data.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Init {
    /// Drawn from N(0, σ²) with this standard deviation σ.
    Normal(f64),
    /// All zeros.
    Zeros,
    /// A random rotation W, or one factor of it. The parameters of a layer are parts of the same W.
    Rotation(RotationPart),
    /// A random permutation of 0 … n − 1.
    Shuffle,
}

/// What of a rotation W = P·L·(U + diag(sign_s·exp(log_s))) a parameter holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RotationPart {
    /// W itself, \[C, C\].
    Matrix,
    /// L without its diagonal of ones, \[C, C\], strictly lower triangular.
    Lower,
    /// U, \[C, C\], strictly upper triangular.
    Upper,
    /// log|s|, \[C\].
    LogS,
    /// The sign of s, \[C\].
    SignS,
    /// P, \[C\], as (P·M)\[i\] = M\[rows\[i\]\].
    Rows,
}

/// Standard deviation of the initial weights of ordinary convolutions (published code).
const WEIGHT_STD: f64 = 0.05;

/// One parameter of the model.
#[derive(Debug, Clone, PartialEq)]
pub struct Parameter {
    /// Name in a checkpoint, without the group's prefix.
    pub name: String,
    /// Shape, row-major.
    pub shape: Vec<usize>,
    /// Element type.
    pub dtype: Dtype,
    /// Trained or fixed.
    pub role: Role,
    /// How it begins.
    pub init: Init,
}

impl Parameter {
    /// Name of the layer that it belongs to: its own without the last part.
    pub fn layer(&self) -> &str {
        self.name.rsplit_once('.').map_or("", |(layer, _)| layer)
    }

    /// Numbers in it.
    fn count(&self) -> u64 {
        let product = |product: u64, &n: &usize| product.checked_mul(n as u64);
        self.shape.iter().try_fold(1, product).unwrap_or(u64::MAX)
    }
}

impl Architecture {
    /// Name of a step of flow, as in parameter and graph node names.
    pub fn step_name(level: usize, step: usize) -> String {
        format!("level{level}.step{step:02}")
    }

    /// Every parameter, level by level, step by step.
    pub fn parameters(&self) -> Vec<Parameter> {
        let mut list = List(Vec::new());
        let shapes = self.level_shapes();
        for (level, shape) in shapes.iter().enumerate() {
            for step in 0..self.depth {
                self.step_parameters(&mut list, &Self::step_name(level, step), shape.channels);
            }
            self.split_parameters(&mut list, level, shape);
        }
        self.top_parameters(&mut list, shapes.last());
        list.0
    }

    fn step_parameters(&self, list: &mut List, step: &str, channels: usize) {
        let (half, hidden) = (channels / 2, self.hidden);
        list.affine(&format!("{step}.actnorm"), channels);
        list.permutation(&format!("{step}.permutation"), self.permutation, channels);
        let coupling = format!("{step}.coupling");
        let normal = Init::Normal(WEIGHT_STD);
        list.trained(format!("{coupling}.conv1.weight"), &[hidden, self.conv_inputs(half), 3, 3], normal);
        list.affine(&format!("{coupling}.conv1.actnorm"), hidden);
        list.trained(format!("{coupling}.conv2.weight"), &[hidden, hidden, 1, 1], normal);
        list.affine(&format!("{coupling}.conv2.actnorm"), hidden);
        let (outputs, inputs) = (self.coupling_outputs(channels), self.conv_inputs(hidden));
        list.zeros(&format!("{coupling}.conv3"), &[outputs, inputs, 3, 3]);
    }

    fn split_parameters(&self, list: &mut List, level: usize, shape: &LevelShape) {
        if shape.splits {
            let inputs = self.conv_inputs(shape.channels / 2);
            list.zeros(&format!("level{level}.split"), &[shape.channels, inputs, 3, 3]);
        }
    }

    fn top_parameters(&self, list: &mut List, top: Option<&LevelShape>) {
        let channels = top.map_or(0, |level| level.channels);
        if self.learn_top {
            list.affine("top", 2 * channels);
            if self.edge_bias {
                list.trained("top.edge".into(), &[2 * channels, 1, 3, 3], Init::Zeros);
            }
        }
        if self.classes > 0 {
            list.zeros("top.label", &[2 * channels, self.classes]);
            list.zeros("classifier", &[self.classes, channels]);
        }
    }

    /// Numbers in all parameters together, without allocating anything of their size.
    pub fn parameter_count(&self) -> u64 {
        let count = |fill: &dyn Fn(&mut List)| {
            let mut list = List(Vec::new());
            fill(&mut list);
            list.0.iter().map(Parameter::count).fold(0, u64::saturating_add)
        };
        let shapes = self.level_shapes();
        let levels = shapes.iter().enumerate().map(|(level, shape)| {
            // The steps of a level are alike.
            let step = count(&|list| self.step_parameters(list, "", shape.channels));
            let split = count(&|list| self.split_parameters(list, level, shape));
            step.saturating_mul(self.depth as u64).saturating_add(split)
        });
        let top = count(&|list| self.top_parameters(list, shapes.last()));
        levels.fold(top, u64::saturating_add)
    }

    /// Multiply-adds of one image through the flow in one direction: convolutions and channel mixing.
    pub fn multiply_adds(&self) -> u64 {
        let product = |factors: &[usize]| factors.iter().fold(1u64, |p, &n| p.saturating_mul(n as u64));
        let levels = self.level_shapes().into_iter().map(|level| {
            let (pixels, c, w) = (level.height * level.width, level.channels, self.hidden);
            let step = [
                product(&[c, c]),
                product(&[9, c / 2, w]),
                product(&[w, w]),
                product(&[9, w, self.coupling_outputs(c)]),
            ];
            let step = step.into_iter().fold(0, u64::saturating_add).saturating_mul(self.depth as u64);
            let split = if level.splits { product(&[9, c / 2, c]) } else { 0 };
            step.saturating_add(split).saturating_mul(pixels as u64)
        });
        levels.fold(0, u64::saturating_add)
    }
}

struct List(Vec<Parameter>);

impl List {
    fn trained(&mut self, name: String, shape: &[usize], init: Init) {
        let (dtype, role) = (Dtype::F32, Role::Trained);
        self.0.push(Parameter { name, shape: shape.into(), dtype, role, init });
    }

    fn fixed(&mut self, name: String, shape: &[usize], dtype: Dtype, init: Init) {
        self.0.push(Parameter { name, shape: shape.into(), dtype, role: Role::Fixed, init });
    }

    /// Bias and log scale behind a layer: y = (x + bias) · exp(3·logs).
    fn affine(&mut self, name: &str, channels: usize) {
        self.trained(format!("{name}.bias"), &[channels], Init::Zeros);
        self.trained(format!("{name}.logs"), &[channels], Init::Zeros);
    }

    /// A convolution or matrix [outputs, …] that starts at zero, with bias and log scale behind it.
    fn zeros(&mut self, name: &str, shape: &[usize]) {
        self.trained(format!("{name}.weight"), shape, Init::Zeros);
        self.affine(name, shape[0]);
    }

    fn permutation(&mut self, name: &str, permutation: Permutation, channels: usize) {
        let (vector, matrix) = ([channels], [channels, channels]);
        let part = |part: &str| format!("{name}.{part}");
        match permutation {
            Permutation::Reverse => {}
            Permutation::Shuffle => self.fixed(part("indices"), &vector, Dtype::I64, Init::Shuffle),
            Permutation::Invconv => {
                self.trained(part("lower"), &matrix, Init::Rotation(RotationPart::Lower));
                self.trained(part("upper"), &matrix, Init::Rotation(RotationPart::Upper));
                self.trained(part("log_s"), &vector, Init::Rotation(RotationPart::LogS));
                self.fixed(part("sign_s"), &vector, Dtype::F32, Init::Rotation(RotationPart::SignS));
                self.fixed(part("rows"), &vector, Dtype::I64, Init::Rotation(RotationPart::Rows));
            }
            Permutation::InvconvPlain => {
                self.trained(part("weight"), &matrix, Init::Rotation(RotationPart::Matrix));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Coupling;
    use std::collections::HashSet;

    #[test]
    fn names_are_unique_and_the_count_agrees_with_the_list() {
        for permutation in Permutation::ALL {
            for (edge_bias, classes) in [(true, 10), (false, 0)] {
                let architecture = Architecture {
                    permutation,
                    edge_bias,
                    classes,
                    depth: 3,
                    hidden: 16,
                    coupling: Coupling::Affine,
                    ..Default::default()
                };
                let list = architecture.parameters();
                let names: HashSet<_> = list.iter().map(|p| &p.name).collect();
                assert_eq!(names.len(), list.len());
                let total: usize = list.iter().map(|p| p.shape.iter().product::<usize>()).sum();
                assert_eq!(architecture.parameter_count(), total as u64);
            }
        }
    }

    /// The published CIFAR-10 model has about 44 million parameters.
    #[test]
    fn cifar10_has_the_published_size() {
        let architecture = Architecture { coupling: Coupling::Affine, ..Default::default() };
        let millions = architecture.parameter_count() as f64 / 1e6;
        assert!((43.0..46.0).contains(&millions), "{millions}");
        let billions = architecture.multiply_adds() as f64 / 1e9;
        assert!((3.9..4.2).contains(&billions), "{billions}");
    }
}
