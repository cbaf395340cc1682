"""Threads, processes, and the ONNX Runtime that is used."""

import copy
import importlib.util
import multiprocessing
import os
import pickle
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import glow


def run(code, *words, **environment):
    """A program in a new interpreter; its output."""
    result = subprocess.run(
        [sys.executable, "-c", code, *map(str, words)],
        capture_output=True, text=True, timeout=60, env={**os.environ, **environment},
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


def test_threads_share_a_model(model):
    expected = model.sample(8, seed=1)
    with ThreadPoolExecutor(8) as threads:
        drawn = threads.map(lambda i: model.sample(1, seed=1, first=i % 8), range(64))
        for i, image in enumerate(drawn):
            assert (image == expected[i % 8 : i % 8 + 1]).all()


def test_the_lock_is_released_while_it_works(model):
    """A thread that only counts goes on while another is in one long call."""
    begun, done, count = threading.Event(), threading.Event(), 0

    def work():
        begun.set()
        model.sample(4000)
        done.set()

    thread = threading.Thread(target=work)
    thread.start()
    begun.wait()
    while not done.is_set():
        count += 1
        time.sleep(0.001)
    thread.join()
    assert count > 5


def test_a_handle_is_not_pickled(model):
    for one in (model, model.attributes(), glow.ReferenceScores(model, [1, 2])):
        for refuse in (pickle.dumps, copy.copy, copy.deepcopy):
            with pytest.raises(TypeError, match="cannot pickle"):
                refuse(one)
    # The results can be.
    encoded = pickle.loads(pickle.dumps(model.encode(model.sample(2))))
    assert encoded.latents.shape == (2, 192)


def in_the_child(model, folder, queue):
    results = []
    for call in (model.sample, lambda: glow.Glow(folder)):
        try:
            call()
            results.append("done")
        except glow.RunError as error:
            results.append(str(error))
    queue.put(results)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_fork_is_told_what_to_do(model):
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=in_the_child, args=(model, model.folder, queue))
    child.start()
    results = queue.get(timeout=30)
    child.join(30)
    assert child.exitcode == 0
    assert len(results) == 2 and all("forked" in result and "spawn" in result for result in results)
    # The parent goes on.
    assert model.sample().shape == (1, 8, 8, 3)


def test_a_fork_can_drop_what_it_inherited(bundle):
    code = """
import os, sys, glow
model = glow.Glow(sys.argv[1])
child = os.fork()
if child == 0:
    del model
    os._exit(7)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    assert run(code, bundle) == "7"


def drawn(folder):
    return glow.Glow(folder, threads=1).sample(2, seed=1)


def test_a_spawned_process_loads_its_own(model):
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert (pool.apply(drawn, (model.folder,)) == model.sample(2, seed=1)).all()


PRINTS_THE_LIBRARY = "import sys, glow; print(glow.Glow(sys.argv[1]).onnxruntime.path)"


def test_it_opens_the_library_of_pips_package(bundle):
    spec = importlib.util.find_spec("onnxruntime")
    assert spec is not None, "the tests' environment has onnxruntime"
    folder = Path(spec.submodule_search_locations[0]) / "capi"
    path = run(PRINTS_THE_LIBRARY, bundle, ORT_DYLIB_PATH="")
    assert Path(path).parent == folder
    assert run("import sys, glow; glow.Glow(sys.argv[1]); print('onnxruntime' in sys.modules)", bundle) == "False"
    # Another one that is named comes first, and a second model takes what is there.
    code = """
import sys, glow
first = glow.Glow(sys.argv[1], onnxruntime=sys.argv[2])
print(glow.Glow(sys.argv[1]).onnxruntime == first.onnxruntime)
"""
    assert run(code, bundle, path) == "True"
    with pytest.raises(AssertionError, match="LibraryError.*absent"):
        run(PRINTS_THE_LIBRARY, bundle, ORT_DYLIB_PATH="/absent/libonnxruntime.so")


def test_without_the_package_it_says_what_to_install(bundle):
    code = """
import importlib.util, sys, glow
found = importlib.util.find_spec
importlib.util.find_spec = lambda name, package=None: None if name == "onnxruntime" else found(name, package)
try:
    print(glow.Glow(sys.argv[1]).onnxruntime.path)
except glow.LibraryError as error:
    print("pip install" in str(error))
"""
    said = run(code, bundle, ORT_DYLIB_PATH="")
    # The loader may know one of the system's.
    assert said == "True" or "onnxruntime" in said


def test_pips_onnxruntime_works_beside_it(bundle):
    pytest.importorskip("onnxruntime")
    code = """
import sys, numpy, onnxruntime, glow
model = glow.Glow(sys.argv[1])
session = onnxruntime.InferenceSession(sys.argv[1] + "/decoder.onnx", providers=["CPUExecutionProvider"])
latents = model.sample_latents(3, seed=1)
feed = {f"eps_{i}": numpy.ascontiguousarray(level) for i, level in enumerate(model.levels(latents))}
print((session.run(["image"], feed)[0] == model.decode(latents)).all())
"""
    assert run(code, bundle) == "True"
