"""TIFF as it is written: values bit for bit, and the metadata, for tifffile, Pillow and GDAL."""

import io
import pickle
import warnings

import numpy as np
import pytest
from PIL import Image

from img2img import rasters
from img2img.errors import DataError

tifffile = pytest.importorskip("tifffile")
DTYPES = ["uint8", "uint16", "int16", "int32", "float32"]


def values(shape, dtype="uint16"):
    return np.random.default_rng(0).integers(0, 200, shape).astype(dtype)


def saved(array, **options) -> bytes:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, array, **{"photometric": "minisblack"} | options)
    return buffer.getvalue()


def loaded(content: bytes):
    return tifffile.TiffFile(io.BytesIO(content))


def whole(content: bytes) -> tuple[np.ndarray, rasters.Raster]:
    """All pages, and the first one's raster, as another process would get it."""
    pages = [rasters.read(content, page) for page in range(rasters.header(content).pages)]
    return np.stack([page.values for page in pages]), pickle.loads(pickle.dumps(pages[0]))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bands", [1, 2, 3, 4, 7])
def test_without_an_original(dtype, bands):
    array = values((5, 6, bands), dtype)
    content = rasters.encode(array, None, ".tif")
    with loaded(content) as file:
        assert np.array_equal(file.asarray().reshape(array.shape), array)
        page = file.pages[0]
        assert page.dtype == dtype
        rgb = bands in (3, 4) and dtype in ("uint8", "uint16")
        assert page.photometric == (2 if rgb else 1)
        assert page.compression == 8
    assert np.array_equal(rasters.read(content).values, array)


@pytest.mark.parametrize("bands", [1, 3, 4])
def test_pillow_reads_8_bits(bands):
    array = values((5, 6, bands), "uint8")
    image = Image.open(io.BytesIO(rasters.encode(array, None, ".tiff")))
    assert np.array_equal(np.asarray(image).reshape(array.shape), array)
    assert image.mode == {1: "L", 3: "RGB", 4: "RGBA"}[bands]


@pytest.mark.parametrize("byteorder", ["<", ">"])
def test_resolution_description_and_orientation(byteorder):
    description = "Härte 5 µm".encode()
    content = saved(
        values((5, 6)),
        metadata=None,
        byteorder=byteorder,
        description=description,
        resolution=(1234.5, 617.25),
        resolutionunit="CENTIMETER",
        software="scanner 2.1",
        datetime="2026:01:02 03:04:05",
        extratags=[(274, 3, 1, 3), (315, 2, None, "Doe"), (700, 1, 4, b"<x/>")],
    )
    raster = rasters.read(content)
    with loaded(content) as old, loaded(rasters.encode(raster.values, raster, ".tif")) as new:
        for code in (270, 274, 282, 283, 296, 305, 306, 315, 700):
            assert old.pages[0].tags[code].value == new.pages[0].tags[code].value, code
        assert old.byteorder == new.byteorder
        assert new.pages[0].description == "Härte 5 µm"


def test_all_pages():
    array = values((4, 5, 6))
    pages, raster = whole(saved(array, metadata=None))
    with loaded(rasters.encode(pages, raster, ".tif")) as file:
        assert [np.array_equal(p.asarray(), a) for p, a in zip(file.pages, array, strict=True)]
        assert len(file.pages) == 4


def test_tifffiles_shape_is_not_copied_to_a_page():
    raster = rasters.read(saved(values((4, 5, 6))))
    with loaded(rasters.encode(raster.values, raster, ".tif")) as file:
        assert file.asarray().shape == (5, 6)


@pytest.mark.parametrize("dtype", DTYPES)
def test_imagej(dtype):
    array = values((2, 3, 4, 5, 6))
    metadata = {"axes": "TZCYX", "unit": "um", "spacing": 2.5, "finterval": 0.1, "Info": "µm"}
    content = saved(array, imagej=True, resolution=(0.5, 0.5), metadata=metadata)
    pages, raster = whole(content)
    written = rasters.encode(pages.astype(dtype), raster, ".tif")
    with loaded(written) as file:
        assert file.is_imagej
        assert file.series[0].axes == "TZCYX"
        assert np.array_equal(file.asarray(), array)
        described = file.imagej_metadata
        assert (described["spacing"], described["finterval"]) == (2.5, 0.1)
        assert (described["unit"], described["Info"]) == ("um", "µm")
        assert file.pages[0].tags["XResolution"].value == (1, 2)
        assert file.pages[0].compression == 1
    one = rasters.encode(rasters.read(content, 4).values.astype(dtype), raster, ".tif")
    with loaded(one) as file:
        assert file.series[0].axes == "CYX"
        assert np.array_equal(file.asarray(), array[1, 1])
        assert file.imagej_metadata["spacing"] == 2.5
    bands = rasters.encode(pages[..., :1], raster, ".tif")
    with loaded(bands) as file:
        assert file.series[0].axes == "TZYX"
        assert np.array_equal(file.asarray(), array[:, :, 0])


@pytest.mark.parametrize("dtype", DTYPES)
def test_ome(dtype):
    array = values((2, 3, 4, 5, 6))
    metadata = {
        "axes": "TZCYX",
        "Name": "Zelle <1>",
        "PhysicalSizeX": 0.25,
        "PhysicalSizeXUnit": "µm",
        "PhysicalSizeZ": 3.0,
        "Channel": {"Name": ["DAPI", "GFP", "Cy3", "Cy5"]},
    }
    content = saved(array, ome=True, metadata=metadata)
    pages, raster = whole(content)
    written = rasters.encode(pages.astype(dtype), raster, ".tif")
    with loaded(written) as file:
        assert file.is_ome
        assert file.series[0].axes == "TZCYX"
        assert file.series[0].dtype == dtype
        assert np.array_equal(file.asarray(), array)
        described = tifffile.xml2dict(file.ome_metadata)["OME"]["Image"]
        assert described["Name"] == "Zelle <1>"
        assert described["Pixels"]["PhysicalSizeX"] == 0.25
        assert described["Pixels"]["PhysicalSizeXUnit"] == "µm"
    assert rasters.read(written).bands == ("DAPI", "GFP", "Cy3", "Cy5")
    again, _ = whole(written)
    assert np.array_equal(again, pages)
    last = rasters.read(content, 5)
    one = rasters.encode(last.values.astype(dtype), last, ".tif")
    with loaded(one) as file:
        assert file.series[0].axes == "CYX"
        assert np.array_equal(file.asarray(), array[1, 2])
    fewer = rasters.encode(pages[..., :2], raster, ".tif")
    with loaded(fewer) as file:
        assert np.array_equal(file.asarray(), array[:, :, :2])
    assert rasters.read(fewer).bands == ()


def test_rgb_in_ome():
    array = values((2, 5, 6, 3))
    content = saved(array, ome=True, photometric="rgb", metadata={"axes": "ZYXS"})
    pages, raster = whole(content)
    with loaded(rasters.encode(pages, raster, ".tif")) as file:
        assert np.array_equal(file.asarray(), array)
        assert file.series[0].axes == "ZYXS"
    with loaded(rasters.encode(pages[..., :1], raster, ".tif")) as file:
        assert np.array_equal(file.asarray(), array[..., 0])


def test_another_size_does_not_fit_a_pixel_size():
    raster = rasters.read(saved(values((5, 6)), ome=True, metadata={"axes": "YX"}))
    with pytest.raises(DataError, match="12x10 does not fit"):
        rasters.encode(np.zeros((10, 12, 1), np.uint16), raster, ".tif")


def gdal(path, array, **options):
    rasterio = pytest.importorskip("rasterio")
    height, width, bands = array.shape
    profile = {
        "driver": "GTiff",
        "height": height,
        "width": width,
        "count": bands,
        "dtype": array.dtype.name,
        "crs": "EPSG:32632",
        "transform": rasterio.transform.Affine(10, 0, 500000, 0, -10, 5500000),
        "nodata": 7,
    }
    with rasterio.open(path, "w", **profile | options) as file:
        file.write(np.moveaxis(array, -1, 0))
        file.descriptions = [f"B{band + 2}" for band in range(bands)]
        file.update_tags(AREA_OR_POINT="Point", SENSOR="MSI")
        file.update_tags(1, WAVELENGTH="490")
    return rasterio


def compared(rasterio, old, new, same=True):
    with rasterio.open(old) as a, rasterio.open(new) as b:
        assert a.crs == b.crs
        assert a.transform == b.transform
        assert a.nodata == b.nodata
        if same:
            assert a.descriptions == b.descriptions
            added = {k for k in b.tags() if "RESOLUTION" in k}  # which the baseline requires
            assert a.tags() == {k: v for k, v in b.tags().items() if k not in added}
            assert a.tags(1) == b.tags(1)
        return np.moveaxis(b.read(), 0, -1)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bands", [1, 4])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"interleave": "band", "compress": "deflate", "predictor": 2},
        {"tiled": True, "blockxsize": 16, "blockysize": 16, "compress": "lzw"},
        {"BIGTIFF": "YES", "ENDIANNESS": "BIG", "compress": "zstd"},
        {"compress": "packbits", "photometric": "MINISBLACK"},
    ],
)
def test_geotiff_of_gdal(tmp_path, dtype, bands, options):
    if dtype == "float32":
        options = options | ({"predictor": 3} if "predictor" in options else {})
    array = values((20, 30, bands), dtype)
    rasterio = gdal(tmp_path / "a.tif", array, **options)
    header, raster = rasters.header(tmp_path / "a.tif"), rasters.read(tmp_path / "a.tif")
    names = tuple(f"B{band + 2}" for band in range(bands))
    assert (header.kind, header.size, header.bands) == ("geotiff", (30, 20), bands)
    assert (header.band_names, raster.bands, raster.nodata) == (names, names, 7)
    assert np.array_equal(raster.values, array)
    assert np.array_equal(raster.missing, (array == 7).any(-1))
    (tmp_path / "b.tif").write_bytes(rasters.encode(raster.values, raster, ".tif"))
    read = compared(rasterio, tmp_path / "a.tif", tmp_path / "b.tif")
    assert np.array_equal(read, array)
    assert read.dtype == array.dtype
    again = rasters.read(tmp_path / "b.tif")
    assert np.array_equal(again.values, array)
    assert (again.bands, again.nodata) == (names, 7)
    kept = {tag for tag in raster.carried.tags if tag[0] >= 33550}
    assert kept == {tag for tag in again.carried.tags if tag[0] >= 33550}


def test_geotiff_with_other_bands_and_types_keeps_its_place(tmp_path):
    array = values((20, 30, 4))
    rasterio = gdal(tmp_path / "a.tif", array)
    raster = rasters.read(tmp_path / "a.tif")
    result = np.zeros((20, 30, 1), np.float32) + 0.5
    (tmp_path / "b.tif").write_bytes(rasters.encode(result, raster, ".tif"))
    assert np.array_equal(compared(rasterio, tmp_path / "a.tif", tmp_path / "b.tif", False), result)
    with pytest.raises(DataError, match="does not fit"):
        rasters.encode(result[:10], raster, ".tif")


def test_geotiff_with_rotation_and_control_points(tmp_path):
    array = values((20, 30, 1))
    rasterio = gdal(tmp_path / "a.tif", array)
    turned = rasterio.transform.Affine(8, 6, 500000, 6, -8, 5500000)
    gdal(tmp_path / "a.tif", array, transform=turned, nodata=None)
    raster = rasters.read(tmp_path / "a.tif")
    assert raster.nodata is None
    (tmp_path / "b.tif").write_bytes(rasters.encode(raster.values, raster, ".tif"))
    compared(rasterio, tmp_path / "a.tif", tmp_path / "b.tif")


@pytest.mark.parametrize("nodata", ["nan", "-9999", "-3.4028234663852886e+38"])
def test_nodata_of_floats(tmp_path, nodata):
    array = values((20, 30, 2), "float32")
    array[3, 4, 1] = float(nodata)
    rasterio = gdal(tmp_path / "a.tif", array, nodata=float(nodata))
    raster = rasters.read(tmp_path / "a.tif")
    assert np.argwhere(raster.missing).tolist() == [[3, 4]]
    (tmp_path / "b.tif").write_bytes(rasters.encode(raster.values, raster, ".tif"))
    with rasterio.open(tmp_path / "b.tif") as file:
        assert np.array_equal(np.moveaxis(file.read(), 0, -1), array, equal_nan=True)
        assert np.array_equal([file.nodata], [float(nodata)], equal_nan=True)


def test_nodata_of_inverted_values(tmp_path):
    array = values((20, 30, 1))
    rasterio = gdal(tmp_path / "a.tif", array, photometric="MINISWHITE")
    raster = rasters.read(tmp_path / "a.tif")
    assert raster.nodata == 65535 - 7
    (tmp_path / "b.tif").write_bytes(rasters.encode(raster.values, raster, ".tif"))
    with rasterio.open(tmp_path / "b.tif") as file:
        assert file.nodata == 65535 - 7
        assert np.array_equal(file.read(1), 65535 - array[..., 0])


def test_nothing_is_printed(tmp_path, capfd):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        raster = rasters.read(saved(values((5, 6)), metadata=None, extratags=[(700, 1, 3, b"abc")]))
        rasters.encode(raster.values, raster, ".tif")
    assert capfd.readouterr() == ("", "")
