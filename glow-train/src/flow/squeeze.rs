//! Squeeze: 2×2 blocks of pixels become channels (paper, section 3.6; Dinh et al. 2016); and the two
//! halves of the channels.
use tch::Tensor;

/// [N, C, H, W] → [N, 4C, H/2, W/2]; the original channel is the slowest of the new ones, then the row
/// offset, then the column offset. Channels-last in and out.
pub(super) fn squeeze(x: &Tensor) -> Tensor {
    let (n, c, h, w) = x.size4().expect("the flow has four axes");
    x.permute([0, 2, 3, 1]) // [N, H, W, C]
        .reshape([n, h / 2, 2, w / 2, 2, c])
        .permute([0, 1, 3, 5, 2, 4]) // [N, H/2, W/2, C, 2, 2]
        .reshape([n, h / 2, w / 2, 4 * c])
        .permute([0, 3, 1, 2]) // [N, 4C, H/2, W/2]
}

/// The inverse of [`squeeze`].
pub(super) fn unsqueeze(x: &Tensor) -> Tensor {
    let (n, c, h, w) = x.size4().expect("the flow has four axes");
    x.permute([0, 2, 3, 1]) // [N, H, W, C]
        .reshape([n, h, w, c / 4, 2, 2])
        .permute([0, 1, 4, 2, 5, 3]) // [N, H, 2, W, 2, C/4]
        .reshape([n, 2 * h, 2 * w, c / 4])
        .permute([0, 3, 1, 2]) // [N, C/4, 2H, 2W]
}

/// The first and the second half of the channels: z1 and z2, [N, C/2, H, W] each.
pub(super) fn halves(z: &Tensor) -> (Tensor, Tensor) {
    let half = z.size()[1] / 2;
    (z.narrow(1, 0, half), z.narrow(1, half, half))
}

#[cfg(test)]
mod tests {
    use super::super::tests::normal;
    use super::*;

    #[test]
    fn channels_are_ordered_original_then_row_then_column() {
        // One image of two channels, 2×2: channel c, row i, column j holds 100c + 10i + j.
        let x = Tensor::from_slice(&[0i64, 1, 10, 11, 100, 101, 110, 111]).reshape([1, 2, 2, 2]);
        let y = squeeze(&x);
        assert_eq!(y.size(), [1, 8, 1, 1]);
        assert_eq!(Vec::<i64>::try_from(y.reshape([8])).unwrap(), [0, 1, 10, 11, 100, 101, 110, 111]);
    }

    #[test]
    fn unsqueeze_undoes_squeeze() {
        let x = normal(&[2, 3, 4, 8], 0);
        assert_eq!(unsqueeze(&squeeze(&x)), x);
    }
}
