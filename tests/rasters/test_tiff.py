"""TIFF to exact values: written by tifffile, Pillow and GDAL in every form that files have."""

import contextlib
import io
import struct

import numpy as np
import pytest
from PIL import Image

from img2img import rasters
from img2img.errors import DataError
from img2img.formats import TooLarge

tifffile = pytest.importorskip("tifffile")


def values(shape=(20, 30), dtype="uint16"):
    if np.dtype(dtype).kind == "f":
        return np.random.default_rng(0).normal(size=shape).astype(dtype)
    info = np.iinfo(dtype)
    low, high = max(info.min, -(2**31)), min(info.max, 2**31 - 1)
    return np.random.default_rng(0).integers(low, high, shape, endpoint=True).astype(dtype)


def saved(array, **options) -> bytes:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, array, **{"metadata": None} | options)
    return buffer.getvalue()


def by_pillow(array, **options) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "TIFF", **options)
    return buffer.getvalue()


def check(content: bytes, expected: np.ndarray, page: int = 0) -> rasters.Raster:
    raster, header = rasters.read(content, page), rasters.header(content)
    expected = expected[..., np.newaxis] if expected.ndim == 2 else expected
    assert np.array_equal(raster.values, expected)
    assert raster.values.dtype == expected.dtype
    assert raster.values.dtype.isnative
    assert raster.values.flags.c_contiguous
    assert (header.dtype, header.size) == (expected.dtype.name, expected.shape[1::-1])
    assert (header.bands, header.band_names) == (expected.shape[2], raster.bands)
    return raster


@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("bigtiff", [False, True])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "int32", "float32"])
def test_types_and_byte_orders(dtype, bigtiff, byteorder):
    array = values(dtype=dtype)
    check(saved(array, bigtiff=bigtiff, byteorder=byteorder), array)


@pytest.mark.parametrize(
    ("stored", "read_as"),
    [
        ("int8", "int16"),
        ("uint32", "int32"),
        ("int64", "int32"),
        ("uint64", "int32"),
        ("float16", "float32"),
        ("float64", "float32"),
    ],
)
def test_other_types(stored, read_as):
    array = values(dtype=stored)
    raster = check(saved(array), array.astype(read_as))
    assert bool(raster.notes) == (stored == "float64")


@pytest.mark.parametrize(("dtype", "value"), [("uint32", 2**32 - 1), ("int64", -(2**40))])
def test_integers_that_do_not_fit_are_refused_with_their_range(dtype, value):
    array = np.full((4, 5), value, dtype)
    with pytest.raises(DataError, match=f"from {value} to {value} don't fit into int32"):
        rasters.read(saved(array))


def test_complex_values_are_refused():
    with pytest.raises(DataError, match="complex values"):
        rasters.read(saved(values(dtype="float32").astype("complex64")))


@pytest.mark.parametrize("bands", [2, 3, 4, 5, 13])
@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("tile", [None, (16, 16)])
def test_bands_contiguous_and_planar_in_strips_and_tiles(bands, planar, tile):
    array = values((20, 30, bands))
    written = np.moveaxis(array, -1, 0) if planar == "separate" else array
    color = {"photometric": "rgb" if bands in (3, 4) else "minisblack"}
    content = saved(written, planarconfig=planar, tile=tile, rowsperstrip=7, **color)
    check(content, array)


def test_alpha_is_a_band_with_a_name():
    content = saved(values((5, 6, 4)), photometric="rgb", extrasamples=["unassalpha"])
    assert rasters.header(content).band_names == ("red", "green", "blue", "alpha")
    content = saved(values((5, 6, 2)), photometric="minisblack", extrasamples=["unassalpha"])
    assert rasters.read(content).bands == ("grey", "alpha")


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_min_is_white_is_inverted_and_written_as_min_is_black(dtype):
    array = values(dtype=dtype)
    raster = check(saved(array, photometric="miniswhite"), np.iinfo(dtype).max - array)
    assert "MinIsWhite" in raster.notes[0]
    written = rasters.encode(raster.values, raster, ".tif")
    with tifffile.TiffFile(io.BytesIO(written)) as file:
        assert file.pages[0].photometric == 1
        assert np.array_equal(file.asarray(), raster.values[..., 0])


def test_one_bit():
    array = values() > 2**15
    check(saved(array, photometric="minisblack"), array.astype(np.uint8))
    check(saved(array, photometric="miniswhite"), 1 - array.astype(np.uint8))
    check(by_pillow(array), array.astype(np.uint8))
    check(by_pillow(array, compression="group4"), array.astype(np.uint8))


@pytest.mark.parametrize("bits", [4, 10, 12, 14])
def test_bits_that_are_no_whole_bytes(bits):
    pytest.importorskip("imagecodecs")
    array = values() % 2**bits
    array = array.astype(np.uint8) if bits < 8 else array
    check(saved(array, bitspersample=bits, photometric="minisblack"), array)
    inverted = 2**bits - 1 - array
    check(saved(array, bitspersample=bits, photometric="miniswhite"), inverted)


def test_palettes_become_rgb():
    index = values(dtype="uint8")
    colors = np.random.default_rng(1).integers(0, 256, (256, 3), np.uint8)
    image = Image.fromarray(index, "P")
    image.putpalette(colors.tobytes())
    buffer = io.BytesIO()
    image.save(buffer, "TIFF")
    check(buffer.getvalue(), colors[index])
    deep = np.random.default_rng(1).integers(0, 65536, (3, 256), np.uint16)
    raster = check(saved(index, photometric="palette", colormap=deep), deep.T[index])
    written = tifffile.imread(io.BytesIO(rasters.encode(raster.values, raster, ".tif")))
    assert np.array_equal(written, deep.T[index])


def test_colors_other_than_rgb_keep_their_values_with_a_note():
    array = values((20, 30, 4), "uint8")
    raster = check(saved(array, photometric="separated"), array)
    assert "CMYK" in raster.notes[0]


def test_pages_of_one_size_are_read_one_by_one():
    pages = values((6, 20, 30))
    content = saved(pages, photometric="minisblack")
    assert rasters.header(content).pages == 6
    for page in range(6):
        check(content, pages[page], page)
    with pytest.raises(DataError, match="no page 6, only 0 to 5"):
        rasters.read(content, 6)


def test_pages_of_another_size_and_thumbnails_are_left_out():
    buffer = io.BytesIO()
    pages = values((3, 20, 30))
    with tifffile.TiffWriter(buffer) as file:
        file.write(pages[0], metadata=None)
        file.write(values((5, 6)), metadata=None, subfiletype=1)
        file.write(pages[1], metadata=None)
        file.write(pages[2, :10], metadata=None)
        file.write(pages[2], metadata=None)
    content = buffer.getvalue()
    assert rasters.header(content).pages == 3
    assert "2 pages of another size" in rasters.read(content).notes[0]
    check(content, pages[2], 2)


@pytest.mark.parametrize("bands", [None, 3, 4])
def test_8_bit_photographs_are_recognized(bands):
    array = values((20, 30, bands) if bands else (20, 30), "uint8")
    for content in (by_pillow(array), by_pillow(array, compression="tiff_lzw")):
        assert rasters.header(content).is_photograph
    color = {"photometric": "rgb" if bands else "minisblack"}
    assert rasters.header(saved(array, **color)).is_photograph
    check(saved(array, **color), array)


def test_what_is_science_is_no_photograph():
    small = values((20, 30), "uint8")
    assert not rasters.header(saved(values())).is_photograph
    assert not rasters.header(saved(values((2, 20, 30), "uint8"))).is_photograph
    assert not rasters.header(saved(small, imagej=True, metadata={})).is_photograph
    assert not rasters.header(saved(small, ome=True, metadata={})).is_photograph
    assert not rasters.header(saved(small, extratags=[(33550, 12, 3, (1, 1, 0))])).is_photograph
    assert not rasters.header(saved(values((9, 9, 5), "uint8"))).is_photograph


def test_from_a_file(tmp_path):
    (tmp_path / "a.tif").write_bytes(saved(values()))
    assert np.array_equal(rasters.read(tmp_path / "a.tif").values[..., 0], values())
    assert rasters.header(tmp_path / "a.tif").kind == "tiff"


def test_more_pixels_or_bands_than_the_limit():
    with pytest.raises(TooLarge, match="30x20"):
        rasters.read(saved(values()), max_pixels=500)
    content = saved(values((20, 30, 20)), photometric="minisblack", planarconfig="contig")
    with pytest.raises(TooLarge, match="20 bands of uint16"):
        rasters.read(content, max_pixels=700)
    content = bytearray(saved(values()))
    with tifffile.TiffFile(io.BytesIO(content)) as file:
        at = file.pages[0].tags[256].valueoffset, file.pages[0].tags[257].valueoffset
    for offset in at:
        content[offset : offset + 4] = struct.pack("<I", 2**30)
    with pytest.raises(TooLarge):
        rasters.read(bytes(content))


def test_loops_of_pages():
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer) as file:
        for _ in range(3):
            file.write(values(), metadata=None)
    content = bytearray(buffer.getvalue())
    with tifffile.TiffFile(io.BytesIO(content)) as file:
        offsets = [page.offset for page in file.pages]
        count = len(file.pages[2].tags)
    end = offsets[2] + 2 + 12 * count
    content[end : end + 4] = struct.pack("<I", offsets[1])
    with pytest.raises(DataError, match="loop"):
        rasters.read(bytes(content))


SMALL = {
    "plain": saved(values((3, 4))),
    "big": saved(values((3, 4)), bigtiff=True),
    "deflate": saved(values((3, 4)), compression="zlib", predictor=True),
    "pages": saved(values((2, 3, 4)), photometric="minisblack"),
    "rgb": saved(values((3, 4, 3)), photometric="rgb", planarconfig="contig"),
    "imagej": saved(
        values((2, 3, 4)), imagej=True, photometric="minisblack", metadata={"axes": "CYX"}
    ),
    "ome": saved(values((2, 3, 4)), ome=True, photometric="minisblack", metadata={"axes": "CYX"}),
}


@pytest.mark.parametrize("name", SMALL)
def test_truncated_at_every_byte(name):
    """Some files end with metadata without which they are complete."""
    content = SMALL[name]
    whole = rasters.read(content).values
    for length in range(len(content)):
        try:
            raster = rasters.read(content[:length])
        except DataError:
            continue
        assert np.array_equal(raster.values, whole)


@pytest.mark.parametrize("name", SMALL)
def test_changed_bytes_raise_no_other_error(name):
    content = SMALL[name]
    for at in range(min(len(content), 700)):
        changed = bytearray(content)
        changed[at] ^= 0xFF
        with contextlib.suppress(DataError):
            rasters.header(bytes(changed))
        with contextlib.suppress(DataError):
            rasters.read(bytes(changed), max_pixels=10**5)
