"""Reading the bands of a file that an intensity uses."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from img2img import rasters
from img2img.errors import DataError
from img2img.formats import TooLarge
from img2img.intensity import Intensity
from img2img.rasters import Raster

MOST = 4  # times the limit of a picture's pixels, of all pages of a file together


@dataclass(frozen=True)
class Stored:
    """A page as a model of the intensity takes it."""

    values: np.ndarray  # [H, W, bands], of the intensity's type, with its value at missing pixels
    missing: np.ndarray | None  # bool [H, W]: where any band is missing; None if nowhere
    raster: Raster  # as it is in the file


def read_values(path: Path, intensity: Intensity) -> np.ndarray:
    """A file's values [H, W, bands] in the type that the intensity holds them in, NaN where they
    are missing. Errors are those of `read_stored`.
    """
    stored = read_stored(path, intensity)
    values = stored.values.astype(intensity.held, copy=False)
    if stored.missing is None:
        return values
    return np.where(stored.missing[..., None], np.array(np.nan, values.dtype), values)


def read_stored(
    source: Path | bytes, intensity: Intensity, max_pixels: int = rasters.MAX_PIXELS
) -> Stored:
    """A file's values of the bands that the intensity uses. Raises DataError for a file of another
    type, number or names of bands, of several pages, with missing pixels that the intensity does
    not know, and for one that is no picture.
    """
    [page, *others] = read_pages(source, intensity, max_pixels)
    if others:
        raise DataError(
            f"{_name(source)}: it has {1 + len(others)} pages, where one is expected. Save each as "
            "a file with img2img slices."
        )
    return page


def read_pages(
    source: Path | bytes, intensity: Intensity, max_pixels: int = rasters.MAX_PIXELS
) -> list[Stored]:
    """All pages of a file, as `read_stored` reads a file of one. Raises DataError, and TooLarge
    also for more pixels in all pages than four times max_pixels.
    """
    header = rasters.header(source)
    pages = header.pages if header else 1
    if header and pages > 1:
        width, height = header.size
        if pages * width * height > MOST * max_pixels:
            raise TooLarge(
                f"{_name(source)}: {pages} pages of {width}x{height} are too many to read at once. "
                "Save them as files with img2img slices."
            )
    return [_read_page(source, intensity, max_pixels, page) for page in range(pages)]


def _read_page(source: Path | bytes, intensity: Intensity, max_pixels: int, page: int) -> Stored:
    return as_stored(rasters.read(source, page, max_pixels), intensity, _name(source))


def as_stored(raster: Raster, intensity: Intensity, name: str) -> Stored:
    """A page, or a part of one, as a model of the intensity takes it. name: of the file, for
    errors, which are those of `read_stored`.
    """
    wanted = intensity.file_bands or len(intensity.bands)
    count, dtype = raster.values.shape[2], raster.values.dtype.name
    if (count, dtype) != (wanted, intensity.dtype):
        raise DataError(
            f"{name}: {form(count, dtype)}, where {form(wanted, intensity.dtype)} is expected."
        )
    if intensity.picked:
        chosen = list(intensity.picked)
        names = tuple(raster.bands[i] for i in chosen) if raster.bands else ()
        values = np.ascontiguousarray(raster.values[..., chosen])
        raster = replace(raster, values=values, bands=names)
    if raster.bands and intensity.named and raster.bands != intensity.bands:
        raise DataError(
            f"{name}: its bands are {', '.join(raster.bands)}, where "
            f"{', '.join(intensity.bands)} are expected."
        )
    missing = raster.missing
    if missing is None:
        return Stored(raster.values, None, raster)
    if not intensity.may_miss:
        raise DataError(
            f"{name}: pixels are missing, and in the training pictures none were. Fill them first."
        )
    marker = np.array(intensity.missing_value, raster.values.dtype)
    return Stored(np.where(missing[..., None], marker, raster.values), missing, raster)


def form(bands: int, dtype: str) -> str:
    """In words: "4 bands of uint16"."""
    return f"{bands} band{'s' * (bands > 1)} of {dtype}"


def _name(source: Path | bytes) -> str:
    return str(source) if isinstance(source, Path) else "the picture"
