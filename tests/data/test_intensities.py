"""Which sides of a data set are no photographs, what their values mean, and how they are read."""

import numpy as np
import pytest
import tifffile
from PIL import Image

from img2img.data.intensities import fit_intensities, is_raster, names_of_inputs
from img2img.errors import DataError, UsageError
from img2img.ranges import by_side
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


@pytest.fixture
def inputs(tmp_path):
    """Folders of three inputs with their files: optical uint16 of 4 bands, sar float32, rgb."""
    files = {"optical": [], "sar": [], "rgb": []}
    for name in files:
        (tmp_path / name).mkdir()
    for number in range(3):
        for name, values in (
            ("optical", bits(12, (12, 16, 4))),
            ("sar", RANDOM.uniform(0.01, 3, (12, 16)).astype(np.float32)),
        ):
            form = {"planarconfig": "contig"} if values.ndim == 3 else {}
            path = tmp_path / name / f"{number}.tif"
            tifffile.imwrite(path, values, photometric="minisblack", **form)
            files[name].append(path)
        path = tmp_path / "rgb" / f"{number}.jpg"
        Image.fromarray(RANDOM.integers(0, 256, (12, 16, 3)).astype(np.uint8)).save(path)
        files["rgb"].append(path)
    return files


def test_items_may_be_for_an_input_by_its_name():
    items = ["optical=4", "3", "sar=1", "b=2"]
    chosen = by_side(items, "--bands", ("optical", "sar"))
    assert chosen == {"optical": ["4", "3"], "sar": ["1"], "b": ["2"]}
    message = r"--bands dem=1: the sides are a and b, and the inputs optical, sar\."
    with pytest.raises(UsageError, match=message):
        by_side(["dem=1"], "--bands", ("optical", "sar"))


def test_auto_chooses_for_each_input(inputs):
    stack = fit_intensities({"a": inputs["optical"]}, [], [], inputs)["a"]
    optical, sar, rgb = stack.parts
    assert (stack.dtype, len(stack.bands)) == ("float32", 8)
    assert stack.bands[-4:] == ("sar 1", "red", "green", "blue")
    assert (optical.name, optical.dtype, optical.high) == ("optical", "uint16", (4095,) * 4)
    assert "percentiles" in sar.rule
    assert (rgb.photographs, rgb.high) == (True, (255,) * 3)
    paths = [files[0] for files in inputs.values()]
    expected = np.concatenate(
        [tifffile.imread(paths[0]), tifffile.imread(paths[1])[..., None], Image.open(paths[2])], -1
    )
    assert np.array_equal(read_values(paths, stack), expected)


def test_ranges_and_bands_are_chosen_for_each_input(inputs):
    ranges = ["optical=0:10000", "sar=-25dB:5dB", "b=hu"]
    bands = ["optical=4", "2", "rgb=green"]
    optical, sar, rgb = fit_intensities({}, ranges, bands, inputs)["a"].parts
    assert (optical.high, optical.picked, optical.decibels) == ((10_000,) * 2, (3, 1), False)
    assert (sar.low, sar.high, sar.decibels) == ((-25,), (5,), True)
    assert (rgb.bands, rgb.rule) == (("green",), "all of uint8")


def test_a_range_of_a_is_for_all_inputs(inputs):
    parts = fit_intensities({}, ["a=0:9", "sar=0:1"], [], inputs)["a"].parts
    assert [part.high[0] for part in parts] == [9, 1, 9]


def test_a_band_that_an_input_lacks_is_told_with_its_name(inputs):
    with pytest.raises(UsageError, match=r"--bands 4: .* pictures of sar have the bands 1 to 1\."):
        fit_intensities({}, [], ["a=4"], inputs)


def test_files_of_an_input_that_differ_are_named(inputs):
    tifffile.imwrite(inputs["sar"][1], bits(8))
    with pytest.raises(DataError, match=r"The pictures of sar differ: .*0\.tif is 1 band of float"):
        fit_intensities({}, [], [], inputs)


def test_gray_photographs_are_one_band(inputs):
    for path in inputs["rgb"]:
        Image.open(path).convert("L").save(path)
    assert fit_intensities({}, [], [], inputs)["a"].bands[-1] == "gray"


def test_inputs_are_named_by_their_folders(tmp_path):
    assert names_of_inputs([tmp_path / "optical", tmp_path / "sar"]) == ("optical", "sar")
    same = [tmp_path / "x" / "tif", tmp_path / "y" / "tif", tmp_path / "b"]
    assert names_of_inputs(same) == ("x/tif", "y/tif", f"{tmp_path.name}/b")
    with pytest.raises(UsageError, match=r"Several --a are named .*/sar\. Give each folder once"):
        names_of_inputs([tmp_path / "sar", tmp_path / "sar"])
    for name in ('5"', "a\\b", "a\nb"):
        with pytest.raises(UsageError, match=r"--a: '.*Rename the folder"):
            names_of_inputs([tmp_path / "sar", tmp_path / name])


def test_a_stretch_for_looks_may_be_percentiles_of_the_training_pictures(saved):
    files = saved(*(np.arange(1200, dtype=np.uint16).reshape(20, 20, 3) for _ in range(2)))
    show = ("a=3", "2", "1@0%:50%")
    intensity = fit_intensities({"a": files}, ["0:9000"], [], show=show)["a"]
    assert intensity.high == (9000,) * 3
    assert intensity.show.bands == (2, 1, 0)
    assert intensity.show.low == (2, 1, 0)
    assert intensity.show.high == pytest.approx((600.5, 599.5, 598.5))
    assert fit_intensities({"a": files}, ["0:9000"], [])["a"].show is None


def test_photographs_are_shown_as_they_are(tmp_path, saved):
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "rgb.png")
    files = {"a": saved(bits(12), bits(12)), "b": [tmp_path / "rgb.png"]}
    intensities = fit_intensities(files, [], [], show=["1@0:100"])  # of the side that has values
    assert intensities["a"].show.high == (100,)
    for wrong, given in ((["b=1"], files), (["1"], {"b": files["b"]})):
        with pytest.raises(UsageError, match=r"--show .*1: photographs are shown as they are\."):
            fit_intensities(given, [], [], show=wrong)
