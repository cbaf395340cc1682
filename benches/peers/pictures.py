"""Draws docs/performance.png from what the other programs measured.

    python3 benches/peers/pictures.py sampling.json memory.json docs/performance.png

sampling.json is that of `sampling.py --json`; memory.json holds, by way to keep memory low, the bytes that a
step of training takes by depth: {"reversible": {"4": 1.0e8, ...}, ...}. Needs matplotlib.
"""

import json
import pathlib
import sys

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot

sampling, memory, picture = sys.argv[1:]
figure, (left, right) = pyplot.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
ticks = set()
for name, by_batch in json.loads(pathlib.Path(sampling).read_text()).items():
    batches = sorted(map(int, by_batch))
    ticks.update(batches)
    style = "-o" if name.startswith("glow") else "--"
    left.plot(batches, [1e3 * by_batch[str(batch)] for batch in batches], style, label=name, markersize=4)
left.set(xscale="log", yscale="log", xlabel="images a call", ylabel="ms a call", title="Sampling, cifar10")
left.set_xticks(sorted(ticks), sorted(ticks))
for name, by_depth in json.loads(pathlib.Path(memory).read_text()).items():
    depths = sorted(map(int, by_depth))
    right.plot(depths, [by_depth[str(depth)] / 1e6 for depth in depths], "-o", label=name, markersize=4)
right.set(xlabel="K, steps of flow a level", ylabel="MB of a step, parameters and optimiser apart")
right.set(title="Training, batch 16, w 128", ylim=0)
right.set_xticks(depths, depths)
for axes in (left, right):
    axes.legend(fontsize=7)
    axes.grid(alpha=0.3)
figure.savefig(picture, dpi=110)
