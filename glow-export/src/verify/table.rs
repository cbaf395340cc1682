//! What verification found.
use std::fmt;

/// One quantity that was compared.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Check {
    /// What was compared, with its unit.
    pub quantity: &'static str,
    /// Where the difference is largest, if that is known: a step of flow.
    pub place: Option<String>,
    /// The largest difference.
    pub difference: f64,
    /// The largest difference allowed.
    pub tolerance: f64,
    /// Whether this is about what the number format costs, or what comes back from encoding and decoding an
    /// image, which [`ExportOptions::allow_inexact`](crate::ExportOptions::allow_inexact) lets pass. The others
    /// say that the bundle computes something else than the checkpoint.
    pub cost: bool,
}

impl Check {
    /// Whether the difference is within the tolerance; never so for NaN.
    pub fn holds(&self) -> bool {
        self.difference <= self.tolerance
    }
}

/// All that was compared; shown as a table.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Verification {
    /// The comparisons.
    pub checks: Vec<Check>,
}

impl Verification {
    pub(super) fn add(&mut self, quantity: &'static str, difference: f64, tolerance: f64) {
        self.checks.push(Check { quantity, place: None, difference, tolerance, cost: false });
    }

    pub(super) fn add_cost(&mut self, quantity: &'static str, difference: f64, tolerance: f64) {
        self.checks.push(Check { quantity, place: None, difference, tolerance, cost: true });
    }

    /// Says where the difference just added is largest.
    pub(super) fn note_last(&mut self, place: &str) {
        if let Some(check) = self.checks.last_mut() {
            check.place = Some(place.into());
        }
    }

    /// Whether whatever is over its tolerance is about cost.
    pub(super) fn holds_but_for_cost(&self) -> bool {
        self.checks.iter().all(|check| check.cost || check.holds())
    }

    /// Whether all differences are within their tolerances.
    pub fn holds(&self) -> bool {
        self.checks.iter().all(Check::holds)
    }
}

impl fmt::Display for Verification {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:57} {:>19} {:>10}", "quantity", "largest difference", "tolerance")?;
        for check in &self.checks {
            let mark = if check.holds() { '✓' } else { '✗' };
            let (difference, tolerance) = (number(check.difference), number(check.tolerance));
            write!(f, "\n{:57} {difference:>19} {tolerance:>10} {mark}", check.quantity)?;
            if let Some(place) = &check.place {
                write!(f, " {place}")?;
            }
        }
        Ok(())
    }
}

/// Counts as they are, measurements with three figures.
fn number(value: f64) -> String {
    if value.fract() == 0.0 { value.to_string() } else { format!("{value:.2e}") }
}
