"""Reads a bundle with the onnx package and ONNX Runtime's own Python, and compares with glow-runtime.

    python3 read_bundle.py BUNDLE FOLDER

FOLDER holds raw little-endian arrays: image, noise, log_prob, eps_0 ..., decoded.
"""

import json
import pathlib
import sys

import numpy as np
import onnx
import onnxruntime

bundle, folder = map(pathlib.Path, sys.argv[1:])
manifest = json.loads((bundle / "model.json").read_text())
architecture = manifest["architecture"]
shape = [-1, architecture["height"], architecture["width"], architecture["channels"]]


def read(name, dtype, shape):
    return np.frombuffer((folder / name).read_bytes(), dtype).reshape(shape)


for graph in ("encoder.onnx", "decoder.onnx"):
    path = str(bundle / graph)
    onnx.checker.check_model(path, full_check=True)
    model = onnx.load(path)
    onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
    operators = {node.op_type for node in model.graph.node}
    forbidden = operators & {"If", "Loop", "Scan", "RandomNormal", "RandomUniform", "Shape"}
    assert not forbidden, forbidden
    assert {node.domain for node in model.graph.node} <= {"", "ai.onnx"}


def run(graph, inputs):
    options = onnxruntime.SessionOptions()
    session = onnxruntime.InferenceSession(str(bundle / graph), options, ["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, inputs)))


image = read("image", np.uint8, shape)
noise = read("noise", "<f4", shape)
encoded = run("encoder.onnx", {"image": image, "noise": noise})
levels = len(manifest["latent_shapes"])
eps = {}
for level, latent in enumerate(manifest["latent_shapes"]):
    name = f"eps_{level}"
    eps[name] = read(name, "<f4", [-1, latent["channels"], latent["height"], latent["width"]])
    np.testing.assert_allclose(encoded[name], eps[name], atol=1e-3)
np.testing.assert_allclose(encoded["log_prob"], read("log_prob", "<f4", [-1]), rtol=1e-5)
decoded = run("decoder.onnx", eps)
assert (decoded["image"] == read("decoded", np.uint8, shape)).all()
assert (decoded["image"] == image).all(), "noise within one step must not change a pixel"
