//! What is done to an image before it is brought to the model's size: the same in training, evaluation,
//! calibration and every use of the model.
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// What is done to an image before it is brought to the model's size. It is part of a checkpoint's
/// configuration and of a bundle's `model.json`, so that programs prepare images as training did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Preprocessing {
    /// The part of the image that is used, cut out after the camera's orientation is applied. Default the
    /// whole image.
    pub crop: Crop,
    /// The colour behind transparent pixels. Default white.
    pub background: Colour,
}

impl Preprocessing {
    /// Whether nothing differs from the defaults.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// Text that is no crop or no colour.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PreprocessingError {
    /// It does not have the form of a crop, or leaves the image.
    #[error(
        "{text:?} is no crop: give LEFT,TOP,WIDTH,HEIGHT in percent of the image's width and height, such as \
         \"10%,0%,80%,100%\", within the image"
    )]
    Crop {
        /// The text.
        text: String,
    },
    /// It does not have the form of a colour.
    #[error("{text:?} is no colour: give #rrggbb in hexadecimal, such as \"#ffffff\" for white")]
    Colour {
        /// The text.
        text: String,
    },
}

/// A rectangle of an image, in percent of the image's width and height.
///
/// As text it is `LEFT,TOP,WIDTH,HEIGHT`; empty for the whole image:
///
/// ```
/// use glow_models::Crop;
///
/// let crop: Crop = "6.7%,17.4%,85.4%,69.7%".parse()?;
/// // Left, top, width and height in pixels.
/// assert_eq!(crop.pixels(89, 109), [6, 19, 76, 76]);
/// assert_eq!("".parse(), Ok(Crop::WHOLE));
/// # Ok::<(), glow_models::PreprocessingError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Crop {
    left: f64,
    top: f64,
    width: f64,
    height: f64,
}

impl Crop {
    /// The whole image.
    pub const WHOLE: Self = Self { left: 0.0, top: 0.0, width: 100.0, height: 100.0 };

    /// Whether it is the whole image.
    pub fn is_whole(&self) -> bool {
        *self == Self::WHOLE
    }

    /// Left, top, width and height in an image of `width` × `height` pixels, each rounded to the nearest
    /// pixel; at least one pixel, and within the image. Nothing of an image without pixels.
    pub fn pixels(&self, width: usize, height: usize) -> [usize; 4] {
        let span = |begin: f64, length: f64, side: usize| {
            let pixels = |percent: f64| (percent / 100.0 * side as f64).round() as usize;
            let begin = pixels(begin).min(side.saturating_sub(1));
            (begin, pixels(length).max(1).min(side - begin))
        };
        let (left, width) = span(self.left, self.width, width);
        let (top, height) = span(self.top, self.height, height);
        [left, top, width, height]
    }
}

impl Default for Crop {
    fn default() -> Self {
        Self::WHOLE
    }
}

impl FromStr for Crop {
    type Err = PreprocessingError;

    fn from_str(text: &str) -> Result<Self, PreprocessingError> {
        if text.trim().is_empty() {
            return Ok(Self::WHOLE);
        }
        let numbers: Option<Vec<f64>> =
            text.split(',').map(|part| part.trim().strip_suffix('%')?.trim().parse().ok()).collect();
        let inside = |begin: f64, length: f64| begin >= 0.0 && length > 0.0 && begin + length <= 100.0 + 1e-9;
        match numbers.as_deref() {
            Some(&[left, top, width, height]) if inside(left, width) && inside(top, height) => {
                Ok(Self { left, top, width, height })
            }
            _ => Err(PreprocessingError::Crop { text: text.into() }),
        }
    }
}

impl fmt::Display for Crop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_whole() {
            return Ok(());
        }
        write!(f, "{}%,{}%,{}%,{}%", self.left, self.top, self.width, self.height)
    }
}

/// A colour, red, green and blue; as text `#rrggbb`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Colour(pub [u8; 3]);

impl Colour {
    /// White.
    pub const WHITE: Self = Self([255; 3]);
}

impl Default for Colour {
    fn default() -> Self {
        Self::WHITE
    }
}

impl FromStr for Colour {
    type Err = PreprocessingError;

    fn from_str(text: &str) -> Result<Self, PreprocessingError> {
        let wrong = || PreprocessingError::Colour { text: text.into() };
        let digits = text.trim().strip_prefix('#').ok_or_else(wrong)?;
        if digits.len() != 6 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(wrong());
        }
        let number = u32::from_str_radix(digits, 16).map_err(|_| wrong())?;
        let [_, red, green, blue] = number.to_be_bytes();
        Ok(Self([red, green, blue]))
    }
}

impl fmt::Display for Colour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [red, green, blue] = self.0;
        write!(f, "#{red:02x}{green:02x}{blue:02x}")
    }
}

macro_rules! as_text {
    ($($type:ty),+) => {$(
        impl TryFrom<String> for $type {
            type Error = PreprocessingError;

            fn try_from(text: String) -> Result<Self, PreprocessingError> {
                text.parse()
            }
        }

        impl From<$type> for String {
            fn from(value: $type) -> Self {
                value.to_string()
            }
        }
    )+};
}
as_text!(Crop, Colour);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crop_in_percent_is_exact_in_pixels() {
        let crop: Crop = "6.7%,17.4%,85.4%,69.7%".parse().unwrap();
        // A 178×218 photograph of CelebA at half its size: the 76×76 pixels at (6, 19).
        assert_eq!(crop.pixels(89, 109), [6, 19, 76, 76]);
        assert_eq!(crop.pixels(178, 218), [12, 38, 152, 152]);
        assert_eq!(Crop::WHOLE.pixels(7, 5), [0, 0, 7, 5]);
        assert_eq!(Crop::WHOLE.pixels(28, 0), [0, 0, 28, 0]);
        // Never empty, never outside.
        let corner: Crop = "99.9%,99.9%,0.1%,0.1%".parse().unwrap();
        for side in 1..50 {
            let [left, top, width, height] = corner.pixels(side, 2 * side);
            assert!(width > 0 && height > 0 && left + width <= side && top + height <= 2 * side);
        }
    }

    #[test]
    fn text_reads_back_and_nonsense_is_refused() {
        for text in ["", "6.7%,17.4%,85.4%,69.7%", "0%,0%,50%,100%"] {
            assert_eq!(text.parse::<Crop>().unwrap().to_string(), text);
        }
        assert_eq!("0%, 0%, 100%, 100%".parse::<Crop>(), Ok(Crop::WHOLE));
        for text in [
            "1,2,3,4",
            "0%,0%,101%,100%",
            "-1%,0%,50%,50%",
            "0%,0%,0%,9%",
            "nan%,0%,1%,1%",
            "0%,0%,1%",
            "all",
        ] {
            assert!(matches!(text.parse::<Crop>(), Err(PreprocessingError::Crop { .. })), "{text}");
        }
        assert_eq!("#0aFF10".parse(), Ok(Colour([10, 255, 16])));
        assert_eq!(Colour([10, 255, 16]).to_string(), "#0aff10");
        for text in ["", "white", "#fff", "#12345é", "0aff10", "#+12345"] {
            assert!(matches!(text.parse::<Colour>(), Err(PreprocessingError::Colour { .. })), "{text}");
        }
    }

    #[test]
    fn a_table_without_keys_has_the_defaults() {
        let preprocessing =
            Preprocessing { crop: "1%,2%,3%,4%".parse().unwrap(), background: Colour([1; 3]) };
        let text = serde_json::to_string(&preprocessing).unwrap();
        assert_eq!(text, r##"{"crop":"1%,2%,3%,4%","background":"#010101"}"##);
        assert_eq!(serde_json::from_str::<Preprocessing>(&text).unwrap(), preprocessing);
        assert!(serde_json::from_str::<Preprocessing>("{}").unwrap().is_default());
    }
}
