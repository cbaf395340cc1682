"""Brings what callers give into the arrays that the native module takes."""

from __future__ import annotations

import operator
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Union

import numpy as np
import numpy.typing as npt

from ._errors import ArgumentError

if TYPE_CHECKING:
    from PIL.Image import Image

    from ._glow import Model

#: Images: an array uint8 [N, H, W, C] or [H, W, C] in the model's size (or [H, W] for a gray model), a path, a PIL
#: image, or a sequence of these. Whatever has ``__array__`` is an array, such as a ``torch.Tensor`` on the CPU.
Images = Union[npt.ArrayLike, str, "os.PathLike[str]", "Image", Sequence[Any]]
#: Latents: float32 [N, H*W*C], or [H*W*C] for one image.
LatentsLike = npt.ArrayLike
#: The class of each image by number or by name, or one for all.
Labels = Union[None, int, str, Sequence[Union[int, str]], npt.NDArray[Any]]

U8 = npt.NDArray[np.uint8]
F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]


def images(model: Model, given: Images) -> U8:
    """uint8 [N, H, W, C] in the model's size. Arrays are taken as they are, without a copy; files and PIL images are
    brought to the size."""
    if is_file(given) or is_pil(given):
        return prepare(model, given)
    if isinstance(given, (list, tuple)):
        parts = [images(model, one) for one in given]
        return np.concatenate(parts) if parts else np.empty((0, *model.shape()), np.uint8)
    array = pixels(given)
    shape = list(array.shape)
    if array.ndim == 2:
        array = array[:, :, None]
    if array.ndim == 3:
        array = array[None]
    if array.ndim != 4 or array.shape[1:] != model.shape():
        height, width, channels = model.shape()
        raise ArgumentError(
            f"images has shape {shape}, expected [N, {height}, {width}, {channels}] or one image "
            f"[{height}, {width}, {channels}]; Glow.prepare brings others to that size"
        )
    return array


def prepare(model: Model, given: Images) -> U8:
    """uint8 [N, H, W, C]: images of any larger size at the model's, as in its training."""
    if isinstance(given, (list, tuple)):
        parts = [prepare(model, one) for one in given]
        return np.concatenate(parts) if parts else np.empty((0, *model.shape()), np.uint8)
    if is_file(given):
        return model.read(os.fspath(given))[None]  # type: ignore[arg-type]
    array = from_pil(given) if is_pil(given) else pixels(given)
    if array.ndim == 4:
        return prepare(model, list(array))
    if array.ndim == 2:
        array = array[:, :, None]
    if array.ndim != 3:
        raise ArgumentError(f"an image has shape {list(array.shape)}, expected [h, w], [h, w, C] or [N, h, w, C]")
    return model.fit(array)


def pixels(given: Any) -> U8:
    array = np.asarray(given)
    if array.dtype != np.uint8:
        raise ArgumentError(f"images are of type {array.dtype}, expected uint8, 0 to 255")
    return array


def is_file(given: Any) -> bool:
    return isinstance(given, (str, os.PathLike))


def is_pil(given: Any) -> bool:
    return type(given).__module__.partition(".")[0] == "PIL" and hasattr(given, "convert")


def from_pil(image: Any) -> U8:
    """uint8 [h, w] or [h, w, C], turned as EXIF says, with its transparency if it has any."""
    from PIL import ImageOps

    image = ImageOps.exif_transpose(image)
    if image.mode in ("I", "F") or image.mode.startswith("I;"):
        raise ArgumentError(
            f"the PIL image has mode {image.mode}, with more than 8 bits: give the file's path, or convert it to L"
        )
    if image.mode not in ("L", "LA", "RGB", "RGBA"):
        if image.mode == "1":
            image = image.convert("L")
        else:
            transparent = image.mode.endswith(("A", "a")) or "transparency" in image.info
            image = image.convert("RGBA" if transparent else "RGB")
    elif "transparency" in image.info:
        image = image.convert("RGBA" if image.mode == "RGB" else "LA")
    return np.asarray(image)


def latents(dims: int, given: LatentsLike, name: str = "latents") -> F32:
    """float32 [N, H*W*C]; without a copy if it is that already."""
    array = np.asarray(given)
    if array.dtype.kind not in "fiu":
        raise ArgumentError(f"{name} are of type {array.dtype}, expected float32")
    array = array.astype(np.float32, copy=False)
    if array.ndim == 1:
        array = array[None]
    if array.ndim != 2 or array.shape[1] != dims:
        raise ArgumentError(f"{name} has shape {list(np.shape(given))}, expected [N, {dims}] or [{dims}]")
    return array


def is_latents(given: Any) -> bool:
    """Images are uint8, latents are floats."""
    return not (is_file(given) or is_pil(given)) and np.asarray(given).dtype.kind == "f"


def labels(names: Sequence[str], given: Labels, n: int) -> npt.NDArray[np.int64] | None:
    """int64 [n]; None for none. One label stands for all images."""
    if given is None:
        return None
    if isinstance(given, (str, int, np.integer)):
        given = [given] * n
    return np.array([label(names, one) for one in given], np.int64)


def label(names: Sequence[str], given: int | str) -> int:
    if isinstance(given, str):
        if given not in names:
            known = f"there are {', '.join(names)}" if names else "the model names none, give numbers"
            raise ArgumentError(f"there is no class {given!r}: {known}")
        return list(names).index(given)
    return integer("label", given, least=-(2**63), most=2**63 - 1)


def integer(name: str, given: Any, least: int = 0, most: int = 2**64 - 1) -> int:
    try:
        number = operator.index(given)
    except TypeError:
        raise ArgumentError(f"{name} = {given!r} is not an integer") from None
    if not least <= number <= most:
        raise ArgumentError(f"{name} = {number} is out of range: {least} to {most}")
    return number


def strengths(given: Mapping[str, float]) -> list[tuple[str, float]]:
    return [(name, float(strength)) for name, strength in given.items()]
