//! What processes must have in common before they train together.
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A run as one process sees it: named facts, to be compared.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Description(BTreeMap<String, String>);

impl Description {
    /// Of no facts.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a fact, as its name and value read in a message.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl ToString) -> Self {
        self.0.insert(name.into(), value.to_string());
        self
    }

    /// Where `other`, of rank `rank`, is unlike this one, of rank 0: a sentence each.
    pub fn differences(&self, rank: usize, other: &Self) -> Vec<String> {
        let names: std::collections::BTreeSet<&String> = self.0.keys().chain(other.0.keys()).collect();
        let value = |of: &Self, name: &str| of.0.get(name).cloned().unwrap_or_else(|| "missing".into());
        names
            .into_iter()
            .filter(|name| self.0.get(*name) != other.0.get(*name))
            .map(|name| {
                let (ours, theirs) = (value(self, name), value(other, name));
                format!("{name} is {ours} on rank 0 and {theirs} on rank {rank}")
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_told_by_name() {
        let ours = Description::new().with("lr", 0.001).with("seed", 1).with("WORLD_SIZE", 2);
        let theirs = Description::new().with("lr", 0.002).with("seed", 1);
        assert_eq!(
            ours.differences(1, &theirs),
            ["WORLD_SIZE is 2 on rank 0 and missing on rank 1", "lr is 0.001 on rank 0 and 0.002 on rank 1"]
        );
        assert_eq!(ours.differences(1, &ours), [""; 0]);
    }
}
