//! Between pixels and the flow's x (paper, section 2; `n_bits` as in the published code).
use crate::torch::filled;
use glow_models::Architecture;
use glow_models::random::{self, Purpose};
use tch::{Kind, Tensor};

/// uint8 images [N, H, W, C] and noise [N, H, W, C] in [0, 1) → x [N, C, H, W], channels-last:
/// (floor(pixel / 2^(8−b)) + noise) / 2^b − ½.
pub fn dequantize(architecture: &Architecture, images: &Tensor, noise: &Tensor) -> Tensor {
    let kept = images.bitwise_right_shift_tensor_scalar(i64::from(8 - architecture.n_bits));
    ((kept.to_kind(noise.kind()) + noise) / f64::from(architecture.bins()) - 0.5).permute([0, 3, 1, 2])
}

/// x [N, C, H, W] → uint8 images [N, H, W, C]: clip(floor((x + ½)·2^b)·2^(8−b), 0, 255).
pub fn to_pixels(architecture: &Architecture, x: &Tensor) -> Tensor {
    let step = f64::from(1u32 << (8 - architecture.n_bits));
    let pixels = ((x + 0.5) * f64::from(architecture.bins())).floor() * step;
    // Not-a-number has no pixel; black shows that something is wrong.
    pixels
        .nan_to_num(Some(0.0), None, None)
        .clamp(0, 255)
        .to_kind(Kind::Uint8)
        .permute([0, 2, 3, 1])
        .contiguous()
}

/// Uniform noise in [0, 1), multiples of 2⁻¹⁶, for the images `first`, `first` + 1, …: [N, H, W, C] in f32
/// on the CPU. An image's noise is a function of the seed, the purpose and the image's number, see
/// [`glow_models::random`].
pub fn uniform_noise(
    architecture: &Architecture,
    n: usize,
    seed: u64,
    purpose: Purpose,
    first: u64,
) -> Tensor {
    let dims = architecture.dims();
    let [h, w, c] = [architecture.height, architecture.width, architecture.channels].map(|size| size as i64);
    let of_image = |image| random::noise(seed, purpose, first.wrapping_add(image)).take(dims);
    filled(&[n as i64, h, w, c], (0..n as u64).flat_map(of_image))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pixel_value_survives_at_every_bit_depth() {
        let pixels: Vec<u8> = (0..=255).collect();
        let images = Tensor::from_slice(&pixels).reshape([1, 16, 16, 1]);
        for n_bits in 1..=8 {
            let architecture =
                Architecture { n_bits, channels: 1, height: 16, width: 16, ..Default::default() };
            for noise in [0.0, 0.5, 65535.0 / 65536.0] {
                let noise = Tensor::full([1, 16, 16, 1], noise, (Kind::Float, tch::Device::Cpu));
                let x = dequantize(&architecture, &images, &noise);
                assert!(x.min().double_value(&[]) >= -0.5 && x.max().double_value(&[]) < 0.5);
                let back = Vec::<u8>::try_from(to_pixels(&architecture, &x).reshape([256])).unwrap();
                let kept: Vec<u8> = pixels.iter().map(|p| p >> (8 - n_bits) << (8 - n_bits)).collect();
                assert_eq!(back, kept, "{n_bits} bits");
            }
        }
    }
}
