"""Files of values as a model takes them, and its outputs as files of values: bytes in, bytes out.

Nothing here imports a runtime.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from img2img import rasters
from img2img.errors import DataError
from img2img.infer.scene import described, gap_of_output
from img2img.intensity import Intensity
from img2img.rasters import Raster
from img2img.stored import Stored, read_pages, require_files, stack_pages


@dataclass(frozen=True)
class Values:
    """The values of a picture, and what its file says beside them."""

    values: np.ndarray  # [H, W, bands], or [P, H, W, bands] of a file of several pages
    missing: np.ndarray | None  # bool, [H, W] or [P, H, W]; None if no pixel is
    raster: Raster  # of a page of the first file, for its metadata; its values are all 0
    clipped: float  # the share of the values that are beyond the model's range

    @property
    def notes(self) -> tuple[str, ...]:
        """Remarks on the file, and on values that the model clips."""
        if not self.clipped:
            return self.raster.notes
        beyond = f"values beyond the model's range are clipped, {self.clipped:.2%} of them"
        return (*self.raster.notes, beyond)

    @property
    def pages(self) -> list[np.ndarray]:
        """The values [H, W, bands] of each page."""
        return list(self.values) if self.values.ndim == 4 else [self.values]


def read(
    contents: Sequence[bytes],
    names: Sequence[str],
    intensity: Intensity,
    max_pixels: int,
    before_page: Callable[[], None] = lambda: None,
) -> Values:
    """The picture in the bytes of a file, or of one file for each input of the intensity.

    names: of the files, for errors. before_page: called before each page of each file is decoded,
    and may raise. Raises DataError, with the file's name first, as `img2img.stored` does.
    """
    require_files(len(contents), intensity)
    each = []
    for name, content, part in zip(names, contents, intensity.inputs, strict=True):
        try:
            each.append(read_pages(content, part, max_pixels, before_page))
        except DataError as error:
            raise type(error)(f"{name}: {str(error).removeprefix('the picture: ')}") from None
    pages = stack_pages(each, names, intensity)
    values, missing = pages[0].values, pages[0].missing
    if len(pages) > 1:
        values, missing = np.stack([page.values for page in pages]), _missing(pages)
    raster = pages[0].raster
    # Of the page alone, since an output with as many bands keeps what its file says about them.
    shape = (*raster.values.shape[:2], len(intensity.inputs[0].bands_of_page))
    empty = np.broadcast_to(np.zeros((), raster.values.dtype), shape)
    return Values(values, missing, replace(raster, values=empty), _beyond(pages, intensity))


def encode(
    result: np.ndarray,
    raster: Raster | None,
    missing: np.ndarray | None,
    intensity: Intensity | None,
    suffix: str,
    maker: str = "",
) -> tuple[bytes, tuple[str, ...]]:
    """The bytes of a file of exact values with the input's metadata, and notes.

    Args:
        result: [H, W, bands], or [P, H, W, bands] of all pages.
        raster: of the input's file; None for a photograph.
        missing: bool, where the input has no value. Those pixels get the value that the outputs'
            intensity declares, or else the input's, if the type can hold it.
        intensity: of the outputs; None for photographs.
        maker: what tells the outputs of another model, or with other options, from these.

    Raises DataError for values that the format can't hold.
    """
    declared = raster.nodata if raster else None
    gap = gap_of_output(declared, intensity, result.dtype.name, missing is not None)
    if missing is not None and not (intensity and intensity.may_miss):
        result = result.copy()  # else the model has marked them
        result[missing] = gap.value
    nodata = gap.declared
    like = described(raster, intensity, result.shape[-1], nodata) if raster else None
    if like is None and nodata is not None:
        like = Raster(result, nodata=nodata)
    return rasters.encode(result, like, suffix, maker), gap.notes


def _missing(pages: Sequence[Stored]) -> np.ndarray | None:
    """Where pixels of the pages are missing, bool [P, H, W]; None if none is."""
    if all(page.missing is None for page in pages):
        return None
    shape = pages[0].values.shape[:2]
    return np.stack([np.zeros(shape, bool) if p.missing is None else p.missing for p in pages])


def _beyond(pages: Sequence[Stored], intensity: Intensity) -> float:
    """The share of the values that the intensity clips."""
    known = [page.values if page.missing is None else page.values[~page.missing] for page in pages]
    return float(np.mean([intensity.outside(values) for values in known]))
