"""Glow in plain PyTorch, as one writes it there: the peer that the benchmarks hold this project against.

Same architecture, same parameters under the same names: `Glow.load` reads a checkpoint of glow-train.
"""

import json
import math

import torch
import torch.nn.functional as F
from safetensors import safe_open
from torch import nn

LOGSCALE_FACTOR = 3.0


def column(t):
    return t.view(1, -1, 1, 1)


def image_sum(t):
    return t.flatten(1).sum(1)


class Actnorm(nn.Module):
    """y = (x + bias) · exp(3·logs), a channel."""

    # Whether the next forward pass sets bias and scale from its input.
    initialising = False

    def __init__(self, channels):
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(channels))
        self.logs = nn.Parameter(torch.zeros(channels))

    def forward(self, x):
        if self.initialising:
            mean, std = x.mean((0, 2, 3)), x.std((0, 2, 3), correction=0)
            self.bias.copy_(-mean)
            self.logs.copy_(-torch.log(std + 1e-6) / LOGSCALE_FACTOR)
        y = (x + column(self.bias)) * torch.exp(column(self.logs) * LOGSCALE_FACTOR)
        return y, x.shape[2] * x.shape[3] * (self.logs * LOGSCALE_FACTOR).sum()

    def reverse(self, y):
        return y * torch.exp(column(self.logs) * -LOGSCALE_FACTOR) - column(self.bias)


class InvConv(nn.Module):
    """The 1×1 convolution W = P·L·(U + diag(sign_s·exp(log_s)))."""

    def __init__(self, channels):
        super().__init__()
        p, lower, upper = torch.linalg.lu(torch.linalg.qr(torch.randn(channels, channels))[0])
        diagonal = upper.diagonal()
        self.lower = nn.Parameter(lower.tril(-1))
        self.upper = nn.Parameter(upper.triu(1))
        self.log_s = nn.Parameter(diagonal.abs().log())
        self.register_buffer("sign_s", diagonal.sign())
        self.register_buffer("rows", p.argmax(1))
        self.inverse = None

    def matrix(self):
        lower = self.lower.tril(-1) + torch.eye(len(self.rows))
        upper = self.upper.triu(1) + torch.diag(self.sign_s * self.log_s.exp())
        return (lower @ upper)[self.rows]

    def freeze(self):
        """Computes W and its inverse once, for inference."""
        with torch.no_grad():
            matrix = self.matrix()
            self.inverse = matrix.double().inverse().float()
            self.matrix = lambda: matrix

    def forward(self, x):
        y = F.conv2d(x, self.matrix()[:, :, None, None])
        return y, x.shape[2] * x.shape[3] * self.log_s.sum()

    def reverse(self, y):
        inverse = self.matrix().double().inverse().float() if self.inverse is None else self.inverse
        return F.conv2d(y, inverse[:, :, None, None])


class Shuffle(nn.Module):
    """A fixed permutation of the channels, `shuffle` or `reverse`."""

    def __init__(self, channels, reverse):
        super().__init__()
        order = torch.arange(channels - 1, -1, -1) if reverse else torch.randperm(channels)
        self.register_buffer("indices", order, persistent=not reverse)

    def freeze(self):
        pass

    def forward(self, x):
        return x[:, self.indices], 0.0

    def reverse(self, y):
        return y[:, self.indices.argsort()]


class Conv(nn.Module):
    """A convolution without bias. With edge bias, its last input channel is 1 on the padded border and 0
    inside; what that adds is the same for every image."""

    def __init__(self, inputs, outputs, size, edge_bias=False):
        super().__init__()
        self.inputs, self.edge_bias = inputs, edge_bias
        self.weight = nn.Parameter(torch.randn(outputs, inputs + edge_bias, size, size) * 0.05)

    def convolve(self, x):
        padding = self.weight.shape[2] // 2
        y = F.conv2d(x, self.weight[:, : self.inputs], padding=padding)
        return y + self.border(x.shape[2], x.shape[3]).to(y.dtype) if self.edge_bias else y

    def border(self, height, width):
        border = F.pad(torch.zeros(1, 1, height, width), (1, 1, 1, 1), value=1.0)
        return F.conv2d(border, self.weight[:, self.inputs :])


class ActnormConv(Conv):
    """A convolution with an actnorm behind it."""

    def __init__(self, inputs, outputs, size, edge_bias=False):
        super().__init__(inputs, outputs, size, edge_bias)
        self.actnorm = Actnorm(outputs)

    def forward(self, x):
        return self.actnorm(self.convolve(x))[0]


class ZerosConv(Conv):
    """The "zeros" convolution: starts at 0; (conv(x) + bias) · exp(3·logs)."""

    def __init__(self, inputs, outputs, edge_bias):
        super().__init__(inputs, outputs, 3, edge_bias)
        nn.init.zeros_(self.weight)
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.logs = nn.Parameter(torch.zeros(outputs))

    def forward(self, x):
        y = self.convolve(x)
        return (y + column(self.bias)) * torch.exp(column(self.logs) * LOGSCALE_FACTOR)


class Coupling(nn.Module):
    """z2 ← z2 + shift, or (z2 + shift) · sigmoid(raw + 2), from a network on z1."""

    def __init__(self, channels, hidden, affine, edge_bias, bf16):
        super().__init__()
        self.affine, self.bf16 = affine, bf16
        self.conv1 = ActnormConv(channels // 2, hidden, 3, edge_bias)
        self.conv2 = ActnormConv(hidden, hidden, 1)
        self.conv3 = ZerosConv(hidden, channels if affine else channels // 2, edge_bias)

    def network(self, z1):
        # The flow's own path stays fp32, or the model would not be invertible.
        with torch.autocast(z1.device.type, torch.bfloat16, enabled=self.bf16):
            h = self.conv3(F.relu(self.conv2(F.relu(self.conv1(z1), inplace=True)), inplace=True))
        h = h.float()
        return (h[:, 0::2], torch.sigmoid(h[:, 1::2] + 2.0)) if self.affine else (h, None)

    def forward(self, z):
        z1, z2 = z.chunk(2, 1)
        shift, scale = self.network(z1)
        z2 = z2 + shift
        if scale is None:
            return torch.cat([z1, z2], 1), 0.0
        return torch.cat([z1, z2 * scale], 1), image_sum(scale.log())

    def reverse(self, z):
        z1, z2 = z.chunk(2, 1)
        shift, scale = self.network(z1)
        z2 = z2 - shift if scale is None else z2 / scale - shift
        return torch.cat([z1, z2], 1)


class Step(nn.Module):
    """actnorm → permutation → coupling."""

    def __init__(self, channels, architecture, bf16):
        super().__init__()
        self.actnorm = Actnorm(channels)
        permutation = architecture["permutation"]
        if permutation == "invconv":
            self.permutation = InvConv(channels)
        elif permutation in ("shuffle", "reverse"):
            self.permutation = Shuffle(channels, permutation == "reverse")
        else:
            raise ValueError(f"the peer has no permutation {permutation}")
        affine = architecture["coupling"] == "affine"
        self.coupling = Coupling(channels, architecture["hidden"], affine, architecture["edge_bias"], bf16)

    def forward(self, z):
        z, by_actnorm = self.actnorm(z)
        z, by_permutation = self.permutation(z)
        z, by_coupling = self.coupling(z)
        return z, by_actnorm + by_permutation + by_coupling

    def reverse(self, z):
        return self.actnorm.reverse(self.permutation.reverse(self.coupling.reverse(z)))


class Gaussian:
    """N(mean, exp(logs)), element by element."""

    def __init__(self, mean, logs):
        self.mean, self.logs = mean, logs

    def score(self, z):
        eps = (z - self.mean) * torch.exp(-self.logs)
        return eps, image_sum(-0.5 * (math.log(2 * math.pi) + eps**2) - self.logs)

    def z(self, eps):
        return self.mean + eps * torch.exp(self.logs)


class SplitPrior(ZerosConv):
    """The prior of the half that a split hands out, from the half that goes on."""

    def __init__(self, channels, edge_bias):
        super().__init__(channels // 2, channels, edge_bias)

    def forward(self, z1):
        h = super().forward(z1)
        return Gaussian(h[:, 0::2], h[:, 1::2])


class LabelPrior(nn.Module):
    def __init__(self, channels, classes):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(2 * channels, classes))
        self.bias = nn.Parameter(torch.zeros(2 * channels))
        self.logs = nn.Parameter(torch.zeros(2 * channels))

    def forward(self, labels):
        return (self.weight.t()[labels] + self.bias) * torch.exp(self.logs * LOGSCALE_FACTOR)


class TopPrior(nn.Module):
    """The last level's prior: a zeros convolution of a zero map, and a row a class."""

    def __init__(self, channels, architecture):
        super().__init__()
        self.channels = channels
        self.learned = architecture["learn_top"]
        if self.learned:
            self.bias = nn.Parameter(torch.zeros(2 * channels))
            self.logs = nn.Parameter(torch.zeros(2 * channels))
            if architecture["edge_bias"]:
                self.edge = nn.Parameter(torch.zeros(2 * channels, 1, 3, 3))
        if architecture["classes"]:
            self.label = LabelPrior(channels, architecture["classes"])

    def forward(self, like, labels):
        h = like.new_zeros(1, 2 * self.channels, *like.shape[2:])
        if self.learned:
            h = h + column(self.bias)
            if hasattr(self, "edge"):
                border = F.pad(torch.zeros(1, 1, *like.shape[2:]), (1, 1, 1, 1), value=1.0)
                h = h + F.conv2d(border, self.edge)
            h = h * torch.exp(column(self.logs) * LOGSCALE_FACTOR)
        if hasattr(self, "label"):
            h = h + self.label(labels)[:, :, None, None]
        return Gaussian(*h.chunk(2, 1))


def squeeze(x):
    return F.pixel_unshuffle(x, 2)


def unsqueeze(x):
    return F.pixel_shuffle(x, 2)


class Glow(nn.Module):
    """The flow of an architecture, a dict with the keys of `[model]` in a preset.

    `bf16` runs the coupling networks under autocast. The classifier of class-conditional training is left
    out: it takes no part in the likelihood or in sampling.
    """

    def __init__(self, architecture, bf16=False):
        super().__init__()
        self.architecture = architecture
        channels, self.priors = architecture["channels"], []
        self.level_names = [f"level{level}" for level in range(architecture["levels"])]
        for name in self.level_names:
            channels *= 4
            level = nn.Module()
            for step in range(architecture["depth"]):
                level.add_module(f"step{step:02}", Step(channels, architecture, bf16))
            if name != self.level_names[-1]:
                level.split = SplitPrior(channels, architecture["edge_bias"])
                channels //= 2
            self.add_module(name, level)
        self.top = TopPrior(channels, architecture)

    def levels(self):
        for name in self.level_names:
            level = getattr(self, name)
            steps = [child for child in level.children() if isinstance(child, Step)]
            yield steps, getattr(level, "split", None)

    def forward(self, x, labels=None):
        """x [N, C, H, W] in [−½, ½) → log p(image) [N] in nats, and eps_0 … eps_{L-1}."""
        height, width, channels = (self.architecture[k] for k in ("height", "width", "channels"))
        log_prob = x.new_full((len(x),), -math.log(2 ** self.architecture["n_bits"]) * height * width * channels)
        eps = []
        for steps, split in self.levels():
            x = squeeze(x)
            for step in steps:
                x, log_det = step(x)
                log_prob = log_prob + log_det
            if split is not None:
                x, z2 = x.chunk(2, 1)
                of_level, by_split = split(x).score(z2)
                log_prob = log_prob + by_split
                eps.append(of_level)
        of_level, by_top = self.top(x, labels).score(x)
        return log_prob + by_top, [*eps, of_level]

    def reverse(self, eps, labels=None):
        """eps_0 … eps_{L-1} → x [N, C, H, W]."""
        x = self.top(eps[-1], labels).z(eps[-1])
        for index, (steps, split) in reversed(list(enumerate(self.levels()))):
            if split is not None:
                x = torch.cat([x, split(x).z(eps[index])], 1)
            for step in reversed(steps):
                x = step.reverse(x)
            x = unsqueeze(x)
        return x

    def latents(self, n, temperature=1.0):
        """eps of n images, normal times `temperature`."""
        channels, height, width = (self.architecture[k] for k in ("channels", "height", "width"))
        eps, levels = [], self.architecture["levels"]
        for level in range(levels):
            height, width = height // 2, width // 2
            channels = channels * 4 if level == levels - 1 else channels * 2
            eps.append(torch.randn(n, channels, height, width) * temperature)
        return eps

    def freeze(self):
        """For inference: no gradients, and the 1×1 convolutions with their inverses computed once."""
        self.requires_grad_(False)
        for module in self.modules():
            if isinstance(module, Step):
                module.permutation.freeze()
        return self

    @classmethod
    def load(cls, path, averaged=True, bf16=False):
        """A checkpoint of glow-train: its averaged or its raw weights."""
        with safe_open(path, "pt") as file:
            model = cls(json.loads(file.metadata()["glow"])["config"]["model"], bf16)
            tensors = {name: file.get_tensor(name) for name in file.keys()}
        state = {}
        for name in model.state_dict():
            average = f"averages/{name}"
            state[name] = tensors[average if averaged and average in tensors else f"params/{name}"]
        model.load_state_dict(state)
        return model


def initialise(model, x):
    """Sets every actnorm from x, so that its output has mean 0 and standard deviation 1 in each channel."""
    Actnorm.initialising = True
    with torch.no_grad():
        model(x)
    Actnorm.initialising = False


def dequantize(architecture, images, noise):
    """uint8 [N, H, W, C] and noise in [0, 1) of the same shape → x [N, C, H, W]."""
    n_bits = architecture["n_bits"]
    x = ((images >> (8 - n_bits)).to(noise.dtype) + noise) / 2**n_bits - 0.5
    return x.permute(0, 3, 1, 2).contiguous()


def to_pixels(architecture, x):
    """x [N, C, H, W] → uint8 [N, H, W, C]."""
    n_bits = architecture["n_bits"]
    pixels = torch.floor((x + 0.5) * 2**n_bits) * 2 ** (8 - n_bits)
    return pixels.clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def bits_per_dim(architecture, log_prob):
    return -log_prob / (math.log(2) * architecture["height"] * architecture["width"] * architecture["channels"])
