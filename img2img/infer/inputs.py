"""What a translator takes as a picture: files, their bytes, and pixels of several libraries."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np
from PIL import Image

from img2img import images
from img2img.errors import UsageError


class ArrayLike(Protocol):
    """What numpy can read as an array, such as a torch tensor on the CPU."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    def __array__(self) -> np.ndarray: ...


One = np.ndarray | ArrayLike | Image.Image | str | Path | bytes | BinaryIO
TAKEN = (
    "a path, the bytes of a file, an open file, a PIL image, or pixels: uint8 [H, W, {channels}], "
    "of numpy or of torch on the CPU"
)


def is_one(given: One | Sequence[One]) -> bool:
    """Whether it is one picture; of several a sequence or an iterator, or an array [N, H, W, C]."""
    if hasattr(given, "shape"):
        return len(given.shape) < 4
    bytes_or_name = isinstance(given, str | bytes | bytearray | memoryview)
    several = isinstance(given, Sequence | Iterator) and not hasattr(given, "read")
    return bytes_or_name or not several


def pixels_of(image: One, channels: int) -> np.ndarray:
    """Uint8 [H, W, channels]; of a file upright, in sRGB, and on white where it is transparent.

    Raises DataError for a file that is no picture, ValueError for an array of another kind or
    without a pixel, and TypeError for what is no picture at all.
    """
    if hasattr(image, "read"):
        image = image.read()
        if isinstance(image, str):
            raise TypeError("expected a file that is open in binary mode; this one is open as text")
    if isinstance(image, str | Path):
        pixels = images.read(Path(image), channels).pixels
    elif isinstance(image, bytes | bytearray | memoryview):
        pixels = images.read(bytes(image), channels).pixels
    elif isinstance(image, Image.Image):
        pixels = images.read(image, channels).pixels
    elif hasattr(image, "shape"):
        pixels = _array(image, channels)
    else:
        raise TypeError(f"expected {TAKEN.format(channels=channels)}; got {type(image).__name__}")
    if not pixels.size:
        raise ValueError(f"the picture has no pixels: its shape is {list(pixels.shape)}")
    return pixels


def _array(image: Any, channels: int) -> np.ndarray:
    try:
        pixels = np.asarray(image)
    except Exception as error:  # a tensor on a GPU, or one that needs a gradient
        raise ValueError(f"the pixels can't be read as an array: {error}") from None
    if pixels.dtype == np.uint8 and pixels.ndim == 3 and pixels.shape[-1] == channels:
        return pixels
    hint = ""
    if pixels.ndim == 3 and pixels.shape[0] == channels != pixels.shape[-1]:
        hint = "; the channels come last"
    elif pixels.dtype != np.uint8:
        hint = "; levels are 0 to 255"
    raise ValueError(
        f"expected uint8 [H, W, {channels}], got {pixels.dtype} {list(pixels.shape)}{hint}"
    )


def label_of(vector: object, width: int, name: str) -> np.ndarray:
    """Float32 [width] of numbers of any kind. Raises UsageError for what is no such vector."""
    try:
        numbers = np.asarray(vector)
        if np.iscomplexobj(numbers):
            raise TypeError
        with np.errstate(over="ignore"):  # to infinity, which is refused
            label = numbers.astype(np.float32)
    except Exception:  # a tensor on a GPU, or one that needs a gradient; words
        label = np.empty(0, np.float32)
    if label.shape != (width,) or not np.isfinite(label).all():
        raise UsageError(f"{name} takes label vectors of {width} finite numbers.")
    return label
