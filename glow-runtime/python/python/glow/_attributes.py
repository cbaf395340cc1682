"""Named directions in latent space."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import NamedTuple, NoReturn

import numpy as np
import numpy.typing as npt

from . import _glow, _inputs
from ._errors import ArgumentError
from ._inputs import F32, F64, LatentsLike


class FitStatistics(NamedTuple):
    """How an attribute was fitted, and how well."""

    method: str
    """mean-difference, ridge or logistic."""
    penalty: float | None
    """Of ridge and logistic."""
    orthogonalised: bool
    """Whether it was made orthogonal to those fitted before."""
    positives: int
    """Images with the attribute."""
    negatives: int
    """Images without it."""
    held_out_accuracy: float | None
    """Share of right signs on images that were held out, the mean of both kinds; 0.5 is chance. None with fewer than
    five images of a kind."""


class Attributes:
    """The attributes of a model, such as Smiling: each a direction w in the space of flat latents.

    ``Glow.attributes`` gives those of the bundle. Let m+ and m- be the mean latents of images with and without the
    attribute. As <w, m+ - m-> = |w|^2, strength 1 goes as far along w as one mean is from the other.

    Threads may share one.
    """

    def __init__(self, native: _glow.Attributes, dims: int) -> None:
        self._native = native
        self._dims = dims

    @property
    def names(self) -> list[str]:
        """The names, in the order in which they were fitted."""
        return self._native.names()

    def __len__(self) -> int:
        return len(self.names)

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __contains__(self, name: object) -> bool:
        return name in self.names

    def __repr__(self) -> str:
        return f"Attributes({', '.join(self.names)})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("cannot pickle Attributes: save them into the bundle, and load that")

    def direction(self, name: str) -> F32:
        """The direction w, float32 [H*W*C]."""
        return self._native.direction(name)

    def statistics(self, name: str) -> FitStatistics:
        """How it was fitted, and how well."""
        return FitStatistics(*self._native.statistics(name))

    def apply(self, latents: LatentsLike, strengths: Mapping[str, float]) -> F32:
        """Moves latents [N, H*W*C] along several directions at once: z + sum of strength * w, float32 [N, H*W*C].

        >>> moved = attributes.apply(latents, {"Smiling": 1.0, "Young": -0.5})  # doctest: +SKIP
        """
        return self._native.apply(_inputs.latents(self._dims, latents), _inputs.strengths(strengths))

    def project(self, latents: LatentsLike) -> F64:
        """Coordinates of latents [N, H*W*C], float64 [N, K] for K attributes: <z - (m+ + m-)/2, w> / |w|^2. They are
        +0.5 for m+ and -0.5 for m-."""
        return self._native.project(_inputs.latents(self._dims, latents))

    def fit(
        self,
        name: str,
        latents: LatentsLike,
        labels: npt.ArrayLike,
        *,
        method: str = "mean-difference",
        penalty: float | None = None,
        orthogonalise: bool = False,
    ) -> FitStatistics:
        """Fits an attribute to latents [N, H*W*C] of ``Glow.encode`` and whether each image has it, bool [N], and adds
        it, in the place of one of the same name.

        ``method`` is "mean-difference" (the paper's), "ridge" or "logistic"; the latter two have a ``penalty`` in units
        of the latents' mean variance (default 1 and 0.25). ``orthogonalise`` makes the direction orthogonal to the
        others.
        """
        flags = np.ascontiguousarray(labels, np.bool_)
        if flags.ndim != 1:
            raise ArgumentError(f"labels has shape {list(flags.shape)}, expected [N]")
        self._native.fit(name, _inputs.latents(self._dims, latents), flags, method, penalty, orthogonalise)
        return self.statistics(name)

    def remove(self, name: str) -> None:
        """Takes an attribute out."""
        self._native.remove(name)

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Writes them into the folder of the bundle that they belong to."""
        self._native.save(os.fspath(folder))
