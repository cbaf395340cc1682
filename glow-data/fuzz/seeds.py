"""Small files to begin from, in corpus/TARGET (needs numpy and Pillow): python3 seeds.py"""
import io
import pickle
import struct
from pathlib import Path

import numpy as np
from PIL import Image

HERE = Path(__file__).parent


def seed(target, name, content):
    folder = HERE / "corpus" / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(content)


pixels = np.arange(5 * 4 * 3, dtype=np.uint8)
seed("idx", "images", struct.pack(">4I", 0x803, 5, 4, 3) + pixels.tobytes())
seed("idx", "labels", struct.pack(">2I", 0x801, 5) + bytes(range(5)))

for protocol in range(2, 6):
    batch = {"labels": [3, 300, -1, 2**20], "data": pixels.reshape(4, 15), "filenames": ["a", "b"]}
    seed("pickle", f"protocol-{protocol}", pickle.dumps(batch, protocol))

for file in (HERE.parent / "src/tests/lmdb").glob("*/data.mdb"):
    if file.stat().st_size < 50_000:
        seed("lmdb", file.parent.name, file.read_bytes())

for name, save in [("stored", np.savez), ("compressed", np.savez_compressed)]:
    for dtype in ["u1", "<i2", "<i4", "<i8"]:
        out = io.BytesIO()
        save(out, data=pixels.reshape(5, 12), labels=np.arange(5).astype(dtype))
        seed("npz", f"{name}-{dtype[-2:]}", out.getvalue())
        out = io.BytesIO()
        np.save(out, np.arange(5).astype(dtype))
        seed("npz", f"array-{dtype[-2:]}", out.getvalue())
out = io.BytesIO()
np.save(out, pixels.reshape(5, 12))
seed("npz", "array", out.getvalue())


def field(number, content):
    return bytes([number << 3 | 2, len(content)]) + content


def feature(name, content):
    return field(1, field(1, name) + field(2, content))


example = field(
    1,
    feature(b"data", field(1, field(1, pixels.tobytes())))
    + feature(b"shape", field(3, field(1, bytes([5, 4, 3]))))
    + feature(b"label", field(3, field(1, bytes([2])))),
)
seed("tfrecord", "example", example)

image = Image.fromarray(np.random.default_rng(1).integers(0, 256, (20, 17, 3), dtype=np.uint8))
for name, one, options in [
    ("rgb", image, {}),
    ("whole-chroma", image, {"subsampling": 0}),
    ("gray", image.convert("L"), {}),
    ("progressive", image, {"progressive": True}),
    ("restart", image, {"restart_marker_blocks": 1}),
    ("exif", image, {"exif": b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"}),
]:
    out = io.BytesIO()
    one.save(out, "JPEG", **options)
    whole = out.getvalue()
    seed("jpeg", name, whole + b"\x80")
    seed("jpeg", f"{name}-unended", whole[:-2] + b"\x80")
    seed("jpeg", f"{name}-cut", whole[: len(whole) // 2] + b"\xff")
