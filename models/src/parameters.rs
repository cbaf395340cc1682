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
use crate::{Architecture, Permutation};

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

/// One parameter of the model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parameter {
    /// Name in a checkpoint, without the group's prefix.
    pub name: String,
    /// Shape, row-major.
    pub shape: Vec<usize>,
    /// Element type.
    pub dtype: Dtype,
    /// Trained or fixed.
    pub role: Role,
}

impl Architecture {
    /// Name of a step of flow, as in parameter and graph node names.
    pub fn step_name(level: usize, step: usize) -> String {
        format!("level{level}.step{step:02}")
    }

    /// Every parameter, level by level, step by step.
    pub fn parameters(&self) -> Vec<Parameter> {
        let mut list = List(Vec::new());
        for (level, shape) in self.level_shapes().iter().enumerate() {
            for step in 0..self.depth {
                self.step_parameters(&mut list, &Self::step_name(level, step), shape.channels);
            }
            if shape.splits {
                let (half, name) = (shape.channels / 2, format!("level{level}.split"));
                list.zeros_conv(&name, shape.channels, self.conv_inputs(half));
            }
        }
        let top = self.level_shapes().last().map_or(0, |level| level.channels);
        if self.learn_top {
            list.trained("top.bias", &[2 * top]);
            list.trained("top.logs", &[2 * top]);
            if self.edge_bias {
                list.trained("top.edge", &[2 * top, 1, 3, 3]);
            }
        }
        if self.classes > 0 {
            for (name, outputs, inputs) in
                [("top.label", 2 * top, self.classes), ("classifier", self.classes, top)]
            {
                list.trained(&format!("{name}.weight"), &[outputs, inputs]);
                list.trained(&format!("{name}.bias"), &[outputs]);
                list.trained(&format!("{name}.logs"), &[outputs]);
            }
        }
        list.0
    }

    fn step_parameters(&self, list: &mut List, step: &str, channels: usize) {
        let (half, hidden) = (channels / 2, self.hidden);
        list.actnorm(&format!("{step}.actnorm"), channels);
        let permutation = format!("{step}.permutation");
        match self.permutation {
            Permutation::Reverse => {}
            Permutation::Shuffle => list.fixed(&format!("{permutation}.indices"), &[channels], Dtype::I64),
            Permutation::Invconv => {
                list.trained(&format!("{permutation}.lower"), &[channels, channels]);
                list.trained(&format!("{permutation}.upper"), &[channels, channels]);
                list.trained(&format!("{permutation}.log_s"), &[channels]);
                list.fixed(&format!("{permutation}.sign_s"), &[channels], Dtype::F32);
                list.fixed(&format!("{permutation}.rows"), &[channels], Dtype::I64);
            }
            Permutation::InvconvPlain => {
                list.trained(&format!("{permutation}.weight"), &[channels, channels])
            }
        }
        let coupling = format!("{step}.coupling");
        list.trained(&format!("{coupling}.conv1.weight"), &[hidden, self.conv_inputs(half), 3, 3]);
        list.actnorm(&format!("{coupling}.conv1.actnorm"), hidden);
        list.trained(&format!("{coupling}.conv2.weight"), &[hidden, hidden, 1, 1]);
        list.actnorm(&format!("{coupling}.conv2.actnorm"), hidden);
        list.zeros_conv(
            &format!("{coupling}.conv3"),
            self.coupling_outputs(channels),
            self.conv_inputs(hidden),
        );
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

    /// Numbers in all parameters together, without allocating anything of their size.
    pub fn parameter_count(&self) -> u64 {
        // One step of each level stands for all: the list itself may be long for an absurd depth.
        let shallow = Self { depth: 1, ..self.clone() };
        let count = |parameter: &Parameter| {
            parameter
                .shape
                .iter()
                .try_fold(1u64, |product, &n| product.checked_mul(n as u64))
                .unwrap_or(u64::MAX)
        };
        shallow
            .parameters()
            .iter()
            .map(
                |p| {
                    if p.name.contains(".step") {
                        count(p).saturating_mul(self.depth as u64)
                    } else {
                        count(p)
                    }
                },
            )
            .fold(0, u64::saturating_add)
    }
}

struct List(Vec<Parameter>);

impl List {
    fn trained(&mut self, name: &str, shape: &[usize]) {
        self.0.push(Parameter {
            name: name.into(),
            shape: shape.into(),
            dtype: Dtype::F32,
            role: Role::Trained,
        });
    }

    fn fixed(&mut self, name: &str, shape: &[usize], dtype: Dtype) {
        self.0.push(Parameter { name: name.into(), shape: shape.into(), dtype, role: Role::Fixed });
    }

    fn actnorm(&mut self, name: &str, channels: usize) {
        self.trained(&format!("{name}.bias"), &[channels]);
        self.trained(&format!("{name}.logs"), &[channels]);
    }

    fn zeros_conv(&mut self, name: &str, outputs: usize, inputs: usize) {
        self.trained(&format!("{name}.weight"), &[outputs, inputs, 3, 3]);
        self.trained(&format!("{name}.bias"), &[outputs]);
        self.trained(&format!("{name}.logs"), &[outputs]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Coupling;
    use std::collections::HashSet;

    #[test]
    fn names_are_unique_and_the_count_agrees_with_the_list() {
        for permutation in
            [Permutation::Reverse, Permutation::Shuffle, Permutation::Invconv, Permutation::InvconvPlain]
        {
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
