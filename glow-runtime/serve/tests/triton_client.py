"""Triton's own client against glow serve: triton_client.py HOST:PORT

The bundles are `faces`, unconditional, and `classes`, of three classes, of 8x8 RGB images with two levels.
"""

import sys

import numpy as np
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

client = triton.InferenceServerClient(sys.argv[1])
assert client.is_server_live() and client.is_server_ready()
assert client.is_model_ready("faces_encoder") and client.is_model_ready("faces_encoder", "1")
assert not client.is_model_ready("owls_encoder")
assert client.get_server_metadata()["name"] == "glow-serve"
metadata = client.get_model_metadata("faces_decoder")
assert [tensor["name"] for tensor in metadata["inputs"]] == ["eps_0", "eps_1"]
assert client.get_model_config("faces_decoder")["max_batch_size"] > 0
assert {model["name"] for model in client.get_model_repository_index()} == {
    "faces_encoder", "faces_decoder", "classes_encoder", "classes_decoder"}


def tensor(name, values, binary):
    datatype = {"uint8": "UINT8", "float32": "FP32", "int64": "INT64"}[str(values.dtype)]
    given = triton.InferInput(name, values.shape, datatype)
    given.set_data_from_numpy(values, binary_data=binary)
    return given


random = np.random.default_rng(1)
images = random.integers(0, 256, (3, 8, 8, 3), dtype=np.uint8)
for model, label in [("faces", None), ("classes", np.array([0, 1, 2]))]:
    labels = lambda binary: [] if label is None else [tensor("label", label, binary)]
    latents = {}
    for binary in (True, False):
        outputs = [triton.InferRequestedOutput(name, binary_data=binary) for name in ("eps_0", "eps_1", "log_prob")]
        noise = np.full(images.shape, 0.5, np.float32)
        for optional in ([], [tensor("noise", noise, binary)]):
            inputs = [tensor("image", images, binary)] + optional + labels(binary)
            result = client.infer(f"{model}_encoder", inputs, outputs=outputs, request_id="7")
            assert result.get_response()["id"] == "7"
            values = [result.as_numpy(name) for name in ("eps_0", "eps_1", "log_prob")]
            assert values[0].shape == (3, 6, 4, 4) and values[2].shape == (3,)
            for name, value in zip(("eps_0", "eps_1", "log_prob"), values):
                assert value.dtype == np.float32
                assert np.array_equal(latents.setdefault(name, value), value), (model, binary, name)
        given = [tensor(name, latents[name], binary) for name in ("eps_0", "eps_1")] + labels(binary)
        # All outputs, without naming any.
        result = client.infer(f"{model}_decoder", given)
        assert np.array_equal(result.as_numpy("image"), images), model
        assert result.as_numpy("x").shape == (3, 8, 8, 3)

# Several requests at once.
pending = [client.async_infer("faces_encoder", [tensor("image", images[i : i + 1], True)]) for i in range(3)]
batched = client.infer("faces_encoder", [tensor("image", images, True)]).as_numpy("log_prob")
assert np.array_equal(np.concatenate([one.get_result().as_numpy("log_prob") for one in pending]), batched)

for model, inputs in [
    ("owls_encoder", [tensor("image", images, True)]),
    ("faces_encoder", [tensor("image", images[:, :4], True)]),
    ("faces_encoder", [tensor("noise", np.zeros((1, 8, 8, 3), np.float32), True)]),
    ("faces_encoder", [tensor("image", images, True), tensor("noise", np.ones(images.shape, np.float32), True)]),
]:
    try:
        client.infer(model, inputs)
        raise SystemExit(f"{model} took what it should not")
    except InferenceServerException as error:
        assert error.message(), error

client.load_model("faces_encoder")
client.close()
print("all of it works")
