"""What a call costs, and how calls of several threads add up: call_cost.py BUNDLE

glow-runtime has a program of the same name in Rust that prints the same lines. On a bundle so small that the model takes
microseconds, their difference is what Python adds.
"""

import sys
import threading
import time
from collections.abc import Callable

import glow


def cost(call: Callable[[], object]) -> tuple[float, float]:
    """The median and the tenth part of the times of a call, in microseconds."""
    times = []
    for _ in range(3000):
        begin = time.perf_counter()
        call()
        times.append((time.perf_counter() - begin) * 1e6)
    times.sort()
    return times[len(times) // 2], times[len(times) // 10]


def draw(model: glow.Glow, end: float, counts: list[int]) -> None:
    images = 0
    while time.perf_counter() < end:
        images += len(model.sample(8))
    counts.append(images)


model = glow.Glow(sys.argv[1], threads=1, sessions=8)
images, latents = model.sample(1), model.sample_latents(1)
for name, call in {
    "sample(0)": lambda: model.sample(0),
    "sample(1)": lambda: model.sample(1),
    "encode(1)": lambda: model.encode(images),
    "decode(1)": lambda: model.decode(latents),
}.items():
    median, tenth = cost(call)
    print(f"{name}: median {median:.1f} us, a tenth below {tenth:.1f} us")
for count in (1, 2, 8):
    counts: list[int] = []
    end = time.perf_counter() + 2
    threads = [threading.Thread(target=draw, args=(model, end, counts)) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(f"{count} threads: {sum(counts) / 2:.0f} images/s")
