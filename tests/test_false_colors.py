"""How values are shown: levels, missing pixels, and what is done without a declaration."""

import numpy as np
import pytest

from img2img.false_colors import MISSING, FalseColors
from img2img.intensity import Intensity, stacked


def of(*bands: int, low=0.0, high=255.0, decibels=False) -> FalseColors:
    count = len(bands)
    ends = {"low": (low,) * count, "high": (high,) * count}
    return FalseColors(bands=bands, **ends, decibels=(decibels,) * count)


def plain(count: int, dtype: str = "uint16", high: float = 1000.0, **more) -> Intensity:
    names = tuple(str(number + 1) for number in range(count))
    return Intensity(dtype=dtype, bands=names, low=(0.0,) * count, high=(high,) * count, **more)


def test_bands_are_shown_in_the_declared_order_and_stretch():
    values = np.array([[[0, 1500, 3000, 9]], [[5000, 750, 0, 9]]], np.uint16)
    shown = plain(4, show=of(2, 1, 0, high=3000)).shown(values)
    assert (shown.dtype, shown.shape) == (np.uint8, (2, 1, 3))
    assert shown.reshape(2, 3).tolist() == [[255, 128, 0], [0, 64, 255]]


def test_each_band_has_its_stretch():
    colors = FalseColors(bands=(0, 1, 1), low=(0, -20, 0), high=(1, 0, 1), decibels=(0, 1, 0))
    values = np.array([[[0.5, 0.1]], [[0.0, 0.0]]], np.float32)
    shown = plain(2, "float32", show=colors).shown(values)
    assert shown[:, 0].tolist() == [[128, 128, 26], [0, 0, 0]]  # 0 has no logarithm: black


@pytest.mark.parametrize(("bands", "channels"), [(1, 1), (2, 1), (3, 3), (5, 3)])
def test_without_a_declaration_the_first_bands_are_shown_in_their_range(bands, channels):
    intensity = plain(bands)
    values = np.random.default_rng(0).integers(0, 1001, (4, 5, bands)).astype(np.uint16)
    levels = np.rint((intensity.to_network(values).astype(np.float64) + 1) * 127.5)
    assert np.abs(intensity.shown(values) - levels[..., :channels]).max() <= 1
    assert intensity.shown(values).shape == (4, 5, channels)


def test_missing_pixels_are_gray_whatever_band_misses_them():
    values = np.array([[[0, 0, 0], [0, 0, -9999]]], np.int16)
    shown = plain(3, "int16", nodata=-9999.0, show=of(0)).shown(values)
    assert shown.ravel().tolist() == [0, MISSING]
    values = np.array([[[0, np.nan, 0], [np.inf, 0, 0]]], np.float32)
    shown = plain(3, "float32", show=of(0)).shown(values)
    assert shown.ravel().tolist() == [MISSING, 255]
    zero = np.zeros((1, 1, 1), np.uint16)  # is not missing where nothing is
    assert plain(1).shown(zero).item() == 0
    assert plain(1).shown(zero, np.array([[True]])).item() == MISSING


def test_a_stack_shows_the_bands_of_its_parts_each_in_its_unit():
    optical = plain(2, name="optical")
    radar = plain(1, "float32", name="sar", nodata=-1.0).model_copy(
        update={"low": (-20.0,), "high": (0.0,), "decibels": True}
    )
    values = np.array([[[0, 1000, 0.1], [0, 0, -1]]], np.float32)
    assert stacked([optical, radar]).shown(values).tolist() == [[[0, 255, 128], [MISSING] * 3]]


def test_the_declaration_is_kept_in_json_and_older_files_have_none():
    declared = plain(4, show=of(3, 2, 1, high=3000))
    assert Intensity.model_validate_json(declared.model_dump_json()) == declared
    older = Intensity.model_validate_json('{"dtype":"uint16","bands":["1"],"low":[0],"high":[9]}')
    assert older.show is None
    assert older.describe_show() == "1 as gray (0:9)"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (of(3, 2, 1, high=3000), "4, 3, 2 as red, green, blue (0:3000 HU)"),
        (of(0, low=-25, high=5, decibels=True), "1 as gray (-25:5 dB)"),
        (
            FalseColors(bands=(0, 1, 2), low=(0, 0, 0), high=(1, 2, 3), decibels=(0, 0, 0)),
            "1 (0:1 HU), 2 (0:2 HU), 3 (0:3 HU) as red, green, blue",
        ),
    ],
)
def test_it_is_told_in_words(given, words):
    assert plain(4, unit="HU", show=given).describe_show() == words


@pytest.mark.parametrize("bands", [(0, 1), (-1,), ()])
def test_other_bands_than_one_or_three_are_refused(bands):
    with pytest.raises(ValueError, match="one or three indices"):
        of(*bands)


def test_a_band_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match="among those that are used"):
        plain(2, show=of(2))
