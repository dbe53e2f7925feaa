"""What a translator accepts as a picture: files, their bytes, and pixels of several libraries."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np
from PIL import Image

from img2img import images
from img2img.errors import UsageError
from img2img.intensity import Intensity
from img2img.stored import read_stored, require_files, stack_values


class ArrayLike(Protocol):
    """What numpy can read as an array, such as a torch tensor on the CPU."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    def __array__(self) -> np.ndarray: ...


# A picture is one of these, or, for a model with several inputs, a tuple with one for each of them.
One = np.ndarray | ArrayLike | Image.Image | str | Path | bytes | BinaryIO
ACCEPTED = (
    "a path, the bytes of a file, an open file, a PIL image, or pixels: {dtype} "
    "[H, W, {channels}], as a numpy array or a torch tensor on the CPU"
)


def is_one(
    images: One | Sequence[One] | Sequence[tuple[One, ...]], intensity: Intensity | None = None
) -> bool:
    """Whether this is one picture; a sequence, an iterator or an array [N, H, W, C] are several. Of
    an intensity with parts, a tuple is one picture.
    """
    if intensity and intensity.parts and isinstance(images, tuple):
        return True
    if hasattr(images, "shape"):
        return len(images.shape) < 4
    bytes_or_name = isinstance(images, str | bytes | bytearray | memoryview)
    several = isinstance(images, Sequence | Iterator) and not hasattr(images, "read")
    return bytes_or_name or not several


def pixels_of(
    image: One | tuple[One, ...], channels: int, intensity: Intensity | None = None
) -> np.ndarray:
    """The picture as uint8 [H, W, channels]; a file is turned upright, converted to sRGB, and
    blended with white where it is transparent. With an intensity, its stored values, of the type
    that the intensity has; with parts, the bands of all of them from a tuple with one for each.

    Raises DataError for a file that is not a picture and for a tuple of another length or of
    different sizes, ValueError for an array of another shape or type or without pixels, and
    TypeError for any other object.
    """
    if isinstance(image, tuple) and intensity and intensity.parts:
        require_files(len(image), intensity)
        each = list(zip(image, intensity.parts, strict=True))
        values = [pixels_of(one, len(part.bands), part) for one, part in each]
        return stack_values(values, [part.name for part in intensity.parts], intensity)
    if hasattr(image, "read"):
        image = image.read()
        if isinstance(image, str):
            raise TypeError(
                "expected a file that is open in binary mode; this one is open in text mode"
            )
    dtype = intensity.dtype if intensity else "uint8"
    if intensity and isinstance(image, str | Path | bytes | bytearray | memoryview):
        source = Path(image) if isinstance(image, str | Path) else bytes(image)
        pixels = read_stored(source, intensity).values
    elif isinstance(image, str | Path):
        pixels = images.read(Path(image), channels).pixels
    elif isinstance(image, bytes | bytearray | memoryview):
        pixels = images.read(bytes(image), channels).pixels
    elif isinstance(image, Image.Image) and not intensity:
        pixels = images.read(image, channels).pixels
    elif hasattr(image, "shape"):
        pixels = _array(image, channels, dtype)
    else:
        raise TypeError(
            f"expected {ACCEPTED.format(channels=channels, dtype=dtype)}; got "
            f"{type(image).__name__}"
        )
    if not pixels.size:
        raise ValueError(f"the picture has no pixels: its shape is {list(pixels.shape)}")
    return pixels


def _array(image: Any, channels: int, dtype: str) -> np.ndarray:
    try:
        pixels = np.asarray(image)
    except Exception as error:  # a tensor on a GPU, or one that needs a gradient
        raise ValueError(f"the pixels can't be read as an array: {error}") from None
    if pixels.dtype == dtype and pixels.ndim == 3 and pixels.shape[-1] == channels:
        return pixels
    hint = ""
    if pixels.ndim == 3 and pixels.shape[0] == channels != pixels.shape[-1]:
        hint = "; channels come last"
    elif pixels.dtype != dtype and dtype == "uint8":
        hint = "; values are 0 to 255"
    raise ValueError(
        f"expected {dtype} [H, W, {channels}], got {pixels.dtype} {list(pixels.shape)}{hint}"
    )


def label_of(vector: object, width: int, name: str) -> np.ndarray:
    """The label vector as float32 [width]. Raises UsageError for anything but `width` finite real
    numbers.
    """
    try:
        numbers = np.asarray(vector)
        if np.iscomplexobj(numbers):
            raise TypeError
        with np.errstate(over="ignore"):  # overflow gives infinity, which is refused below
            label = numbers.astype(np.float32)
    except Exception:  # a tensor on a GPU or with a gradient, or strings
        label = np.empty(0, np.float32)
    if label.shape != (width,) or not np.isfinite(label).all():
        raise UsageError(f"{name} takes label vectors of {width} finite numbers.")
    return label
