"""What a TIFF's tags say about bands and values."""

import io

import numpy as np
import pytest

from img2img import rasters

tifffile = pytest.importorskip("tifffile")


def saved(bands, *tags, **options) -> bytes:
    buffer = io.BytesIO()
    array = np.ones((5, 6, bands) if bands > 1 else (5, 6), np.uint16)
    planar = {"planarconfig": "contig"} if bands > 1 else {}
    options = {"photometric": "minisblack"} | planar | options
    tifffile.imwrite(buffer, array, metadata=None, extratags=tags, **options)
    return buffer.getvalue()


def gdal(text: str) -> tuple[int, int, None, str]:
    return 42112, 2, None, f"<GDALMetadata>{text}</GDALMetadata>"


def item(sample, name, key="DESCRIPTION") -> str:
    return f'<Item name="{key}" sample="{sample}" role="description">{name}</Item>'


def test_names_of_some_bands():
    raster = rasters.read(saved(3, gdal(item(0, "red") + item(2, "nir") + item(1, "x", "OFFSET"))))
    assert raster.bands == ("red", "band 2", "nir")
    assert rasters.read(saved(3, gdal(item(0, "x", "OFFSET")))).bands == ()
    assert rasters.read(saved(3, gdal(item(99, "x")))).bands == ()


@pytest.mark.parametrize(
    ("text", "nodata"), [("7", 7), ("-9999", -9999), (" nan ", None), ("1e3", 1000)]
)
def test_nodata(text, nodata):
    raster = rasters.read(saved(1, (42113, 2, None, text)))
    assert raster.nodata == nodata or (nodata is None and np.isnan(raster.nodata))


def test_nodata_that_can_not_be_read_is_noted():
    raster = rasters.read(saved(1, (42113, 2, None, "none")))
    assert raster.nodata is None
    assert "missing pixels" in raster.notes[0]


def test_a_fourth_band_is_alpha_only_where_the_file_says_so():
    assert rasters.read(saved(4, photometric="rgb", extrasamples=[2])).bands[-1] == "alpha"
    assert rasters.read(saved(4, photometric="rgb", extrasamples=[0])).bands == ()
    assert rasters.read(saved(5, photometric="rgb", extrasamples=[2, 0])).bands == ()


def test_names_of_gdal_are_read_as_they_were_given(tmp_path):
    rasterio = pytest.importorskip("rasterio")
    kinds = {"driver": "GTiff", "width": 8, "height": 8, "count": 2, "dtype": "uint16"}
    with rasterio.open(tmp_path / "a.tif", "w", **kinds) as file:
        file.write(np.zeros((2, 8, 8), np.uint16))
        file.descriptions = ("u & <v>", "w")
    assert rasters.read(tmp_path / "a.tif").bands == ("u & <v>", "w")
