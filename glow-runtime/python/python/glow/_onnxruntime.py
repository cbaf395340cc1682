"""Finds the ONNX Runtime library inside of pip's package, without importing that package."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

HINT = "pip install 'onnxruntime>=1.21' (or 'onnxruntime-gpu>=1.21'), or set ORT_DYLIB_PATH to a libonnxruntime.so"


def library_folder() -> Path | None:
    """The folder of the library in the package ``onnxruntime`` or ``onnxruntime-gpu``, which both install as
    ``onnxruntime``. None if ORT_DYLIB_PATH names one, or if neither package is there."""
    if os.environ.get("ORT_DYLIB_PATH"):
        return None
    try:
        spec = importlib.util.find_spec("onnxruntime")
    except (ImportError, ValueError):
        return None
    for folder in (spec.submodule_search_locations or []) if spec else []:
        capi = Path(folder) / "capi"
        if any(capi.glob("libonnxruntime.*")) or any(capi.glob("onnxruntime.dll")):
            return capi
    return None
