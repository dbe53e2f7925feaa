"""What people see of values."""

import numpy as np

from img2img.app.shown import false_colors, size_of, values_of
from img2img.infer.values import Values
from img2img.intensity import Intensity
from img2img.manifest import Manifest
from img2img.rasters import Raster

BANDS = Intensity(dtype="uint16", bands=tuple("bgrn"), low=(0,) * 4, high=(510,) * 4, nodata=0)


def sent(values: np.ndarray, missing: np.ndarray | None = None) -> Values:
    return Values(values, missing, Raster(values), 0.0)


def made(intensity: Intensity) -> Manifest:
    return Manifest(
        name="m",
        method="pix2pix",
        direction="ab",
        intensity_out=intensity,
        size_multiple=1,
        trained_size=8,
    )


def test_three_bands_are_shown_over_their_range_and_missing_pixels_are_gray():
    page = np.arange(1, 600 * 2 * 4 + 1).reshape(600, 2, 4).astype(np.uint16)
    missing = np.zeros((600, 2), bool)
    missing[-1, 0] = True
    shown = false_colors(page, missing, BANDS)
    wanted = np.clip(page[..., :3] / 2, 0, 255)
    assert (shown.dtype, shown.shape) == (np.uint8, (600, 2, 3))
    assert np.abs(shown.astype(float) - wanted)[~missing].max() <= 0.5
    assert shown[-1, 0].tolist() == [128] * 3


def test_missing_pixels_are_not_among_the_facts():
    values = np.array([[[7, 7, 7, 7], [0, 0, 0, 0]]], np.uint16)
    missing = np.array([[False, True]])
    told = values_of(sent(values, missing), [values], made(BANDS))
    assert told == "uint16, 4 bands, 7 to 7"
    told = values_of(sent(values, missing | True), [values], made(BANDS))
    assert told == "uint16, 4 bands, without a value"


def test_missing_pixels_of_pages_are_those_of_the_page():
    pages = np.array([[[[7] * 4]], [[[9] * 4]], [[[0] * 4]]], np.uint16)
    missing = np.array([[[False]], [[False]], [[True]]])
    source = sent(pages, missing)
    assert values_of(source, list(pages), made(BANDS)) == "uint16, 4 bands, 7 to 9"
    assert size_of(source, list(pages)) == "3 pages of 1x1 (page 2 is shown)"
