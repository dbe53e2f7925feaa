"""Smaller versions of a page, in SubIFDs and behind it."""

import io

import numpy as np
import pytest

from img2img import rasters
from img2img.errors import DataError

tifffile = pytest.importorskip("tifffile")


def slide(photometric="rgb", subifds=False, ome=False) -> tuple[bytes, list[np.ndarray]]:
    """A page and two smaller versions of it, then a label that is none."""
    shape = (100, 130, 3) if photometric == "rgb" else (100, 130)
    full = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    sizes = [full, full[::2, ::2], full[::4, ::4]]
    options = {"photometric": photometric, "tile": (32, 32)}
    metadata = {"axes": "YXS" if photometric == "rgb" else "YX"} if ome else None
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer, ome=ome) as file:
        file.write(full, subifds=2 if subifds else None, metadata=metadata, **options)
        for smaller in sizes[1:]:
            file.write(smaller, metadata=None, subfiletype=1, **options)
        if not ome:
            file.write(full[:40, :40], metadata=None, subfiletype=1, **options)
            file.write(full[::3, ::3], metadata=None, subfiletype=1, photometric=photometric)
    return buffer.getvalue(), sizes


@pytest.mark.parametrize("photometric", ["rgb", "minisblack"])
@pytest.mark.parametrize(("subifds", "ome"), [(False, False), (True, False), (True, True)])
def test_levels(photometric, subifds, ome):
    content, sizes = slide(photometric, subifds, ome)
    header = rasters.header(content)
    assert header.levels == ((130, 100), (65, 50), (33, 25))
    assert (header.size, header.pages, header.is_photograph) == ((130, 100), 1, False)
    for level, expected in enumerate(sizes):
        values = rasters.read(content, level=level).values
        assert np.array_equal(values, expected.reshape(values.shape))
    with pytest.raises(DataError, match="no level 3, only 0 to 2"):
        rasters.read(content, level=3)


def test_a_level_of_any_size_is_written_without_the_full_size_metadata():
    content, sizes = slide()
    raster = rasters.read(content, level=1, max_pixels=4000)
    written = rasters.read(rasters.encode(raster.values, raster, ".tif"))
    assert np.array_equal(written.values, sizes[1])
    assert written.carried.rgb


def test_channels_of_ome():
    array = np.random.default_rng(0).integers(0, 60000, (3, 64, 96), np.uint16)
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer, ome=True) as file:
        options = {"photometric": "minisblack", "tile": (32, 32)}
        file.write(array, subifds=1, metadata={"axes": "CYX"}, **options)
        file.write(array[:, ::2, ::2], subfiletype=1, **options)
    content = buffer.getvalue()
    assert rasters.header(content).levels == ((96, 64), (48, 32))
    values = rasters.read(content, level=1).values
    assert np.array_equal(values, np.moveaxis(array[:, ::2, ::2], 0, -1))


def test_stacks_and_other_formats_have_no_levels():
    pages = np.zeros((3, 8, 8), np.uint16)
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, pages, photometric="minisblack", metadata=None)
    assert rasters.header(buffer.getvalue()).levels == ()
    with pytest.raises(DataError, match="no level 1, only 0"):
        rasters.read(buffer.getvalue(), level=1)
    with pytest.raises(DataError, match="no level 1, only 0"):
        rasters.read(rasters.encode(pages[0][..., None], None, ".npy"), level=1)


def test_gdals_overviews(tmp_path):
    rasterio = pytest.importorskip("rasterio")
    array = np.random.default_rng(0).integers(0, 60000, (2, 128, 256), np.uint16)
    options = {
        "driver": "GTiff",
        "dtype": "uint16",
        "count": 2,
        "height": 128,
        "width": 256,
        "nodata": 7,
    }
    place = {"crs": "EPSG:4326", "transform": rasterio.transform.Affine(0.1, 0, 5, 0, -0.1, 50)}
    tiles = {"tiled": True, "blockxsize": 64, "blockysize": 64}
    with rasterio.open(tmp_path / "a.tif", "w", **options, **place, **tiles) as file:
        file.write(array)
        file.descriptions = ["red", "nir"]
        file.build_overviews([2, 4], rasterio.enums.Resampling.nearest)
    assert rasters.header(tmp_path / "a.tif").levels == ((256, 128), (128, 64), (64, 32))
    assert np.array_equal(rasters.read(tmp_path / "a.tif").values, np.moveaxis(array, 0, -1))
    raster = rasters.read(tmp_path / "a.tif", level=2)
    with rasterio.open(tmp_path / "a.tif", overview_level=1) as file:
        assert np.array_equal(raster.values, np.moveaxis(file.read(), 0, -1))
    assert not raster.carried.geographic
    assert (raster.bands, raster.nodata) == (("red", "nir"), 7)
