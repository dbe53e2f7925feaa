"""Which sides of a data set are no photographs, what their values mean, and how they are read."""

import numpy as np
import pytest
import tifffile
from PIL import Image

from img2img.data.intensities import by_side, fit_intensities, is_raster
from img2img.errors import DataError, UsageError
from img2img.stored import read_stored, read_values

RANDOM = np.random.default_rng(0)


def bits(count: int, shape=(12, 16)) -> np.ndarray:
    values = RANDOM.integers(0, 2**count, shape).astype(np.uint16)
    values.flat[0] = 2**count - 1
    return values


@pytest.fixture
def saved(tmp_path):
    """Saves arrays as TIFF files -> their paths."""

    def save(*arrays):
        paths = [tmp_path / f"{number}.tif" for number in range(len(arrays))]
        for path, array in zip(paths, arrays, strict=True):
            form = {"planarconfig": "contig"} if array.ndim == 3 else {}
            tifffile.imwrite(path, array, photometric="minisblack", **form)
        return paths

    return save


def test_items_of_an_option_are_for_both_sides_or_for_one():
    assert by_side(["4", "3"], "--bands") == {"a": ["4", "3"], "b": ["4", "3"]}
    assert by_side(["a=4", "3", "b=1"], "--bands") == {"a": ["4", "3"], "b": ["1"]}
    with pytest.raises(UsageError, match=r"--range c=full: the sides are a and b\."):
        by_side(["c=full"], "--range")


def test_photographs_have_no_intensity(tmp_path, saved):
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "rgb.png")
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "grey.tif")
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "rgb.jpg")
    paths = [tmp_path / name for name in ("rgb.png", "grey.tif", "rgb.jpg")]
    assert not any(map(is_raster, paths))
    assert fit_intensities({"a": paths}, [], []) == {}


def test_a_side_is_known_by_its_files_and_the_other_stays_of_photographs(tmp_path, saved):
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "rgb.png")
    files = {"a": saved(bits(12), bits(12)), "b": [tmp_path / "rgb.png"]}
    intensities = fit_intensities(files, [], [])
    assert list(intensities) == ["a"]
    assert (intensities["a"].dtype, intensities["a"].high) == ("uint16", (4095,))


def test_a_photograph_is_read_as_values_where_a_range_is_given(tmp_path):
    Image.fromarray(np.full((8, 8), 7, np.uint8)).save(tmp_path / "grey.png")
    [intensity] = fit_intensities({"a": [tmp_path / "grey.png"]}, ["0:100"], []).values()
    assert (intensity.dtype, intensity.high) == ("uint8", (100,))
    assert (read_values(tmp_path / "grey.png", intensity) == 7).all()


def test_bands_are_chosen_by_number_in_that_order(saved):
    [path] = saved(np.stack([np.full((5, 6), level, np.uint16) for level in (1, 2, 3, 4)], -1))
    intensity = fit_intensities({"a": [path]}, ["0:10"], ["4", "2"])["a"]
    assert (intensity.picked, intensity.file_bands, intensity.bands) == ((3, 1), 4, ("4", "2"))
    values = read_values(path, intensity)
    assert (values == [4, 2]).all()
    assert values.flags.c_contiguous


@pytest.mark.parametrize("band", ["5", "0", "red"])
def test_a_band_that_is_not_there_is_refused(saved, band):
    paths = saved(np.zeros((5, 6, 4), np.uint16))
    with pytest.raises(UsageError, match=rf"--bands {band}: there is no such band\. .* 1 to 4"):
        fit_intensities({"a": paths}, [], [band])


def test_files_that_differ_are_named(saved):
    paths = saved(bits(12), bits(12).astype(np.float32), bits(12, (12, 16, 3)))
    message = r"0\.tif is 1 band of uint16, and .*1\.tif \(1 band of float32\), .*2\.tif \(3 bands"
    with pytest.raises(DataError, match=message):
        fit_intensities({"a": paths}, [], [])


def test_a_photograph_among_values_is_named(tmp_path, saved):
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "rgb.jpg")
    with pytest.raises(DataError, match=r"rgb\.jpg \(of another format\) is not"):
        fit_intensities({"a": [*saved(bits(12), bits(12)), tmp_path / "rgb.jpg"]}, [], [])


def test_a_deep_photograph_among_others_stays_one(tmp_path):
    for name in ("x.png", "y.png"):
        Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / name)
    Image.fromarray(np.full((8, 8), 40_000, np.uint16)).save(tmp_path / "deep.png")
    paths = [tmp_path / name for name in ("x.png", "y.png", "deep.png")]
    assert is_raster(paths[2])
    assert fit_intensities({"a": paths}, [], []) == {}


def test_several_pages_are_refused_and_not_passed_over(tmp_path):
    tifffile.imwrite(tmp_path / "z.tif", bits(12, (6, 12, 16)), photometric="minisblack")
    with pytest.raises(DataError, match=r"1 pictures of a have several pages \(first: .*z\.tif"):
        fit_intensities({"a": [tmp_path / "z.tif"]}, [], [])


def test_two_ranges_of_one_side_are_refused(saved):
    with pytest.raises(UsageError, match="a has several ranges"):
        fit_intensities({"a": saved(bits(12))}, ["a=full", "0:10"], [])


def test_missing_values_are_nan_and_not_among_the_statistics(tmp_path):
    values = np.linspace(0, 0.5, 192, dtype=np.float32).reshape(12, 16)
    values[2, 3] = np.nan
    tifffile.imwrite(tmp_path / "f.tif", values)
    intensity = fit_intensities({"a": [tmp_path / "f.tif"]}, [], [])["a"]
    assert (intensity.low, intensity.high) == ((0,), (1,))
    read = read_values(tmp_path / "f.tif", intensity)
    assert np.isnan(read[2, 3, 0])
    assert np.isnan(read).sum() == 1


def test_a_file_of_another_form_than_the_intensity_is_refused(saved):
    first, other = saved(bits(12), bits(12).astype(np.int16))
    intensity = fit_intensities({"a": [first]}, [], [])["a"]
    message = r"1\.tif: 1 band of int16, where 1 band of uint16 is expected\."
    with pytest.raises(DataError, match=message):
        read_stored(other, intensity)


NODATA = 42113  # GDAL's tag


def test_each_file_s_missing_pixels_become_what_the_intensity_has_for_them(tmp_path):
    """Files may declare other values, or none."""
    markers = [None, -9999, -1]
    for number, marker in enumerate(markers):
        values = np.full((8, 8), 5, np.int16)
        tags = []
        if marker is not None:
            values[2, 3] = marker
            tags = [(NODATA, "s", 0, str(marker))]
        tifffile.imwrite(tmp_path / f"{number}.tif", values, extratags=tags)
    paths = [tmp_path / f"{number}.tif" for number in range(3)]
    intensity = fit_intensities({"a": paths}, ["0:10"], [])["a"]
    assert intensity.nodata == -9999
    for path, marker in zip(paths, markers, strict=True):
        stored, read = read_stored(path, intensity), read_values(path, intensity)
        assert np.isnan(read).sum() == (marker is not None)
        assert (stored.missing is None) == (marker is None)
        assert (stored.values[2, 3] == (5 if marker is None else -9999)).all()


def test_missing_pixels_are_refused_where_no_training_picture_had_any(tmp_path, saved):
    [path] = saved(bits(8))
    intensity = fit_intensities({"a": [path]}, [], [])["a"]
    values = bits(8)
    values[0, 0] = 7
    tifffile.imwrite(tmp_path / "n.tif", values, extratags=[(NODATA, "s", 0, "7")])
    with pytest.raises(DataError, match=r"n\.tif: pixels are missing"):
        read_values(tmp_path / "n.tif", intensity)


def test_a_broken_file_is_no_raster_and_is_named_where_it_is_read(tmp_path):
    (tmp_path / "x.tif").write_bytes(b"II*\0broken")
    assert not is_raster(tmp_path / "x.tif")
    assert fit_intensities({"a": [tmp_path / "x.tif"]}, [], []) == {}
