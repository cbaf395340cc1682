"""Ten training steps by an independent implementation, for the values pinned in glow-train/tests/trajectory.rs.

    GLOW_TRAJECTORY=/tmp/trajectory cargo test -p glow-train --test trajectory -- --ignored
    python3 benches/peers/trajectory.py /tmp/trajectory [float32]

The first command writes the initial weights, the images and their noise. The second initialises the actnorms
from the first batch, trains in float64 by the published Adamax, and prints each step's bits/dim and the
Euclidean norm of its gradient.
"""

import json
import pathlib
import sys

import torch
import torch_glow

BETA1, BETA2, EPSILON, LR, STEPS = 0.9, 0.99, 1e-8, 1e-3, 10


def trajectory(folder, dtype):
    torch.set_default_dtype(dtype)
    model = torch_glow.Glow.load(folder / "checkpoint.safetensors", averaged=False).to(dtype)
    architecture = model.architecture
    shape = [STEPS, -1] + [architecture[key] for key in ("height", "width", "channels")]
    read = lambda name, kind: torch.frombuffer(bytearray((folder / name).read_bytes()), dtype=kind).view(shape)
    images, noise = read("images", torch.uint8), read("noise", torch.float32).to(dtype)
    inputs = [torch_glow.dequantize(architecture, i, n) for i, n in zip(images, noise)]
    torch_glow.initialise(model, inputs[0])
    parameters = list(model.parameters())
    mean, size = ([torch.zeros_like(p) for p in parameters] for _ in range(2))
    steps = []
    for t, x in enumerate(inputs, 1):
        loss = torch_glow.bits_per_dim(architecture, model(x)[0]).mean()
        gradients = torch.autograd.grad(loss, parameters, allow_unused=True, materialize_grads=True)
        norm = torch.cat([g.flatten() for g in gradients]).norm()
        steps.append((loss.item(), norm.item()))
        rate = LR * (1 - BETA2**t) ** 0.5 / (1 - BETA1**t)
        with torch.no_grad():
            for p, m, v, g in zip(parameters, mean, size, gradients):
                m.lerp_(g, 1 - BETA1)
                torch.maximum(BETA2 * v, g.abs(), out=v)
                p -= rate * m / (v + EPSILON)
    return steps


if __name__ == "__main__":
    kind = torch.float32 if "float32" in sys.argv[2:] else torch.float64
    for folder in sorted(path for path in pathlib.Path(sys.argv[1]).iterdir() if path.is_dir()):
        print(folder.name)
        for step in trajectory(folder, kind):
            print(json.dumps(step))
