"""Files of values, not photographs, go through a model that changes nothing and come back exactly,
with their metadata, from Python and from the command line.
"""

import io
import json

import numpy as np
import pytest
import tifffile
from bundles import make_between, make_identity
from PIL import Image
from typer.testing import CliRunner

from img2img import Translator, rasters
from img2img.cli import app
from img2img.errors import DataError
from img2img.infer import values
from img2img.infer.plan import formats_of, make_plan
from img2img.intensity import Intensity

RANDOM = np.random.default_rng(0)


def of(dtype: str, bands: int = 1, **more) -> Intensity:
    names = tuple(str(band + 1) for band in range(bands))
    low, high = more.pop("low", 0.0), more.pop("high", 1000.0)
    return Intensity(dtype=dtype, bands=names, low=(low,) * bands, high=(high,) * bands, **more)


def drawn(dtype: str, *shape: int) -> np.ndarray:
    return RANDOM.uniform(0, 1000 if dtype != "uint8" else 255, shape).astype(dtype)


def translate(*arguments) -> "tuple[int, str]":
    result = CliRunner().invoke(app, ["translate", *map(str, arguments), "--provider", "cpu"])
    return getattr(
        result.exception, "exit_code", result.exit_code
    ), f"{result.output}{result.exception}"


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "int32", "float32"])
def test_arrays_come_back_in_their_type(dtype, tmp_path):
    translator = Translator(make_identity(tmp_path / "m.onnx", of(dtype, 5)), "cpu")
    values = drawn(dtype, 9, 7, 5)
    result = translator(values)
    assert result.dtype == dtype
    assert np.array_equal(result, values)
    several = translator([values, values[:4]])
    assert [r.shape for r in several] == [(9, 7, 5), (4, 7, 5)]


@pytest.mark.parametrize("neighbors", [0, 1])
def test_labels_of_slices_are_kept_whatever_neighbors_the_input_has(neighbors):
    stack, labels = drawn("uint16", 4, 9, 7), [f"slice {number}" for number in range(4)]
    content = io.BytesIO()
    tifffile.imwrite(content, stack, imagej=True, metadata={"axes": "ZYX", "Labels": labels})
    pages = 2 * neighbors + 1
    kind = of("uint16", pages, neighbors=neighbors, file_bands=pages)
    read = values.read([content.getvalue()], ["a.tif"], kind, 1000)
    assert read.values.shape == (4, 9, 7, pages)
    written, _ = values.encode(stack[..., None] // 2, read.raster, None, of("uint16"), ".tif")
    with tifffile.TiffFile(io.BytesIO(written)) as file:
        assert file.imagej_metadata["Labels"] == labels
        assert np.array_equal(file.asarray(), stack // 2)


def test_an_array_of_another_type_is_refused_and_not_converted(tmp_path):
    translator = Translator(make_identity(tmp_path / "m.onnx", of("uint16")), "cpu")
    with pytest.raises(ValueError, match=r"expected uint16 \[H, W, 1\], got float64 \[9, 7, 1\]$"):
        translator(np.zeros((9, 7, 1)))


def test_a_picture_of_pillow_is_refused_where_values_are_expected(tmp_path):
    """It may have been rounded to 8 bits already."""
    translator = Translator(make_identity(tmp_path / "m.onnx", of("uint16")), "cpu")
    with pytest.raises((TypeError, ValueError), match="uint16"):
        translator(Image.new("L", (8, 8)))


@pytest.mark.parametrize("suffix", [".tif", ".npy", ".npz", ".png"])
def test_a_folder_comes_back_bit_for_bit_in_its_formats(suffix, tmp_path):
    model = make_identity(tmp_path / "m.onnx", of("uint16"))
    values = [drawn("uint16", 12, 10, 1) for _ in range(3)]
    folder = tmp_path / "in"
    (folder / "deep").mkdir(parents=True)
    names = [f"a{suffix}", f"b{suffix}", f"deep/c{suffix}"]
    for name, array in zip(names, values, strict=True):
        (folder / name).write_bytes(rasters.encode(array, None, suffix))
    code, output = translate(folder, "-o", tmp_path / "out", "-m", model)
    assert code == 0, output
    for name, array in zip(names, values, strict=True):
        assert np.array_equal(rasters.read(tmp_path / "out" / name).values, array)


def test_a_map_keeps_its_place_and_its_missing_pixels(tmp_path):
    values = drawn("int16", 12, 10, 1)
    values[3, 4] = -9999
    scale = (33550, "d", 3, (30.0, 30.0, 0.0), True)
    tie = (33922, "d", 6, (0.0, 0.0, 0.0, 500_000.0, 4_600_000.0, 0.0), True)
    keys = (34735, "H", 8, (1, 1, 0, 1, 3072, 0, 1, 32633), True)
    nodata = (42113, "s", 0, "-9999", True)
    (tmp_path / "in").mkdir()
    source = tmp_path / "in" / "map.tif"
    tifffile.imwrite(source, values[..., 0], extratags=[scale, tie, keys, nodata])
    model = make_identity(tmp_path / "m.onnx", of("int16", nodata=-9999.0))
    code, output = translate(tmp_path / "in", "-o", tmp_path / "out", "-m", model)
    assert code == 0, output
    written = tmp_path / "out" / "map.tif"
    assert np.array_equal(tifffile.imread(written), values[..., 0])
    with tifffile.TiffFile(source) as before, tifffile.TiffFile(written) as after:
        for tag in (33550, 33922, 34735, 42113):
            assert after.pages[0].tags[tag].value == before.pages[0].tags[tag].value


def test_values_beyond_the_range_are_told(tmp_path):
    model = make_identity(tmp_path / "m.onnx", of("uint16", high=499.0))
    (tmp_path / "in").mkdir()
    values = np.arange(1000, dtype=np.uint16).reshape(20, 50)
    tifffile.imwrite(tmp_path / "in" / "x.tif", values)
    code, output = translate(tmp_path / "in", "-o", tmp_path / "out", "-m", model)
    assert code == 0
    assert "1 picture: values beyond the model's range are clipped" in output
    record = next((tmp_path / "out" / ".img2img").glob("*.jsonl")).read_text().splitlines()
    assert "50.00% of them" in json.loads(record[-1])["notes"][0]


def test_a_file_of_another_type_fails_by_name_and_the_others_go_on(tmp_path):
    model = make_identity(tmp_path / "m.onnx", of("uint16"))
    (tmp_path / "in").mkdir()
    tifffile.imwrite(tmp_path / "in" / "good.tif", drawn("uint16", 12, 10))
    tifffile.imwrite(tmp_path / "in" / "float.tif", drawn("float32", 12, 10))
    Image.new("RGB", (8, 8)).save(tmp_path / "in" / "photo.jpg")
    code, output = translate(tmp_path / "in", "-o", tmp_path / "out", "-m", model)
    assert code == 5
    assert "1 band of float32, where 1 band of uint16 is expected" in output
    assert "photo.jpg: not a file of values that is read" in output.replace("the picture: ", "")
    assert (tmp_path / "out" / "good.tif").exists()


@pytest.mark.parametrize(
    ("dtype", "bands", "name", "written"),
    [
        ("uint16", 3, "a.png", "a.png"),
        ("uint16", 7, "a.png", "a.tif"),
        ("float32", 1, "a.png", "a.tif"),
        ("int16", 1, "a.nii.gz", "a.nii.gz"),
        ("int16", 3, "a.nii.gz", "a.tif"),
        ("uint8", 1, "a.jpg", "a.tif"),
        ("float32", 2, "A.NPY", "A.NPY"),
    ],
)
def test_a_format_is_kept_where_it_holds_the_values(dtype, bands, name, written, tmp_path):
    translator = Translator(make_identity(tmp_path / "m.onnx", of(dtype, bands)), "cpu")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / name).touch()
    formats = formats_of(translator.manifest)
    [job] = make_plan([str(tmp_path / "in")], tmp_path / "out", "keep", "1/1", formats=formats)
    assert job.target == str(tmp_path / "out" / written)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--ext", "jpg"], "written without loss: leave out --ext and --quality"),
        (["--quality", "90"], "written without loss: leave out --ext and --quality"),
        (["--max-side", "8"], "--max-side is for photographs; leave it out"),
    ],
)
def test_what_would_change_values_is_refused(options, message, tmp_path):
    model = make_identity(tmp_path / "m.onnx", of("uint16"))
    (tmp_path / "in").mkdir()
    tifffile.imwrite(tmp_path / "in" / "x.tif", drawn("uint16", 12, 10))
    code, output = translate(tmp_path / "in", "-o", tmp_path / "out", "-m", model, *options)
    assert code != 0
    assert message in " ".join(output.split())


def test_one_file_is_written_under_the_name_that_is_given(tmp_path):
    model = make_identity(tmp_path / "m.onnx", of("float32"))
    values = drawn("float32", 12, 10, 1)
    np.save(tmp_path / "x.npy", values)
    code, output = translate(tmp_path / "x.npy", "-o", tmp_path / "y.tif", "-m", model)
    assert code == 0, output
    assert np.array_equal(rasters.read(tmp_path / "y.tif").values, values)


def test_an_int16_picture_is_not_read_by_a_model_of_photographs(invert, tmp_path):
    tifffile.imwrite(tmp_path / "x.tif", drawn("int16", 12, 10))
    with pytest.raises(DataError, match=r"x\.tif"):
        invert(tmp_path / "x.tif")


def nodata_tag(value: str) -> list:
    return [(42113, "s", 0, value)]


@pytest.mark.parametrize(
    ("target", "written", "declared"), [("int16", -9999, -9999), ("uint16", 0, None)]
)
def test_missing_pixels_get_a_value_that_the_output_declares(target, written, declared, tmp_path):
    """The input's, if the type can hold it; where it can't, 0, which is told."""
    source, goal = of("int16", nodata=-9999.0), of(target)
    model = make_between(tmp_path / "m.onnx", source, goal)
    values = drawn("int16", 8, 8)
    values[3, 4] = -9999
    (tmp_path / "in").mkdir()
    tifffile.imwrite(tmp_path / "in" / "x.tif", values, extratags=nodata_tag("-9999"))
    code, output = translate(tmp_path / "in", "-o", tmp_path / "out", "-m", model)
    assert code == 0, output
    raster = rasters.read(tmp_path / "out" / "x.tif")
    assert (raster.values[3, 4, 0], raster.nodata) == (written, declared)
    assert ("missing pixels are 0" in output) == (declared is None)


def test_values_become_photographs_in_any_format(tmp_path):
    model = make_between(tmp_path / "m.onnx", of("uint16", 3), None)
    (tmp_path / "in").mkdir()
    values = np.full((8, 8, 3), 100, np.uint16)
    tifffile.imwrite(tmp_path / "in" / "x.tif", values, photometric="rgb")
    for ext in ("keep", "jpg", "png"):
        out = tmp_path / ext
        code, output = translate(tmp_path / "in", "-o", out, "-m", model, "--ext", ext)
        assert code == 0, output
        suffix = "tif" if ext == "keep" else ext
        assert np.abs(np.asarray(Image.open(out / f"x.{suffix}")).astype(int) - 100).max() < 3


def test_a_photograph_s_name_is_refused_for_exact_values(tmp_path):
    model = make_identity(tmp_path / "m.onnx", of("uint8", 1))
    tifffile.imwrite(tmp_path / "x.tif", drawn("uint8", 8, 8))
    code, output = translate(tmp_path / "x.tif", "-o", tmp_path / "y.jpg", "-m", model)
    assert code == 2
    assert ".jpg can't be written. Formats to write: .dcm, .nii" in output


def test_five_bands_of_uint8_are_values_and_no_photograph(tmp_path):
    model = make_identity(tmp_path / "m.onnx", of("uint8", 5))
    values = drawn("uint8", 8, 8, 5)
    (tmp_path / "in").mkdir()
    np.save(tmp_path / "in" / "x.npy", values)
    code, output = translate(tmp_path / "in", "-o", tmp_path / "out", "-m", model)
    assert code == 0, output
    assert np.array_equal(np.load(tmp_path / "out" / "x.npy"), values)
