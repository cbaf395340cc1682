#!/usr/bin/env python3
"""Makes the bundle in this folder, and the figures of its card, from a checkpoint and CelebA:

    models/faces64/make.py CHECKPOINT CELEBA [METRICS]

CHECKPOINT is the run's best or latest checkpoint, METRICS its metrics.jsonl. CELEBA holds `images` and
list_attr_celeba.txt. The programs are those of target/release; PROGRAMS names another folder. The images of
held-out.txt took no part in training, and are what every figure is measured on.
"""
import csv
import json
import os
import pathlib
import re
import shutil
import struct
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
PROGRAMS = pathlib.Path(os.environ.get("PROGRAMS", HERE.parent.parent / "target/release")).resolve()
# The middle 76×76 of CelebA's 89×109 pixels, 3 rows below the centre; of 178×218 the same part.
CROP = "6.7%,17.4%,85.4%,69.7%"
LICENCE = "weights trained on CelebA: non-commercial research only"
ATTRIBUTES = (
    "Smiling Young Male Eyeglasses Blond_Hair Black_Hair Bangs Mustache Heavy_Makeup Gray_Hair".split()
)
# A direction through the coarsest level alone: see FitOptions::levels.
FIT = ["--method", "ridge", "--penalty", "2", "--levels", "1"]
FILES = "model.json model.safetensors encoder.onnx decoder.onnx attributes.safetensors".split()


def program(name, *arguments):
    """Runs a program of the project and gives what it printed."""
    command = [str(PROGRAMS / name), *map(str, arguments)]
    print("+", *command, file=sys.stderr)
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def remember_crop(checkpoint, copy):
    """Copies a checkpoint whose images were cut before training, with the crop noted in it."""
    with open(checkpoint, "rb") as source, open(copy, "wb") as target:
        header = json.loads(source.read(struct.unpack("<Q", source.read(8))[0]))
        meta = json.loads(header["__metadata__"]["glow"])
        meta["config"]["data"].update(data="celeba:celeba", crop=CROP)
        header["__metadata__"]["glow"] = json.dumps(meta)
        text = json.dumps(header).encode()
        text += b" " * (-len(text) % 64)
        target.write(struct.pack("<Q", len(text)) + text)
        shutil.copyfileobj(source, target)
    return meta


def links(images, names, folder):
    """A folder of links to some of the images."""
    folder.mkdir(parents=True)
    for name in names:
        (folder / name).symlink_to(images / name)
    return folder


def bits_per_dim(scores):
    """Mean bits/dim of a table of `glow score`."""
    rows = csv.DictReader(scores.splitlines(), delimiter="\t")
    values = [float(row["bits_per_dim"].lstrip("~")) for row in rows]
    return sum(values) / len(values)


def accuracies(coordinates, labels):
    """For each attribute the mean of the shares of images with and without it that are told rightly."""
    rows = list(csv.DictReader(coordinates.splitlines(), delimiter="\t"))
    found = {}
    for name in ATTRIBUTES:
        right = {True: [], False: []}
        for row in rows:
            label = labels[pathlib.Path(row["image"]).name][name]
            right[label].append((float(row[name]) > 0) == label)
        shares = [sum(part) / len(part) for part in right.values()]
        found[name] = (sum(shares) / 2, len(right[True]))
    return found


def read_labels(path):
    lines = path.read_text().splitlines()
    names = lines[1].split()
    rows = (line.split() for line in lines[2:])
    return {row[0]: {name: value == "1" for name, value in zip(names, row[1:])} for row in rows if row}


def history(metrics):
    """Bits/dim by step: the validations, and the training batches since the last of them."""
    rows, training = [], []
    for line in map(json.loads, pathlib.Path(metrics).read_text().splitlines()):
        if line.get("split") == "train" and line.get("bits_per_dim") is not None:
            training.append(line["bits_per_dim"])
        elif line.get("split") == "validation":
            mean = f"{sum(training) / len(training):.4f}" if training else ""
            rows.append([line["step"], line["images_seen"], f"{line['bits_per_dim']:.4f}", mean])
            training = []
    with open(HERE / "history.csv", "w", newline="") as out:
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(["step", "images_seen", "validation_bits_per_dim", "training_bits_per_dim"])
        writer.writerows(rows)


def pictures():
    """The pictures of the project's README."""
    photograph = HERE.parent.parent / "tests/photographs/astronaut.jpg"
    program("glow", "sample", HERE, "--count", 40, "--columns", 10, "--seed", 1, "--scale", 1,
            "--out", HERE / "samples.png")
    program("glow", "edit", HERE, photograph, "--face", "94,63,92,110", "--each", "--steps", 7, "--columns", 14,
            "--scale", 1, "--out", HERE / "edits.png")


def write_figures(text):
    """Puts the figures into the card, between the marks."""
    card = HERE / "README.md"
    begin, end = "<!-- figures of make.py -->\n", "<!-- end of figures -->\n"
    pattern = re.compile(re.escape(begin) + ".*" + re.escape(end), re.DOTALL)
    card.write_text(pattern.sub(lambda _: begin + text + end, card.read_text()))


def main(checkpoint, celeba, metrics=None):
    images = (pathlib.Path(celeba) / "images").resolve()
    names = sorted(entry.name for entry in images.iterdir())
    held_out = (HERE / "held-out.txt").read_text().split()
    labels = read_labels(images.parent / "list_attr_celeba.txt")
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        held = links(images, held_out, folder / "held-out")
        training = folder / "training"
        links(images, sorted(set(names) - set(held_out)), training / "images")
        shutil.copy(images.parent / "list_attr_celeba.txt", training)
        copy = folder / "faces64.safetensors"
        meta = remember_crop(checkpoint, copy)

        bits, sizes = {}, {}
        for precision in ["fp32", "fp16", "int8"]:
            bundle = folder / precision
            # What is shipped is proven; the others are only measured.
            proof = ["--calibrate", f"images:{training / 'images'}"] if precision == "int8" else ["--no-verify"]
            program("glow-export", copy, "--out", bundle, "--precision", precision, "--licence", LICENCE, *proof)
            bits[precision] = bits_per_dim(program("glow", "score", bundle, held))
            sizes[precision] = sum((bundle / name).stat().st_size for name in FILES[:4])
        each = [option for name in ATTRIBUTES for option in ("--attribute", name)]
        program("glow", "attributes", "fit", bundle, "--celeba", training, *each, *FIT)
        told = accuracies(program("glow", "attributes", "project", bundle, held), labels)
        reference = bundle / "reference.json"
        program("glow", "score", bundle, held, "--reference", held, "--save-reference", reference)
        for name in [*FILES, "reference.json"]:
            shutil.copy(bundle / name, HERE / name)
    if metrics:
        history(metrics)

    pictures()

    total = sum((HERE / name).stat().st_size for name in FILES)
    epochs = meta["images_seen"] / meta["train_images"]
    lines = [
        f"After {meta['step']:,} steps of {meta['config']['training']['batch_size']} images, {epochs:.0f} epochs of "
        f"{meta['train_images']:,} images. On the {len(held_out)} held-out images, one draw of the noise:\n",
        "| precision | bits/dim at 5 bits | size |",
        "| --- | --- | --- |",
        *(f"| {name}{' (this bundle)' if name == 'int8' else ''} | {bits[name]:.4f} | {sizes[name] / 1e6:.1f} MB |"
          for name in bits),
        f"\nWith the attributes the bundle has {total / 1e6:.2f} MB.\n",
        "| attribute | held-out accuracy, balanced | held-out images with it |",
        "| --- | --- | --- |",
        *(f"| {name} | {accuracy:.3f} | {count} |" for name, (accuracy, count) in told.items()),
    ]
    write_figures("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    if len(sys.argv) not in (3, 4):
        sys.exit(__doc__)
    main(*sys.argv[1:])
