//! Pixels as rows of a matrix, and convolutions as matrix products.
//!
//! On CPUs one large product runs closer to the machine's peak than a convolution over few channels, and
//! each of a coupling network's three convolutions has few channels on one side.
use tch::{Device, Kind, Tensor};

/// N, H and W of z [N, C, H, W].
pub(super) fn pixels(z: &Tensor) -> [i64; 3] {
    let (n, _, h, w) = z.size4().expect("the flow has four axes");
    [n, h, w]
}

/// [N, C, H, W] → [M, C], one row a pixel, M = N·H·W; a view if z is in channels-last memory.
pub(super) fn to_rows(z: &Tensor) -> Tensor {
    z.permute([0, 2, 3, 1]).flatten(0, 2)
}

/// The inverse of [`to_rows`]: [M, C] → [N, C, H, W], a view in channels-last memory.
pub(super) fn from_rows(rows: &Tensor, [n, h, w]: [i64; 3]) -> Tensor {
    rows.reshape([n, h, w, -1]).permute([0, 3, 1, 2])
}

/// x [N, H, W, C] → [N, H·W, 9·C]: the zero-padded 3×3 neighbourhood of every pixel; row offset slowest,
/// then column offset, then channel.
pub(super) fn patches(x: &Tensor) -> Tensor {
    let (n, h, w, c) = x.size4().expect("a batch of images has four axes");
    x.constant_pad_nd([0, 0, 1, 1, 1, 1]) // [N, H + 2, W + 2, C]
        .unfold(1, 3, 1) // [N, H, W + 2, C, 3]
        .unfold(2, 3, 1) // [N, H, W, C, 3, 3]
        .permute([0, 1, 2, 4, 5, 3]) // [N, H, W, 3, 3, C]
        .reshape([n, h * w, 9 * c])
}

/// The adjoint of [`patches`]: adds every pixel's 3×3 neighbourhood to the image; as many numbers as
/// [N, H·W, 9·C] → `size` [N, H, W, C].
pub(super) fn fold(patches: &Tensor, size: [i64; 4]) -> Tensor {
    let [n, h, w, c] = size;
    let taps = patches.reshape([n, h, w, 3, 3, c]);
    // First the columns of a neighbourhood, then its rows: fewer additions, and fewer operations.
    let columns = add_neighbours(&taps, 2, 4); // [N, H, W, 3, C]
    add_neighbours(&columns, 1, 3) // [N, H, W, C]
}

/// Sums the three entries of axis `tap`: the middle one in place, the others shifted by one along `axis`.
fn add_neighbours(taps: &Tensor, axis: i64, tap: i64) -> Tensor {
    let sum = taps.select(tap, 1).contiguous();
    let length = taps.size()[axis as usize] - 1;
    let _ = sum.narrow(axis, 1, length).g_add_(&taps.select(tap, 2).narrow(axis, 0, length));
    let _ = sum.narrow(axis, 0, length).g_add_(&taps.select(tap, 0).narrow(axis, 1, length));
    sum
}

/// The columns of a pixel's patch that are the same for every image: [H·W, 10], the patch of the border
/// channel of edge bias (1 on the padded border, 0 inside) and a 1, which the bias multiplies; [H·W, 1]
/// without edge bias. One for all networks of a level.
#[derive(Debug)]
pub(super) struct ConstantColumns {
    /// In the element type of the flow.
    pub(super) flow: Tensor,
    /// In that of the networks' arithmetic.
    pub(super) network: Tensor,
}

impl ConstantColumns {
    /// For images of H×W pixels; `options` are the element type of the flow and its device.
    pub(super) fn new(
        [h, w]: [i64; 2],
        edge_bias: bool,
        options: (Kind, Device),
        network: Option<Kind>,
    ) -> Self {
        let one = Tensor::ones([h * w, 1], options);
        let flow = if edge_bias {
            // Padded with zeros, an image of ones is 1 minus the border channel.
            let inside = patches(&Tensor::ones([1, h, w, 1], options)).squeeze_dim(0); // [H·W, 9]
            Tensor::cat(&[1.0 - inside, one], 1)
        } else {
            one
        };
        Self { network: flow.to_kind(network.unwrap_or(options.0)), flow }
    }

    /// The same tensors, for another network.
    pub(super) fn share(&self) -> Self {
        Self { flow: self.flow.shallow_clone(), network: self.network.shallow_clone() }
    }
}

/// x·matrixᵀ + bias: x [M, in], matrix [out, in], bias [out] → [M, out]. `pixels` are N, H and W, whose
/// product is M.
pub(super) fn product(x: &Tensor, matrix: &Tensor, bias: Option<&Tensor>, pixels: [i64; 3]) -> Tensor {
    if by_convolution(x) {
        return to_rows(&from_rows(x, pixels).conv2d(&one_by_one(matrix), bias, 1, 0, 1, 1));
    }
    match bias {
        Some(bias) => bias.addmm(x, &matrix.transpose(0, 1)),
        None => x.mm(&matrix.transpose(0, 1)),
    }
}

/// g·matrix: from the gradient by the output of [`product`] [M, out] to the gradient by its x [M, in].
pub(super) fn product_backward(g: &Tensor, matrix: &Tensor, pixels: [i64; 3]) -> Tensor {
    if by_convolution(g) {
        let filter = one_by_one(matrix);
        return to_rows(&from_rows(g, pixels).conv_transpose2d(&filter, None::<Tensor>, 1, 0, 0, 1, 1));
    }
    g.mm(matrix)
}

/// libtorch's fp32 product on CPUs is MKL's, which is slow on processors of other makers; its 1×1
/// convolution is oneDNN's.
fn by_convolution(x: &Tensor) -> bool {
    x.kind() == Kind::Float && x.device() == Device::Cpu
}

/// [A, B] → [A, B, 1, 1]: a matrix as the filter of a 1×1 convolution.
pub(super) fn one_by_one(matrix: &Tensor) -> Tensor {
    matrix.unsqueeze(-1).unsqueeze(-1)
}

#[cfg(test)]
mod tests {
    use super::super::tests::normal;
    use super::*;

    /// ⟨patches(x), y⟩ = ⟨x, fold(y)⟩.
    #[test]
    fn fold_is_the_adjoint_of_patches() {
        let (x, y) = (normal(&[2, 4, 6, 3], 0), normal(&[2, 24, 27], 1));
        let difference =
            (patches(&x) * &y).sum(Kind::Double) - (x * fold(&y, [2, 4, 6, 3])).sum(Kind::Double);
        assert!(difference.abs().double_value(&[]) < 1e-10);
    }

    #[test]
    fn both_ways_to_multiply_agree() {
        let random = |shape: &[i64], number| normal(shape, number).to_kind(Kind::Float);
        let (x, matrix, bias) = (random(&[24, 5], 0), random(&[7, 5], 1), random(&[7], 2));
        let double = |t: &Tensor| t.to_kind(Kind::Double);
        let fp32 = product(&x, &matrix, Some(&bias), [2, 3, 4]);
        let fp64 = product(&double(&x), &double(&matrix), Some(&double(&bias)), [2, 3, 4]);
        assert!((double(&fp32) - &fp64).abs().max().double_value(&[]) < 1e-5);
        let fp32 = product_backward(&fp32, &matrix, [2, 3, 4]);
        let fp64 = product_backward(&fp64, &double(&matrix), [2, 3, 4]);
        assert!((double(&fp32) - fp64).abs().max().double_value(&[]) < 1e-4);
    }
}
