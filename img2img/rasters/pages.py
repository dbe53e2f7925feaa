"""Files of several pages, such as stacks and volumes, as pictures: one for each page, of the first
page alone, or of all pages together. A page is named by a path below its file: volume.nii/page-012.
"""

import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np

from img2img import rasters
from img2img.rasters.raster import MAX_PIXELS, Header, Raster

Mode = Literal["each", "first", "stack"]  # which pages of a file make up a picture
NAME = re.compile(r"page-(\d+)")
Read = Callable[[Path, Mode, int, int], Raster]  # with the arguments of `read`


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
    with opened(file, mode, neighbors, max_pixels) as pictures:
        return pictures.read(page or 0)


@dataclass
class Pictures:
    """The pictures of an open file. They are read fastest in their order."""

    file: rasters.OpenFile
    mode: Mode
    neighbors: int
    max_pixels: int
    before_page: Callable[[], None]  # called before each page is decoded
    _kept: dict[int, Raster] = field(default_factory=dict)  # the pages of the last picture

    @property
    def header(self) -> Header:
        """That of `header_of_picture`."""
        return header_of_picture(self.file.header, self.mode, self.neighbors)

    def read(self, page: int = 0) -> Raster:
        """The picture of a page, with its neighbors, or of all pages."""
        if self.mode == "stack":
            numbers, main = list(range(self.file.header.pages)), page
        elif self.neighbors:
            numbers = around(page, self.neighbors, self.file.header.pages)
            main = self.neighbors
        else:
            numbers, main = [page], 0
        kept = {number: self._kept[number] for number in numbers if number in self._kept}
        self._kept = {}  # so that not more than the pages of a picture are in memory
        for number in numbers:
            if number not in kept:
                self.before_page()
                kept[number] = self.file.read(number, self.max_pixels)
        self._kept = kept
        return together([kept[number] for number in numbers], main)


@contextmanager
def opened(
    source: Path | bytes,
    mode: Mode = "each",
    neighbors: int = 0,
    max_pixels: int = MAX_PIXELS,
    before_page: Callable[[], None] = lambda: None,
) -> Iterator[Pictures]:
    """A context with the pictures of a file, or of the bytes of one, which is opened once.

    before_page: called before each page is decoded, and may raise. Other arguments and the errors
    are those of `read`.
    """
    with rasters.open_file(source) as file:
        yield Pictures(file, mode, neighbors, max_pixels, before_page)


@contextmanager
def kept_open() -> Iterator[Read]:
    """A context with a function that reads as `read` does, but leaves each file open until the end,
    for pages of a few files in their order.
    """
    kept: dict[tuple[Path, Mode, int], Pictures] = {}
    with ExitStack() as files:

        def read_kept(path: Path, mode: Mode, neighbors: int, max_pixels: int) -> Raster:
            file, page = split_name(path)
            key = file, mode, neighbors
            if key not in kept:
                kept[key] = files.enter_context(opened(file, mode, neighbors, max_pixels))
            return kept[key].read(page or 0)

        yield read_kept


def around(page: int, neighbors: int, count: int) -> list[int]:
    """The indices of a page and its neighbors."""
    return [min(max(n, 0), count - 1) for n in range(page - neighbors, page + neighbors + 1)]


def together(pages: Sequence[Raster], main: int) -> Raster:
    """Pages as the bands of one picture, in their order, with the metadata of the main one."""
    if len(pages) == 1:
        return pages[0]
    values = np.concatenate([page.values for page in pages], -1)
    notes = dict.fromkeys(note for page in pages for note in page.notes)
    return replace(pages[main], values=values, bands=(), notes=tuple(notes))
