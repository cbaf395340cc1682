//! Durations of a run as text: "500 steps", "10 epochs", "50000 images", "3.5 min", "2 h", "5 %".
use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::str::FromStr;
use thiserror::Error;

/// How long a part of a run lasts, or how often something happens in it.
///
/// ```
/// use glow_models::Duration;
///
/// assert_eq!("10 epochs".parse(), Ok(Duration::Epochs(10.0)));
/// assert_eq!("2 h".parse(), Ok(Duration::Minutes(120.0)));
/// assert!("10".parse::<Duration>().is_err(), "a number needs its unit");
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Duration {
    /// Steps of optimisation.
    Steps(u64),
    /// Training images, repeats counted.
    Images(u64),
    /// Epochs; see `epoch_images`.
    Epochs(f64),
    /// Minutes of training by the clock.
    Minutes(f64),
    /// Percent of the whole run, at most 100.
    Percent(f64),
}

/// Text that is no duration.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum DurationError {
    /// No number at the beginning, or one that cannot be meant.
    #[error("{text:?} does not begin with a number of at least 0 that fits; write it as {EXAMPLES}")]
    Number {
        /// The text.
        text: String,
    },
    /// A number without a unit.
    #[error("{text:?} lacks its unit; write it as {EXAMPLES}")]
    NoUnit {
        /// The text.
        text: String,
    },
    /// A unit that there is not.
    #[error("{text:?} has a unit that is not known; write it as {EXAMPLES}")]
    Unit {
        /// The text.
        text: String,
    },
    /// More than the whole run.
    #[error("{text:?} is more than the whole run")]
    MoreThanAll {
        /// The text.
        text: String,
    },
}

const EXAMPLES: &str = "\"500 steps\", \"50000 images\", \"10 epochs\", \"3.5 min\", \"2 h\" or \"5 %\"";

/// The most of any unit: whole numbers up to it are exact in a float, and as minutes it is far beyond what a
/// clock counts.
const MOST: f64 = (1u64 << 53) as f64;

impl FromStr for Duration {
    type Err = DurationError;

    fn from_str(text: &str) -> Result<Self, DurationError> {
        let given = || text.trim().to_string();
        let trimmed = text.trim();
        let end = trimmed
            .find(|c: char| c.is_whitespace() || c == '%' || (c.is_alphabetic() && !matches!(c, 'e' | 'E')))
            // "10 epochs" and "10epochs": an e belongs to the number only before a digit or a sign.
            .into_iter()
            .chain(trimmed.char_indices().zip(trimmed.chars().skip(1)).find_map(|((at, c), next)| {
                (matches!(c, 'e' | 'E') && !matches!(next, '0'..='9' | '+' | '-')).then_some(at)
            }))
            .min()
            .unwrap_or(trimmed.len());
        let (number, unit) = trimmed.split_at(end);
        let value: f64 = number.parse().map_err(|_| DurationError::Number { text: given() })?;
        if !(0.0..=MOST).contains(&value) {
            return Err(DurationError::Number { text: given() });
        }
        let whole = || match value.fract() == 0.0 {
            true => Ok(value as u64),
            false => Err(DurationError::Number { text: given() }),
        };
        Ok(match unit.trim() {
            "step" | "steps" => Self::Steps(whole()?),
            "image" | "images" => Self::Images(whole()?),
            "epoch" | "epochs" => Self::Epochs(value),
            "s" | "sec" | "second" | "seconds" => Self::Minutes(value / 60.0),
            "min" | "minute" | "minutes" => Self::Minutes(value),
            "h" | "hour" | "hours" => Self::Minutes(value * 60.0),
            "d" | "day" | "days" => Self::Minutes(value * 1440.0),
            "%" | "percent" if value <= 100.0 => Self::Percent(value),
            "%" | "percent" => return Err(DurationError::MoreThanAll { text: given() }),
            "" => return Err(DurationError::NoUnit { text: given() }),
            _ => return Err(DurationError::Unit { text: given() }),
        })
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Steps(1) => f.write_str("1 step"),
            Self::Steps(n) => write!(f, "{n} steps"),
            Self::Images(1) => f.write_str("1 image"),
            Self::Images(n) => write!(f, "{n} images"),
            Self::Epochs(1.0) => f.write_str("1 epoch"),
            Self::Epochs(n) => write!(f, "{n} epochs"),
            Self::Minutes(n) => write!(f, "{n} min"),
            Self::Percent(n) => write!(f, "{n} %"),
        }
    }
}

impl Duration {
    /// Whether it lasts no time at all.
    pub fn is_zero(self) -> bool {
        match self {
            Self::Steps(n) | Self::Images(n) => n == 0,
            Self::Epochs(n) | Self::Minutes(n) | Self::Percent(n) => n == 0.0,
        }
    }
}

impl Serialize for Duration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Duration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Text)
    }
}

struct Text;

impl Visitor<'_> for Text {
    type Value = Duration;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a duration, such as {EXAMPLES}")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Duration, E> {
        text.parse().map_err(E::custom)
    }

    // A number alone is no duration, but deserves to hear what it lacks.
    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Duration, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Duration, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<Duration, E> {
        self.visit_str(&number.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_in_any_unit_is_read_and_written_back() {
        for (text, duration) in [
            ("500 steps", Duration::Steps(500)),
            ("1 step", Duration::Steps(1)),
            ("1e3 steps", Duration::Steps(1000)),
            ("50000 images", Duration::Images(50_000)),
            ("10 epochs", Duration::Epochs(10.0)),
            ("0.5epochs", Duration::Epochs(0.5)),
            ("1e-3 epochs", Duration::Epochs(0.001)),
            (" 3.5 min ", Duration::Minutes(3.5)),
            ("90 s", Duration::Minutes(1.5)),
            ("2 h", Duration::Minutes(120.0)),
            ("2 d", Duration::Minutes(2880.0)),
            ("5 %", Duration::Percent(5.0)),
            ("100%", Duration::Percent(100.0)),
        ] {
            assert_eq!(text.parse(), Ok(duration), "{text}");
            assert_eq!(duration.to_string().parse(), Ok(duration), "{duration}");
        }
    }

    #[test]
    fn every_number_survives_its_text() {
        for value in [0.1, 1.0 / 3.0, 1e-300, 12345.678, MOST, 5e15 + 0.5] {
            for duration in [Duration::Epochs(value), Duration::Minutes(value)] {
                assert_eq!(duration.to_string().parse(), Ok(duration));
            }
        }
        let most = Duration::Steps(1 << 53);
        assert_eq!(most.to_string().parse(), Ok(most));
    }

    #[test]
    fn what_is_no_duration_has_its_kind_of_error() {
        let kind = |text: &str| match text.parse::<Duration>().expect_err(text) {
            DurationError::Number { .. } => "number",
            DurationError::NoUnit { .. } => "no unit",
            DurationError::Unit { .. } => "unit",
            DurationError::MoreThanAll { .. } => "more",
        };
        for (text, expected) in [
            ("", "number"),
            ("steps", "number"),
            ("e", "number"),
            ("nan min", "number"),
            ("inf steps", "number"),
            ("-1 steps", "number"),
            ("1e18 min", "number"),
            ("1e400 min", "number"),
            ("18446744073709551615 steps", "number"),
            ("2.5 steps", "number"),
            ("10", "no unit"),
            ("1e3", "no unit"),
            ("10 parsecs", "unit"),
            ("10 min 5 s", "unit"),
            ("10 épochs", "unit"),
            ("101 %", "more"),
        ] {
            assert_eq!(kind(text), expected, "{text}");
        }
    }
}
