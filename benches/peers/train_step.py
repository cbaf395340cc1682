"""A step of training: glow-train beside plain PyTorch, in one run.

    cargo build --release -p glow-benches --bin train-step
    python3 benches/peers/train_step.py target/release/train-step [--rounds 5] [--batch 16]

Every row is a process of its own that holds the same model and the same images. In every round each of
them takes a step, one after the other: a machine that slows down slows all of them. Ratios are of medians.
"""

import argparse
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

import served

OURS = {
    f"glow-train {precision} {memory}": [f"precision={precision}", f"memory={memory}"]
    for precision in ("fp32", "bf16")
    for memory in ("autograd", "reversible")
}
PEERS = {
    "PyTorch eager": [],
    "PyTorch channels-last": ["channels-last"],
    "PyTorch channels-last, bf16": ["channels-last", "bf16"],
}
BETA1, BETA2, POLYAK, EPSILON, LR = 0.9, 0.999, 0.999, 1e-8, 1e-4


def resident(name):
    for line in pathlib.Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1]) * 1024


def serve(folder, batch, options):
    """A step of PyTorch for each line on stdin, answered with a line of JSON."""
    import torch
    import torch_glow

    layout = torch.channels_last if "channels-last" in options else torch.contiguous_format
    model = torch_glow.Glow.load(folder / "checkpoint.safetensors", False, "bf16" in options)
    model = model.to(memory_format=layout)
    parameters = list(model.parameters())
    mean, size = ([torch.zeros_like(p) for p in parameters] for _ in range(2))
    average = [p.detach().clone() for p in parameters]
    shape = [batch] + [model.architecture[k] for k in ("height", "width", "channels")]
    images = torch.frombuffer(bytearray((folder / "images").read_bytes()), dtype=torch.uint8).view(shape)

    def step():
        x = torch_glow.dequantize(model.architecture, images, torch.rand(shape))
        log_prob, _ = model(x.to(memory_format=layout))
        loss = torch_glow.bits_per_dim(model.architecture, log_prob).mean()
        for p in parameters:
            p.grad = None
        loss.backward()
        # The published Adamax and the average of the weights, with the fused operations that
        # torch.optim uses; the norm is what a trainer reports.
        gradients = [p.grad for p in parameters]
        torch.nn.utils.get_total_norm(gradients)
        with torch.no_grad():
            torch._foreach_lerp_(mean, gradients, 1 - BETA1)
            torch._foreach_mul_(size, BETA2)
            torch._foreach_maximum_(size, torch._foreach_abs(gradients))
            torch._foreach_addcdiv_(parameters, mean, torch._foreach_add(size, EPSILON), -LR)
            torch._foreach_lerp_(average, parameters, 1 - POLYAK)
        return loss.item()

    # Loading took more memory for a moment; the peak from here on is a step's. Linux alone can forget.
    pathlib.Path("/proc/self/clear_refs").write_text("5")
    at_rest = resident("VmRSS")
    for _ in sys.stdin:
        start = time.perf_counter()
        bits = step()
        seconds = time.perf_counter() - start
        row = {"seconds": seconds, "bits_per_dim": bits, "at_rest": at_rest, "peak": resident("VmHWM")}
        print(json.dumps(row), flush=True)


class Row:
    """A process that takes steps."""

    def __init__(self, name, command):
        self.name, self.seconds, self.process = name, [], served.Served(name, command)

    def step(self):
        self.last = self.process.ask()
        return self.last["seconds"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", type=pathlib.Path, help="the built train-step")
    parser.add_argument("--preset", default="cifar10")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rows", nargs="*", default=[*OURS, *PEERS], help="which rows, by a part of their names")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="changes to the preset")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        ours = [arguments.program.resolve(), arguments.preset, str(arguments.batch), folder]
        peer = [sys.executable, __file__, "--serve", folder, str(arguments.batch)]
        commands = {name: [*ours, "lr=0.0001", *arguments.set, *options] for name, options in OURS.items()}
        commands |= {name: [*peer, *options] for name, options in PEERS.items()}
        chosen = [name for name in commands if any(part in name for part in arguments.rows)]
        # The first of ours writes the model that all of them load.
        subprocess.run([*ours, *arguments.set], stdin=subprocess.DEVNULL, check=True)
        rows = [Row(name, commands[name]) for name in chosen]
        # Two steps each before the clock counts: memory comes, kernels are made.
        first = {row.name: (row.step(), row.last["bits_per_dim"])[1] for row in rows}
        for row in rows:
            row.step()
        for _ in range(arguments.rounds):
            for row in rows:
                row.seconds.append(row.step())
    base = next((row for row in rows if row.name == "PyTorch eager"), rows[0])
    of_base = statistics.median(base.seconds)
    print(f"images/s and speed are medians of {arguments.rounds} steps; speed is against {base.name}")
    print(f"{'':32} images/s   lowest  highest  speed  peak MB  of it the step's  bits/dim at first")
    for row in rows:
        rates = sorted(arguments.batch / seconds for seconds in row.seconds)
        median = statistics.median(row.seconds)
        peak, at_rest = row.last["peak"] / 1e6, row.last["at_rest"] / 1e6
        print(
            f"{row.name:32} {arguments.batch / median:8.2f} {rates[0]:8.2f} {rates[-1]:8.2f} {of_base / median:6.2f}"
            f" {peak:8.0f} {peak - at_rest:17.0f} {first[row.name]:18.4f}"
        )


if __name__ == "__main__":
    if "--serve" in sys.argv:
        folder, batch, *options = sys.argv[sys.argv.index("--serve") + 1 :]
        serve(pathlib.Path(folder), int(batch), options)
    else:
        main()
