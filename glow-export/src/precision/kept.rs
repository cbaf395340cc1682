//! Steps of flow whose networks stay in fp32, because rounding them would cost most.
use super::{COUPLING, CouplingInputs, Emulation, networks};
use crate::{ExportError, Reference};
use ndarray::Zip;
use rayon::prelude::*;
use std::convert::Infallible;
use std::str::FromStr;

/// Which steps of flow of an int8 bundle stay in fp32. Parsed from a number or from names with commas between
/// them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Keep {
    /// So many: those whose networks rounding changes most. 0, the default, for none.
    Worst(usize),
    /// Those of these names, such as `level0.step05`.
    Steps(Vec<String>),
}

impl Default for Keep {
    fn default() -> Self {
        Self::Worst(0)
    }
}

impl FromStr for Keep {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(match text.parse() {
            Ok(count) => Self::Worst(count),
            Err(_) => Self::Steps(text.split(',').map(|name| name.trim().to_string()).collect()),
        })
    }
}

impl Keep {
    /// Whether all steps are quantised.
    pub fn is_none(&self) -> bool {
        *self == Self::Worst(0)
    }

    /// The names of the steps to keep, in the architecture's order. `rounded` gives the networks after rounding
    /// all of them.
    ///
    /// # Errors
    /// [`ExportError::Keep`] for a step that the model has not, and if nothing would be left in int8.
    pub(crate) fn resolve(
        &self,
        reference: &Reference,
        inputs: &CouplingInputs,
        rounded: impl FnOnce() -> Result<Emulation, ExportError>,
    ) -> Result<Vec<String>, ExportError> {
        let all: Vec<String> = networks(reference.architecture())
            .map(|name| name.strip_suffix(COUPLING).unwrap_or(&name).into())
            .collect();
        let chosen = match self {
            Self::Steps(names) => {
                if let Some(unknown) = names.iter().find(|name| !all.contains(name)) {
                    let problem =
                        format!("{unknown:?} is none of its steps, {} to {}", all[0], all[all.len() - 1]);
                    return Err(ExportError::Keep { problem });
                }
                names.clone()
            }
            Self::Worst(0) => Vec::new(),
            Self::Worst(count) => {
                let mut costs = costs(reference, inputs, &rounded()?);
                costs.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
                costs.into_iter().map(|(step, _)| step).take(*count).collect()
            }
        };
        let kept: Vec<String> = all.iter().filter(|step| chosen.contains(step)).cloned().collect();
        match kept.len() == all.len() {
            true => Err(ExportError::Keep {
                problem: format!(
                    "these are all of its {} steps, so that nothing would be in int8",
                    all.len()
                ),
            }),
            false => Ok(kept),
        }
    }
}

/// What rounding a step's network adds to z2 over the maps it was calibrated on: Σ (rounded − exact)² of its
/// answer, by the step's name.
fn costs(reference: &Reference, inputs: &CouplingInputs, rounded: &Emulation) -> Vec<(String, f64)> {
    let cost = |(network, maps): &(String, Vec<ndarray::Array3<f32>>)| {
        let step = network.strip_suffix(COUPLING).unwrap_or(network);
        let squares = maps.iter().map(|map| {
            let z1 = map.mapv(f64::from);
            let mut sum = 0.0;
            Zip::from(&reference.network(step, z1.view()))
                .and(&rounded.network(step, z1.view()))
                .for_each(|exact, rounded| sum += (exact - rounded).powi(2));
            sum
        });
        (step.to_string(), squares.sum())
    };
    inputs.maps().par_iter().map(cost).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names() {
        for (text, expected) in [
            ("0", Keep::Worst(0)),
            ("3", Keep::Worst(3)),
            ("level0.step05", Keep::Steps(vec!["level0.step05".into()])),
            (
                "level0.step00, level2.step11",
                Keep::Steps(vec!["level0.step00".into(), "level2.step11".into()]),
            ),
        ] {
            assert_eq!(text.parse(), Ok(expected), "{text}");
        }
    }
}
