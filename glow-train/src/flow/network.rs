//! The coupling network, forward and backward: conv 3×3, actnorm, ReLU, conv 1×1, actnorm, ReLU, zeros conv
//! 3×3 (paper, section 3.3).
//!
//! Activations are rows, one a pixel: [M, channels], M = N·H·W. The scales behind the convolutions are
//! folded into their matrices, which are small beside the activations; biases and edge bias ride along as
//! further columns.
use super::Parameters;
use super::actnorm::{Actnorm, LOGSCALE_FACTOR};
use super::gradient::{Gradients, Leaves};
use super::patches::{constant_columns, fold, one_by_one, patches, product, product_backward};
use tch::{Kind, Tensor};

/// Weight, bias and log scale of one convolution: (conv(x) + bias) · exp(3·logs).
#[derive(Debug)]
struct Conv {
    weight: Tensor,
    bias: Tensor,
    logs: Tensor,
    leaves: Leaves,
}

impl Conv {
    /// The convolution `name`, whose bias and log scale are those of `norm`.
    fn new(parameters: &Parameters, name: &str, norm: &str) -> Self {
        Self {
            weight: parameters.get(&format!("{name}.weight")),
            bias: parameters.get(&format!("{norm}.bias")),
            logs: parameters.get(&format!("{norm}.logs")),
            leaves: Leaves::of(parameters, &[&format!("{name}.")]),
        }
    }

    /// [out]: exp(3·logs).
    fn scale(&self) -> Tensor {
        (&self.logs * LOGSCALE_FACTOR).exp()
    }

    /// Stores the gradient: by the scaled weight, given in parts along its inputs, and by the scaled bias
    /// [out]. That by logs follows from them.
    fn store(&self, scale: &Tensor, by_weight: &[Tensor], by_bias: &Tensor, gradients: &mut Gradients) {
        let [weight, bias, logs] = gradients.of(&self.leaves);
        let mut begin = 0;
        for part in by_weight {
            let inputs = part.size()[1];
            let _ = part.mul_out(&weight.narrow(1, begin, inputs), &scale.reshape([-1, 1, 1, 1]));
            begin += inputs;
        }
        let _ = by_bias.mul_out(&bias, scale);
        let along = (&weight * &self.weight).sum_dim_intlist([1i64, 2, 3].as_slice(), false, weight.kind());
        logs.shallow_clone().copy_(&((along + &bias * &self.bias) * LOGSCALE_FACTOR));
    }
}

/// The network over its parameters.
#[derive(Debug)]
pub(super) struct Network {
    /// The element type of its arithmetic, where it is not the flow's.
    element: Option<Kind>,
    conv1: Conv,
    conv2: Conv,
    conv3: Conv,
    actnorm1: Actnorm,
    actnorm2: Actnorm,
    /// See [`constant_columns`]; and in the element type of the arithmetic.
    constants: Tensor,
    constants_in_element: Tensor,
}

/// What the backward pass needs of the forward one.
#[derive(Debug)]
pub(super) struct Activations {
    columns: Tensor,
    hidden1: Tensor,
    hidden2: Tensor,
    scales: [Tensor; 3],
    matrices: [Tensor; 3],
}

impl Network {
    /// The network `name` over maps of `size`, height and width.
    pub(super) fn new(
        parameters: &Parameters,
        edge_bias: bool,
        element: Option<Kind>,
        size: [i64; 2],
        name: &str,
    ) -> Self {
        let part = |part: &str| format!("{name}.{part}");
        let conv = |conv: &str, norm: &str| Conv::new(parameters, &part(conv), &part(norm));
        let conv1 = conv("conv1", "conv1.actnorm");
        let options = (conv1.weight.kind(), conv1.weight.device());
        let constants = constant_columns(size[0], size[1], edge_bias, options);
        Self {
            element,
            conv2: conv("conv2", "conv2.actnorm"),
            conv3: conv("conv3", "conv3"),
            actnorm1: Actnorm::new(parameters, &part("conv1.actnorm")),
            actnorm2: Actnorm::new(parameters, &part("conv2.actnorm")),
            constants_in_element: constants.to_kind(element.unwrap_or(options.0)),
            constants,
            conv1,
        }
    }

    /// x [N, C, H, W] → [N, out, H, W] in the element type of x. With `initialise`, the actnorms are first
    /// set from what reaches them.
    pub(super) fn forward(&self, x: &Tensor, initialise: bool) -> (Tensor, Activations) {
        let flow = x.kind();
        let element = self.element.filter(|_| !initialise).unwrap_or(flow);
        let (n, c, h, w) = x.size4().expect("the flow has four axes");
        let pixels = [n, h, w];

        let x = x.permute([0, 2, 3, 1]).to_kind(element);
        let extra = self.constants.size()[1];
        let constants = if initialise { &self.constants } else { &self.constants_in_element };
        let columns = Tensor::cat(&[patches(&x), constants.expand([n, h * w, extra], false)], 2);
        let columns = columns.view([n * h * w, 9 * c + extra]);
        if initialise {
            let matrix = Tensor::cat(&[self.matrix1(c), self.conv1.bias.zeros_like().unsqueeze(1)], 1);
            self.actnorm1.initialise(&one_by_one(&product(&columns, &matrix, None, pixels)));
        }
        let scale1 = self.conv1.scale();
        let matrix1 = Tensor::cat(&[self.matrix1(c), self.conv1.bias.unsqueeze(1)], 1);
        let matrix1 = (matrix1 * scale1.unsqueeze(1)).to_kind(element);
        let hidden1 = product(&columns, &matrix1, None, pixels).relu_();

        if initialise {
            let matrix = self.conv2.weight.flatten(1, -1);
            self.actnorm2.initialise(&one_by_one(&product(&hidden1, &matrix, None, pixels)));
        }
        let scale2 = self.conv2.scale();
        let matrix2 = (self.conv2.weight.flatten(1, -1) * scale2.unsqueeze(1)).to_kind(element);
        let bias2 = (&self.conv2.bias * &scale2).to_kind(element);
        let hidden2 = product(&hidden1, &matrix2, Some(&bias2), pixels).relu_();

        let scale3 = self.conv3.scale();
        let (matrix3, constant) = self.matrix3(&scale3, element);
        let out = constant.size()[0];
        let taps = product(&hidden2, &matrix3, None, pixels).to_kind(flow);
        let constant = self.constants.mm(&constant.transpose(0, 1));
        let y = fold(&taps, [n, h, w, out]) + constant.view([h, w, out]);
        let scales = [scale1, scale2, scale3];
        let activations =
            Activations { columns, hidden1, hidden2, scales, matrices: [matrix1, matrix2, matrix3] };
        (y.permute([0, 3, 1, 2]), activations)
    }

    /// [hidden, 9·C (+ 9)]: the first convolution's weight over the columns of C channels' patches and of
    /// the border's.
    fn matrix1(&self, channels: i64) -> Tensor {
        let weight = &self.conv1.weight;
        let data = weight.narrow(1, 0, channels).permute([0, 2, 3, 1]).flatten(1, -1);
        if weight.size()[1] == channels {
            return data;
        }
        Tensor::cat(&[data, weight.narrow(1, channels, 1).flatten(1, -1)], 1)
    }

    /// [9·out, hidden]: the last convolution's weight, from a pixel to its neighbourhood; and [out, 10],
    /// what it makes of the constant columns.
    fn matrix3(&self, scale: &Tensor, element: Kind) -> (Tensor, Tensor) {
        let hidden = self.conv2.bias.size()[0];
        let weight = &self.conv3.weight * scale.reshape([-1, 1, 1, 1]);
        // A pixel reaches the neighbour at offset k by the tap at −k.
        let data = weight.narrow(1, 0, hidden).to_kind(element).permute([2, 3, 0, 1]).contiguous();
        let bias = (&self.conv3.bias * scale).unsqueeze(1);
        let constant =
            Tensor::cat(&[weight.narrow(1, hidden, weight.size()[1] - hidden).flatten(1, -1), bias], 1);
        (data.flip([0, 1]).flatten(0, 2), constant)
    }

    /// From the loss's gradient by the output [N, out, H, W] to that by x; those by the parameters are
    /// stored. `kept` is what the forward pass returned.
    pub(super) fn backward(&self, kept: Activations, g: &Tensor, gradients: &mut Gradients) -> Tensor {
        let Activations { columns, hidden1, hidden2, scales, matrices: [matrix1, matrix2, matrix3] } = kept;
        let [scale1, scale2, scale3] = scales;
        let (flow, element) = (g.kind(), columns.kind());
        let (n, out, h, w) = g.size4().expect("the flow has four axes");
        let pixels = [n, h, w];

        let g = g.permute([0, 2, 3, 1]);
        let taps = patches(&g.to_kind(element)).reshape([-1, 9 * out]);
        let by_matrix = taps.transpose(0, 1).mm(&hidden2);
        let by_constant = g.sum_dim_intlist([0i64].as_slice(), false, flow).reshape([h * w, out]);
        let by_constant = by_constant.transpose(0, 1).mm(&self.constants);
        let (edge, bias) = split_columns(&by_constant, 0);
        let by_weight = by_matrix.reshape([3, 3, out, -1]).flip([0, 1]).permute([2, 3, 0, 1]);
        self.conv3.store(&scale3, &[by_weight, edge], &bias, gradients);

        let g = through_relu(product_backward(&taps, &matrix3, pixels), &hidden2);
        drop(hidden2);
        let by_matrix = g.transpose(0, 1).mm(&hidden1);
        let bias = g.sum_dim_intlist([0i64].as_slice(), false, element);
        self.conv2.store(&scale2, &[one_by_one(&by_matrix)], &bias, gradients);

        let g = through_relu(product_backward(&g, &matrix2, pixels), &hidden1);
        drop(hidden1);
        let by_matrix = g.transpose(0, 1).mm(&columns);
        let data = columns.size()[1] - self.constants.size()[1];
        let by_weight = by_matrix.narrow(1, 0, data).reshape([-1, 3, 3, data / 9]).permute([0, 3, 1, 2]);
        let (edge, bias) = split_columns(&by_matrix, data);
        self.conv1.store(&scale1, &[by_weight, edge], &bias, gradients);

        let by_patches = product_backward(&g, &matrix1.narrow(1, 0, data), pixels).to_kind(flow);
        fold(&by_patches, [n, h, w, data / 9]).permute([0, 3, 1, 2])
    }
}

/// Columns from `begin` on as a convolution's border channel [out, 1 or 0, 3, 3], and the last as its
/// bias [out].
fn split_columns(matrix: &Tensor, begin: i64) -> (Tensor, Tensor) {
    let (out, columns) = matrix.size2().expect("a matrix");
    let edge = matrix.narrow(1, begin, columns - 1 - begin).reshape([out, (columns - 1 - begin) / 9, 3, 3]);
    (edge, matrix.select(1, columns - 1))
}

/// g where the ReLU's output is above 0, elsewhere 0; in place.
fn through_relu(g: Tensor, output: &Tensor) -> Tensor {
    output.threshold_backward_grad_input(&g, &g, 0)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use glow_models::{Architecture, Coupling};
    use tch::Device;

    /// The published code, literally: pad by 1, append the border channel if the weight has one more input,
    /// convolve without padding.
    pub(crate) fn literal(x: &Tensor, weight: &Tensor) -> Tensor {
        let (n, c, h, w) = x.size4().unwrap();
        let mut padded = x.constant_pad_nd([1, 1, 1, 1]);
        if weight.size()[1] > c {
            let border = Tensor::ones([n, 1, h + 2, w + 2], (x.kind(), x.device()));
            let _ = border.narrow(2, 1, h).narrow(3, 1, w).zero_();
            padded = Tensor::cat(&[padded, border], 1);
        }
        padded.conv2d(weight, None::<Tensor>, 1, 0, 1, 1)
    }

    #[test]
    fn forward_and_backward_are_those_of_the_published_network() {
        let options = (Kind::Double, Device::Cpu);
        for (edge_bias, coupling) in [(true, Coupling::Affine), (false, Coupling::Additive)] {
            let (height, width) = (8, 12);
            let architecture = Architecture {
                height,
                width,
                levels: 1,
                depth: 1,
                hidden: 5,
                edge_bias,
                coupling,
                ..Default::default()
            };
            let parameters = Parameters::initial(&architecture, 1, Device::Cpu, Kind::Double);
            for (_, mut tensor) in parameters.trained() {
                tensor.copy_(&(Tensor::randn(tensor.size(), options) * 0.3));
            }
            parameters.require_grad();
            let name = "level0.step00.coupling";
            let get = |part: &str| parameters.get(&format!("{name}.{part}"));
            let column = |t: Tensor| t.reshape([1, -1, 1, 1]);
            let scaled = |x: Tensor, norm: &str| {
                (x + column(get(&format!("{norm}.bias"))))
                    * column((get(&format!("{norm}.logs")) * 3.0).exp())
            };

            let x = Tensor::randn([2, 6, 4, 6], options).set_requires_grad(true);
            let hidden = scaled(literal(&x, &get("conv1.weight")), "conv1.actnorm").relu();
            let hidden = hidden.conv2d(&get("conv2.weight"), None::<Tensor>, 1, 0, 1, 1);
            let hidden = scaled(hidden, "conv2.actnorm").relu();
            let expected = scaled(literal(&hidden, &get("conv3.weight")), "conv3");
            let g = Tensor::randn(expected.size(), options);
            let leaves = Leaves::of(&parameters, &[""]);
            let mut by_autograd = Gradients::zeros(&leaves);
            let loss = (&expected * &g).sum(Kind::Double);
            let [expected_by_x] = super::super::gradient::backward(&loss, [&x], &[&leaves], &mut by_autograd);

            let network = Network::new(&parameters, edge_bias, None, [4, 6], name);
            let mut gradients = Gradients::zeros(&leaves);
            let (actual, by_x) = tch::no_grad(|| {
                let (actual, kept) = network.forward(&x, false);
                (actual, network.backward(kept, &g, &mut gradients))
            });
            let close = |a: &Tensor, b: &Tensor| {
                let worst = (a - b).abs().max().double_value(&[]);
                assert!(worst < 1e-10, "{worst}");
            };
            close(&actual, &expected);
            close(&by_x, &expected_by_x);
            for (a, b) in gradients.iter().zip(by_autograd.iter()) {
                close(a, b);
            }
        }
    }
}
