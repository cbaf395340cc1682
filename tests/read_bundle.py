"""Reads a bundle with the onnx package and ONNX Runtime's own Python, and compares with glow-runtime.

    python3 read_bundle.py BUNDLE FOLDER

Both must agree to rounding; of a bundle with 8-bit networks, where rounding may move a value by a whole
step, on average.

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
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    assert json.loads(metadata["architecture"]) == architecture
    assert json.loads(metadata["provenance"]) == manifest["provenance"]
    # Every value's shape is written down, and is what inference finds.
    written = {value.name: value for value in [*model.graph.value_info, *model.graph.output]}
    for name in (output for node in model.graph.node for output in node.output):
        assert written[name].type.tensor_type.HasField("shape"), name
    weights = [tensor for tensor in model.graph.initializer if tensor.name.endswith(".coupling.conv2.weight")]
    kinds = {"fp32": onnx.TensorProto.FLOAT, "fp16": onnx.TensorProto.FLOAT16, "int8": onnx.TensorProto.INT8}
    assert {tensor.data_type for tensor in weights} == {kinds[manifest["precision"]]}


def run(graph, inputs):
    options = onnxruntime.SessionOptions()
    session = onnxruntime.InferenceSession(str(bundle / graph), options, ["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, inputs)))


def assert_close(actual, expected, atol):
    error = np.abs(actual - expected)
    assert (error.mean() if manifest["precision"] == "int8" else error.max()) <= atol, error


image = read("image", np.uint8, shape)
noise = read("noise", "<f4", shape)
encoded = run("encoder.onnx", {"image": image, "noise": noise})
levels = len(manifest["latent_shapes"])
eps = {}
for level, latent in enumerate(manifest["latent_shapes"]):
    name = f"eps_{level}"
    eps[name] = read(name, "<f4", [-1, latent["channels"], latent["height"], latent["width"]])
    assert_close(encoded[name], eps[name], 1e-2 if manifest["precision"] == "fp16" else 1e-3)
log_prob = read("log_prob", "<f4", [-1])
assert_close(encoded["log_prob"] / log_prob, 1, 1e-5 if manifest["precision"] == "fp32" else 1e-3)
decoded = run("decoder.onnx", eps)
assert (decoded["image"] == read("decoded", np.uint8, shape)).mean() >= (
    1 if manifest["precision"] == "fp32" else 0.95
)
if manifest["precision"] == "fp32":
    assert (decoded["image"] == image).all(), "noise within one step must not change a pixel"
