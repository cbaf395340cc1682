"""The loaded model."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, NoReturn

import numpy as np
import numpy.typing as npt

from . import _glow, _inputs, _onnxruntime
from ._attributes import Attributes
from ._errors import ArgumentError, LibraryError
from ._inputs import F32, F64, U8, Images, Labels, LatentsLike


class Encoded(NamedTuple):
    """What ``Glow.encode`` gives for N images."""

    latents: F32
    """float32 [N, H*W*C]; under the model standard normal."""
    log_prob: F32
    """ln p(image) in nats, float32 [N], for this one draw of the noise."""


class Decoded(NamedTuple):
    """What ``Glow.decode_with_x`` gives for N latents."""

    images: U8
    """uint8 [N, H, W, C]."""
    x: F32
    """The flow's own output, float32 [N, H, W, C]: v / 2**n_bits - 0.5, where v is the dequantized value."""


class Scores(NamedTuple):
    """What ``Glow.score`` gives for N images."""

    log_prob: F64
    """ln p(image) in nats, the mean over the draws, float64 [N]."""
    standard_error: F64
    """Standard error of ``log_prob``, float64 [N]; NaN for a single draw."""
    bits_per_dim: F64
    """-log_prob / (ln 2 * H*W*C), float64 [N]."""
    reliable: npt.NDArray[np.bool_]
    """Whether the bundle's number format can be relied upon for such an image, bool [N]; always in fp32 and fp16."""


class OnnxRuntime(NamedTuple):
    """The ONNX Runtime that this process uses."""

    path: str
    version: str


class Glow:
    """A frozen Glow: samples, encodes, decodes, edits and scores images.

    >>> import glow
    >>> model = glow.Glow("photos.glow")  # or glow.Glow(), a model of faces  # doctest: +SKIP
    >>> images = model.sample(16, seed=1)  # doctest: +SKIP

    Images are uint8 [N, H, W, C]. Where a method takes images, it takes such an array in the model's size without a copy,
    one image [H, W, C], anything with ``__array__`` (a ``torch.Tensor`` on the CPU), paths and PIL images, which are
    brought to the model's size as in its training, and lists of these. Latents are float32 [N, H*W*C]: the whole of what
    the flow makes of an image, so that numpy's arithmetic applies; ``levels`` gives views by level.

    Threads may share a model: the interpreter's lock is released while it works, and calls wait for a session in the order
    in which they come (``sessions`` run at once). Arrays that are given must not be changed meanwhile. A model cannot be
    pickled, and does not survive a fork: load it where it is used.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        threads: int | None = None,
        providers: str | Sequence[str] | None = None,
        sessions: int | None = None,
        max_batch: int | None = None,
        memory_budget: int | None = None,
        warm_up: Iterable[int] = (),
        cache: str | os.PathLike[str] | None = None,
        only: str | None = None,
        verify: bool = True,
        check: bool = True,
        onnxruntime: str | os.PathLike[str] | None = None,
    ) -> None:
        """Loads the bundle in a folder.

        path: the folder that ``glow-export`` wrote. Default: faces64, a small model of faces at 64x64 pixels with ten
            attributes that comes with the package. It was trained on CelebA, and is for non-commercial research only.
        threads: threads that work on one call. Default: the physical cores, over the sessions.
        providers: what executes the model, in order of preference: "auto", "cpu", "cuda:1", "tensorrt:0/fp16",
            "openvino:CPU/bf16". One that cannot be used is an error. Default: "cpu".
        sessions: calls that run at the same time, each with threads and memory of its own. Default 1.
        max_batch: the most images that run at once; more go through in chunks, to the same result.
        memory_budget: bytes that the activations may take. Default 512 MiB.
        warm_up: batch sizes that are run once while loading.
        cache: a folder that keeps what is made of the bundle for this machine, so that it loads faster.
        only: "encoder" or "decoder", to load one of the two alone.
        verify: whether sizes and SHA-256 of the files are compared with the manifest.
        check: whether an image is encoded and decoded once, to see that the provider computes accurately; only with both
            graphs, and with a cache only the first time.
        onnxruntime: the library, 1.21 or newer, or its folder. Default: ``ORT_DYLIB_PATH``, else that of the installed
            package ``onnxruntime`` or ``onnxruntime-gpu``, else the system's. A process uses one, the first.

        Raises LibraryError, BundleError, ProviderError, ArgumentError, RunError.
        """
        names = [providers] if isinstance(providers, str) else providers

        def number(name: str, given: int | None) -> int | None:
            return None if given is None else _inputs.integer(name, given)

        found = None if onnxruntime is not None else _onnxruntime.library_folder()
        try:
            self._native = _glow.Model(
                None if path is None else os.fspath(path),
                providers=None if names is None else [str(name) for name in names],
                threads=number("threads", threads),
                sessions=number("sessions", sessions),
                max_batch=number("max_batch", max_batch),
                memory_budget=number("memory_budget", memory_budget),
                warm_up=[_inputs.integer("warm_up", size) for size in warm_up],
                cache=None if cache is None else os.fspath(cache),
                only=only,
                verify=bool(verify),
                check=bool(check),
                onnxruntime=None if onnxruntime is None else os.fspath(onnxruntime),
                found=found,
            )
        except LibraryError as error:
            raise LibraryError(f"{error}\nin Python: {_onnxruntime.HINT}") from None
        self._manifest: dict[str, Any] = json.loads(self._native.manifest())
        self._dims = int(np.prod(self._native.shape()))

    # What it is.

    @property
    def shape(self) -> tuple[int, int, int]:
        """Rows, columns and channels of an image: (H, W, C)."""
        return self._native.shape()

    @property
    def dims(self) -> int:
        """H*W*C: the numbers of a latent."""
        return self._dims

    @property
    def latent_shapes(self) -> list[tuple[int, int, int]]:
        """Shape (c, h, w) of each level of the latents, the finest first."""
        return [(s["channels"], s["height"], s["width"]) for s in self._manifest["latent_shapes"]]

    @property
    def manifest(self) -> dict[str, Any]:
        """The content of the bundle's ``model.json``: architecture, precision, provenance."""
        return json.loads(self._native.manifest())  # type: ignore[no-any-return]

    @property
    def classes(self) -> int:
        """Classes of a conditional model, which needs a label for each image; 0 of an unconditional one."""
        return int(self._manifest["architecture"].get("classes", 0))

    @property
    def class_names(self) -> list[str]:
        """The names of the classes, in the order of their labels; empty if the bundle names none."""
        return list(self._manifest.get("class_names", []))

    @property
    def folder(self) -> str | None:
        """The bundle's folder; None for the model that comes with the package."""
        folder = self._native.folder()
        return None if folder is None else os.fspath(folder)

    @property
    def providers(self) -> list[str]:
        """The execution providers in use, in order of preference; for "auto", those that it chose."""
        return self._native.providers()

    @property
    def passed_over(self) -> list[tuple[str, str]]:
        """The providers that "auto" tried without success, each with the reason."""
        return self._native.passed_over()

    @property
    def onnxruntime(self) -> OnnxRuntime:
        """The ONNX Runtime in use: path and version."""
        path, version = self._native.onnxruntime()
        return OnnxRuntime(os.fspath(path), version)

    @property
    def max_batch(self) -> int:
        """The most images that run at once; a multiple of it is a good size of a call."""
        return self._native.max_batch()

    def health(self) -> None:
        """Raises DeviceError once a device is lost."""
        self._native.health()

    # Samples.

    def sample(
        self,
        n: int = 1,
        *,
        temperature: float = 0.7,
        truncation: float | None = None,
        seed: int = 0,
        first: int = 0,
        labels: Labels = None,
    ) -> U8:
        """Draws ``n`` images, uint8 [n, H, W, C].

        temperature: scale of the noise; 1 draws from the model, less gives more typical images, 0 the most typical one.
        truncation: values of the normal distribution farther from 0 are drawn again; at least 0.01.
        seed, first: sample number ``first`` + i of a seed is the same image in every call, in every language.
        labels: the class of each sample, by number or name, or one for all; for conditional models.
        """
        n = _inputs.integer("n", n)
        seed, first = _inputs.integer("seed", seed), _inputs.integer("first", first)
        return self._native.sample(n, temperature, truncation, seed, first, self._labels(labels, n))

    def sample_latents(
        self,
        n: int = 1,
        *,
        temperature: float = 0.7,
        truncation: float | None = None,
        seed: int = 0,
        first: int = 0,
    ) -> F32:
        """Draws the latents of ``n`` samples, float32 [n, H*W*C]: those that ``sample`` decodes."""
        n = _inputs.integer("n", n)
        seed, first = _inputs.integer("seed", seed), _inputs.integer("first", first)
        return self._native.sample_latents(n, temperature, truncation, seed, first)

    # There and back.

    def encode(self, images: Images, *, seed: int | None = None, first: int = 0, labels: Labels = None) -> Encoded:
        """Encodes images into latents, float32 [N, H*W*C], and ln p in nats, float32 [N].

        seed: draws the dequantization noise uniformly, as likelihoods need it. Default: its middle, which gives the same
            latents each time, and the safest ones to decode.
        first: number of the first image in the stream of noise, for data that comes in several calls.
        """
        array = _inputs.images(self._native, images)
        seed = None if seed is None else _inputs.integer("seed", seed)
        first = _inputs.integer("first", first)
        return Encoded(*self._native.encode(array, seed, first, self._labels(labels, len(array))))

    def decode(self, latents: LatentsLike, *, labels: Labels = None) -> U8:
        """Decodes latents [N, H*W*C] into images, uint8 [N, H, W, C]."""
        return self.decode_with_x(latents, labels=labels).images

    def decode_with_x(self, latents: LatentsLike, *, labels: Labels = None) -> Decoded:
        """Decodes latents [N, H*W*C] into images, uint8 [N, H, W, C], and the flow's own x, float32 [N, H, W, C]."""
        flat = _inputs.latents(self._dims, latents)
        return Decoded(*self._native.decode(flat, self._labels(labels, len(flat))))

    def reconstruct(self, images: Images, *, labels: Labels = None) -> U8:
        """Encodes and decodes images: what comes back, uint8 [N, H, W, C], is ``quantize`` of them, but for rare rounding
        errors."""
        array = _inputs.images(self._native, images)
        return self._native.reconstruct(array, self._labels(labels, len(array)))

    def quantize(self, images: Images) -> U8:
        """The images as the model sees them, uint8 [N, H, W, C]: only the upper n_bits of every value."""
        return self._native.quantize(_inputs.images(self._native, images))

    def prepare(self, images: Images) -> U8:
        """Images of any larger size, uint8 [N, H, W, C] at the model's: cropped, laid over the background where they are
        transparent, and averaged down by area, as in the model's training. Arrays are [h, w], [h, w, C] or [N, h, w, C]
        with 1 to 4 channels."""
        return _inputs.prepare(self._native, images)

    def interpolate(
        self, a: Any, b: Any, steps: int = 8, *, spherical: bool = False, labels: Labels = None
    ) -> U8:
        """``steps`` images from a to b for each of N pairs, both ends included: uint8 [N * steps, H, W, C], those of the
        first pair, then those of the second. a and b are latents [N, H*W*C] or images, which are encoded first.

        spherical: along the great circle, which keeps the norm, instead of the straight line.
        labels: one for each pair.
        """
        first, second = (self._latents(one, labels, name) for one, name in ((a, "a"), (b, "b")))
        pairs = max(len(first), len(second))
        steps = _inputs.integer("steps", steps)
        return self._native.interpolate(first, second, steps, spherical, self._labels(labels, pairs))

    def levels(self, latents: LatentsLike) -> list[F32]:
        """Latents [N, H*W*C] by level, the finest first: float32 [N, c, h, w] each. They are views of the same memory."""
        flat, begin, views = _inputs.latents(self._dims, latents), 0, []
        for c, h, w in self.latent_shapes:
            views.append(flat[:, begin : begin + c * h * w].reshape(len(flat), c, h, w))
            begin += c * h * w
        return views

    def flat(self, levels: Sequence[npt.ArrayLike]) -> F32:
        """The inverse of ``levels``: float32 [N, H*W*C]."""
        shapes = self.latent_shapes
        arrays = [np.asarray(level, np.float32) for level in levels]
        if [array.shape[1:] for array in arrays] != shapes:
            raise ArgumentError(f"levels have shapes {[list(a.shape) for a in arrays]}, expected [N, *s] for s in {shapes}")
        return np.concatenate([array.reshape(len(array), -1) for array in arrays], axis=1)

    # Likelihoods.

    def score(
        self, images: Images, *, draws: int = 1, seed: int = 0, first: int = 0, labels: Labels = None
    ) -> Scores:
        """Likelihoods of N images, over ``draws`` draws of the dequantization noise: ln p in nats, its standard error,
        bits/dim, and whether they are reliable."""
        return Scores(*self._native.score(*self._scoring(images, draws, seed, first, labels)))

    def bits_per_dim(
        self, images: Images, *, draws: int = 1, seed: int = 0, first: int = 0, labels: Labels = None
    ) -> F64:
        """bits/dim of N images, float64 [N]. Comparable only between models of the same n_bits."""
        return self.score(images, draws=draws, seed=seed, first=first, labels=labels).bits_per_dim

    def log_prob(
        self, images: Images, *, draws: int = 1, seed: int = 0, first: int = 0, labels: Labels = None
    ) -> F64:
        """ln p(image) of N images in nats, float64 [N]."""
        return self.score(images, draws=draws, seed=seed, first=first, labels=labels).log_prob

    def complexity_corrected(
        self, images: Images, *, draws: int = 1, seed: int = 0, first: int = 0, labels: Labels = None
    ) -> F64:
        """bits/dim by the model less bits/dim as PNG, float64 [N] (Serra et al. 2020): takes the simplicity of an image
        out of its likelihood. For ``ReferenceScores`` of that kind."""
        return self._native.complexity_corrected(*self._scoring(images, draws, seed, first, labels))

    # Attributes.

    def attributes(self) -> Attributes:
        """The attributes of the bundle, which may be none."""
        return Attributes(self._native.attributes(), self._dims)

    def new_attributes(self) -> Attributes:
        """No attributes yet, to fit some."""
        return Attributes(self._native.no_attributes(), self._dims)

    def edit(
        self,
        images: Images,
        strengths: Mapping[str, float],
        *,
        attributes: Attributes | None = None,
        labels: Labels = None,
    ) -> U8:
        """Changes attributes of images, such as ``{"Smiling": 1}``: uint8 [N, H, W, C]. Strength 1 goes as far as the mean
        of the images with the attribute is from the mean of those without. Default: the bundle's attributes, read
        anew."""
        array = _inputs.images(self._native, images)
        native = (self.attributes() if attributes is None else attributes)._native
        return self._native.edit(array, native, _inputs.strengths(strengths), self._labels(labels, len(array)))

    def __repr__(self) -> str:
        height, width, channels = self.shape
        return f"Glow({self.folder or 'faces64'!r}, {height}x{width}x{channels}, {', '.join(self.providers)})"

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "cannot pickle a Glow, which holds sessions of ONNX Runtime that no other process can use: give the other "
            "process the bundle's path, and load it there"
        )

    def _labels(self, labels: Labels, n: int) -> npt.NDArray[np.int64] | None:
        return None if labels is None else _inputs.labels(self.class_names, labels, n)

    def _latents(self, given: Any, labels: Labels, name: str) -> F32:
        if _inputs.is_latents(given):
            return _inputs.latents(self._dims, given, name)
        return self.encode(given, labels=labels).latents

    def _scoring(
        self, images: Images, draws: int, seed: int, first: int, labels: Labels
    ) -> tuple[U8, int, int, int, npt.NDArray[np.int64] | None]:
        array = _inputs.images(self._native, images)
        draws, seed, first = (
            _inputs.integer(name, given) for name, given in (("draws", draws), ("seed", seed), ("first", first))
        )
        return array, draws, seed, first, self._labels(labels, len(array))
