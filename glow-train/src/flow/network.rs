//! The coupling network, forward and backward: conv 3×3, actnorm, ReLU, conv 1×1, actnorm, ReLU, zeros conv
//! 3×3 (paper, section 3.3).
//!
//! Activations are rows, one a pixel: [M, channels], M = N·H·W. The scales behind the convolutions are
//! folded into their matrices, which are small beside the activations; biases and edge bias are further
//! columns.
use super::Parameters;
use super::actnorm::Actnorm;
use super::gradients::{Gradients, Slots};
use super::rows::{ConstantColumns, fold, one_by_one, patches, pixels, product, product_backward};
use crate::tf32;
use glow_models::{LOGSCALE_FACTOR, NetworkPrecision};
use tch::{Kind, Tensor};

/// The element type of the networks' arithmetic in a precision, where it is not the flow's.
pub(super) fn element(precision: NetworkPrecision) -> Option<Kind> {
    (precision == NetworkPrecision::Bf16).then_some(Kind::BFloat16)
}

/// One convolution with bias and log scale: (conv(x) + bias) · exp(3·logs).
#[derive(Debug)]
struct Conv {
    /// [out, in, 3, 3] or [out, in, 1, 1].
    weight: Tensor,
    /// Bias and log scale, [out] each; an actnorm but behind the last convolution.
    out: Actnorm,
    /// Of weight, bias and logs.
    slots: Slots,
}

impl Conv {
    /// The convolution `name`, whose bias and log scale are those of `out`.
    fn new(parameters: &Parameters, name: &str, out: &str) -> Self {
        let names = [format!("{name}.weight"), format!("{out}.bias"), format!("{out}.logs")];
        Self {
            weight: parameters.get(&names[0]),
            out: Actnorm::new(parameters, out),
            slots: Slots::new(parameters, names),
        }
    }

    /// Stores the gradient, given by the scaled weight, in parts along its inputs, and by the scaled bias
    /// [out]. The gradient by logs follows from the two.
    fn store(&self, scale: &Tensor, by_weight: &[Tensor], by_bias: &Tensor, gradients: &mut Gradients) {
        let [weight, bias, logs] = gradients.views(&self.slots);
        let mut begin = 0;
        for part in by_weight {
            let inputs = part.size()[1];
            let _ = part.mul_out(&weight.narrow(1, begin, inputs), &scale.reshape([-1, 1, 1, 1]));
            begin += inputs;
        }
        let _ = by_bias.mul_out(&bias, scale);
        let sum = (&weight * &self.weight).sum_dim_intlist([1i64, 2, 3].as_slice(), false, weight.kind());
        logs.shallow_clone().copy_(&((sum + &bias * &self.out.bias) * LOGSCALE_FACTOR));
    }
}

/// The coupling network over its parameters.
#[derive(Debug)]
pub(super) struct CouplingNetwork {
    /// The element type of its arithmetic, where it is not the flow's.
    element: Option<Kind>,
    /// Whether CUDA may round the factors of its products to 10 bits of mantissa.
    tf32: bool,
    conv1: Conv,
    conv2: Conv,
    conv3: Conv,
    constants: ConstantColumns,
}

/// What the backward pass needs of the forward one.
#[derive(Debug)]
pub(super) struct Activations {
    /// [M, 9·C + 10] (or 9·C + 1 without edge bias): the patches of the input and the constant columns.
    columns: Tensor,
    /// [M, hidden], behind the ReLU.
    hidden1: Tensor,
    /// [M, hidden], behind the ReLU.
    hidden2: Tensor,
    scales: [Tensor; 3],
    matrices: [Tensor; 3],
}

/// A convolution with its scale folded in: scale [out], and matrix [out, in] in the arithmetic's type.
type Folded = (Tensor, Tensor);

impl CouplingNetwork {
    /// The network `name`; `constants` are its level's.
    pub(super) fn new(
        parameters: &Parameters,
        name: &str,
        precision: NetworkPrecision,
        constants: ConstantColumns,
    ) -> Self {
        let part = |part: &str| format!("{name}.{part}");
        let conv = |conv: &str, out: &str| Conv::new(parameters, &part(conv), &part(out));
        Self {
            element: element(precision),
            tf32: precision == NetworkPrecision::Tf32,
            conv1: conv("conv1", "conv1.actnorm"),
            conv2: conv("conv2", "conv2.actnorm"),
            conv3: conv("conv3", "conv3"),
            constants,
        }
    }

    /// The network's hidden layers, each with the actnorm behind its convolution.
    pub(super) fn actnorms(&self) -> [&Actnorm; 2] {
        [&self.conv1.out, &self.conv2.out]
    }

    /// What each hidden layer gives for x [N, C, H, W] before its ReLU, [M, hidden], in the element type of
    /// x. Stops at layer `last`, 0 or 1.
    pub(super) fn hidden(&self, x: &Tensor, last: usize) -> Tensor {
        let columns = self.columns(x, x.kind());
        let hidden1 = product(&columns, &self.matrix1(x.size()[1], x.kind()).1, None, pixels(x));
        if last == 0 {
            return hidden1;
        }
        let ((_, matrix2), bias2) = self.matrix2(x.kind());
        product(&hidden1.relu(), &matrix2, Some(&bias2), pixels(x))
    }

    /// What the network holds while it computes: the permission to round, where its precision has it. The flow
    /// around it never does.
    fn arithmetic(&self) -> Option<tf32::Allowed> {
        self.tf32.then(tf32::allow)
    }

    /// x [N, C, H, W] → [N, out, H, W] in the element type of x.
    pub(super) fn forward(&self, x: &Tensor) -> (Tensor, Activations) {
        let _arithmetic = self.arithmetic();
        let (flow, element) = (x.kind(), self.element.unwrap_or(x.kind()));
        let pixels @ [n, h, w] = pixels(x);

        let columns = self.columns(x, element); // [M, 9·C + 10]
        let (scale1, matrix1) = self.matrix1(x.size()[1], element);
        let hidden1 = product(&columns, &matrix1, None, pixels).relu_(); // [M, hidden]
        let ((scale2, matrix2), bias2) = self.matrix2(element);
        let hidden2 = product(&hidden1, &matrix2, Some(&bias2), pixels).relu_(); // [M, hidden]
        let ((scale3, matrix3), constant) = self.matrix3(element);
        let out = constant.size()[0];
        let taps = product(&hidden2, &matrix3, None, pixels).to_kind(flow); // [M, 9·out]
        let constant = self.constants.flow.mm(&constant.transpose(0, 1)); // [H·W, out]
        let y = fold(&taps, [n, h, w, out]) + constant.view([h, w, out]); // [N, H, W, out]
        let (scales, matrices) = ([scale1, scale2, scale3], [matrix1, matrix2, matrix3]);
        (y.permute([0, 3, 1, 2]), Activations { columns, hidden1, hidden2, scales, matrices })
    }

    /// [M, 9·C + 10]: the patches of x [N, C, H, W] and the constant columns.
    fn columns(&self, x: &Tensor, element: Kind) -> Tensor {
        let [n, h, w] = pixels(x);
        let constants = if element == x.kind() { &self.constants.flow } else { &self.constants.network };
        let extra = constants.size()[1];
        let patches = patches(&x.permute([0, 2, 3, 1]).to_kind(element)); // [N, H·W, 9·C]
        let columns = Tensor::cat(&[patches, constants.expand([n, h * w, extra], false)], 2);
        let width = columns.size()[2];
        columns.view([n * h * w, width])
    }

    /// The first convolution's weight and bias over the [`columns`](Self::columns) of C channels:
    /// [hidden, 9·C + 10].
    fn matrix1(&self, channels: i64, element: Kind) -> Folded {
        let weight = &self.conv1.weight;
        let scale = self.conv1.out.scale();
        let data = weight.narrow(1, 0, channels).permute([0, 2, 3, 1]).flatten(1, -1); // [hidden, 9·C]
        let edge = weight.narrow(1, channels, weight.size()[1] - channels).flatten(1, -1); // [hidden, 9 or 0]
        let matrix = Tensor::cat(&[data, edge, self.conv1.out.bias.unsqueeze(1)], 1);
        let matrix = (matrix * scale.unsqueeze(1)).to_kind(element);
        (scale, matrix)
    }

    /// The second convolution's weight [hidden, hidden], and its bias [hidden].
    fn matrix2(&self, element: Kind) -> (Folded, Tensor) {
        let scale = self.conv2.out.scale();
        let matrix = (self.conv2.weight.flatten(1, -1) * scale.unsqueeze(1)).to_kind(element);
        let bias = (&self.conv2.out.bias * &scale).to_kind(element);
        ((scale, matrix), bias)
    }

    /// The last convolution's weight [9·out, hidden], from a pixel to its neighbourhood, and its weight
    /// over the constant columns [out, 10].
    fn matrix3(&self, element: Kind) -> (Folded, Tensor) {
        let hidden = self.conv2.out.bias.size()[0];
        let scale = self.conv3.out.scale();
        let weight = &self.conv3.weight * scale.reshape([-1, 1, 1, 1]); // [out, hidden (+ 1), 3, 3]
        let bias = (&self.conv3.out.bias * &scale).unsqueeze(1); // [out, 1]
        let edge = weight.narrow(1, hidden, weight.size()[1] - hidden).flatten(1, -1); // [out, 9 or 0]
        let data = weight.narrow(1, 0, hidden).to_kind(element).permute([2, 3, 0, 1]).contiguous();
        // A pixel reaches the neighbour at offset k by the tap at −k.
        let matrix = data.flip([0, 1]).flatten(0, 2); // [9·out, hidden]
        ((scale, matrix), Tensor::cat(&[edge, bias], 1))
    }

    /// From the loss's gradient `g` by the output [N, out, H, W] to the gradient by x; the gradients by the
    /// parameters are stored.
    pub(super) fn backward(&self, activations: Activations, g: &Tensor, gradients: &mut Gradients) -> Tensor {
        let _arithmetic = self.arithmetic();
        let Activations { columns, hidden1, hidden2, scales, matrices } = activations;
        let ([scale1, scale2, scale3], [matrix1, matrix2, matrix3]) = (scales, matrices);
        let (flow, element) = (g.kind(), columns.kind());
        let (pixels @ [n, h, w], out) = (pixels(g), g.size()[1]);

        let g = g.permute([0, 2, 3, 1]); // [N, H, W, out]
        let taps = patches(&g.to_kind(element)).reshape([-1, 9 * out]); // [M, 9·out]
        let by_matrix = taps.transpose(0, 1).mm(&hidden2); // [9·out, hidden]
        let by_constant = g.sum_dim_intlist([0i64].as_slice(), false, flow).reshape([h * w, out]);
        let by_constant = by_constant.transpose(0, 1).mm(&self.constants.flow); // [out, 10]
        let (edge, bias) = split_columns(&by_constant, 0);
        let by_weight = by_matrix.reshape([3, 3, out, -1]).flip([0, 1]).permute([2, 3, 0, 1]);
        self.conv3.store(&scale3, &[by_weight, edge], &bias, gradients);

        let g = through_relu(product_backward(&taps, &matrix3, pixels), &hidden2); // [M, hidden]
        drop(hidden2);
        let by_matrix = g.transpose(0, 1).mm(&hidden1); // [hidden, hidden]
        let bias = g.sum_dim_intlist([0i64].as_slice(), false, element);
        self.conv2.store(&scale2, &[one_by_one(&by_matrix)], &bias, gradients);

        let g = through_relu(product_backward(&g, &matrix2, pixels), &hidden1); // [M, hidden]
        drop(hidden1);
        let by_matrix = g.transpose(0, 1).mm(&columns); // [hidden, 9·C + 10]
        let data = columns.size()[1] - self.constants.flow.size()[1]; // 9·C
        let by_weight = by_matrix.narrow(1, 0, data).reshape([-1, 3, 3, data / 9]).permute([0, 3, 1, 2]);
        let (edge, bias) = split_columns(&by_matrix, data);
        self.conv1.store(&scale1, &[by_weight, edge], &bias, gradients);

        let by_patches = product_backward(&g, &matrix1.narrow(1, 0, data), pixels).to_kind(flow); // [M, 9·C]
        fold(&by_patches, [n, h, w, data / 9]).permute([0, 3, 1, 2]) // [N, C, H, W]
    }
}

/// Columns from `begin` on as a convolution's border channel [out, 1 or 0, 3, 3], and the last column as
/// its bias [out].
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
    use super::super::gradients::differentiate;
    use super::super::tests::normal;
    use super::*;
    use crate::torch::no_grad;
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
            for (number, (_, mut tensor)) in (0..).zip(parameters.trained()) {
                tensor.copy_(&(normal(&tensor.size(), number) * 0.3));
            }
            parameters.require_grad();
            let name = "level0.step00.coupling";
            let get = |part: &str| parameters.get(&format!("{name}.{part}"));
            let column = |t: Tensor| t.reshape([1, -1, 1, 1]);
            let scaled = |x: Tensor, norm: &str| {
                (x + column(get(&format!("{norm}.bias"))))
                    * column((get(&format!("{norm}.logs")) * 3.0).exp())
            };

            let x = normal(&[2, 6, 4, 6], 101).set_requires_grad(true);
            let hidden = scaled(literal(&x, &get("conv1.weight")), "conv1.actnorm").relu();
            let hidden = hidden.conv2d(&get("conv2.weight"), None::<Tensor>, 1, 0, 1, 1);
            let hidden = scaled(hidden, "conv2.actnorm").relu();
            let expected = scaled(literal(&hidden, &get("conv3.weight")), "conv3");
            let g = normal(&expected.size(), 102);
            let all = Slots::new(&parameters, parameters.trained().map(|(parameter, _)| &parameter.name));
            let mut by_autograd = Gradients::zeros(&parameters);
            let loss = (&expected * &g).sum(Kind::Double);
            let [expected_by_x] = differentiate(&loss, [&x], &[&all], &mut by_autograd);

            let constants = ConstantColumns::new([4, 6], edge_bias, options, None);
            let network = CouplingNetwork::new(&parameters, name, NetworkPrecision::Fp32, constants);
            let mut gradients = Gradients::zeros(&parameters);
            let (actual, by_x) = no_grad(|| {
                let (actual, activations) = network.forward(&x);
                (actual, network.backward(activations, &g, &mut gradients))
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

    #[test]
    fn products_are_rounded_in_the_networks_alone_and_only_if_asked_for() {
        let _alone = tf32::tests::alone();
        tf32::forbid();
        let architecture =
            Architecture { height: 8, width: 8, levels: 1, depth: 1, hidden: 4, ..Default::default() };
        let parameters = Parameters::initial(&architecture, 1, Device::Cpu, Kind::Float);
        let x = normal(&[2, 6, 4, 4], 1).to_kind(Kind::Float);
        for precision in [NetworkPrecision::Fp32, NetworkPrecision::Bf16, NetworkPrecision::Tf32] {
            let options = (Kind::Float, Device::Cpu);
            let constants = ConstantColumns::new([4, 4], true, options, element(precision));
            let network = CouplingNetwork::new(&parameters, "level0.step00.coupling", precision, constants);
            let arithmetic = network.arithmetic();
            assert_eq!(tf32::tests::is_forbidden(), precision != NetworkPrecision::Tf32, "{precision:?}");
            drop(arithmetic);
            let mut gradients = Gradients::zeros(&parameters);
            let (y, activations) = network.forward(&x);
            assert!(tf32::tests::is_forbidden(), "{precision:?}");
            let _ = network.backward(activations, &y, &mut gradients);
            assert!(tf32::tests::is_forbidden(), "{precision:?}");
        }
    }
}
