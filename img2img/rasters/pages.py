"""Files of several pages, such as stacks and volumes, as pictures: one for each page, of the first
page alone, or of all pages together. A page is named by a path below its file: volume.nii/page-012.
"""

import os
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np

from img2img import rasters
from img2img.rasters.raster import MAX_PIXELS, Header, Raster

Mode = Literal["each", "first", "stack"]  # which pages of a file make up a picture
NAME = re.compile(r"page-(\d+)")


def names(path: Path, count: int) -> list[Path]:
    """The names of the pages of a file, in their order; the file's own where it has one page."""
    digits = len(str(count - 1))
    return [path / f"page-{page:0{digits}}" for page in range(count)] if count > 1 else [path]


def split_name(path: Path) -> tuple[Path, int | None]:
    """The file of a page's name and the page's index; a path that names no page, and None."""
    match = NAME.fullmatch(path.name)
    if match and os.path.isfile(path.parent):
        return path.parent, int(match[1])
    return path, None


def header_of_picture(header: Header, mode: Mode, neighbors: int = 0) -> Header:
    """The header of a file's pictures, whose bands are those of all of their pages, and `pages` the
    number of pictures.
    """
    together = header.pages if mode == "stack" else 2 * neighbors + 1
    count = header.pages if mode == "each" else 1
    names = header.band_names if together == 1 else ()
    return replace(header, bands=header.bands * together, band_names=names, pages=count)


def read(
    path: Path, mode: Mode = "each", neighbors: int = 0, max_pixels: int = MAX_PIXELS
) -> Raster:
    """The picture of a page's name, or of a file, of which "each" takes the first page.

    neighbors: how many pages before and after a page are further bands of it; beyond the ends, the
    first or the last page is repeated. Raises DataError and TooLarge as rasters.read does.
    """
    file, page = split_name(path)
    if mode != "stack" and not neighbors:
        return rasters.read(file, page or 0, max_pixels)
    header = rasters.header(file)
    count = header.pages if header else 1
    numbers = range(count) if mode == "stack" else around(page or 0, neighbors, count)
    pages = {number: rasters.read(file, number, max_pixels) for number in dict.fromkeys(numbers)}
    return together([pages[number] for number in numbers], page or 0 if mode == "stack" else None)


def around(page: int, neighbors: int, count: int) -> list[int]:
    """The indices of a page and its neighbors."""
    return [min(max(n, 0), count - 1) for n in range(page - neighbors, page + neighbors + 1)]


def pictures(pages: Sequence[Raster], mode: Mode, neighbors: int = 0) -> list[Raster]:
    """The pictures of a file from all of its pages."""
    if mode == "stack":
        return [together(pages, 0)]
    if mode == "first":
        return list(pages[:1])
    numbers = range(len(pages))
    return [together([pages[n] for n in around(page, neighbors, len(pages))]) for page in numbers]


def together(pages: Sequence[Raster], main: int | None = None) -> Raster:
    """Pages as the bands of one picture, in their order, with the metadata of the main one: by
    default, of that in the middle.
    """
    if len(pages) == 1:
        return pages[0]
    values = np.concatenate([page.values for page in pages], -1)
    notes = dict.fromkeys(note for page in pages for note in page.notes)
    main = len(pages) // 2 if main is None else main
    return replace(pages[main], values=values, bands=(), notes=tuple(notes))
