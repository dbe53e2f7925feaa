"""Compressions of TIFF, and the limits of their decoders."""

import io
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
from PIL import Image

from img2img import rasters
from img2img.errors import DataError

tifffile = pytest.importorskip("tifffile")
imagecodecs = pytest.importorskip("imagecodecs")
WITHOUT = "import sys; sys.modules['imagecodecs'] = None; from img2img import rasters; "


def values(shape=(20, 30), dtype="uint16"):
    return np.random.default_rng(0).integers(0, 200, shape).astype(dtype)


def saved(array, **options) -> bytes:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, array, **{"metadata": None, "photometric": "minisblack"} | options)
    return buffer.getvalue()


def test_a_width_of_two_numbers_is_refused():
    one, two = struct.pack("<HHII", 256, 4, 1, 4), struct.pack("<HHIHH", 256, 3, 2, 4, 4)
    content = saved(values((3, 4)))
    assert content.count(one) == 1
    with pytest.raises(DataError, match="its size is not valid"):
        rasters.header(content.replace(one, two))


@pytest.mark.parametrize(
    "compression", ["lzw", "zlib", "adobe_deflate", "packbits", "lzma", "zstd"]
)
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int32", "float32"])
@pytest.mark.parametrize("predictor", [False, True])
def test_lossless_compressions(compression, dtype, predictor):
    predictor = predictor and compression != "packbits"  # which has none
    array = values(dtype=dtype)
    for tile in (None, (16, 16)):
        content = saved(array, compression=compression, predictor=predictor, tile=tile)
        assert np.array_equal(rasters.read(content).values[..., 0], array)


def test_pillows_lzw_and_deflate():
    for compression in ("tiff_lzw", "tiff_adobe_deflate", "packbits"):
        buffer = io.BytesIO()
        Image.fromarray(values()).save(buffer, "TIFF", compression=compression)
        assert np.array_equal(rasters.read(buffer.getvalue()).values[..., 0], values())


def test_jpeg_in_tiff():
    array = np.repeat(np.repeat(values((4, 4, 3), "uint8"), 16, 0), 16, 1)
    content = saved(array, compression="jpeg", photometric="rgb", tile=(32, 32))
    decoded = tifffile.imread(io.BytesIO(content))
    raster = rasters.read(content)
    assert np.array_equal(raster.values, decoded)
    assert raster.carried.rgb


def test_jpegs_that_are_larger_than_their_tile():
    array = np.zeros((64, 64), np.uint8)
    content = bytearray(saved(array, compression="jpeg"))
    at = content.index(b"\xff\xc0") + 5
    content[at : at + 4] = b"\xff\xff\xff\xff"
    with pytest.raises(DataError, match="larger than its header says"):
        rasters.read(bytes(content))


@pytest.mark.parametrize("compression", ["jpegxl", "webp", "jpeg2000", "lerc", "png"])
def test_decoders_without_a_limit_are_not_used(compression):
    options = {"photometric": "rgb", "compression": compression}
    content = saved(values((32, 32, 3), "uint8"), **options)
    with pytest.raises(DataError, match=r"compression .* is not read\. Save it with deflate"):
        rasters.read(content)


def bomb() -> bytes:
    """A strip of 64 MiB for a picture of 4x4."""
    packed = zlib.compress(bytes(2**26))
    content = bytearray(saved(np.zeros((4, 4), np.uint8), compression="zlib"))
    with tifffile.TiffFile(io.BytesIO(content)) as file:
        tags = file.pages[0].tags
        places = {tags[273].valueoffset: len(content), tags[279].valueoffset: len(packed)}
        sizes = {tag.valueoffset: tag.valuebytecount for tag in (tags[273], tags[279])}
    for at, value in places.items():
        content[at : at + sizes[at]] = value.to_bytes(sizes[at], "little")
    return bytes(content) + packed


def test_strips_that_expand_to_more_than_their_size(tmp_path):
    """tifffile's own decoder, without imagecodecs, does not limit them."""
    (tmp_path / "a.tif").write_bytes(bomb())
    script = WITHOUT + (
        "import tracemalloc; tracemalloc.start()\n"
        "try: rasters.read(__import__('pathlib').Path(sys.argv[1]))\n"
        "except Exception as e: print(e)\n"
        "print(tracemalloc.get_traced_memory()[1] < 3e7)"
    )
    arguments = [sys.executable, "-c", script, str(tmp_path / "a.tif")]
    done = subprocess.run(arguments, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-2:] == [
        f"{tmp_path / 'a.tif'}: a strip or tile is larger than its header says.",
        "True",
    ]


def test_without_imagecodecs(tmp_path):
    array = values()
    for compression in (None, "zlib", "packbits"):
        (tmp_path / f"{compression}.tif").write_bytes(saved(array, compression=compression))
    (tmp_path / "predictor.tif").write_bytes(saved(array, compression="zlib", predictor=True))
    (tmp_path / "lzw.tif").write_bytes(saved(array, compression="lzw"))
    (tmp_path / "bits.tif").write_bytes(saved(array, bitspersample=12))
    script = WITHOUT + (
        "from pathlib import Path\n"
        "for name in ('None', 'zlib', 'packbits', 'predictor', 'lzw', 'bits'):\n"
        "    path = Path(sys.argv[1]) / f'{name}.tif'\n"
        "    try:\n"
        "        raster = rasters.read(path)\n"
        "        again = rasters.read(rasters.encode(raster.values, raster, '.tif'))\n"
        "        print((again.values == raster.values).all(), raster.values.sum())\n"
        "    except Exception as error: print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=True
    )
    lines = done.stdout.splitlines()
    assert lines[:4] == [f"True {array.sum()}"] * 4
    assert lines[4].endswith(
        "(LZW) needs another package. Install it with: pip install 'img2img-gan[science]'"
    )
    assert "(12 bits) needs another package" in lines[5]


def test_missing_strips_and_huge_tiles():
    content = bytearray(saved(values(), rowsperstrip=20))
    with tifffile.TiffFile(io.BytesIO(content)) as file:
        tag = file.pages[0].tags[278]
        at, size = tag.valueoffset, tag.valuebytecount
    content[at : at + size] = (5).to_bytes(size, "little")
    with pytest.raises(DataError, match="missing"):
        rasters.read(bytes(content))
    content = bytearray(saved(values(), tile=(32, 32), compression="zlib"))
    with tifffile.TiffFile(io.BytesIO(content)) as file:
        for code in (322, 323):
            tag = file.pages[0].tags[code]
            at, size = tag.valueoffset, tag.valuebytecount
            content[at : at + size] = (65520).to_bytes(size, "little")
    with pytest.raises(DataError, match="too large"):
        rasters.read(bytes(content))


def test_tiles_without_data_are_nodata():
    """As GDAL writes sparse files."""
    content = bytearray(saved(values((32, 32)) + 1, tile=(16, 16), compression="zlib"))
    with tifffile.TiffFile(io.BytesIO(content)) as file:
        for code in (324, 325):
            tag = file.pages[0].tags[code]
            size = tag.valuebytecount // 4
            content[tag.valueoffset : tag.valueoffset + size] = bytes(size)
    result = rasters.read(bytes(content)).values[..., 0]
    assert not result[:16, :16].any()
    assert np.array_equal(result[16:], values((32, 32))[16:] + 1)
