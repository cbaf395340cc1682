//! A model of ours in the making, filled layer by layer by the mappings.
use super::ImportError;
use super::identities::{Actnorm, Mixing, ZerosConv};
use glow_models::{Architecture, ParameterValues, Permutation, Values};
use ndarray::{Array2, Array4};
use std::collections::{BTreeMap, HashMap};

/// Parameters under our names. The permutations wait until it is known which form fits all of them.
#[derive(Debug, Default)]
pub(super) struct Draft {
    values: HashMap<String, Values>,
    mixings: BTreeMap<String, Mixing>,
}

impl Draft {
    pub fn put<'a>(&mut self, name: impl Into<String>, values: impl IntoIterator<Item = &'a f64>) {
        let values = values.into_iter().map(|&value| value as f32).collect();
        self.values.insert(name.into(), Values::F32(values));
    }

    pub fn indices(&mut self, name: impl Into<String>, values: Vec<i64>) {
        self.values.insert(name.into(), Values::I64(values));
    }

    /// `NAME.bias` and `NAME.logs`.
    pub fn actnorm(&mut self, name: &str, actnorm: &Actnorm) {
        self.put(format!("{name}.bias"), &actnorm.bias);
        self.put(format!("{name}.logs"), &actnorm.logs);
    }

    /// A convolution with an actnorm behind it.
    pub fn conv(&mut self, name: &str, weight: &Array4<f64>, actnorm: &Actnorm) {
        self.put(format!("{name}.weight"), weight);
        self.actnorm(&format!("{name}.actnorm"), actnorm);
    }

    pub fn zeros_conv(&mut self, name: &str, conv: &ZerosConv) {
        self.put(format!("{name}.weight"), &conv.weight);
        self.actnorm(name, &conv.output);
    }

    /// A linear layer with (W·x + b)·exp(3·logs).
    pub fn linear(&mut self, name: &str, weight: &Array2<f64>, output: &Actnorm) {
        self.put(format!("{name}.weight"), weight);
        self.actnorm(name, output);
    }

    /// The 1×1 convolution of a step.
    pub fn mixing(&mut self, step: &str, mixing: Mixing) {
        self.mixings.insert(format!("{step}.permutation"), mixing);
    }

    /// The classifier, which is only needed in training, as it begins: zeros.
    pub fn no_classifier(&mut self, classes: usize, channels: usize) {
        self.put("classifier.weight", &vec![0.0; classes * channels]);
        self.actnorm("classifier", &Actnorm::of_bias(vec![0.0; classes]));
    }

    /// The whole model. 1×1 convolutions stay factorised if all of them are, else all are multiplied out.
    pub fn finish(mut self, architecture: &mut Architecture) -> Result<ParameterValues, ImportError> {
        if !self.mixings.is_empty() {
            let factorised = self.mixings.values().all(|mixing| matches!(mixing, Mixing::Lu(_)));
            architecture.permutation =
                if factorised { Permutation::Invconv } else { Permutation::InvconvPlain };
            for (layer, mixing) in std::mem::take(&mut self.mixings) {
                match mixing {
                    Mixing::Lu(lu) if factorised => {
                        self.put(format!("{layer}.lower"), &lu.lower);
                        self.put(format!("{layer}.upper"), &lu.upper);
                        self.put(format!("{layer}.log_s"), &lu.log_s);
                        self.put(format!("{layer}.sign_s"), &lu.sign_s);
                        let rows = lu.rows.iter().map(|&row| row as i64).collect();
                        self.indices(format!("{layer}.rows"), rows);
                    }
                    other => self.put(format!("{layer}.weight"), &other.matrix()),
                }
            }
        }
        architecture.validate()?;
        Ok(ParameterValues::new(architecture.clone(), self.values)?)
    }
}
