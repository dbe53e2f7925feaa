"""Pictures of exact values, of any number of bands, and the checks that all formats share."""

import io
import re
from dataclasses import dataclass
from pathlib import Path
from typing import IO, BinaryIO
from xml.etree.ElementTree import Element, ParseError, fromstring

import numpy as np

from img2img.errors import DataError
from img2img.formats import MAX_PIXELS, TooLarge, require_size

__all__ = ["MAX_PIXELS", "Carried", "Header", "Raster", "TooLarge"]

CHUNK = 2**20  # bytes that are read at a time
BYTES_PER_PIXEL = 32  # of the limit of a raster's memory, which is this times max_pixels
MAX_XML = 2**24  # bytes, of OME-XML; that of a large screen has a few millions
# The types that files store, and as which they are read.
READ_AS = {
    "bool": "uint8",
    "uint8": "uint8",
    "int8": "int16",
    "uint16": "uint16",
    "int16": "int16",
    "int32": "int32",
    "uint32": "int32",
    "int64": "int32",
    "uint64": "int32",
    "float16": "float32",
    "float32": "float32",
    "float64": "float32",
}


@dataclass(frozen=True)
class Carried:
    """The metadata that is written again with translated values; each format has its subclass."""


@dataclass(frozen=True)
class Raster:
    """The exact values of one page of a file."""

    values: np.ndarray  # [H, W, bands]; uint8, uint16, int16, int32 or float32, C-contiguous
    bands: tuple[str, ...] = ()  # their names, if the file has them
    nodata: float | None = None  # the value that marks missing pixels, if the file declares one
    unit: str = ""  # of the values, for example "HU", if the file declares one
    carried: Carried = Carried()
    notes: tuple[str, ...] = ()  # remarks for the user, for example that values were rounded

    @property
    def missing(self) -> np.ndarray | None:
        """Where any band is nodata or NaN: bool [H, W]; None if no pixel is."""
        lost = self._lost()
        mask = None if lost is None else np.asarray(lost.any(axis=-1))
        return mask if mask is not None and mask.any() else None

    @property
    def is_empty(self) -> bool:
        """Whether all values of all bands are missing."""
        lost = self._lost()
        return lost is not None and bool(lost.all())

    def _lost(self) -> np.ndarray | None:
        """Which values are nodata or NaN: bool [H, W, bands]; None where none can be."""
        values, nodata = self.values, self.nodata
        if values.dtype.kind == "f":
            lost: np.ndarray = np.isnan(values)
            if nodata is not None:
                with np.errstate(over="ignore"):  # -1.8e308 of a float64 is -inf here
                    lost |= values == np.float32(nodata)
            return lost
        if nodata is None or not float(nodata).is_integer():
            return None
        info = np.iinfo(values.dtype)
        inside = info.min <= nodata <= info.max
        return np.asarray(values == int(nodata)) if inside else None


@dataclass(frozen=True)
class Header:
    """What a file says about its pages, before any pixel is decoded."""

    kind: str  # "tiff", "geotiff", "npy", "npz", "png", "dicom" or "nifti"
    size: tuple[int, int]  # width, height
    bands: int
    dtype: str  # numpy's name of the type that `read` returns
    pages: int = 1  # pages or slices of this size
    band_names: tuple[str, ...] = ()
    is_photograph: bool = False  # which img2img.images reads as well as this package
    levels: tuple[tuple[int, int], ...] = ()  # sizes of a pyramid, the first is `size`; else empty


def opened(source: Path | bytes) -> BinaryIO:
    """The file, open for reading; to be used in a `with`."""
    return io.BytesIO(source) if isinstance(source, bytes) else source.open("rb")


def exactly(stream: IO[bytes], count: int) -> bytes:
    """Raises DataError where bytes are missing, before much is allocated for them."""
    parts, left = [], count
    while left:
        part = stream.read(min(CHUNK, left))
        if not part:
            raise DataError(f"the file is truncated: {left:,} of {count:,} bytes are missing")
        parts.append(part)
        left -= len(part)
    return b"".join(parts)


def require_bounded(
    size: tuple[int, int], bands: int, dtype: np.dtype[np.generic], max_pixels: int
) -> None:
    """Raises TooLarge for more than max_pixels, or bands that need more than 32 bytes for each of
    max_pixels, and DataError for no pixels.
    """
    width, height = size
    if width < 1 or height < 1 or bands < 1:
        raise DataError(f"its size, {width}x{height} of {bands} bands, is not valid")
    require_size("the picture", size, max_pixels)
    total, most = width * height * bands * dtype.itemsize, BYTES_PER_PIXEL * max_pixels
    if total > most:
        raise TooLarge(
            f"{width}x{height} of {bands} bands of {dtype.name} are {total:,} bytes, more than the "
            f"limit of {most:,} (translate has --max-pixels to raise it)"
        )


def type_read(dtype: np.dtype[np.generic]) -> np.dtype[np.generic]:
    """The type as which a stored type is read. Raises DataError for types without one."""
    name = dtype.newbyteorder("=").name if dtype.kind in "biuf" else str(dtype)
    if name not in READ_AS:
        kind = "complex values" if dtype.kind == "c" else f"values of type {name}"
        raise DataError(f"{kind} are not read. Save real numbers, for example the magnitude")
    return np.dtype(READ_AS[name])


def as_read(values: np.ndarray, notes: list[str]) -> np.ndarray:
    """Values of any stored type as the type that `type_read` names, contiguous.

    Raises DataError where integers do not fit into int32. Adds a note where values are rounded.
    """
    dtype = type_read(values.dtype)
    if dtype.kind in "iu" and not np.can_cast(values.dtype, dtype):
        require_fit(values, dtype)
    if values.dtype.kind == "f" and values.dtype.itemsize > 4:
        notes.append("float64 values are rounded to float32")
    with np.errstate(over="ignore", invalid="ignore"):
        return np.ascontiguousarray(values, dtype)


def require_fit(values: np.ndarray, dtype: np.dtype[np.generic]) -> None:
    """Raises DataError with the range of integers that the type can't hold."""
    if values.size == 0:
        return
    least, most, info = int(values.min()), int(values.max()), np.iinfo(dtype.name)
    if least < info.min or most > info.max:
        raise DataError(
            f"its values from {least} to {most} don't fit into {dtype.name}. "
            "Scale them, or save them as float32"
        )


def require_safe_xml(text: str) -> None:
    """Raises DataError for XML with entities, which may expand, and for more than 16 MiB."""
    if len(text) > MAX_XML or re.search(r"<!(DOCTYPE|ENTITY)", text):
        raise DataError("its XML metadata is too long, or declares entities, and is not read")


def parsed_xml(text: str) -> Element:
    """The root of XML. Raises DataError as `require_safe_xml` does, and where it is broken."""
    require_safe_xml(text)
    try:
        return fromstring(text.strip().encode())  # noqa: S314, it has no entities
    except ParseError as error:
        raise DataError(f"its XML metadata can't be read ({error})") from None


def elements(node: Element, name: str) -> list[Element]:
    """All elements below the node of a name without its namespace."""
    return [element for element in node.iter() if element.tag.rpartition("}")[2] == name]


def named(source: Path | bytes, error: Exception) -> Exception:
    """The error as a DataError with the file's name first; TooLarge stays one."""
    name = str(source) if isinstance(source, Path) else "the picture"
    if isinstance(error, DataError):
        reason = str(error).removeprefix("the picture: ").removesuffix(".")
        end = "" if reason.endswith("'") else "."  # of an install command
        return type(error)(f"{name}: {reason}{end}")
    if isinstance(error, FileNotFoundError):
        return DataError(f"{name}: there is no such file.")
    if isinstance(error, IsADirectoryError | PermissionError):
        return DataError(f"{name}: it can't be read ({error.strerror}).")
    reason = str(error) or type(error).__name__
    return DataError(f"{name}: it can't be decoded ({reason}).")
