"""Reading the bands of a file that an intensity uses."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from img2img import rasters
from img2img.errors import DataError
from img2img.formats import TooLarge
from img2img.intensity import Intensity
from img2img.rasters import Raster

MOST = 4  # times the limit of a picture's pixels, of all pages of a file together


def read_values(path: Path, intensity: Intensity) -> np.ndarray:
    """A file's values [H, W, bands] in the type that the intensity holds them in, NaN where they
    are missing. Errors are those of `read_raster`.
    """
    return held(read_raster(path, intensity), intensity)


def read_raster(
    source: Path | bytes, intensity: Intensity, max_pixels: int = rasters.MAX_PIXELS
) -> Raster:
    """A file's values of the bands that the intensity uses. Raises DataError for a file of another
    type or number of bands, of several pages, and for one that is no picture.
    """
    [raster, *others] = read_pages(source, intensity, max_pixels)
    if others:
        name = str(source) if isinstance(source, Path) else "the picture"
        raise DataError(
            f"{name}: it has {1 + len(others)} pages, where one is expected. Save each as a file "
            "with img2img slices."
        )
    return raster


def read_pages(
    source: Path | bytes, intensity: Intensity, max_pixels: int = rasters.MAX_PIXELS
) -> list[Raster]:
    """All pages of a file, as `read_raster` reads a file of one. Raises DataError, and TooLarge
    also for more pixels in all pages than four times max_pixels.
    """
    header = rasters.header(source)
    pages = header.pages if header else 1
    if header and pages > 1:
        name = str(source) if isinstance(source, Path) else "the picture"
        width, height = header.size
        if pages * width * height > MOST * max_pixels:
            raise TooLarge(
                f"{name}: {pages} pages of {width}x{height} are too many to read at once. Save "
                "them as files with img2img slices."
            )
    return [_read_page(source, intensity, max_pixels, page) for page in range(pages)]


def _read_page(source: Path | bytes, intensity: Intensity, max_pixels: int, page: int) -> Raster:
    raster = rasters.read(source, page, max_pixels)
    name = str(source) if isinstance(source, Path) else "the picture"
    wanted = intensity.file_bands or len(intensity.bands)
    count, dtype = raster.values.shape[2], raster.values.dtype.name
    if (count, dtype) != (wanted, intensity.dtype):
        raise DataError(
            f"{name}: {form(count, dtype)}, where {form(wanted, intensity.dtype)} is expected."
        )
    if not intensity.picked:
        return raster
    chosen = list(intensity.picked)
    names = tuple(raster.bands[i] for i in chosen) if raster.bands else ()
    return replace(raster, values=np.ascontiguousarray(raster.values[..., chosen]), bands=names)


def held(raster: Raster, intensity: Intensity) -> np.ndarray:
    """The raster's values in the type that the intensity holds them in, NaN where missing."""
    values = raster.values.astype(intensity.held, copy=False)
    missing = raster.missing
    if missing is None:
        return values
    if not intensity.may_miss:
        raise DataError(
            "pixels are missing, and no training picture declared a value for these. Fill them."
        )
    return np.where(missing[..., None], np.array(np.nan, values.dtype), values)


def form(bands: int, dtype: str) -> str:
    """In words: "4 bands of uint16"."""
    return f"{bands} band{'s' * (bands > 1)} of {dtype}"
