"""Scores of a reference set, with which those of other images are compared."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple, NoReturn

import numpy as np
import numpy.typing as npt

from . import _glow
from ._inputs import F64

if TYPE_CHECKING:
    from ._model import Glow


class OodScores(NamedTuple):
    """What a reference set says of N images; each array is float64 [N]."""

    typicality: F64
    """abs(score - mean) / standard deviation of the reference set."""
    p_value: F64
    """How probable a distance from the mean at least as large is in the reference set. Small for images of another
    kind, whether too likely or not likely enough."""
    p_value_high: F64
    """How probable a score at least as high is: small only for images that are not likely enough."""


class ReferenceScores:
    """Scores of images that are of the kind that a model was trained on, but were not in the training set.

    A likelihood alone does not tell whether an image is of the kind: such models often find images of another data set
    *more* likely than those of their own, smooth ones above all. Hence ``typicality``, which is two-sided, and the kind
    "complexity-corrected" (``Glow.complexity_corrected``). Neither is sure for single images: measure on images of both
    kinds before relying on one.

    >>> reference = ReferenceScores(model, model.bits_per_dim(known, draws=4))  # doctest: +SKIP
    >>> reference.compare(model.bits_per_dim(images, draws=4)).p_value  # doctest: +SKIP
    """

    def __init__(self, model: Glow, scores: npt.ArrayLike, *, kind: str = "bits-per-dim") -> None:
        """``scores`` are two or more numbers that differ, of ``Glow.bits_per_dim`` or, for the kind
        "complexity-corrected", of ``Glow.complexity_corrected``."""
        self._native = _glow.Reference(model._native, np.ravel(np.asarray(scores, np.float64)).tolist(), kind)

    @classmethod
    def load(cls, path: str | os.PathLike[str], model: Glow) -> ReferenceScores:
        """Reads a file that ``save`` or ``glow score --save-reference`` wrote for this model."""
        reference = cls.__new__(cls)
        reference._native = _glow.Reference.load(os.fspath(path), model._native)
        return reference

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes a JSON file; it is there whole or not at all."""
        self._native.save(os.fspath(path))

    def compare(self, scores: npt.ArrayLike) -> OodScores:
        """Compares scores [N] of the same kind, with as many draws."""
        return OodScores(*self._native.compare(np.atleast_1d(np.asarray(scores, np.float64)).ravel()))

    @property
    def kind(self) -> str:
        """bits-per-dim or complexity-corrected."""
        return self._native.kind()

    @property
    def scores(self) -> F64:
        """The scores, from the lowest to the highest, float64 [n]."""
        return self._native.scores()

    @property
    def mean(self) -> float:
        """Their mean."""
        return self._native.mean()

    @property
    def standard_deviation(self) -> float:
        """Their standard deviation."""
        return self._native.standard_deviation()

    def __repr__(self) -> str:
        return f"ReferenceScores({self.kind}, {len(self.scores)} of mean {self.mean:.4g})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("cannot pickle ReferenceScores: save them into a file, and load that")
