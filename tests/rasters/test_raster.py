"""What all formats share: missing pixels, limits, types and XML."""

import pickle

import numpy as np
import pytest

from img2img.errors import DataError
from img2img.formats import TooLarge
from img2img.rasters.raster import (
    Raster,
    as_read,
    parsed_xml,
    require_bounded,
    require_safe_xml,
    type_read,
)


def test_missing_is_none_where_every_pixel_is_valid():
    assert Raster(np.ones((2, 3, 1), np.uint16)).missing is None
    assert Raster(np.ones((2, 3, 1), np.float32)).missing is None
    assert Raster(np.ones((2, 3, 1), np.uint16), nodata=7).missing is None


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "int32", "float32"])
def test_missing_where_any_band_is_nodata(dtype):
    values = np.ones((2, 3, 2), dtype)
    values[1, 2, 1] = 9
    assert np.argwhere(Raster(values, nodata=9.0).missing).tolist() == [[1, 2]]


@pytest.mark.parametrize("nodata", [None, 5.0, float("nan")])
def test_nan_is_always_missing(nodata):
    values = np.ones((2, 3, 2), np.float32)
    values[0, 1, 0] = np.nan
    assert np.argwhere(Raster(values, nodata=nodata).missing).tolist() == [[0, 1]]


@pytest.mark.parametrize("nodata", [-9999.0, 1.5, 1e300, float("inf"), float("nan")])
def test_nodata_that_the_type_can_not_hold_marks_nothing(nodata):
    assert Raster(np.ones((2, 2, 1), np.uint8), nodata=nodata).missing is None


def test_nodata_of_a_float64_that_was_rounded():
    values = np.array([[[-1.7976931348623157e308]], [[0.1]]])
    notes = []
    raster = Raster(as_read(values, notes), nodata=-1.7976931348623157e308)
    assert raster.missing.tolist() == [[True], [False]]
    assert Raster(as_read(values, notes), nodata=0.1).missing.tolist() == [[False], [True]]
    assert notes


def test_a_raster_can_be_sent_to_another_process():
    raster = Raster(np.ones((2, 2, 1), np.uint8), ("a",), 3.0, "HU", notes=("x",))
    copy = pickle.loads(pickle.dumps(raster))
    assert (copy.bands, copy.nodata, copy.unit, copy.notes) == (("a",), 3.0, "HU", ("x",))


def test_limits():
    require_bounded((10, 10), 16, np.dtype("u2"), 100)
    with pytest.raises(TooLarge, match="11x10"):
        require_bounded((11, 10), 1, np.dtype("u1"), 100)
    with pytest.raises(TooLarge, match="17 bands of uint16 are 3,400 bytes"):
        require_bounded((10, 10), 17, np.dtype("u2"), 100)
    for size, bands in [((0, 5), 1), ((5, 0), 1), ((5, 5), 0)]:
        with pytest.raises(DataError, match="not valid"):
            require_bounded(size, bands, np.dtype("u1"), 100)


@pytest.mark.parametrize("dtype", ["complex64", "complex128", "object", "U3", "datetime64[s]"])
def test_types_that_are_not_read(dtype):
    with pytest.raises(DataError, match="not read"):
        type_read(np.dtype(dtype))


@pytest.mark.parametrize(("stored", "read"), [(">f8", "float32"), (">i2", "int16"), ("?", "uint8")])
def test_byte_order_and_booleans(stored, read):
    values = np.array([[0, 1]], stored)
    assert as_read(values, []).dtype == np.dtype(read)
    assert as_read(values, []).tolist() == [[0, 1]]


def test_the_range_of_integers_is_checked_at_its_ends():
    for dtype, value in [("i8", -(2**31)), ("u4", 2**31 - 1), ("u8", 2**31 - 1)]:
        assert as_read(np.array([value], dtype), [])[0] == value
    for dtype, value in [("i8", -(2**31) - 1), ("u4", 2**31), ("u8", 2**63)]:
        with pytest.raises(DataError, match=f"from {value} to {value}"):
            as_read(np.array([value], dtype), [])


def test_xml_with_entities_is_not_expanded():
    bomb = '<!DOCTYPE a [<!ENTITY b "bbbbbbbbbb">]><a>&b;&b;</a>'
    with pytest.raises(DataError, match="entities"):
        require_safe_xml(bomb)
    with pytest.raises(DataError, match="can't be read"):
        parsed_xml("<a><b></a>")
    assert parsed_xml("  <a>µ</a>").text == "µ"
