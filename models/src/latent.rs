//! Shapes of the flow's levels and of its latents.
use crate::Architecture;
use serde::{Deserialize, Serialize};

/// Shape of one level's latent `eps_l`, without the batch axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LatentShape {
    /// Channels.
    pub channels: usize,
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
}

impl LatentShape {
    /// Numbers in the latent: channels · height · width.
    pub fn len(&self) -> usize {
        self.channels * self.height * self.width
    }

    /// Whether the latent holds nothing; never so for a valid architecture.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What the steps of one level see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LevelShape {
    /// Channels of the flow in this level, after the squeeze.
    pub channels: usize,
    /// Rows after the squeeze.
    pub height: usize,
    /// Columns after the squeeze.
    pub width: usize,
    /// Whether a split ends the level (all but the last).
    pub splits: bool,
}

impl Architecture {
    /// The levels in encoding order. Each squeezes (c, h, w) to (4c, h/2, w/2); a split hands half
    /// of the channels on (paper, figure 2b).
    pub fn level_shapes(&self) -> Vec<LevelShape> {
        let (mut channels, mut height, mut width) = (self.channels, self.height, self.width);
        (0..self.levels)
            .map(|level| {
                let splits = level + 1 < self.levels;
                let shape =
                    LevelShape { channels: 4 * channels, height: height / 2, width: width / 2, splits };
                channels = if splits { shape.channels / 2 } else { shape.channels };
                (height, width) = (shape.height, shape.width);
                shape
            })
            .collect()
    }

    /// Shapes of `eps_0` … `eps_{L-1}`; together they hold height · width · channels numbers.
    pub fn latent_shapes(&self) -> Vec<LatentShape> {
        self.level_shapes()
            .iter()
            .map(|level| LatentShape {
                channels: if level.splits { level.channels / 2 } else { level.channels },
                height: level.height,
                width: level.width,
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The shapes that the published demo prints for its 256×256 model, there as (H, W, C).
    #[test]
    fn celebahq256_has_the_published_shapes() {
        let architecture = Architecture { height: 256, width: 256, levels: 6, ..Default::default() };
        let shapes: Vec<_> =
            architecture.latent_shapes().iter().map(|s| (s.height, s.width, s.channels)).collect();
        assert_eq!(
            shapes,
            [(128, 128, 6), (64, 64, 12), (32, 32, 24), (16, 16, 48), (8, 8, 96), (4, 4, 384)]
        );
    }

    #[test]
    fn latents_hold_as_many_numbers_as_the_image() {
        for (levels, channels) in [(1, 1), (1, 3), (2, 3), (3, 1), (4, 3), (5, 1)] {
            let architecture = Architecture { levels, channels, ..Default::default() };
            let total: usize = architecture.latent_shapes().iter().map(LatentShape::len).sum();
            assert_eq!(total, architecture.dims(), "levels {levels}, channels {channels}");
        }
    }
}
