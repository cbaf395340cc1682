"""Arrays of images as pictures to look at."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from . import _glow, _inputs
from ._errors import ArgumentError
from ._inputs import U8

if TYPE_CHECKING:
    from PIL.Image import Image


def grid(images: U8, *, columns: int = 0, padding: int = 2, scale: int = 0) -> U8:
    """Images [N, H, W, C] row by row on one white sheet, uint8 [height, width, C].

    columns: images a row; 0 makes the sheet about square.
    padding: white pixels around every image.
    scale: every pixel is drawn as scale x scale; 0 brings small images to about 128 pixels.
    """
    array = _inputs.pixels(images)
    if array.ndim != 4:
        raise ArgumentError(f"images has shape {list(array.shape)}, expected [N, H, W, C]")
    sizes = (_inputs.integer(name, size) for name, size in (("columns", columns), ("padding", padding), ("scale", scale)))
    return _glow.grid(array, *sizes)


def to_pil(image: U8) -> Image:
    """One image [H, W, C] as a PIL image, which can be saved and shown. Needs the package ``pillow``."""
    from PIL import Image

    array = _inputs.pixels(image)
    if array.ndim != 3 or array.shape[2] not in (1, 3):
        raise ArgumentError(f"an image has shape {list(array.shape)}, expected [H, W, 1 or 3]")
    return Image.fromarray(array[:, :, 0] if array.shape[2] == 1 else array)


def list_images(folder: str | os.PathLike[str]) -> list[str]:
    """The image files below a folder, sorted by path; hidden ones are left out."""
    return [os.fspath(path) for path in _glow.list_images(os.fspath(folder))]
