//! Convolutions as matrix products: on CPUs one large product runs nearer to the machine's peak than a
//! convolution over few channels, and each of a coupling network's three has few channels on one side.
use tch::{Device, Kind, Tensor};

/// x [N, H, W, C] → [N, H, W, 9·C]: the zero-padded 3×3 neighbourhood of every pixel; row offset slowest,
/// then column offset, then channel.
pub(super) fn patches(x: &Tensor) -> Tensor {
    let (n, h, w, c) = x.size4().expect("a batch of maps has four axes");
    x.constant_pad_nd([0, 0, 1, 1, 1, 1])
        .unfold(1, 3, 1)
        .unfold(2, 3, 1)
        .permute([0, 1, 2, 4, 5, 3])
        .reshape([n, h, w, 9 * c])
}

/// The adjoint of [`patches`]: every pixel's 3×3 neighbourhood is added to the map, [N, H, W, 9·C] →
/// [N, H, W, C].
pub(super) fn fold(patches: &Tensor) -> Tensor {
    let (n, h, w, c) = patches.size4().expect("a batch of maps has four axes");
    let c = c / 9;
    let padded = Tensor::zeros([n, h + 2, w + 2, c], (patches.kind(), patches.device()));
    for tap in 0..9 {
        let mut place = padded.narrow(1, tap / 3, h).narrow(2, tap % 3, w);
        let _ = place.g_add_(&patches.narrow(3, tap * c, c));
    }
    padded.narrow(1, 1, h).narrow(2, 1, w)
}

/// [H·W, 10]: what a pixel's patch holds besides data, whatever the image: the border channel of edge bias
/// (1 on the padded border, 0 inside) and a 1, which the bias multiplies. [H·W, 1] without edge bias.
pub(super) fn constant_columns(height: i64, width: i64, edge_bias: bool, options: (Kind, Device)) -> Tensor {
    let one = Tensor::ones([height * width, 1], options);
    if !edge_bias {
        return one;
    }
    // Padded with zeros, a map of ones is 1 minus the border channel.
    let inside = patches(&Tensor::ones([1, height, width, 1], options)).reshape([height * width, 9]);
    Tensor::cat(&[1.0 - inside, one], 1)
}

/// x·matrixᵀ + bias: x [M, in], matrix [out, in] → [M, out]. `pixels` are N, H and W, whose product is M.
pub(super) fn product(x: &Tensor, matrix: &Tensor, bias: Option<&Tensor>, pixels: [i64; 3]) -> Tensor {
    let (out, inputs) = matrix.size2().expect("a matrix");
    if x.kind() == Kind::Float && x.device() == Device::Cpu {
        // libtorch's fp32 product is MKL's, which is slow on processors of other makers; its 1×1
        // convolution is oneDNN's.
        let [n, h, w] = pixels;
        let x = x.reshape([n, h, w, inputs]).permute([0, 3, 1, 2]);
        let y = x.conv2d(&matrix.reshape([out, inputs, 1, 1]), bias, 1, 0, 1, 1);
        return y.permute([0, 2, 3, 1]).reshape([-1, out]);
    }
    match bias {
        Some(bias) => bias.addmm(x, &matrix.transpose(0, 1)),
        None => x.matmul(&matrix.transpose(0, 1)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// ⟨patches(x), y⟩ = ⟨x, fold(y)⟩.
    #[test]
    fn fold_is_the_adjoint_of_patches() {
        let options = (Kind::Double, Device::Cpu);
        let (x, y) = (Tensor::randn([2, 4, 6, 3], options), Tensor::randn([2, 4, 6, 27], options));
        let difference = (patches(&x) * &y).sum(Kind::Double) - (x * fold(&y)).sum(Kind::Double);
        assert!(difference.abs().double_value(&[]) < 1e-10);
    }

    #[test]
    fn both_ways_to_multiply_agree() {
        let random = |shape: &[i64]| Tensor::randn(shape, (Kind::Float, Device::Cpu));
        let (x, matrix, bias) = (random(&[24, 5]), random(&[7, 5]), random(&[7]));
        let double = |t: &Tensor| t.to_kind(Kind::Double);
        let fp32 = product(&x, &matrix, Some(&bias), [2, 3, 4]);
        let fp64 = product(&double(&x), &double(&matrix), Some(&double(&bias)), [2, 3, 4]);
        assert!((double(&fp32) - fp64).abs().max().double_value(&[]) < 1e-5);
    }
}
