"""Sampling: glow-runtime beside everything that a user could take instead, in one run.

    cargo build --release -p glow-benches --bin sampling
    python3 benches/peers/sampling.py target/release/sampling CHECKPOINT BUNDLE [BUNDLE ...]

CHECKPOINT is one of glow-train, each BUNDLE what glow-export made of it (--precision fp32, int8, ...). The
peers have the same weights: PyTorch itself, and its export with the inverses of the 1×1 convolutions
computed beforehand, as it is and quantised to int8, in ONNX Runtime and in OpenVINO.

Every row is a process of its own, asleep but for its turn. In every round each of them makes the same
calls, one after the other: a machine that slows down slows all of them. Ratios are of medians.
"""

import argparse
import json
import os
import pathlib
import statistics
import sys
import tempfile
import time

import served

BASE = "export, ONNX Runtime fp32"
PEERS = {
    "PyTorch eager": ["torch"],
    "PyTorch channels-last": ["torch", "channels-last"],
    "PyTorch channels-last, bf16": ["torch", "channels-last", "bf16"],
    "PyTorch compiled": ["torch", "compile"],
    BASE: ["onnxruntime", "fp32"],
    "export, ONNX Runtime int8": ["onnxruntime", "int8"],
    "export, OpenVINO fp32": ["openvino", "fp32", "f32"],
    "export, OpenVINO bf16": ["openvino", "fp32", "bf16"],
    "export, OpenVINO int8": ["openvino", "int8", "f32"],
}


def load(checkpoint, bf16=False):
    import torch_glow

    return torch_glow.Glow.load(checkpoint, True, bf16).freeze().eval()


def export(checkpoint, folder, batch):
    """The usual export, and its int8 version: weights a channel, activations by samples of the model. Beside
    them the latents of a batch, which all peers decode."""
    import numpy
    import onnx
    import torch
    import torch_glow
    from onnxruntime import quantization
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Sampler(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.glow = load(checkpoint)

        def forward(self, *eps):
            return torch_glow.to_pixels(self.glow.architecture, self.glow.reverse(eps))

    sampler = Sampler()
    names = [f"eps_{level}" for level in range(sampler.glow.architecture["levels"])]
    eps = sampler.glow.latents(batch, 0.7)
    numpy.savez(folder / "eps.npz", **{name: e.numpy() for name, e in zip(names, eps)})
    fp32, prepared, int8 = (str(folder / name) for name in ("fp32.onnx", "prepared.onnx", "int8.onnx"))
    torch.onnx.export(
        sampler,
        tuple(sampler.glow.latents(1)),
        fp32,
        dynamo=False,
        opset_version=17,
        input_names=names,
        output_names=["image"],
        dynamic_axes={name: {0: "N"} for name in [*names, "image"]},
    )
    quant_pre_process(fp32, prepared, skip_symbolic_shape=True)
    model = onnx.load(prepared)
    shapes = {tensor.name: tensor.dims for tensor in model.graph.initializer}
    hidden = sampler.glow.architecture["hidden"]
    networks = [
        node.name
        for node in model.graph.node
        if node.op_type == "Conv" and hidden in list(shapes[node.input[1]])[:2]
    ]

    class Samples(quantization.CalibrationDataReader):
        batches = iter([sampler.glow.latents(4, 0.7) for _ in range(4)])

        def get_next(self):
            eps = next(self.batches, None)
            return eps and {name: e.numpy() for name, e in zip(names, eps)}

    quantization.quantize_static(
        prepared,
        int8,
        Samples(),
        per_channel=True,
        activation_type=quantization.QuantType.QUInt8,
        weight_type=quantization.QuantType.QInt8,
        nodes_to_quantize=networks,
        op_types_to_quantize=["Conv"],
    )


def sampler(folder, checkpoint, threads, kind, *options):
    """A function from eps, NumPy arrays by level, to images."""
    if kind == "torch":
        import torch
        import torch_glow

        torch.set_num_threads(threads)
        model = load(checkpoint, "bf16" in options)
        layout = torch.channels_last if "channels-last" in options else torch.contiguous_format
        model = model.to(memory_format=layout)
        reverse = torch.compile(model.reverse) if "compile" in options else model.reverse

        def sample(eps):
            with torch.inference_mode():
                tensors = [torch.from_numpy(e).contiguous(memory_format=layout) for e in eps]
                return torch_glow.to_pixels(model.architecture, reverse(tensors))

        return sample
    path = str(folder / f"{options[0]}.onnx")
    if kind == "onnxruntime":
        import onnxruntime

        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads = threads
        session = onnxruntime.InferenceSession(path, settings, providers=["CPUExecutionProvider"])
        return lambda eps: session.run(["image"], {f"eps_{i}": e for i, e in enumerate(eps)})[0]
    import openvino

    settings = {"INFERENCE_PRECISION_HINT": options[1], "INFERENCE_NUM_THREADS": threads}
    compiled = openvino.Core().compile_model(path, "CPU", {"PERFORMANCE_HINT": "LATENCY", **settings})
    request = compiled.create_infer_request()
    return lambda eps: request.infer({f"eps_{i}": e for i, e in enumerate(eps)})


def serve(folder, checkpoint, threads, options):
    """For each line on stdin, a number of images, samples them and answers with the seconds."""
    import numpy

    with numpy.load(folder / "eps.npz") as file:
        latents = [file[name] for name in sorted(file.files)]
    sample = sampler(folder, checkpoint, threads, *options)
    for line in sys.stdin:
        eps = [numpy.ascontiguousarray(level[: int(line)]) for level in latents]
        start = time.perf_counter()
        sample(eps)
        print(json.dumps({"seconds": time.perf_counter() - start}), flush=True)


class Row:
    """A process that samples; asleep between its turns, so that none of its threads spin."""

    def __init__(self, name, command):
        self.name, self.command = name, command

    def start(self, batch):
        self.process = served.Served(self.name, self.command)
        # Twice before the clock counts: memory comes, kernels are made.
        self.turn(batch, 2)
        self.seconds = []

    def turn(self, batch, calls):
        self.process.wake()
        seconds = [self.process.ask(batch)["seconds"] for _ in range(calls)]
        self.process.sleep()
        return seconds

    def end(self):
        self.process.end()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", type=pathlib.Path, help="the built program `sampling`")
    parser.add_argument("checkpoint", type=pathlib.Path)
    parser.add_argument("bundles", type=pathlib.Path, nargs="+")
    parser.add_argument("--batch", type=int, nargs="*", default=[1, 8])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--providers", nargs="*", default=["cpu"], help="those of glow-runtime, for every bundle")
    parser.add_argument("--rows", nargs="*", help="only rows whose names have one of these parts")
    parser.add_argument("--json", type=pathlib.Path, help="where the medians go too, for pictures.py")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        peer = [sys.executable, __file__, "--serve", folder, arguments.checkpoint, str(arguments.threads)]
        commands = {name: [*peer, *options] for name, options in PEERS.items()}
        for bundle in arguments.bundles:
            for provider in arguments.providers:
                command = [arguments.program.resolve(), bundle, provider, str(arguments.threads)]
                commands[f"glow, {bundle.name} on {provider}"] = command
        export(arguments.checkpoint, folder, max(arguments.batch))
        wanted = arguments.rows or [""]
        medians = {}
        rows = [Row(n, c) for n, c in commands.items() if n == BASE or any(part in n for part in wanted)]
        print(f"medians of {arguments.rounds} rounds; the ratio is to {BASE}")
        for batch in arguments.batch:
            for row in rows:
                row.start(batch)
            for _ in range(arguments.rounds):
                for row in rows:
                    # The first call of a turn finds other processes' data in the caches.
                    row.seconds += row.turn(batch, 4)[1:]
            base = statistics.median(next(row for row in rows if row.name == BASE).seconds)
            print(f"\nbatch {batch:2}                                   ms   lowest  highest   ratio")
            for row in rows:
                median, lowest, highest = statistics.median(row.seconds), min(row.seconds), max(row.seconds)
                figures = f"{median * 1e3:8.1f} {lowest * 1e3:8.1f} {highest * 1e3:8.1f} {median / base:7.2f}"
                print(f"{row.name:32} {figures}", flush=True)
                medians.setdefault(row.name, {})[batch] = median
                row.end()
        if arguments.json:
            arguments.json.write_text(json.dumps(medians, indent=1))


if __name__ == "__main__":
    if "--serve" in sys.argv:
        folder, checkpoint, threads, *options = sys.argv[sys.argv.index("--serve") + 1 :]
        serve(pathlib.Path(folder), checkpoint, int(threads), options)
    else:
        main()
