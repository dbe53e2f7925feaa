"""img2img tiles: scenes and slides cut into files of their exact values, which keep their place."""

import numpy as np
import pytest
import rasterio
import tifffile
from typer.testing import CliRunner

from img2img import images, rasters
from img2img.cli import app
from img2img.errors import Img2ImgError

RANDOM = np.random.default_rng(0)


def run(*arguments, command="tiles") -> str:
    result = CliRunner().invoke(app, [command, *map(str, arguments)])
    if isinstance(result.exception, Img2ImgError):
        raise result.exception
    assert result.exit_code == 0, result.exception
    return " ".join(result.output.split())


@pytest.mark.parametrize("rotated", [False, True])
def test_every_tile_lies_where_its_pixels_lie(rotated, tmp_path):
    values = RANDOM.integers(0, 10_000, (2, 100, 150), np.uint16)
    turn = rasterio.Affine.rotation(30) if rotated else rasterio.Affine.identity()
    place = rasterio.Affine(10, 0, 500_000, 0, -10, 5_000_000) @ turn
    kinds = {"driver": "GTiff", "width": 150, "height": 100, "count": 2, "dtype": "uint16"}
    with rasterio.open(
        tmp_path / "a.tif", "w", **kinds, crs="EPSG:32633", transform=place, tiled=False
    ) as file:
        file.write(values)
    assert run(tmp_path / "a.tif", "-o", tmp_path / "out", "--size", 64).startswith("6 tiles of 1")
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names[:3] == ["a-y000-x000.tif", "a-y000-x064.tif", "a-y000-x086.tif"]
    for top in (0, 36):
        for left in (0, 64, 86):
            with rasterio.open(tmp_path / "out" / f"a-y{top:03}-x{left:03}.tif") as file:
                part = values[:, top : top + 64, left : left + 64]
                np.testing.assert_array_equal(file.read(), part)
                corner = place * (left, top)
                assert file.transform * (0, 0) == pytest.approx(corner)
                assert file.transform * (64, 64) == pytest.approx(place * (left + 64, top + 64))
                assert file.crs.to_epsg() == 32633


def test_a_level_of_a_slide_is_cut(tmp_path):
    """JPEG tiles of a pyramid, as photographs: what is read back is the level's pixels."""
    hill = np.add.outer(np.arange(256), np.arange(320))[..., None] // 3
    full = (hill + np.array([0, 20, 40])).clip(0, 255).astype(np.uint8)
    half = full[::2, ::2]
    kinds = {"photometric": "rgb", "tile": (64, 64), "compression": "jpeg"}
    with tifffile.TiffWriter(tmp_path / "a.svs") as file:
        file.write(full, **kinds, metadata=None)
        file.write(half, **kinds, metadata=None, subfiletype=1)
    run(tmp_path / "a.svs", "-o", tmp_path / "out", "--size", 64, "--level", 1)
    assert len(list((tmp_path / "out").iterdir())) == 2 * 3
    with tifffile.TiffFile(tmp_path / "a.svs") as file:
        expected = file.pages[1].asarray()
    pixels = images.read(tmp_path / "out" / "a-y064-x096.tif").pixels
    np.testing.assert_array_equal(pixels, expected[64:128, 96:160])
    with pytest.raises(Img2ImgError, match=r"a\.svs: it has no level 2, only 0 to 1\."):
        run(tmp_path / "a.svs", "-o", tmp_path / "two", "--level", 2)


def test_tiles_without_a_value_are_left_out_and_told(tmp_path):
    values = RANDOM.normal(size=(64, 130, 1)).astype(np.float32)
    values[:, :70] = np.nan
    np.save(tmp_path / "a.npy", values)
    said = run(tmp_path / "a.npy", "-o", tmp_path / "out", "--size", 32)
    assert "6 tiles of 1 files; 4 without a value are left out" in said
    tile = rasters.read(tmp_path / "out" / "a-y000-x064.tif")
    np.testing.assert_array_equal(tile.values, values[:32, 64:96])


def test_a_tile_is_kept_while_any_band_has_a_value(tmp_path):
    values = RANDOM.normal(size=(32, 64, 2)).astype(np.float32)
    values[:, :32, 1] = np.nan
    np.save(tmp_path / "a.npy", values)
    assert run(tmp_path / "a.npy", "-o", tmp_path / "out", "--size", 32).startswith("2 tiles")


def test_the_same_command_goes_on_and_rounding_is_told(tmp_path):
    np.save(tmp_path / "a.npy", RANDOM.normal(size=(32, 64)))
    first = run(tmp_path / "a.npy", "-o", tmp_path / "out", "--size", 32)
    assert "float64 values are rounded to float32 (first:" in first
    (tmp_path / "out" / "a-y00-x32.tif").unlink()
    assert "2 tiles of 1" in run(tmp_path / "a.npy", "-o", tmp_path / "out", "--size", 32)
    np.save(tmp_path / "a.npy", RANDOM.normal(size=(32, 64)))
    with pytest.raises(Img2ImgError, match="exists already, with other content"):
        run(tmp_path / "a.npy", "-o", tmp_path / "out", "--size", 32)


def test_tiles_overlap_by_the_step(tmp_path):
    (tmp_path / "in").mkdir()
    np.save(tmp_path / "in/a.npy", np.zeros((40, 64, 1), np.uint16))
    said = run(tmp_path / "in", "-o", tmp_path / "out", "--size", 32, "--step", 16)
    assert said.startswith("6 tiles")


def test_what_is_not_cut_is_named(tmp_path):
    (tmp_path / "a.png").write_bytes(b"")
    with pytest.raises(Img2ImgError, match=r"a\.png: only TIFF and \.npy"):
        run(tmp_path / "a.png", "-o", tmp_path / "out")
    np.save(tmp_path / "b.npy", np.zeros((32, 32), np.uint16))
    tifffile.imwrite(tmp_path / "b.tif", np.zeros((32, 32), np.uint16))
    with pytest.raises(Img2ImgError, match="tiles of the same names"):
        run(tmp_path / "b.npy", tmp_path / "b.tif", "-o", tmp_path / "out")
    with pytest.raises(Img2ImgError, match="There is no file or folder"):
        run(tmp_path / "none.tif", "-o", tmp_path / "out")


def test_a_level_is_chosen_by_its_magnification(tmp_path):
    told = "Aperio Image Library v11.2.1\n|AppMag = 40"
    values = RANDOM.integers(0, 256, (128, 128, 3)).astype(np.uint8)
    kinds = {"photometric": "rgb", "tile": (64, 64), "metadata": None}
    with tifffile.TiffWriter(tmp_path / "a.svs") as file:
        file.write(values, **kinds, description=told)
        file.write(values[::2, ::2], **kinds, subfiletype=1)
    (tmp_path / "labels.txt").touch()
    told = run(tmp_path, "-o", tmp_path / "out", "--size", 64, "--magnification", 20)
    assert "1 file passed over: 1 .txt. 1 tiles of 1 files" in told
    [tile] = (tmp_path / "out").iterdir()
    np.testing.assert_array_equal(images.read(tile).pixels, values[::2, ::2])
    with pytest.raises(Img2ImgError, match=r"magnifications of 40, 20, and none is 10"):
        run(tmp_path / "a.svs", "-o", tmp_path / "more", "--magnification", 10)
    with pytest.raises(Img2ImgError, match="without --level"):
        run(tmp_path / "a.svs", "-o", tmp_path / "more", "--magnification", 20, "--level", 0)
    for wrong in ("0", "nan", "inf"):
        with pytest.raises(Img2ImgError, match="--magnification is a number above 0"):
            run(tmp_path / "a.svs", "-o", tmp_path / "more", "--magnification", wrong)


@pytest.mark.parametrize("command", ["tiles", "slices"])
def test_a_folder_without_pictures_is_an_error(command, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "notes.txt").touch()
    with pytest.raises(Img2ImgError, match=r"in has no pictures .* 1 file passed over: 1 \.txt"):
        run(tmp_path / "in", "-o", tmp_path / "out", command=command)
