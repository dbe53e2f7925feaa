"""Pictures and a line of facts, for people, of what a model takes and gives."""

from collections.abc import Sequence

import numpy as np

from img2img import images
from img2img.app.values import pages_of
from img2img.images import Picture
from img2img.infer.values import Values
from img2img.intensity import Intensity
from img2img.manifest import Manifest


def shown_page(source: Picture | Values) -> int:
    """The index of the page that is shown: the one in the middle."""
    return len(pages_of(source)) // 2


def before(source: Picture | Values, manifest: Manifest) -> np.ndarray:
    """What was sent, as a picture: uint8 [H, W, 1 or 3]."""
    if isinstance(source, Picture):
        return images.on_white(source)
    page = shown_page(source)
    return false_colors(source.pages[page], _missing(source, page), manifest.intensity_in)


def after(
    source: Picture | Values, results: Sequence[np.ndarray], manifest: Manifest
) -> np.ndarray:
    """What the model made of its pages, as a picture: uint8 [H, W, 1 or 3]."""
    page = shown_page(source)
    if isinstance(source, Picture) and not manifest.intensity_out:
        return images.on_white(source.translated(results[page]))
    return false_colors(results[page], _missing(source, page), manifest.intensity_out)


def false_colors(
    page: np.ndarray, missing: np.ndarray | None, intensity: Intensity | None
) -> np.ndarray:
    """Values [H, W, bands] as uint8 [H, W, 1 or 3], as the model declares that they are shown.
    Photographs, without an intensity, are shown as they are.
    """
    return images.as_shown(page) if intensity is None else intensity.shown(page, missing)


def size_of(source: Picture | Values, results: Sequence[np.ndarray]) -> str:
    """The size of the result, and which of its pages is shown."""
    height, width = results[0].shape[:2]
    if len(results) == 1:
        return f"{width}x{height}"
    page = shown_page(source) + 1
    return f"{len(results)} pages of {width}x{height} (page {page} is shown)"


def values_of(source: Picture | Values, results: Sequence[np.ndarray], manifest: Manifest) -> str:
    """Type, bands and range of the result; empty for photographs."""
    intensity = manifest.intensity_out
    if not intensity:
        return ""
    known = []
    for page, result in enumerate(results):
        missing = _missing(source, page)
        known.append(result if missing is None else result[~missing])
    values = [part for part in known if part.size]
    bands = len(intensity.bands)
    form = f"{intensity.dtype}, {bands} band{'s' * (bands > 1)}"
    if not values:
        return f"{form}, without a value"
    least, most = min(part.min() for part in values), max(part.max() for part in values)
    return f"{form}, {least:.6g} to {most:.6g} {intensity.unit}".rstrip()


def _missing(source: Picture | Values, page: int) -> np.ndarray | None:
    """Where the page has no value: bool [H, W]; None if it has values everywhere."""
    if isinstance(source, Picture) or source.missing is None:
        return None
    return source.missing[page] if source.missing.ndim == 3 else source.missing
