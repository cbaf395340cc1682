//! Whose model a file holds, told by its names.
use super::ImportError;
use super::tensors::Tensors;
use std::path::Path;

/// The implementations whose checkpoints are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// rosinality/glow-pytorch.
    Rosinality,
    /// chaiyujin/glow-pytorch.
    Chaiyujin,
    /// y0ast/Glow-PyTorch.
    Y0ast,
    /// VincentStimper/normalizing-flows.
    Normflows,
    /// openai/glow, the published code.
    Openai,
    /// chrischute/glow, which is refused.
    Chrischute,
}

impl Peer {
    /// A name that only this implementation's models have.
    const SIGNATURES: [(Self, &'static str); 6] = [
        (Self::Rosinality, "blocks.0.flows.0.actnorm.loc"),
        (Self::Chaiyujin, "flow.layers.1.f.0.weight"),
        (Self::Y0ast, "flow.layers.1.block.0.conv.weight"),
        (Self::Normflows, "flows.0.0.flows.0.flows.1.param_map.net.0.weight"),
        (Self::Openai, "model/0/0/actnorm_center/b"),
        (Self::Chrischute, "flows.steps.0.coup.nn.in_norm.weight"),
    ];

    /// The implementation's short name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rosinality => "rosinality",
            Self::Chaiyujin => "chaiyujin",
            Self::Y0ast => "y0ast",
            Self::Normflows => "normflows",
            Self::Openai => "openai",
            Self::Chrischute => "chrischute",
        }
    }

    /// Whose model it is, and what stands in front of its names: `module.`, the key that it was saved under, or
    /// both.
    pub(super) fn detect(
        tensors: &Tensors,
        path: &Path,
        prefix: Option<&str>,
    ) -> Result<(Self, String), ImportError> {
        let mut found: Vec<(Self, String)> = Vec::new();
        for name in tensors.names() {
            for (peer, signature) in Self::SIGNATURES {
                let Some(before) = name.strip_suffix(signature) else { continue };
                let whole = before.is_empty() || before.ends_with(['.', '/']);
                if whole && prefix.is_none_or(|prefix| prefix == before) {
                    found.push((peer, before.to_string()));
                }
            }
        }
        match &found[..] {
            [one] => Ok(one.clone()),
            [] => {
                let first = tensors.names().next().unwrap_or("(there is none)").to_string();
                Err(ImportError::UnknownModel { path: path.into(), first })
            }
            several => {
                let prefixes: Vec<String> = several.iter().map(|(_, prefix)| format!("{prefix:?}")).collect();
                let reason = format!("the file holds several models, behind {}", prefixes.join(", "));
                Err(ImportError::ask("--prefix", reason))
            }
        }
    }
}
