//! Hyperparameters as data: one declaration gives the struct, its defaults, its documentation and the
//! list from which command-line flags and help are made.

/// One hyperparameter, as a program's `--help` shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field {
    /// The name in TOML, in the code and (with dashes) on the command line.
    pub name: &'static str,
    /// What it means, with unit.
    pub doc: &'static str,
}

/// Declares a struct of hyperparameters: every field with its documentation and its default. The
/// struct reads from TOML and JSON with missing keys at their defaults and unknown keys refused. A field may
/// say how serde writes it.
macro_rules! hyperparameters {
    (
        $(#[doc = $struct_doc:literal])+
        pub struct $name:ident {
            $( $(#[doc = $doc:literal])+ $(#[serde($($serde:tt)+)])? $field:ident : $type:ty = $default:expr, )+
        }
    ) => {
        $(#[doc = $struct_doc])+
        #[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct $name {
            $(
                $(#[doc = $doc])+
                #[doc = concat!("\n\nDefault: `", stringify!($default), "`.")]
                $(#[serde($($serde)+)])?
                pub $field: $type,
            )+
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $( $field: $default, )+ }
            }
        }

        impl $name {
            /// Every hyperparameter of this struct, in the order of declaration.
            pub const FIELDS: &'static [$crate::Field] = &[
                $( $crate::Field {
                    name: stringify!($field),
                    doc: concat!($($doc),+),
                }, )+
            ];
        }
    };
}
pub(crate) use hyperparameters;
