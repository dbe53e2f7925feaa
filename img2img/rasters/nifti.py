"""NIfTI-1 and -2, with slices along the third axis as pages.

Header and geometry are those of nibabel; values are read slice by slice. Rows and columns are as
stored: the first axis of the volume is a row's, from left to right, and the second one is from top
to bottom.
https://nifti.nimh.nih.gov/pub/dist/src/niftilib/nifti1.h
"""

import gzip
import io
import math
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, BinaryIO

import numpy as np

from img2img.errors import DataError, MissingPackage, install_command
from img2img.rasters.raster import (
    CHUNK,
    Carried,
    Header,
    Raster,
    exactly,
    opened,
    require_bounded,
)
from img2img.rasters.scaling import scaled, type_scaled

if TYPE_CHECKING:
    from nibabel.nifti1 import Nifti1Header

INSTALL = f"NIfTI needs another package. Install it with: {install_command('medical')}"
MAX_SKIPPED = 2**33  # bytes that are decompressed to reach a slice
MAX_EXTENSIONS = 2**24  # bytes between header and values that are carried
SIZES = {1: 348, 2: 540}  # version -> bytes of the header


@dataclass(frozen=True)
class NiftiMetadata(Carried):
    header: bytes = b""  # with the extensions
    page: int = 0
    pages: int = 1


def is_nifti(head: bytes) -> bool:
    """By the first 348 bytes: of one file, or of a pair of files."""
    return head[344:348] in (b"n+1\0", b"ni1\0") or head[4:8] in (b"n+2\0", b"ni2\0")


def is_packed(source: Path | bytes) -> bool:
    """Whether a gzip file contains NIfTI."""
    try:
        with opened(source) as file, gzip.GzipFile(fileobj=file) as stream:
            return is_nifti(stream.read(SIZES[1]))
    except (OSError, EOFError, ValueError):
        return isinstance(source, Path) and source.name.lower().endswith(".nii.gz")


class Pages:
    """The slices of an open file."""

    def __init__(self, file: BinaryIO):
        self._stream = _stream(file)
        self._header, self._content = _header(self._stream)

    def header(self) -> Header:
        width, height, pages = _shape(self._header)
        slope, intercept = _scaling(self._header)
        dtype = type_scaled(self._header.get_data_dtype(), slope, intercept)
        return Header("nifti", (width, height), 1, dtype.name, pages)

    def read(self, page: int, max_pixels: int) -> Raster:
        width, height, pages = _shape(self._header)
        if not 0 <= page < pages:
            raise DataError(f"it has no slice {page}, only 0 to {pages - 1}")
        stored = self._header.get_data_dtype()
        require_bounded((width, height), 1, stored, max_pixels)
        size = width * height * stored.itemsize
        _go_to(self._stream, int(self._header["vox_offset"]) + page * size)
        values = np.frombuffer(exactly(self._stream, size), stored).reshape(height, width, 1)
        slope, intercept = _scaling(self._header)
        notes: list[str] = []
        results = scaled(values, slope, intercept, notes)
        metadata = NiftiMetadata(self._content, page, pages)
        return Raster(results, carried=metadata, notes=tuple(notes))


def encode(pages: np.ndarray, like: Raster | None, packed: bool) -> bytes:
    """pages: [P, H, W, 1], all slices of the file, or one of them at its position in space.

    Values are written as they are, without slope. Raises DataError without the geometry.
    """
    try:
        import nibabel
        from nibabel.imageglobals import LoggingOutputSuppressor
        from nibabel.nifti1 import Nifti1Header
    except ImportError:
        raise MissingPackage(INSTALL) from None
    if like is None or not isinstance(like.carried, NiftiMetadata):
        raise DataError("NIfTI is written only for slices that were read from NIfTI. Write .tif")
    metadata = like.carried
    count, height, width, bands = pages.shape
    if bands != 1 or like.values.shape[:2] != (height, width):
        raise DataError(
            f"slices of {width}x{height} with {bands} bands don't fit the geometry of the file. "
            "Write .tif"
        )
    if count not in (1, metadata.pages):
        raise DataError(f"{count} slices are neither one nor all {metadata.pages} of the file")
    with LoggingOutputSuppressor(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about odd headers
        described, _ = _header(io.BytesIO(metadata.header))
        shape = described.get_data_shape()
        volume = np.ascontiguousarray(pages[..., 0]).reshape(-1, height, width).T
        if count == metadata.pages:
            volume = volume.reshape(shape, order="F")
        else:
            _move(described, metadata.page % (shape[2] if len(shape) > 2 else 1))
        described.set_data_dtype(pages.dtype)
        described["scl_slope"], described["scl_inter"] = 1, 0
        if type(described) is Nifti1Header:
            content: bytes = nibabel.Nifti1Image(volume, None, described).to_bytes()
        else:
            content = nibabel.Nifti2Image(volume, None, described).to_bytes()
    return gzip.compress(content, 6, mtime=0) if packed else content


def _stream(file: IO[bytes]) -> IO[bytes]:
    """The file, decompressed if it is packed."""
    packed = file.read(2) == b"\x1f\x8b"
    file.seek(0)
    return gzip.GzipFile(fileobj=file) if packed else file  # type: ignore[return-value]  # reads


def _header(stream: IO[bytes]) -> tuple["Nifti1Header", bytes]:
    """The header, and its bytes with the extensions."""
    try:
        from nibabel.nifti1 import Nifti1Header
        from nibabel.nifti2 import Nifti2Header
    except ImportError:
        raise MissingPackage(INSTALL) from None
    content = exactly(stream, SIZES[1])
    kind: type[Nifti1Header] = Nifti1Header
    if content[4:8] in (b"n+2\0", b"ni2\0"):
        content += exactly(stream, SIZES[2] - SIZES[1])
        kind = Nifti2Header
    described = kind(content, check=False)
    if bytes(described["magic"])[:2] == b"ni":
        raise DataError("a header without values (a pair of .hdr and .img). Save it as one .nii")
    offset = float(described["vox_offset"])
    between = int(offset) - len(content) if math.isfinite(offset) else -1
    if between < 0 or between > MAX_EXTENSIONS:
        raise DataError("the position of its values is not valid")
    content += exactly(stream, between)
    return kind.from_fileobj(io.BytesIO(content), check=False), content


def _shape(described: "Nifti1Header") -> tuple[int, int, int]:
    """Width, height and the number of slices in all volumes."""
    shape = [int(side) for side in described.get_data_shape()]
    if not 2 <= len(shape) <= 4 and math.prod(shape[4:]) != 1:
        raise DataError(f"a volume of {len(shape)} axes, {shape}, is not read. Save 3 or 4 axes")
    if len(shape) < 2 or min(shape) < 1:
        raise DataError(f"its shape {shape} is not valid")
    return shape[0], shape[1], math.prod(shape[2:])


def _scaling(described: "Nifti1Header") -> tuple[float, float]:
    """Slope and intercept; a slope of 0 or NaN means none."""
    slope, intercept = float(described["scl_slope"]), float(described["scl_inter"])
    if slope == 0 or not math.isfinite(slope):
        return 1.0, 0.0
    return slope, intercept if math.isfinite(intercept) else 0.0


def _move(described: "Nifti1Header", index: int) -> None:
    """Change the geometry of a volume into that of one of its slices."""
    sform, sform_code = described.get_sform(coded=True)
    if sform is not None:
        sform[:3, 3] += index * sform[:3, 2]
        described.set_sform(sform, int(sform_code))
    qform, qform_code = described.get_qform(coded=True)
    if qform is not None:
        qform[:3, 3] += index * qform[:3, 2]
        described.set_qform(qform, int(qform_code))


def _go_to(stream: IO[bytes], position: int) -> None:
    """Go on to a position of what is decompressed, from the start only if it is behind."""
    if position > MAX_SKIPPED:
        raise DataError("the volume is too large")
    if isinstance(stream, gzip.GzipFile):
        if position < stream.tell():
            stream.rewind()
        left = position - stream.tell()
        while left > 0 and (part := stream.read(min(CHUNK, left))):
            left -= len(part)
    else:
        stream.seek(position)
