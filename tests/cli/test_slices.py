"""img2img slices: exact pages in files of their own; and volumes that are translated whole."""

import numpy as np
import pytest
import tifffile
from bundles import make_identity
from typer.testing import CliRunner

from img2img import rasters
from img2img.cli import app
from img2img.errors import DataError
from img2img.intensity import Intensity

VOLUME = np.random.default_rng(0).integers(0, 4096, (5, 12, 16)).astype(np.uint16)


@pytest.fixture
def stack(tmp_path):
    path = tmp_path / "scans" / "z.tif"
    path.parent.mkdir()
    tifffile.imwrite(path, VOLUME, photometric="minisblack")
    return path


def run(*arguments):
    result = CliRunner().invoke(app, list(map(str, arguments)))
    if isinstance(result.exception, DataError):
        raise result.exception
    assert result.exit_code == 0, result.exception
    return result.output


def pages(folder) -> list[np.ndarray]:
    return [rasters.read(path).values for path in sorted(folder.iterdir())]


def test_every_page_becomes_a_file_of_its_exact_values(stack, tmp_path):
    shown = run("slices", stack.parent, "-o", tmp_path / "out")
    assert "5 pages of 1 files" in shown
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == [f"z-{page}.tif" for page in range(5)]
    for page, values in enumerate(pages(tmp_path / "out")):
        assert values.dtype == np.uint16
        assert np.array_equal(values[..., 0], VOLUME[page])


def test_neighbors_become_bands_and_the_ends_are_repeated(stack, tmp_path):
    run("slices", stack, "-o", tmp_path / "out", "--neighbors", 1)
    first, second, *_, last = pages(tmp_path / "out")
    assert np.array_equal(first, np.moveaxis(VOLUME[[0, 0, 1]], 0, -1))
    assert np.array_equal(second, np.moveaxis(VOLUME[[0, 1, 2]], 0, -1))
    assert np.array_equal(last, np.moveaxis(VOLUME[[3, 4, 4]], 0, -1))


def test_every_other_page_is_enough(stack, tmp_path):
    run("slices", stack, "-o", tmp_path / "out", "--every", 2)
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["z-0.tif", "z-2.tif", "z-4.tif"]


def test_nothing_is_replaced(stack, tmp_path):
    run("slices", stack, "-o", tmp_path / "out")
    with pytest.raises(DataError, match=r"z-0\.tif exists already"):
        run("slices", stack, "-o", tmp_path / "out")


def test_a_value_that_marks_missing_pixels_still_does(tmp_path):
    values = np.arange(64, dtype=np.int16).reshape(1, 8, 8).repeat(2, 0)
    values[:, 2, 2] = -9999
    path = tmp_path / "n.tif"
    tifffile.imwrite(path, values, photometric="minisblack", extratags=[(42113, "s", 0, "-9999")])
    if rasters.read(path).nodata is None:
        pytest.skip("nodata is read from GeoTIFFs alone")
    run("slices", path, "-o", tmp_path / "out")
    raster = rasters.read(tmp_path / "out" / "n-0.tif")
    assert raster.nodata == -9999
    assert raster.missing.sum() == 1


def test_a_volume_is_translated_to_a_volume(stack, tmp_path):
    intensity = Intensity(dtype="uint16", bands=("1",), low=(0,), high=(4095,))
    model = make_identity(tmp_path / "m.onnx", intensity)
    run("translate", stack.parent, "-o", tmp_path / "out", "-m", model, "--provider", "cpu")
    assert np.array_equal(tifffile.imread(tmp_path / "out" / "z.tif"), VOLUME)


@pytest.mark.parametrize(
    ("pages", "neighbors", "expected"),
    [("each", 1, [0, 0, 1]), ("first", 0, [0]), ("stack", 0, [0, 1, 2, 3, 4])],
)
def test_a_model_takes_the_pages_that_it_was_trained_on(
    pages, neighbors, expected, stack, tmp_path
):
    count = len(expected)
    numbers = tuple(str(band + 1) for band in range(count))
    intensity = Intensity(
        dtype="uint16",
        bands=numbers,
        low=(0,) * count,
        high=(4095,) * count,
        pages=pages,
        neighbors=neighbors,
    )
    model = make_identity(tmp_path / "m.onnx", intensity)
    said = run("translate", stack.parent, "-o", tmp_path / "out", "-m", model, "--provider", "cpu")
    assert ("only the first page is read" in said) == (pages == "first")
    written = rasters.header(tmp_path / "out" / "z.tif")
    assert (written.pages, written.bands) == (5 if pages == "each" else 1, count)
    first = rasters.read(tmp_path / "out" / "z.tif").values
    np.testing.assert_array_equal(first, np.moveaxis(VOLUME[expected], 0, -1))
