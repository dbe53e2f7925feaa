"""Files of pictures: photographs, and values."""

import contextlib
from collections.abc import Callable
from pathlib import Path

from fuzz.scratch import written
from img2img import images, rasters
from img2img.box import Box
from img2img.errors import DataError
from img2img.rasters import magnification, windows

MOST = 100_000  # pixels
JPEG_XL = b"\xff\x0a"


def photograph(content: bytes) -> None:
    """Read as `serve` and `translate` do it, and written again."""
    _all(lambda: _answer(content), lambda: _translate(content))


def _answer(content: bytes) -> None:
    if not content.startswith(JPEG_XL):  # a server takes none
        images.require_bounded(content)
    with images.open_header(content, MOST):
        pass
    images.read(content, 1, MOST, max_side=16)


def _translate(content: bytes) -> None:
    picture = images.read(written("photograph", content), 3, MOST, to_translate=True)
    for suffix in (".png", ".jpg", ".tif"):
        images.left_out(picture, suffix)
        images.encode(picture, suffix)


def values(content: bytes) -> None:
    """The header, all values and a part of them; and written again, with what is carried along."""
    suffix = rasters.suffix_of(content)
    if suffix is None:
        raise DataError("It is no file of values.")
    path = written(f"values{suffix}", content)
    _all(
        lambda: _describe(path, content),
        lambda: _read(content, suffix),
        lambda: _read_part(path),
    )


def _describe(path: Path, content: bytes) -> None:
    assert rasters.header(path) == rasters.header(content)
    if path.suffix == ".tif":
        with contextlib.suppress(DataError):  # most files have none
            magnification.level_of(path, 20)


def _read(content: bytes, suffix: str) -> None:
    raster = rasters.read(content, 0, MOST)
    assert raster.values.nbytes <= rasters.raster.BYTES_PER_PIXEL * MOST
    rasters.encode(raster.values, raster, suffix)


def _read_part(path: Path) -> None:
    if windows.reads(path):
        with windows.opened(path) as page:
            height, width = page.shape
            page.read(Box(0, min(height, 40), 0, min(width, 40)))


def _all(*steps: Callable[[], None]) -> None:
    """Take all steps, and then raise the first DataError of them."""
    errors = []
    for step in steps:
        try:
            step()
        except DataError as error:
            errors.append(error)
    if errors:
        raise errors[0]
