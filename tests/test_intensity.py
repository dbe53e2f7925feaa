"""What stored values become in the network, and back."""

import numpy as np
import pytest

from img2img.errors import UsageError
from img2img.intensity import DTYPES, Intensity, representable, stacked

RANDOM = np.random.default_rng(0)


def full(dtype: str) -> Intensity:
    limits = np.iinfo(dtype)
    return Intensity(dtype=dtype, bands=("1",), low=(float(limits.min),), high=(float(limits.max),))


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16"])
def test_every_integer_comes_back(dtype):
    limits = np.iinfo(dtype)
    values = np.arange(limits.min, limits.max + 1).astype(dtype)[:, None]
    mapped = full(dtype).to_network(values)
    assert (mapped.dtype, mapped.min(), mapped.max()) == (np.float32, -1, 1)
    assert np.array_equal(full(dtype).from_network(mapped), values)


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_ends_of_the_range_become_minus_one_and_one(dtype):
    intensity = Intensity(dtype=dtype, bands=("1", "2"), low=(0, 10), high=(100, 20))
    values = np.array([[0, 10], [50, 15], [100, 20]], dtype)
    assert np.allclose(intensity.to_network(values), [[-1, -1], [0, 0], [1, 1]])
    assert np.array_equal(intensity.from_network(intensity.to_network(values)), values)


def test_values_beyond_the_range_are_clipped_and_counted():
    intensity = Intensity(dtype="int16", bands=("1",), low=(0,), high=(100,))
    values = np.array([-50, 0, 30, 100, 200], np.int16)[:, None]
    assert intensity.to_network(values).ravel().tolist() == pytest.approx([-1, -1, -0.4, 1, 1])
    assert intensity.outside(values) == 2 / 5


def test_missing_values_become_the_middle_and_are_not_counted():
    intensity = Intensity(dtype="float32", bands=("1",), low=(0,), high=(1,))
    values = np.array([np.nan, 0, 2], np.float32)[:, None]
    assert intensity.to_network(values).ravel().tolist() == [0, -1, 1]
    assert intensity.outside(values) == 1 / 2


def test_decibels_are_of_powers():
    intensity = Intensity(dtype="float32", bands=("1",), low=(-20,), high=(10,), decibels=True)
    values = np.array([0, 0.001, 0.01, 0.31622776, 10, 100], np.float32)[:, None]
    expected = [-1, -1, -1, 0, 1, 1]
    assert intensity.to_network(values).ravel().tolist() == pytest.approx(expected, abs=1e-6)
    back = intensity.from_network(np.array([-1.0, 0, 1])[:, None]).ravel()
    assert back.tolist() == pytest.approx([0.01, 0.31622776, 10])


@pytest.mark.parametrize(
    ("nodata", "dtype", "kept"),
    [
        (-9999, "uint16", None),
        (-9999, "int16", -9999),
        (float("nan"), "uint16", None),
        (1.5, "int32", None),
        (2**31 - 1, "int32", 2**31 - 1),
        (-1.797e308, "float32", None),
        (-9999, "float32", -9999),
    ],
)
def test_a_value_of_missing_pixels_is_kept_if_the_type_can_hold_it(nodata, dtype, kept):
    assert representable(nodata, dtype) == kept


def plain(name: str, dtype: str, *bands: str, **more) -> Intensity:
    low, high = more.pop("low", 0.0), more.pop("high", 100.0)
    ends = {"low": (low,) * len(bands), "high": (high,) * len(bands)}
    return Intensity(name=name, dtype=dtype, bands=bands, **ends, **more)


@pytest.mark.parametrize(
    ("dtypes", "holding"),
    [
        (("uint8", "uint16"), "uint16"),
        (("uint8", "int16"), "int16"),
        (("int16", "uint16"), "int32"),
        (("uint16", "int16", "int32"), "int32"),
        (("uint8", "uint16", "int16", "float32"), "float32"),
        (("int16", "int16"), "int16"),
    ],
)
def test_a_stack_has_the_smallest_type_that_holds_all_its_parts(dtypes, holding):
    parts = [plain(f"p{number}", dtype, "1") for number, dtype in enumerate(dtypes)]
    stack = stacked(parts)
    assert stack.dtype == holding
    for dtype in dtypes:  # exactly
        if dtype != "float32":
            ends = np.array([np.iinfo(dtype).min, np.iinfo(dtype).max], dtype)
            assert np.array_equal(ends.astype(holding).astype(dtype), ends)


def test_int32_and_float32_are_not_stacked():
    with pytest.raises(UsageError, match="dem is int32 and sar is float32, and no type holds"):
        stacked([plain("dem", "int32", "1"), plain("sar", "float32", "1")])


def test_bands_of_a_stack_are_told_apart():
    stack = stacked(
        [
            plain("optical", "uint16", "red", "nir"),
            plain("sar", "uint16", "1"),
            plain("rgb", "uint8", "red", "green"),
        ]
    )
    assert stack.bands == ("optical red", "nir", "sar 1", "rgb red", "green")
    assert stack.describe() == (
        "uint16, 5 bands (optical red, nir, sar 1, rgb red, green) of 3 inputs: optical, sar, rgb"
    )


def test_a_stack_maps_each_part_as_the_part_itself_does():
    optical = plain("optical", "uint16", "1", "2", high=4095.0)
    sar = plain("sar", "float32", "1", low=-25.0, high=5.0, decibels=True)
    stack = stacked([optical, sar])
    values = np.concatenate([RANDOM.integers(0, 5000, (50, 2)), RANDOM.random((50, 1)) * 9], 1)
    expected = [optical.to_network(values[:, :2]), sar.to_network(values[:, 2:])]
    mapped = stack.to_network(values.astype(np.float32))
    assert np.allclose(mapped, np.concatenate(expected, 1), atol=1e-6)
    back = stack.from_network(mapped)
    assert back.dtype == np.float32
    inside = (values <= [4095, 4095, 10**0.5]) & (values >= [0, 0, 10**-2.5])
    assert np.allclose(back[inside], values[inside], rtol=1e-4)
    assert stack.outside(values) == pytest.approx(1 - inside.mean())
    brighter = values + np.array([0, 4095 / 255, 0])
    assert stack.levels(values, brighter) == pytest.approx(np.tile([0, -1, 0], (50, 1)))
    assert stack.may_miss
    assert not stacked([optical]).may_miss


def test_a_stack_is_read_from_json_and_older_versions_stay_readable():
    stack = stacked([plain("a1", "uint16", "1", nodata=0.0), plain("a2", "uint8", "1")])
    assert Intensity.model_validate_json(stack.model_dump_json()) == stack
    older = '{"dtype":"float32","bands":["1"],"low":[-25],"high":[5],"decibels":true,"rule":"x"}'
    read = Intensity.model_validate_json(older)
    assert (read.decibels, read.parts, read.inputs) == (True, (), (read,))


def test_a_stack_has_the_bands_of_its_parts():
    with pytest.raises(ValueError, match="the bands must be those of the parts"):
        Intensity(
            dtype="uint8", bands=("1",), low=(0,), high=(1,), parts=(plain("p", "uint8", *"12"),)
        )


@pytest.mark.parametrize(
    ("low", "nodata", "expected"),
    [(0, 0, [1, 2, 4]), (0, 4, [0, 2, 3]), (0, 2, [0, 3, 4]), (-9, 0, [1, 1, 4])],
)
def test_a_known_integer_never_becomes_the_marker_of_missing_pixels(low, nodata, expected):
    intensity = Intensity(dtype="uint8", bands=("1",), low=(low,), high=(4,), nodata=nodata)
    values = intensity.from_network(np.array([-1, 0, 1], np.float32)[:, None])
    assert values.dtype == np.uint8
    assert values.ravel().tolist() == expected


def test_powers_are_moved_into_their_range_too():
    intensity = Intensity(
        dtype="uint16", bands=("1",), low=(0,), high=(20,), decibels=True, nodata=100
    )
    assert intensity.from_network(np.ones((1, 1), np.float32)) == 99


@pytest.mark.parametrize(
    ("bands", "more", "shown"),
    [
        (3, {}, (1,)),
        (9, {}, (3, 4, 5)),
        (2, {"picked": (3, 2), "file_bands": 6}, (0,)),
        (2, {"picked": (0, 3), "file_bands": 6}, (1,)),
        (1, {"picked": (5,), "file_bands": 6}, (0,)),
    ],
)
def test_with_neighbors_the_page_in_the_middle_is_shown(bands, more, shown):
    names, low, high = tuple(map(str, range(bands))), (0,) * bands, (1,) * bands
    kinds = {"dtype": "uint16", "bands": names, "low": low, "high": high, "neighbors": 1, **more}
    intensity = Intensity(**kinds)
    assert intensity.false_colors.bands == shown
    first, second = (plain(name, "uint16", "1") for name in ("x", "y"))
    stack = stacked([first, intensity.model_copy(update={"name": "z"}), second])
    if bands == 3:
        assert stack.false_colors.bands == (0, 2, 4)
