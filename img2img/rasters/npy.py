"""NumPy's files: .npy, and .npz with one array, or with an array named image or arr_0.

The header is checked before anything is allocated, and objects are never unpickled.
https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
"""

import io
import math
import zipfile
from pathlib import Path
from typing import IO

import numpy as np

from img2img.box import Box
from img2img.errors import DataError
from img2img.rasters.array_file import ArrayFile
from img2img.rasters.raster import (
    Header,
    Raster,
    as_read,
    exactly,
    opened,
    require_bounded,
    type_read,
)

SIGNATURE = b"\x93NUMPY"
ZIP_SIGNATURE = b"PK\x03\x04"
NAMES = ("image", "arr_0")  # of the array in an .npz with several
MAX_HEADER = 10_000  # characters, which are parsed as a Python literal
ROWS = 64  # that are written at a time
MAX_LEADING_BANDS = 16  # of an array [bands, H, W]


def header(source: Path | bytes, kind: str) -> Header:
    """kind: "npy" or "npz"."""
    with opened(source) as file:
        shape, _, dtype = _describe(_member(file) if kind == "npz" else file)
    height, width, bands = _layout(shape, [])
    return Header(kind, (width, height), bands, type_read(dtype).name)


def read(source: Path | bytes, kind: str, max_pixels: int) -> Raster:
    """kind: "npy" or "npz"."""
    notes: list[str] = []
    with opened(source) as file:
        stream = _member(file) if kind == "npz" else file
        shape, fortran, dtype = _describe(stream)
        height, width, bands = _layout(shape, notes)
        require_bounded((width, height), bands, dtype, max_pixels)
        type_read(dtype)
        content = exactly(stream, math.prod(shape) * dtype.itemsize)
    array = np.frombuffer(content, dtype).reshape(shape, order="F" if fortran else "C")
    if array.ndim == 2:
        array = array[..., np.newaxis]
    elif array.shape != (height, width, bands):
        array = np.moveaxis(array, 0, -1)
    return Raster(as_read(array, notes), notes=tuple(notes))


def described(
    file: IO[bytes],
) -> tuple[int, int, int, np.dtype[np.generic], bool]:
    """Height, width, bands and type of a .npy file's array, and whether bands are its first axis.
    The file is at the first value then. Raises DataError for an array in Fortran's order.
    """
    notes: list[str] = []
    shape, fortran, dtype = _describe(file)
    height, width, bands = _layout(shape, notes)
    type_read(dtype)
    if fortran:
        raise DataError("an array in Fortran's order can't be read in parts. Save it in C order")
    return height, width, bands, dtype, bool(notes)


def encode(values: np.ndarray, suffix: str) -> bytes:
    """values: [H, W, bands], written as [H, W] if there is one band.

    suffix: .npy, or .npz, whose array is named image.
    """
    array = values[..., 0] if values.shape[-1] == 1 else values
    buffer = io.BytesIO()
    if suffix == ".npz":
        np.savez_compressed(buffer, image=array)
    else:
        np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def save(path: Path, array: ArrayFile) -> None:
    """Write values that are in a file as .npy, without reading all of them at once."""
    height, width, bands = array.shape
    shape = (height, width) if bands == 1 else array.shape
    header = {"descr": array.dtype.str, "fortran_order": False, "shape": shape}
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for top in range(0, height, ROWS):
            rows = array.read(Box(top, min(top + ROWS, height), 0, width))
            file.write(rows.tobytes())


def is_npz(source: Path | bytes) -> bool:
    """Whether a ZIP file contains arrays."""
    try:
        with opened(source) as file, zipfile.ZipFile(file) as archive:
            return any(name.endswith(".npy") for name in archive.namelist())
    except (zipfile.BadZipFile, ValueError, NotImplementedError):
        return isinstance(source, Path) and source.suffix.lower() == ".npz"


def _member(file: IO[bytes]) -> IO[bytes]:
    """The array's file in the ZIP, open for reading."""
    archive = zipfile.ZipFile(file)
    names = [name for name in archive.namelist() if name.endswith(".npy")]
    chosen = [f"{name}.npy" for name in NAMES if f"{name}.npy" in names]
    if len(names) == 1:
        chosen = names
    if not chosen:
        listed = ", ".join(name.removesuffix(".npy") for name in names[:5])
        raise DataError(f"it has the arrays {listed}. Name the one that is the picture 'image'")
    return archive.open(chosen[0])


def _describe(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[np.generic]]:
    """Shape, whether the order is Fortran's, and type."""
    version = np.lib.format.read_magic(stream)
    if version != (1, 0):  # later ones are for records; their headers may have 4 GB
        raise DataError(f"version {version} of the format is not read. Save numbers")
    shape, fortran, dtype = np.lib.format.read_array_header_1_0(stream, max_header_size=MAX_HEADER)
    if dtype.hasobject or dtype.names:
        raise DataError("an array of Python objects or records is not read. Save numbers")
    if any(side < 0 for side in shape):
        raise DataError(f"its shape {shape} is not valid")
    return shape, fortran, dtype


def _layout(shape: tuple[int, ...], notes: list[str]) -> tuple[int, int, int]:
    """Height, width and bands. [bands, H, W] is recognized by few bands in front of a long axis."""
    if len(shape) == 2:
        return shape[0], shape[1], 1
    if len(shape) != 3:
        raise DataError(
            f"an array of shape {shape} is not a picture. Save [height, width] or "
            "[height, width, bands]"
        )
    first, second, third = shape
    if first <= MAX_LEADING_BANDS < third and first < min(second, third):
        notes.append(f"an array of shape {shape} is read as [bands, height, width]")
        return second, third, first
    return first, second, third
