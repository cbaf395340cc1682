//! The priors' "zeros" convolutions, with edge bias and with the scale behind them folded into their weights.
use super::Parameters;
use super::actnorm::{Actnorm, scale};
use super::gradients::Slots;
use tch::Tensor;

/// The "zeros" convolution: 3×3, starts at zero, output (conv(x) + bias) · exp(3·logs).
#[derive(Debug)]
pub(super) struct ZerosConv {
    /// [out, in (+ 1), 3, 3].
    weight: Tensor,
    /// Bias and log scale, [out] each.
    out: Actnorm,
    pub(super) slots: Slots,
}

impl ZerosConv {
    pub(super) fn new(parameters: &Parameters, name: &str) -> Self {
        Self {
            weight: parameters.get(&format!("{name}.weight")),
            out: Actnorm::new(parameters, name),
            slots: Slots::new(parameters, ["weight", "bias", "logs"].map(|part| format!("{name}.{part}"))),
        }
    }

    /// [N, in, H, W] → [N, out, H, W], the even output channels first, then the odd ones.
    pub(super) fn forward_pairs(&self, x: &Tensor) -> Tensor {
        // The few weights are reordered, not the activations.
        let pairs = |t: Tensor| Tensor::cat(&[t.slice(0, 0, None, 2), t.slice(0, 1, None, 2)], 0);
        let (_, channels, h, w) = x.size4().expect("the flow has four axes");
        let scale = self.out.scale();
        let weight = pairs(&self.weight * scale.reshape([-1, 1, 1, 1]));
        let bias = pairs(&self.out.bias * scale);
        let y = x.conv2d(&weight.narrow(1, 0, channels), Some(bias), 1, 1, 1, 1);
        if weight.size()[1] == channels {
            return y;
        }
        // The border channel's response is the same for every image.
        y + border_response(&weight.narrow(1, channels, 1), h, w)
    }
}

/// [1, out, H, W]: response of `weight` [out, 1, 3, 3] to the channel that is 1 on the padded border.
fn border_response(weight: &Tensor, height: i64, width: i64) -> Tensor {
    let border = Tensor::ones([1, 1, height + 2, width + 2], (weight.kind(), weight.device()));
    let _ = border.narrow(2, 1, height).narrow(3, 1, width).zero_();
    border.conv2d(weight, None::<Tensor>, 1, 0, 1, 1)
}

/// The zeros convolution over an input of zeros [1, ·, H, W]: only its bias, its scale and its response
/// to the border matter. `edge` is [out, 1, 3, 3], absent without edge bias.
pub(super) fn zeros_conv_of_zeros(
    bias: &Tensor,
    logs: &Tensor,
    edge: Option<&Tensor>,
    height: i64,
    width: i64,
) -> Tensor {
    let column = |t: &Tensor| t.reshape([1, -1, 1, 1]);
    let base = match edge {
        Some(edge) => border_response(edge, height, width) + column(bias),
        None => column(bias).expand([1, -1, height, width], false),
    };
    base * column(&scale(logs))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::network::tests::literal;
    use crate::flow::tests::normal;
    use glow_models::Architecture;
    use tch::{Device, Kind};

    #[test]
    fn edge_bias_is_the_published_one() {
        let architecture =
            Architecture { height: 8, width: 12, levels: 2, depth: 1, hidden: 5, ..Default::default() };
        let parameters = Parameters::initial(&architecture, 1, Device::Cpu, Kind::Double);
        for (number, (_, mut tensor)) in (0..).zip(parameters.trained()) {
            tensor.copy_(&(normal(&tensor.size(), number) * 0.3));
        }
        let get = |name: &str| parameters.get(&format!("level0.split.{name}"));
        let column = |t: Tensor| t.reshape([1, -1, 1, 1]);
        let x = normal(&[2, 6, 4, 6], 101);
        let expected =
            (literal(&x, &get("weight")) + column(get("bias"))) * column((get("logs") * 3.0).exp());
        let expected = Tensor::cat(&[expected.slice(1, 0, None, 2), expected.slice(1, 1, None, 2)], 1);
        let actual = ZerosConv::new(&parameters, "level0.split").forward_pairs(&x);
        assert!((actual - expected).abs().max().double_value(&[]) < 1e-12);
    }
}
