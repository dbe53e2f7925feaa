"""Parts of pictures that don't fit into memory: each is decoded without the rest of the file.

TIFF and .npy can be read so. Of a compressed TIFF, only the strips or tiles that a part touches are
decoded, and tiles that were decoded last are kept, since neighboring parts touch them again. Strips
are kept as long as parts of the same rows are read, which all touch them.
"""

import math
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from img2img.box import Box
from img2img.errors import DataError
from img2img.rasters import npy, tiff
from img2img.rasters.array_file import ArrayFile
from img2img.rasters.raster import Raster, as_read, named, type_read
from img2img.rasters.tiff_page import (
    JPEG,
    colored,
    form_of,
    joined,
    require_decodable,
    require_sound_segment,
    segment_area,
    trusts_its_data,
)

if TYPE_CHECKING:
    from tifffile import TiffFile, TiffPage

SUFFIXES = (".tif", ".tiff", ".svs", ".npy")
KEPT = 2**28  # bytes of decoded tiles that are kept
KEPT_STRIPS = 2**29  # bytes; of strips that a row of parts touches
LARGEST_PART = 2**30  # bytes
LARGEST_SEGMENT = 2**27  # bytes of a decoded strip or tile


@dataclass(frozen=True)
class Windows:
    """A page of an open file."""

    path: Path
    pages: int  # of the file
    raster: Raster  # its metadata; the values have its shape and type, but are all 0
    decode: Callable[[Box, list[str]], np.ndarray]  # stored values [h, w, bands], adding notes

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width."""
        height, width, _ = self.raster.values.shape
        return height, width

    def read(self, box: Box) -> Raster:
        """A part of the page, with the page's metadata. Raises DataError, with the file's name
        first, for a damaged file.
        """
        notes: list[str] = []
        bands = self.raster.values.shape[2]
        needed = box.height * box.width * bands * self.raster.values.dtype.itemsize
        try:
            if needed > LARGEST_PART:
                raise DataError(
                    f"a part of {box.width}x{box.height} px of its {bands} bands needs "
                    f"{needed / 2**30:.1f} GiB. Choose smaller tiles, or save fewer bands"
                )
            values = as_read(self.decode(box, notes), notes)
        except Exception as error:  # decoders raise a dozen kinds for broken files
            raise named(self.path, error) from None
        return replace(self.raster, values=values, notes=tuple(dict.fromkeys(notes)))


def reads(path: Path) -> bool:
    """Whether files of this suffix are read in parts."""
    return path.name.lower().endswith(SUFFIXES)


@contextmanager
def opened(path: Path, level: int = 0, page: int = 0) -> Iterator[Windows]:
    """A context with a page of the file. level: of the pyramid of its first page, whose place and
    pixel size are not carried; 0 is the full size.

    Raises DataError, with the file's name first, for a file of another format, for a page or a
    level that it doesn't have, and for strips or tiles that are too large.
    """
    with ExitStack() as files:
        try:
            windows = _page(path, level, page, files)
        except Exception as error:  # decoders raise a dozen kinds for broken files
            raise named(path, error) from None
        yield windows


def _page(path: Path, level: int, page: int, files: ExitStack) -> Windows:
    """The page of a file, which is closed with `files`."""
    if not reads(path):
        raise DataError(f"only {', '.join(SUFFIXES)} are read in parts. Save it as a tiled TIFF")
    file = files.enter_context(path.open("rb"))
    if path.suffix.lower() == ".npy":
        if level or page:
            raise DataError("an array has one page of one level")
        return _of_array(path, file)
    tif = files.enter_context(tiff.parsed(file))
    layout = tiff.layout_of(file, tif)
    count = len(layout.pages)
    if not 0 <= page < count:
        raise DataError(f"it has no page {page}, only 0 to {count - 1}")
    if level:
        raster, smaller = tiff.level_metadata_of(tif, layout, level)
        planes = [(smaller, smaller.dataoffsets[0])]
    else:
        raster = tiff.metadata_of(file, tif, layout, page)
        planes = [_directory(tif, index) for index in layout.pages[page]]
    return Windows(path, count, raster, _Planes(file, tif, planes).read)


def _directory(tif: "TiffFile", index: int) -> "tuple[TiffPage, int]":
    """A directory, and where its values begin; of one of ImageJ's files of more than 4 GB, whose
    planes follow each other, the only one.
    """
    if index < len(tif.pages):
        page = tif.pages[index].aspage()
        return page, page.dataoffsets[0]
    first = tif.pages.first
    return first, first.dataoffsets[0] + index * first.nbytes


def _of_array(path: Path, file: BinaryIO) -> Windows:
    height, width, bands, dtype, leading = npy.described(file)
    start = file.tell()
    values = np.broadcast_to(np.zeros((), type_read(dtype)), (height, width, bands))
    if not leading:
        array = ArrayFile(file, start, (height, width, bands), dtype)
        return Windows(path, 1, Raster(values), lambda box, notes: array.read(box))
    size = height * width * dtype.itemsize
    planes = [ArrayFile(file, start + n * size, (height, width, 1), dtype) for n in range(bands)]
    return Windows(
        path, 1, Raster(values), lambda box, notes: _together([p.read(box) for p in planes])
    )


def _together(planes: list[np.ndarray]) -> np.ndarray:
    return planes[0] if len(planes) == 1 else np.concatenate(planes, axis=-1)


class _Planes:
    """The directories of a TIFF that make up a page."""

    def __init__(self, file: BinaryIO, tif: "TiffFile", planes: "list[tuple[TiffPage, int]]"):
        """planes: each with where its values begin. Raises DataError for what can't be decoded in
        parts.
        """
        self.file = file
        self.pages = [page for page, _ in planes]
        self._stored: dict[int, list[ArrayFile]] = {}  # planes of pages without compression
        self._decoded: OrderedDict[tuple[int, int], np.ndarray] = OrderedDict()
        self._kept = 0  # bytes
        for number, (page, start) in enumerate(planes):
            if form_of(page) != form_of(self.pages[0]):
                raise DataError("its channels have different sizes or types")
            if page.is_contiguous:
                self._stored[number] = _arrays(file, tif, page, start)
                continue
            pixel = page.samplesperpixel * np.dtype(page.dtype).itemsize
            if segment_area(page) * pixel > LARGEST_SEGMENT:
                raise DataError(
                    f"its strips of {min(page.rowsperstrip, page.imagelength):,} rows are too "
                    "large to read it in parts. Save it in tiles, for example with "
                    "gdal_translate -co TILED=YES"
                )
            require_decodable(page, LARGEST_SEGMENT)

    def read(self, box: Box, notes: list[str]) -> np.ndarray:
        """The stored values of a part, [h, w, bands]."""
        planes = [
            colored(self._part(number, page, box), page, notes)
            for number, page in enumerate(self.pages)
        ]
        return _together(planes)

    def _part(self, number: int, page: "TiffPage", box: Box) -> np.ndarray:
        """Of a directory, [h, w, samples]."""
        if number in self._stored:
            return _together([plane.read(box) for plane in self._stored[number]])
        separate, _, _, _, together = page.shaped
        values = np.empty((separate, box.height, box.width, together), np.dtype(page.dtype))
        touched = list(_touched(page, box))
        if not page.is_tiled:
            needed = {(number, index) for index in touched}
            for key in [key for key in self._decoded if key[0] == number and key not in needed]:
                self._kept -= self._decoded.pop(key).nbytes
        for index in touched:
            segment, plane, top, left = self._segment(number, page, index)
            place = Box(top, top + segment.shape[0], left, left + segment.shape[1])
            common = place.common(box)
            common.within(box).of(values[plane])[:] = common.within(place).of(segment)
        return joined(values)

    def _segment(
        self, number: int, page: "TiffPage", index: int
    ) -> tuple[np.ndarray, int, int, int]:
        """A decoded strip or tile [h, w, samples], its plane, and its top and left."""
        offset, count = page.dataoffsets[index], page.databytecounts[index]
        key = number, index
        if key in self._decoded:
            self._decoded.move_to_end(key)
            _, (plane, _, top, left, _), _ = page.decode(None, index)
            return self._decoded[key], plane, top, left
        content = None
        if offset and count:
            self.file.seek(offset)
            content = self.file.read(min(count, 2 * LARGEST_SEGMENT))
            if trusts_its_data(page):
                require_sound_segment(content, page, segment_area(page))
        tables = {"jpegtables": page.jpegtables, "jpegheader": page.jpegheader}
        jpeg = tables if page.compression == JPEG else {}
        values, (plane, _, top, left, _), shape = page.decode(content, index, **jpeg)
        if values is None:  # of a sparse file
            values = np.full(shape, page.nodata, np.dtype(page.dtype))
        self._decoded[key] = values[0]
        self._kept += values.nbytes
        most = KEPT if page.is_tiled else KEPT_STRIPS
        while self._kept > most and len(self._decoded) > 1:
            self._kept -= self._decoded.popitem(last=False)[1].nbytes
        return values[0], plane, top, left


def _arrays(file: BinaryIO, tif: "TiffFile", page: "TiffPage", start: int) -> list[ArrayFile]:
    """The planes of a directory whose values are stored one after the other."""
    separate, _, height, width, together = page.shaped
    dtype = np.dtype(page.dtype).newbyteorder(tif.byteorder)
    size = height * width * together * dtype.itemsize
    shape = (height, width, together)
    return [ArrayFile(file, start + n * size, shape, dtype) for n in range(separate)]


def _touched(page: "TiffPage", box: Box) -> Iterator[int]:
    """The indices of the strips or tiles that have pixels of the box."""
    separate, _, height, width, _ = page.shaped
    rows = page.tilelength if page.is_tiled else min(page.rowsperstrip, height)
    columns = page.tilewidth if page.is_tiled else width
    down, across = math.ceil(height / rows), math.ceil(width / columns)
    for plane in range(separate):
        for row in range(box.top // rows, math.ceil(box.bottom / rows)):
            for column in range(box.left // columns, math.ceil(box.right / columns)):
                yield (plane * down + row) * across + column
