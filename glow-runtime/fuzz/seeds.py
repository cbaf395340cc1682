"""Small files to begin from, in corpus/TARGET (needs numpy): python3 seeds.py"""
import io
import json
import struct
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
BUNDLES = HERE.parent.parent / "models/tests"


def seed(target, name, content):
    folder = HERE / "corpus" / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(content)


for graph in BUNDLES.glob("*bundle/*.onnx"):
    seed("graph", f"{graph.parent.name}-{graph.name}", graph.read_bytes())

manifest = json.loads((BUNDLES / "bundle/model.json").read_text())
dims = 8 * 8 * 3
for version, length in [("1", dims), ("2", 96)]:
    statistics = {"method": "mean-difference", "orthogonalised": False, "positives": 4, "negatives": 4}
    entry = {"name": "Dark", "offset": 0.25, "statistics": statistics | {"held_out_accuracy": None}}
    header = {
        "__metadata__": {
            "format": "glow-attributes",
            "version": version,
            "model_sha256": manifest["files"]["model.safetensors"]["sha256"],
            "attributes": json.dumps([entry]),
        },
        "Dark": {"dtype": "F32", "shape": [length], "data_offsets": [0, 4 * length]},
    }
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    direction = np.linspace(-1, 1, length, dtype="<f4").tobytes()
    seed("attributes", f"version-{version}", struct.pack("<Q", len(text)) + text + direction)

for dtype in ["<f4", "<f8"]:
    for order in "CF":
        out = io.BytesIO()
        np.save(out, np.asarray(np.arange(16).reshape(2, 8), dtype, order=order))
        seed("npy", f"{dtype[1:]}-{order}", out.getvalue())
