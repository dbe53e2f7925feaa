"""TIFF to exact values: of any photometric form, bit depth and layout, ImageJ's, OME's and GeoTIFF.

The chain of directories and the sizes are checked before anything is decoded.
TIFF 6.0: https://www.itu.int/itudoc/itu-t/com16/tiff-fx/docs/tiff6.pdf
"""

import logging
import warnings
from contextlib import ExitStack
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
from PIL import TiffImagePlugin

from img2img.errors import DataError, MissingPackage
from img2img.rasters.directories import directories
from img2img.rasters.layout import IMAGEJ, Layout, imagej_counts, imagej_layout, ome_layout
from img2img.rasters.pyramid import level_of, levels
from img2img.rasters.raster import Header, Raster, as_read, require_bounded
from img2img.rasters.tiff_metadata import (
    COLORS,
    DESCRIPTION,
    GDAL_METADATA,
    GEOREFERENCE,
    IMAGEJ_METADATA,
    IMAGEJ_SIZES,
    NODATA,
    TiffMetadata,
    band_names,
    collect,
    nodata_value,
)
from img2img.rasters.tiff_page import (
    CMYK,
    INSTALL,
    PALETTE,
    RGB,
    YCBCR,
    colored,
    decoded,
    form_of,
    is_8_bit,
    plane_without_directory,
)

if TYPE_CHECKING:
    from tifffile import TiffFile, TiffPage

SCIENCE_TAGS = {
    *(*GEOREFERENCE, NODATA, GDAL_METADATA, IMAGEJ_SIZES, IMAGEJ_METADATA),
    *(33628, 33629, 34361, 34412),  # MetaMorph's, FluoView's and Zeiss's
}
SCIENCE_TEXTS = (*IMAGEJ, "<?xml", "<OME")
TRUNCATED = '"truncated": true'  # of tifffile: pages without directories


class Pages:
    """The pages of an open file that have the first one's size."""

    def __init__(self, file: BinaryIO, files: ExitStack):
        """files: a context that is left before the file is closed."""
        self._file, self._files = file, files

    @cached_property
    def _tif(self) -> "TiffFile":  # not needed for the header of a photograph
        return self._files.enter_context(parsed(self._file))

    @cached_property
    def _layout(self) -> Layout:
        return layout_of(self._file, self._tif)

    def header(self) -> Header:
        photograph = _photograph(self._file)
        if photograph:
            return photograph
        tif, layout = self._tif, self._layout
        page = page_of(tif, layout, 0)
        samples, height, width, dtype = form_of(page)
        names = band_names(page, layout)
        bands = samples * len(layout.pages[0])
        kind = "geotiff" if any(code in page.tags for code in GEOREFERENCE) else "tiff"
        pyramid = levels(tif, 0, _is_alone(layout))
        sizes = tuple((p.imagewidth, p.imagelength) for p in pyramid) if len(pyramid) > 1 else ()
        size, pages = (width, height), len(layout.pages)
        return Header(kind, size, bands, dtype.name, pages, names, levels=sizes)

    def read(self, page: int, max_pixels: int, level: int) -> Raster:
        """level: 0, or that of a smaller version of the page, whose position and pixel size are not
        carried.
        """
        file, tif, layout = self._file, self._tif, self._layout
        if not 0 <= page < len(layout.pages):
            raise DataError(f"it has no page {page}, only 0 to {len(layout.pages) - 1}")
        first = page_of(tif, layout, page)
        if level:
            first = level_of(tif, layout.pages[page][0], _is_alone(layout), level)
        samples, height, width, _ = form_of(first)
        bands = samples * len(layout.pages[page])
        require_bounded((width, height), bands, np.dtype(first.dtype), max_pixels)
        raster = metadata_of(file, tif, layout, page)
        if level:
            plain = TiffMetadata(samples=samples, rgb=first.photometric in (RGB, YCBCR))
            raster = replace(raster, carried=plain)
        notes = [*raster.notes]
        planes = []
        for index in layout.pages[page]:
            if index >= len(tif.pages):  # ImageJ's files of more than 4 GB
                plane = plane_without_directory(file, tif, index)
                planes.append(colored(plane, first, notes))
                continue
            current = level_of(tif, index, _is_alone(layout), level)
            if form_of(current) != form_of(first):
                raise DataError("its channels have different sizes or types")
            planes.append(colored(decoded(file, current, max_pixels), current, notes))
        values = planes[0] if len(planes) == 1 else np.concatenate(planes, axis=-1)
        values = as_read(values, notes)
        return replace(raster, values=values, notes=tuple(dict.fromkeys(notes)))


def metadata_of(file: BinaryIO, tif: "TiffFile", layout: Layout, page: int) -> Raster:
    """A page with its size, type and metadata, whose values are all 0."""
    first = page_of(tif, layout, page)
    samples, height, width, dtype = form_of(first)
    zeros = np.broadcast_to(np.zeros((), dtype), (height, width, samples * len(layout.pages[page])))
    notes = [*layout.notes]
    nodata, names = nodata_value(first, notes), band_names(first, layout)
    metadata = collect(file, tif, first, layout, page)
    return Raster(zeros, names, nodata, "", metadata, tuple(notes))


def level_metadata_of(tif: "TiffFile", layout: Layout, level: int) -> "tuple[Raster, TiffPage]":
    """A level of a pyramid as `metadata_of` describes a page, without its place and pixel size, and
    its directory. Raises DataError for a level that it doesn't have, and for channels in
    directories of their own.
    """
    if len(layout.pages[0]) > 1:
        raise DataError("levels of channels in pages of their own are not read in parts")
    page = level_of(tif, layout.pages[0][0], _is_alone(layout), level)
    samples, height, width, dtype = form_of(page)
    notes = [*layout.notes]
    nodata = nodata_value(page, notes)
    zeros = np.broadcast_to(np.zeros((), dtype), (height, width, samples))
    extra = tuple(int(kind) for kind in page.extrasamples)
    plain = TiffMetadata(samples=samples, rgb=page.photometric in (RGB, YCBCR), extra=extra)
    names = band_names(page, layout)
    return Raster(zeros, names, nodata, "", plain, tuple(notes)), page


def parsed(file: BinaryIO) -> "TiffFile":
    try:
        import tifffile
    except ImportError:
        raise MissingPackage(f"a TIFF that is not an 8-bit photograph {INSTALL}") from None
    logger = logging.getLogger("tifffile")
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())  # warnings on metadata, which go to stderr
    file.seek(0)
    return tifffile.TiffFile(file)


def _photograph(file: BinaryIO) -> Header | None:
    """The header of a TIFF that Pillow reads without loss, for which tifffile is not needed."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about damaged tags
            file.seek(0)
            start = file.read(8)
            start += file.read(8) if 43 in start[2:4] else b""  # BigTIFF
            tags = TiffImagePlugin.ImageFileDirectory_v2(start)
            file.seek(tags.next)
            tags.load(file)
            bits, formats = set(tags.get(258, (1,))), set(tags.get(339, (1,)))
            samples, form = int(tags.get(277, 1)), int(tags.get(262, -1))
            text = str(tags.get(DESCRIPTION, ""))
            size = (int(tags[256]), int(tags[257]))
            deep = form == PALETTE and not is_8_bit(np.asarray(tags[320]))
            alpha = samples == 4 and form == RGB and tags.get(338, (0,)) in ((1,), (2,))
    except Exception:  # of hostile bytes, almost any
        return None
    plain = samples in (1, 3, 4) and formats == {1} and (bits == {8} or (bits == {1} and form < 2))
    science = SCIENCE_TAGS & set(tags) or text.startswith(SCIENCE_TEXTS) or TRUNCATED in text
    if not plain or tags.next or science or deep:
        return None
    if not (0 <= form <= 6 or form == 8) or (samples == 4 and form not in (RGB, CMYK)):
        return None
    names = (*COLORS, "alpha") if alpha else ()
    bands = 3 if form == PALETTE else samples
    return Header("tiff", size, bands, "uint8", 1, names, is_photograph=True)


def layout_of(file: BinaryIO, tif: "TiffFile") -> Layout:
    contradiction: tuple[str, ...] = ()
    chain = directories(file)
    count = len(chain)
    if not chain:
        raise DataError("it has no page")
    first = tif.pages.first
    text = first.description
    if first.is_ome:
        return ome_layout(text, first.samplesperpixel, count)
    if text.startswith(IMAGEJ):
        planes = imagej_counts(text)[2]
        if count == 1 and planes > 1 and first.compression == 1 and first.is_contiguous:
            size = first.nbytes
            count = (file.seek(0, 2) - first.dataoffsets[0]) // max(1, size)
        layout = imagej_layout(text, count)
        if layout:
            return layout
        contradiction = (f"its ImageJ description lists {planes} planes, the file has {count}",)
    if first.is_stk or first.is_lsm:
        raise DataError("STK and LSM files are not read. Save it as OME-TIFF, for example by Fiji")
    if first.is_shaped and TRUNCATED in text:
        raise DataError("pages without directories are not read. Save it without truncate=True")
    pages: list[tuple[int, ...]] = [
        (index,)
        for index, directory in enumerate(chain)
        if not index or (directory.is_page and directory.form == chain[0].form)
    ]
    left_out = count - len(pages)
    notes = (f"{left_out} pages of another size or type are left out",) if left_out else ()
    return Layout("plain", pages, notes=(*contradiction, *notes))


def _is_alone(layout: Layout) -> bool:
    return layout.form == "plain" and len(layout.pages) == 1


def page_of(tif: "TiffFile", layout: Layout, page: int) -> "TiffPage":
    index = layout.pages[page][0]
    return tif.pages[index].aspage() if index < len(tif.pages) else tif.pages.first
