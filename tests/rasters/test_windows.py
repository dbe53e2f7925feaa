"""Parts of files of independent writers, against the same files read whole by them."""

import tracemalloc

import numpy as np
import pytest

from img2img.box import Box, boxes
from img2img.errors import DataError
from img2img.rasters import tiff_page, windows

rasterio = pytest.importorskip("rasterio")
tifffile = pytest.importorskip("tifffile")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")

BOXES = [
    Box(0, 300, 0, 261),  # all of it
    Box(0, 1, 0, 1),
    Box(299, 300, 260, 261),
    Box(63, 65, 127, 129),  # across four tiles
    Box(17, 230, 5, 250),
]
TYPES = ["uint8", "uint16", "int16", "int32", "float32"]


def values_of(dtype: str, bands: int, seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    if dtype == "float32":
        return random.normal(size=(300, 261, bands)).astype(dtype)
    info = np.iinfo(dtype)
    return random.integers(info.min, info.max, (300, 261, bands), dtype, endpoint=True)


def require_parts(path, values: np.ndarray) -> None:
    with windows.opened(path) as page:
        assert page.shape == values.shape[:2]
        assert page.raster.values.shape == values.shape
        assert page.raster.values.dtype == values.dtype
        for box in [*BOXES, *reversed(BOXES)]:  # again, from what is kept
            part = page.read(box)
            assert part.values.dtype == values.dtype
            np.testing.assert_array_equal(part.values, box.of(values))


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("tile", [None, (64, 128)])
@pytest.mark.parametrize("compression", [None, "zlib", "lzw"])
def test_parts_of_a_tiff_equal_those_of_its_values(tmp_path, dtype, planar, tile, compression):
    values = values_of(dtype, 3)
    stored = np.moveaxis(values, -1, 0) if planar == "separate" else values
    kinds = {"photometric": "minisblack", "planarconfig": planar}
    rows = {"rowsperstrip": 37} if compression and not tile else {}
    path = tmp_path / "a.tif"
    tifffile.imwrite(
        path,
        stored,
        tile=tile,
        compression=compression,
        predictor=bool(compression),
        **kinds,
        **rows,
    )
    require_parts(path, values)


@pytest.mark.parametrize("byteorder", "<>")
@pytest.mark.parametrize("bigtiff", [False, True])
def test_parts_of_both_byte_orders_and_of_bigtiff_are_read(tmp_path, byteorder, bigtiff):
    values = values_of("uint16", 1)
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, values[..., 0], byteorder=byteorder, bigtiff=bigtiff)
    require_parts(path, values)
    tifffile.imwrite(path, values[..., 0], byteorder=byteorder, bigtiff=bigtiff, tile=(16, 16))
    require_parts(path, values)


def test_parts_of_a_geotiff_have_its_nodata_and_metadata(tmp_path):
    values = values_of("int16", 4)
    values[10:20, 30:40] = -999
    path = tmp_path / "a.tif"
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        width=261,
        height=300,
        count=4,
        dtype="int16",
        crs="EPSG:32633",
        transform=rasterio.transform.from_origin(500_000, 5_000_000, 10, 10),
        nodata=-999,
        tiled=True,
        blockxsize=64,
        blockysize=64,
        compress="deflate",
    ) as file:
        file.write(np.moveaxis(values, -1, 0))
    require_parts(path, values)
    with windows.opened(path) as page:
        part = page.read(Box(8, 22, 28, 42))
    assert part.nodata == -999
    assert part.missing is not None
    assert part.missing.sum() == 100
    assert part.missing[2:12, 2:12].all()
    assert part.carried.geographic


def test_empty_tiles_of_a_sparse_geotiff_are_nodata(tmp_path):
    path = tmp_path / "a.tif"
    kinds = {"driver": "GTiff", "width": 256, "height": 256, "count": 1, "dtype": "uint16"}
    with rasterio.open(
        path, "w", **kinds, nodata=7, tiled=True, blockxsize=64, blockysize=64, sparse_ok=True
    ) as file:
        window = rasterio.windows.Window(64, 64, 64, 64)
        file.write(np.full((1, 64, 64), 9, np.uint16), window=window)
    with windows.opened(path) as page, rasterio.open(path) as file:
        part = page.read(Box(0, 256, 0, 256))
        np.testing.assert_array_equal(part.values[..., 0], file.read(1))
    assert part.missing is not None
    assert not part.missing[64:128, 64:128].any()
    assert part.missing.sum() == 256 * 256 - 64 * 64


def test_channels_in_directories_of_their_own_become_bands(tmp_path):
    values = values_of("uint16", 3)
    path = tmp_path / "a.ome.tif"
    stored = np.moveaxis(values, -1, 0)
    tifffile.imwrite(path, stored, metadata={"axes": "CYX"}, tile=(64, 64), compression="zlib")
    require_parts(path, values)
    path = tmp_path / "b.tif"
    tifffile.imwrite(path, stored, imagej=True, metadata={"axes": "CYX"})
    require_parts(path, values)


def test_a_jpeg_in_tiles_is_decoded_as_it_is_whole(tmp_path):
    smooth = np.add.outer(np.arange(300), np.arange(261))[..., None] // 3 + np.array([0, 20, 40])
    path = tmp_path / "a.svs"
    kinds = {"photometric": "ycbcr", "subsampling": (1, 1), "compression": "jpeg"}
    tifffile.imwrite(path, smooth.astype(np.uint8), tile=(64, 64), **kinds)
    require_parts(path, tifffile.imread(path))


def test_inverted_values_are_as_in_a_file_that_is_read_whole(tmp_path):
    values = values_of("uint16", 1)
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, values[..., 0], photometric="miniswhite", tile=(64, 64))
    require_parts(path, 65535 - values)


@pytest.mark.parametrize("leading", [False, True])
def test_parts_of_an_array_equal_those_of_its_values(tmp_path, leading):
    values = values_of("float32", 5)
    path = tmp_path / "a.npy"
    np.save(path, np.ascontiguousarray(np.moveaxis(values, -1, 0)) if leading else values)
    require_parts(path, values)


def read_last_pixel(path) -> None:
    with windows.opened(path) as page:
        height, width = page.shape
        page.read(Box(height - 1, height, width - 1, width))


def test_what_can_not_be_read_in_parts_is_refused_with_advice(tmp_path, monkeypatch):
    def reason(path) -> str:
        with pytest.raises(DataError) as error:
            read_last_pixel(path)
        return str(error.value)

    monkeypatch.setattr(windows, "LARGEST_SEGMENT", 1000)
    strip = tmp_path / "strip.tif"
    tifffile.imwrite(strip, values_of("uint16", 1)[..., 0], compression="zlib", rowsperstrip=300)
    assert "gdal_translate" in reason(strip)
    monkeypatch.undo()
    fortran = tmp_path / "f.npy"
    np.save(fortran, np.asfortranarray(values_of("uint16", 1)[..., 0]))
    assert "C order" in reason(fortran)
    cut = tmp_path / "cut.npy"
    np.save(cut, values_of("uint16", 1)[..., 0])
    cut.write_bytes(cut.read_bytes()[:300])
    assert "truncated" in reason(cut)


def test_a_row_of_parts_decodes_each_strip_once(tmp_path, monkeypatch):
    """Also where strips take more memory than tiles may."""
    values = np.arange(128 * 640, dtype=np.uint16).reshape(128, 640)
    tifffile.imwrite(tmp_path / "a.tif", values, rowsperstrip=8, compression="zlib")
    monkeypatch.setattr(windows, "KEPT", 1000)
    monkeypatch.setattr(windows, "KEPT_STRIPS", 9 * 8 * 640 * 2)  # 64 rows, and another strip
    decoded = []
    sound = tiff_page.require_sound_segment
    monkeypatch.setattr(windows, "trusts_its_data", lambda page: True)
    monkeypatch.setattr(
        windows, "require_sound_segment", lambda *args: (decoded.append(1), sound(*args))
    )
    with windows.opened(tmp_path / "a.tif") as page:
        for box in boxes(128, 640, 64, 64):
            np.testing.assert_array_equal(page.read(box).values[..., 0], box.of(values))
    assert len(decoded) == 16


def test_only_the_strips_of_a_row_of_parts_are_kept(tmp_path):
    values = np.arange(2**20, dtype=np.uint16).reshape(1024, 1024)
    tifffile.imwrite(tmp_path / "a.tif", values, rowsperstrip=16, compression="zlib")
    with windows.opened(tmp_path / "a.tif") as page:
        tracemalloc.start()
        for box in boxes(1024, 1024, 64, 64):
            np.testing.assert_array_equal(page.read(box).values[..., 0], box.of(values))
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert most < values.nbytes / 2


def test_each_page_is_read_by_itself(tmp_path):
    values = np.arange(3 * 70 * 80, dtype=np.uint16).reshape(3, 70, 80)
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="minisblack", tile=(16, 16))
    for number in range(3):
        with windows.opened(tmp_path / "a.tif", page=number) as page:
            assert page.pages == 3
            part = page.read(Box(9, 70, 20, 80)).values[..., 0]
        np.testing.assert_array_equal(part, values[number, 9:, 20:])
    with (
        pytest.raises(DataError, match="no page 3, only 0 to 2"),
        windows.opened(tmp_path / "a.tif", page=3),
    ):
        pass


def test_a_tile_that_expands_beyond_its_size_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.zeros((1024, 1024), np.uint8), tile=(1024, 1024), compression="zlib")
    content = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as file:
        for name in ("TileWidth", "TileLength", "ImageWidth", "ImageLength"):
            tag = file.pages.first.tags[name]
            content[tag.valueoffset : tag.valueoffset + 2] = (64).to_bytes(2, "little")
    path.write_bytes(content)
    monkeypatch.setattr(tiff_page, "has_codecs", lambda: False)
    with pytest.raises(DataError, match="larger than its header"):
        read_last_pixel(path)
