//! The convolutions of the networks, with edge bias and with the scales behind them folded into their
//! weights, which are small beside the activations.
use super::Parameters;
use super::actnorm::{Actnorm, LOGSCALE_FACTOR};
use tch::Tensor;

/// How a convolution sees the padded border.
///
/// The published code pads by hand and appends a channel that is 1 on the border and 0 inside. That
/// channel's response is the same for every image: the border is 1 minus the inside, so it is the
/// kernel's sum minus the response to a channel of ones padded with zeros.
fn border_weight(weight: &Tensor, channels: i64) -> Tensor {
    weight.narrow(1, channels, 1)
}

/// A 3×3 or 1×1 convolution followed by an actnorm: (conv(x) + bias) · exp(3·logs).
#[derive(Debug)]
pub(super) struct ActnormConv {
    weight: Tensor,
    actnorm: Actnorm,
}

impl ActnormConv {
    pub(super) fn new(parameters: &Parameters, name: &str) -> Self {
        Self {
            weight: parameters.get(&format!("{name}.weight")),
            actnorm: Actnorm::new(parameters, &format!("{name}.actnorm")),
        }
    }

    /// [N, in, H, W] → [N, out, H, W] in the element type of x; with `initialise`, the actnorm is first
    /// set from this input.
    pub(super) fn forward(&self, x: &Tensor, initialise: bool) -> Tensor {
        let channels = x.size()[1];
        let edge_bias = self.weight.size()[1] > channels;
        let pad = self.weight.size()[2] / 2;
        let (input, weight, border) = if edge_bias {
            let (n, _, h, w) = x.size4().expect("the flow has four axes");
            let ones = Tensor::ones([n, h, w, 1], (x.kind(), x.device())).permute([0, 3, 1, 2]);
            let border = border_weight(&self.weight, channels);
            let weight = Tensor::cat(&[self.weight.narrow(1, 0, channels), -&border], 1);
            let sum = border.sum_dim_intlist([1i64, 2, 3].as_slice(), false, border.kind());
            (Tensor::cat(&[x, &ones], 1), weight, Some(sum))
        } else {
            (x.shallow_clone(), self.weight.shallow_clone(), None)
        };
        if initialise {
            self.actnorm.initialise(&input.conv2d(&weight, border.as_ref(), 1, pad, 1, 1));
        }
        let scale = self.actnorm.scale();
        let bias = match border {
            Some(border) => self.actnorm.bias() + border,
            None => self.actnorm.bias().shallow_clone(),
        };
        let weight = (weight * scale.reshape([-1, 1, 1, 1])).to_kind(x.kind());
        input.conv2d(&weight, Some((bias * scale).to_kind(x.kind())), 1, pad, 1, 1)
    }
}

/// The "zeros" convolution: 3×3, starts at zero, output (conv(x) + bias) · exp(3·logs).
#[derive(Debug)]
pub(super) struct ZerosConv {
    weight: Tensor,
    bias: Tensor,
    logs: Tensor,
}

impl ZerosConv {
    pub(super) fn new(parameters: &Parameters, name: &str) -> Self {
        let get = |part: &str| parameters.get(&format!("{name}.{part}"));
        Self { weight: get("weight"), bias: get("bias"), logs: get("logs") }
    }

    /// [N, in, H, W] → [N, out, H, W] in the element type of the weights.
    pub(super) fn forward(&self, x: &Tensor) -> Tensor {
        self.run(x, |t| t)
    }

    /// The same with the even output channels first, then the odd ones.
    pub(super) fn forward_pairs(&self, x: &Tensor) -> Tensor {
        // The few weights are reordered, not the activations.
        self.run(x, |t| Tensor::cat(&[t.slice(0, 0, None, 2), t.slice(0, 1, None, 2)], 0))
    }

    fn run(&self, x: &Tensor, order: impl Fn(Tensor) -> Tensor) -> Tensor {
        let (_, channels, h, w) = x.size4().expect("the flow has four axes");
        let scale = (&self.logs * LOGSCALE_FACTOR).exp();
        let weight = order(&self.weight * scale.reshape([-1, 1, 1, 1]));
        let bias = order(&self.bias * scale);
        let kind = weight.kind();
        let inner = weight.narrow(1, 0, channels).to_kind(x.kind());
        let y = x.conv2d(&inner, Some(bias.to_kind(x.kind())), 1, 1, 1, 1).to_kind(kind);
        if weight.size()[1] == channels {
            return y;
        }
        // Few outputs here, so adding the border's map costs less than widening the input.
        y + border_map(&border_weight(&weight, channels), h, w)
    }
}

/// [1, out, H, W]: response of `weight` [out, 1, 3, 3] to the channel that is 1 on the padded border.
pub(super) fn border_map(weight: &Tensor, height: i64, width: i64) -> Tensor {
    let border = Tensor::ones([1, 1, height + 2, width + 2], (weight.kind(), weight.device()));
    let _ = border.narrow(2, 1, height).narrow(3, 1, width).zero_();
    border.conv2d(weight, None::<Tensor>, 1, 0, 1, 1)
}

/// The zeros convolution over an input of zeros [1, ·, H, W]: only its bias, its scale and its response
/// to the border matter. `edge` is [out, 1, 3, 3], absent without edge bias.
pub(super) fn zeros_conv_of_nothing(
    bias: &Tensor,
    logs: &Tensor,
    edge: Option<&Tensor>,
    height: i64,
    width: i64,
) -> Tensor {
    let column = |t: &Tensor| t.reshape([1, -1, 1, 1]);
    let base = match edge {
        Some(edge) => border_map(edge, height, width) + column(bias),
        None => column(bias).expand([1, -1, height, width], false),
    };
    base * column(&(logs * LOGSCALE_FACTOR).exp())
}

#[cfg(test)]
mod tests {
    use super::*;
    use glow_models::Architecture;
    use tch::{Device, Kind};

    /// The published code, literally: pad by 1, append the border channel, convolve without padding.
    fn literal(x: &Tensor, weight: &Tensor) -> Tensor {
        let (n, _, h, w) = x.size4().unwrap();
        let padded = x.constant_pad_nd([1, 1, 1, 1]);
        let border = Tensor::ones([n, 1, h + 2, w + 2], (x.kind(), x.device()));
        let _ = border.narrow(2, 1, h).narrow(3, 1, w).zero_();
        Tensor::cat(&[padded, border], 1).conv2d(weight, None::<Tensor>, 1, 0, 1, 1)
    }

    #[test]
    fn both_forms_of_edge_bias_equal_the_published_one() {
        let options = (Kind::Double, Device::Cpu);
        let architecture =
            Architecture { height: 8, width: 12, levels: 1, depth: 1, hidden: 5, ..Default::default() };
        let parameters = Parameters::initial(&architecture, 1, Device::Cpu, Kind::Double);
        for (name, tensor) in parameters.trained() {
            if name.name.contains("conv") {
                let mut tensor = tensor;
                tensor.copy_(&(Tensor::randn(tensor.size(), options) * 0.3));
            }
        }
        let get = |name: &str| parameters.get(&format!("level0.step00.coupling.{name}"));
        let column = |t: Tensor| t.reshape([1, -1, 1, 1]);

        let x = Tensor::randn([2, 6, 4, 6], options);
        let expected = (literal(&x, &get("conv1.weight")) + column(get("conv1.actnorm.bias")))
            * column((get("conv1.actnorm.logs") * 3.0).exp());
        let actual = ActnormConv::new(&parameters, "level0.step00.coupling.conv1").forward(&x, false);
        assert!((actual - expected).abs().max().double_value(&[]) < 1e-12);

        let x = Tensor::randn([2, 5, 4, 6], options);
        let expected = (literal(&x, &get("conv3.weight")) + column(get("conv3.bias")))
            * column((get("conv3.logs") * 3.0).exp());
        let conv = ZerosConv::new(&parameters, "level0.step00.coupling.conv3");
        assert!((conv.forward(&x) - &expected).abs().max().double_value(&[]) < 1e-12);
        let expected = Tensor::cat(&[expected.slice(1, 0, None, 2), expected.slice(1, 1, None, 2)], 1);
        assert!((conv.forward_pairs(&x) - expected).abs().max().double_value(&[]) < 1e-12);
    }
}
