"""PNG of 16 bits: exact values, compared with Pillow and imagecodecs."""

import io
import pickle
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from img2img import rasters
from img2img.errors import DataError
from img2img.formats import TooLarge
from img2img.rasters import png

imagecodecs = pytest.importorskip("imagecodecs")


def values(bands, dtype="uint16", height=13, width=17):
    """Noise beside smooth areas, so that encoders choose different filters for rows."""
    most = np.iinfo(dtype).max
    y, x = np.mgrid[:height, :width]
    smooth = (x * 97 + y * 331)[..., None] * np.arange(1, bands + 1) % most
    smooth[: height // 2] = np.random.default_rng(0).integers(0, most, (height // 2, width, bands))
    return smooth.astype(dtype)


def chunk(name, data):
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def by_hand(array, filters, interlaced=False) -> bytes:
    """A PNG with a filter for each row, each computed pixel by pixel from the specification."""
    height, width, bands = array.shape
    depth = 8 * array.dtype.itemsize
    color = {1: 0, 3: 2, 2: 4, 4: 6}[bands]
    passes = png.ADAM7 if interlaced else ((0, 0, 1, 1),)
    content = b""
    for left, top, across, down in passes:
        part = np.ascontiguousarray(array[top::down, left::across].astype(f">u{depth // 8}"))
        if part.size == 0:
            continue
        rows = part.view(np.uint8).reshape(part.shape[0], -1).astype(int)
        step = bands * depth // 8
        for y, row in enumerate(rows):
            kind = filters[y % len(filters)]
            above = rows[y - 1] if y else np.zeros_like(row)
            written = []
            for i, byte in enumerate(row):
                a = row[i - step] if i >= step else 0
                b, c = above[i], above[i - step] if i >= step else 0
                p = a + b - c
                nearest = min((abs(p - v), order, v) for order, v in enumerate((a, b, c)))[2]
                written.append((byte - (0, a, b, (a + b) // 2, nearest)[kind]) % 256)
            content += bytes([kind, *written])
    start = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, interlaced)
    packed = zlib.compress(content)
    parts = [chunk(b"IHDR", start), chunk(b"IDAT", packed[:9]), chunk(b"IDAT", packed[9:])]
    return png.PNG_SIGNATURE + b"".join([*parts, chunk(b"IEND", b"")])


@pytest.mark.parametrize("bands", [1, 2, 3, 4])
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_imagecodecs_writes_and_we_read(bands, dtype):
    array = values(bands, dtype)
    content = imagecodecs.png_encode(array)
    raster = rasters.read(content)
    assert np.array_equal(raster.values, array)
    assert raster.values.dtype == dtype
    header = rasters.header(content)
    assert (header.kind, header.size, header.bands) == ("png", (17, 13), bands)
    assert (header.dtype, header.is_photograph) == (dtype, dtype == "uint8")
    assert header.band_names == raster.bands
    assert (raster.bands[-1:] == ("alpha",)) == (bands in (2, 4))


def test_pillow_writes_16_bit_grey_and_we_read():
    array = values(1)
    buffer = io.BytesIO()
    Image.fromarray(array[..., 0]).save(buffer, "PNG")
    assert np.array_equal(rasters.read(buffer.getvalue()).values, array)


@pytest.mark.parametrize("filters", [[0], [1], [2], [3], [4], [4, 0, 3, 1, 2]])
@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize("bands", [1, 2, 3, 4])
def test_every_filter_and_adam7(filters, interlaced, bands):
    array = values(bands, height=11, width=9)
    assert np.array_equal(rasters.read(by_hand(array, filters, interlaced)).values, array)


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1), (2, 3), (40, 5)])
@pytest.mark.parametrize("interlaced", [False, True])
def test_small_and_long_sizes(size, interlaced):
    array = values(3, height=size[0], width=size[1])
    assert np.array_equal(rasters.read(by_hand(array, [4, 3, 1], interlaced)).values, array)


@pytest.mark.parametrize("bands", [1, 3, 4])
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_we_write_and_imagecodecs_reads(bands, dtype):
    array = values(bands, dtype)
    content = rasters.encode(array, None, ".png")
    assert np.array_equal(imagecodecs.png_decode(content).reshape(array.shape), array)
    assert np.array_equal(rasters.read(content).values, array)


def test_we_write_and_pillow_reads():
    array = values(1)
    content = rasters.encode(array, None, ".png")
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(content))), array[..., 0])
    array = values(4, "uint8")
    content = rasters.encode(array, None, ".png")
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(content))), array)


def test_grey_with_alpha_is_written_again():
    array = values(2)
    raster = rasters.read(imagecodecs.png_encode(array))
    content = rasters.encode(array[::-1], raster, ".png")
    assert np.array_equal(imagecodecs.png_decode(content), array[::-1])
    assert rasters.read(content).bands == ("grey", "alpha")


def test_texts_and_resolution_are_carried():
    array = values(1)
    buffer, texts = io.BytesIO(), PngImagePlugin.PngInfo()
    texts.add_text("Comment", "exposure 20 ms")
    Image.fromarray(array[..., 0]).save(buffer, "PNG", pnginfo=texts, dpi=(300, 300))
    raster = pickle.loads(pickle.dumps(rasters.read(buffer.getvalue())))
    written = Image.open(io.BytesIO(rasters.encode(array, raster, ".png")))
    assert written.text["Comment"] == "exposure 20 ms"
    assert round(written.info["dpi"][0]) == 300


def test_transparent_grey_is_nodata():
    array = values(1)
    content = rasters.encode(array, rasters.Raster(array, nodata=7.0), ".png")
    raster = rasters.read(content)
    assert raster.nodata == 7.0
    assert rasters.read(rasters.encode(array, raster, ".png")).nodata == 7.0


@pytest.mark.parametrize(
    "array",
    [values(2), values(5), np.zeros((3, 3, 1), np.float32), np.zeros((3, 3, 1), np.int16)],
)
def test_what_png_can_not_hold_names_another_format(array):
    with pytest.raises(DataError, match=r"PNG can't hold .* Write \.tif"):
        rasters.encode(array, None, ".png")


def test_palettes_are_left_to_the_reader_of_photographs():
    buffer = io.BytesIO()
    Image.fromarray(values(1, "uint8")[..., 0]).convert("P").save(buffer, "PNG")
    assert rasters.header(buffer.getvalue()).is_photograph
    with pytest.raises(DataError, match="photograph"):
        rasters.read(buffer.getvalue())


def test_too_many_pixels_and_more_data_than_the_header_says():
    content = imagecodecs.png_encode(values(1))
    with pytest.raises(TooLarge, match="17x13"):
        rasters.read(content, max_pixels=100)
    start = struct.pack(">IIBBBBB", 2, 2, 16, 0, 0, 0, 0)
    bomb = chunk(b"IDAT", zlib.compress(bytes(10**7)))
    content = png.PNG_SIGNATURE + chunk(b"IHDR", start) + bomb + chunk(b"IEND", b"")
    assert rasters.read(content).values.shape == (2, 2, 1)


def test_truncated_or_changed_at_every_byte():
    content = by_hand(values(3, height=4, width=5), [4, 1])
    for length in range(len(content)):
        with pytest.raises(DataError):
            rasters.read(content[:length])
    for at in range(8, len(content)):
        changed = bytearray(content)
        changed[at] ^= 0x55
        with pytest.raises(DataError):
            rasters.read(bytes(changed))


def test_a_large_picture_takes_a_second():
    array = values(3, height=1000, width=1000)
    content = imagecodecs.png_encode(array, level=5)
    assert np.array_equal(rasters.read(content).values, array)
