//! Recipes: how a picture comes about, as JSON. The form is that of the page (`page/web/model/recipe.js`), whose links
//! hold them too; fields that the page always writes have defaults here.
use crate::images::ImageId;
use crate::problem::Problem;
use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use std::fmt;

/// The largest temperature.
pub(crate) const MAX_TEMPERATURE: f32 = 10.0;
/// The largest strength of an attribute, either way.
pub(crate) const MAX_STRENGTH: f32 = 100.0;
/// The largest number of a draw: what JSON's numbers hold exactly in a browser.
const MAX_NUMBER: u64 = (1 << 53) - 1;

/// How a picture comes about.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Recipe {
    pub base: Base,
    /// Levels that are drawn anew.
    #[serde(default)]
    pub redraw: Option<Redraw>,
    /// Strengths of attributes, in the order in which they are added up.
    #[serde(default)]
    pub strengths: Strengths,
    /// The class, for a class-conditional model.
    #[serde(default)]
    pub label: Option<i64>,
}

/// What a picture begins from.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(try_from = "BaseFields")]
pub(crate) enum Base {
    Face(Face),
    Blend(Blend),
}

/// A draw from the model, or a photograph that the server was given.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(try_from = "FaceFields")]
pub(crate) enum Face {
    Sample(Sample),
    Image(ImageId),
}

/// eps = temperature · z, of the draw `number` of a seed.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Sample {
    #[serde(deserialize_with = "seed")]
    pub seed: u64,
    #[serde(default)]
    pub number: u64,
    #[serde(default = "default_temperature")]
    pub temperature: f32,
    #[serde(default)]
    pub truncation: Option<f32>,
}

/// Two faces and the place `x` between them, or four and a place in the square that they span.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Blend {
    pub of: Vec<Face>,
    pub x: f32,
    #[serde(default)]
    pub y: f32,
    #[serde(default)]
    pub spherical: bool,
}

/// Levels, 0 being the finest, that are drawn anew.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Redraw {
    pub levels: Vec<usize>,
    #[serde(deserialize_with = "seed")]
    pub seed: u64,
    #[serde(default)]
    pub number: u64,
    #[serde(default = "default_temperature")]
    pub temperature: f32,
}

/// Names and strengths.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Strengths(pub Vec<(String, f32)>);

fn default_temperature() -> f32 {
    0.7
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FaceFields {
    sample: Option<Sample>,
    image: Option<String>,
}

impl TryFrom<FaceFields> for Face {
    type Error = String;

    fn try_from(fields: FaceFields) -> Result<Self, String> {
        match fields {
            FaceFields { sample: Some(sample), image: None } => Ok(Self::Sample(sample)),
            FaceFields { sample: None, image: Some(image) } => Ok(Self::Image(image.parse()?)),
            _ => Err("a face has either a sample or an image".into()),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BaseFields {
    sample: Option<Sample>,
    image: Option<String>,
    blend: Option<Blend>,
}

impl TryFrom<BaseFields> for Base {
    type Error = String;

    fn try_from(fields: BaseFields) -> Result<Self, String> {
        match fields {
            BaseFields { sample: None, image: None, blend: Some(blend) } => Ok(Self::Blend(blend)),
            BaseFields { sample, image, blend: None } if sample.is_some() || image.is_some() => {
                Ok(Self::Face(FaceFields { sample, image }.try_into()?))
            }
            _ => Err("a base has either a sample, an image or a blend".into()),
        }
    }
}

/// A seed is an integer of 64 bits; as text too, since numbers of JavaScript end at 53.
fn seed<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    struct Seed;
    impl Visitor<'_> for Seed {
        type Value = u64;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a whole number from 0 to 18446744073709551615, as a number or as text")
        }

        fn visit_u64<E: de::Error>(self, seed: u64) -> Result<u64, E> {
            Ok(seed)
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<u64, E> {
            let wrong = || E::invalid_value(de::Unexpected::Str(text), &self);
            if text.is_empty() || !text.bytes().all(|c| c.is_ascii_digit()) {
                return Err(wrong());
            }
            text.parse().map_err(|_| wrong())
        }
    }
    deserializer.deserialize_any(Seed)
}

impl<'de> Deserialize<'de> for Strengths {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pairs;
        impl<'de> Visitor<'de> for Pairs {
            type Value = Strengths;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of attributes and their strengths")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Strengths, A::Error> {
                let mut pairs: Vec<(String, f32)> = Vec::new();
                while let Some((name, strength)) = map.next_entry::<String, f32>()? {
                    if pairs.iter().any(|(other, _)| *other == name) {
                        return Err(de::Error::custom(format!("the attribute {name:?} is given twice")));
                    }
                    pairs.push((name, strength));
                }
                Ok(Strengths(pairs))
            }
        }
        deserializer.deserialize_map(Pairs)
    }
}

impl Recipe {
    /// A face as it is.
    pub fn of(face: Face, label: Option<i64>) -> Self {
        Self { base: Base::Face(face), redraw: None, strengths: Strengths::default(), label }
    }

    /// The faces that it begins from.
    pub fn faces(&self) -> &[Face] {
        match &self.base {
            Base::Face(face) => std::slice::from_ref(face),
            Base::Blend(blend) => &blend.of,
        }
    }

    /// Checks what does not depend on the model. Levels, attributes and the label are checked when it is followed.
    pub fn check(&self) -> Result<(), Problem> {
        self.faces().iter().try_for_each(Face::check)?;
        if let Base::Blend(Blend { of, x, y, .. }) = &self.base {
            if !matches!(of.len(), 2 | 4) {
                return Err(Problem::invalid("a blend has two faces or four"));
            }
            within("x", *x, 0.0, 1.0)?;
            within("y", *y, 0.0, 1.0)?;
        }
        if let Some(redraw) = &self.redraw {
            within("temperature", redraw.temperature, 0.0, MAX_TEMPERATURE)?;
            check_number(redraw.number)?;
        }
        for (name, strength) in &self.strengths.0 {
            within(name, *strength, -MAX_STRENGTH, MAX_STRENGTH)?;
        }
        Ok(())
    }
}

impl Face {
    pub fn check(&self) -> Result<(), Problem> {
        let Self::Sample(Sample { number, temperature, truncation, .. }) = self else { return Ok(()) };
        within("temperature", *temperature, 0.0, MAX_TEMPERATURE)?;
        if let Some(truncation) = truncation {
            within("truncation", *truncation, 0.01, 1e6)?;
        }
        check_number(*number)
    }
}

/// Checks that a number lies in a range.
pub(crate) fn within(name: &str, value: f32, least: f32, most: f32) -> Result<(), Problem> {
    if value >= least && value <= most {
        return Ok(());
    }
    Err(Problem::invalid(format!("{name} = {value} must be a number from {least} to {most}")))
}

fn check_number(number: u64) -> Result<(), Problem> {
    if number <= MAX_NUMBER {
        return Ok(());
    }
    Err(Problem::invalid(format!("number = {number} must be at most {MAX_NUMBER}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::input::parse_json;

    fn parse(text: &str) -> Result<Recipe, Problem> {
        let recipe: Recipe = parse_json(text.as_bytes())?;
        recipe.check()?;
        Ok(recipe)
    }

    #[test]
    fn recipes_of_the_page_are_read() {
        let recipe = parse(
            r#"{"base": {"blend": {"of": [
                {"sample": {"seed": "18446744073709551615", "temperature": 0.7, "truncation": null, "number": 3}},
                {"image": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"}
            ], "x": 0.25, "y": 0, "spherical": true}},
            "redraw": {"levels": [0, 2], "seed": "7", "number": 1, "temperature": 0.5},
            "strengths": {"Smiling": 1, "Male": -0.5}, "label": 2}"#,
        )
        .unwrap();
        assert_eq!(recipe.strengths.0, [("Smiling".to_owned(), 1.0), ("Male".to_owned(), -0.5)]);
        let [Face::Sample(sample), Face::Image(image)] = recipe.faces() else { panic!("{recipe:?}") };
        assert_eq!((sample.seed, sample.number), (u64::MAX, 3));
        assert_eq!(*image, ImageId::of(b"abc"));
        assert_eq!((recipe.label, recipe.redraw.unwrap().levels), (Some(2), vec![0, 2]));
    }

    #[test]
    fn what_is_left_out_has_the_defaults_of_glow_sample() {
        let recipe = parse(r#"{"base": {"sample": {"seed": 5}}}"#).unwrap();
        let sample = Sample { seed: 5, number: 0, temperature: 0.7, truncation: None };
        assert_eq!(recipe, Recipe::of(Face::Sample(sample), None));
    }

    #[test]
    fn what_cannot_be_followed_is_refused() {
        let image = "a".repeat(64);
        for text in [
            "[]".to_owned(),
            "{}".into(),
            r#"{"base": {}}"#.into(),
            r#"{"base": {"image": "../model"}}"#.into(),
            format!(r#"{{"base": {{"image": "{image}", "sample": {{"seed": 1}}}}}}"#),
            format!(r#"{{"base": {{"image": "{image}"}}, "strength": {{}}}}"#),
            format!(r#"{{"base": {{"image": "{image}"}}, "strengths": {{"a": 1, "a": 2}}}}"#),
            format!(r#"{{"base": {{"image": "{image}"}}, "strengths": {{"a": 1e9}}}}"#),
            format!(r#"{{"base": {{"blend": {{"of": [{{"image": "{image}"}}], "x": 0}}}}}}"#),
            format!(
                r#"{{"base": {{"blend": {{"of": [{{"image": "{image}"}}, {{"image": "{image}"}}], "x": 2}}}}}}"#
            ),
            r#"{"base": {"sample": {"seed": -1}}}"#.into(),
            r#"{"base": {"sample": {"seed": "+1"}}}"#.into(),
            r#"{"base": {"sample": {"seed": "18446744073709551616"}}}"#.into(),
            r#"{"base": {"sample": {"seed": 1, "temperature": 1e30}}}"#.into(),
            r#"{"base": {"sample": {"seed": 1, "temperature": -0.1}}}"#.into(),
            r#"{"base": {"sample": {"seed": 1, "truncation": 0}}}"#.into(),
            r#"{"base": {"sample": {"seed": 1, "number": 0.5}}}"#.into(),
            r#"{"base": {"sample": {"seed": 1, "number": 9007199254740992}}}"#.into(),
        ] {
            let problem = parse(&text).expect_err(&text);
            assert_eq!(problem.status, 422, "{text}: {}", problem.message);
        }
    }
}
