"""Glow: sample, encode, edit and score images with a frozen reversible generative model.

>>> import glow
>>> model = glow.Glow("photos.glow")  # doctest: +SKIP
>>> images = model.sample(16, seed=1)  # doctest: +SKIP
"""

from ._attributes import Attributes, FitStatistics
from ._errors import (
    ArgumentError,
    BundleError,
    CancelledError,
    DeadlineError,
    DeviceError,
    FileError,
    GlowError,
    LibraryError,
    NonFiniteError,
    OutOfMemoryError,
    OverloadedError,
    ProviderError,
    RunError,
    StoppedError,
)
from ._glow import __version__
from ._model import Decoded, Encoded, Glow, OnnxRuntime, Scores
from ._pictures import grid, list_images, to_pil
from ._reference import OodScores, ReferenceScores

__all__ = [
    "ArgumentError",
    "Attributes",
    "BundleError",
    "CancelledError",
    "DeadlineError",
    "Decoded",
    "DeviceError",
    "Encoded",
    "FileError",
    "FitStatistics",
    "Glow",
    "GlowError",
    "LibraryError",
    "NonFiniteError",
    "OnnxRuntime",
    "OodScores",
    "OutOfMemoryError",
    "OverloadedError",
    "ProviderError",
    "ReferenceScores",
    "RunError",
    "Scores",
    "StoppedError",
    "__version__",
    "grid",
    "list_images",
    "to_pil",
]
