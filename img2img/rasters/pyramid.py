"""Smaller versions of a page that a TIFF also holds, as scanners of slides and GDAL write them: in
SubIFDs, or in directories behind the page.
"""

from typing import TYPE_CHECKING

from img2img.errors import DataError
from img2img.rasters.tiff_page import form_of

if TYPE_CHECKING:
    from tifffile import TiffFile, TiffPage

MAX_LEVELS = 32  # each halves the sides; also the directories in which they are searched
ASPECT = 0.01  # difference of the factors of width and height, by rounding


def levels(tif: "TiffFile", index: int, alone: bool) -> list["TiffPage"]:
    """The page of a directory and its smaller versions, in descending order of size.

    alone: it is the only page, so that directories behind it may be its versions. Labels and
    thumbnails are told from them by their shape, and because they are not tiled.
    """
    page = tif.pages[index].aspage()
    bands, height, width, dtype = form_of(page)
    candidates: list[TiffPage] = []
    if page.subifds and page.pages is not None:
        count = min(len(page.subifds), MAX_LEVELS)
        candidates = [page.pages[i].aspage() for i in range(count)]
    elif alone:
        count = min(len(tif.pages), MAX_LEVELS)
        candidates = [tif.pages[i].aspage() for i in range(1, count)]
    result = [page]
    for smaller in candidates:
        if smaller.dtype is None or smaller.is_mask or smaller.is_tiled != page.is_tiled:
            continue
        their_bands, h, w, their_dtype = form_of(smaller)
        fits = (their_bands, their_dtype) == (bands, dtype) and abs(w / width - h / height) < ASPECT
        if fits and w < result[-1].imagewidth:
            result.append(smaller)
    return result


def level_of(tif: "TiffFile", index: int, alone: bool, level: int) -> "TiffPage":
    """Raises DataError where the page has no such level."""
    if not level:
        return tif.pages[index].aspage()
    pages = levels(tif, index, alone)
    if not 0 <= level < len(pages):
        raise DataError(f"it has no level {level}, only 0 to {len(pages) - 1}")
    return pages[level]
