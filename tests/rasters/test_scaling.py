"""Slope and intercept: exact where integers allow it."""

import numpy as np
import pytest

from img2img.errors import DataError
from img2img.rasters.scaling import scaled, stored_range, type_scaled


@pytest.mark.parametrize(
    ("stored", "slope", "intercept", "bits", "expected"),
    [
        ("uint8", 1, 0, None, "uint8"),
        ("uint32", 1, 0, None, "int32"),
        ("uint8", 1, -1024, None, "int16"),
        ("uint16", 1, -1024, 12, "int16"),
        ("uint16", 1, -1024, 16, "int32"),
        ("int16", -1, 0, None, "int32"),
        ("int16", 1, 0.5, None, "float32"),
        ("int32", 3, 0, None, "float32"),
        ("float32", 2, 0, None, "float32"),
    ],
)
def test_type_by_the_range_of_results(stored, slope, intercept, bits, expected):
    dtype = type_scaled(np.dtype(stored), slope, intercept, bits)
    assert dtype == np.dtype(expected)
    values = np.arange(4).astype(stored)
    result = scaled(values, slope, intercept, [], bits)
    assert result.dtype == dtype
    assert np.array_equal(result, (values.astype(float) * slope + intercept).astype(dtype))


def test_results_at_the_ends_of_the_range():
    for end in stored_range(np.dtype("i2")):
        assert scaled(np.array([end], "i2"), 2, -1, [])[0] == 2 * end - 1


def test_more_bits_than_declared_are_refused():
    with pytest.raises(DataError, match="from 64000 to 64000 don't fit into int16"):
        scaled(np.array([65024], "u2"), 1, -1024, [], 12)


def test_rounded_integers_are_noted():
    notes = []
    scaled(np.array([2**30 + 1], "i4"), 3, 0, notes)
    assert "rounded" in notes[0]
