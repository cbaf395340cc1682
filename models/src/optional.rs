//! Optional hyperparameters in a file: a value, or a word where there is none. TOML has no null, and a number
//! that stands for "none" would be one that cannot be had.
use serde::de::{DeserializeOwned, Error};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

fn write<T: Serialize, S: Serializer>(
    word: &str,
    value: &Option<T>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) => value.serialize(serializer),
        None => serializer.serialize_str(word),
    }
}

fn read<'de, T: DeserializeOwned, D: Deserializer<'de>>(
    word: &str,
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    let value = toml::Value::deserialize(deserializer)?;
    if value.as_str() == Some(word) {
        return Ok(None);
    }
    let expected = |error: toml::de::Error| D::Error::custom(format!("{} (or {word:?})", error.message()));
    value.try_into().map(Some).map_err(expected)
}

/// Modules for `#[serde(with = …)]`, each with its word for "none".
macro_rules! words {
    ($($name:ident = $word:literal),+ $(,)?) => {$(
        pub(crate) mod $name {
            use super::{Deserializer, DeserializeOwned, Serialize, Serializer, read, write};

            pub(crate) fn serialize<T: Serialize, S: Serializer>(
                value: &Option<T>,
                serializer: S,
            ) -> Result<S::Ok, S::Error> {
                write($word, value, serializer)
            }

            pub(crate) fn deserialize<'de, T: DeserializeOwned, D: Deserializer<'de>>(
                deserializer: D,
            ) -> Result<Option<T>, D::Error> {
                read($word, deserializer)
            }
        }
    )+};
}
words!(none = "none", auto = "auto", all = "all");
