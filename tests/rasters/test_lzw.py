"""LZW data are checked before a decoder that trusts them sees them."""

import numpy as np
import pytest
import tifffile
from PIL import Image

from img2img import rasters
from img2img.box import Box
from img2img.errors import DataError
from img2img.rasters import windows
from img2img.rasters.lzw import require_sound

imagecodecs = pytest.importorskip("imagecodecs")
RANDOM = np.random.default_rng(0)


def packed(*codes: int) -> bytes:
    """Codes of 9 bits."""
    bits = "".join(f"{code:09b}" for code in codes)
    return int(bits.ljust(-(-len(bits) // 8) * 8, "0"), 2).to_bytes(-(-len(bits) // 8), "big")


@pytest.mark.parametrize("levels", [1, 3, 256])
@pytest.mark.parametrize("length", [0, 1, 700, 40_000])
def test_what_encoders_write_is_sound(levels, length):
    content = RANDOM.integers(0, levels, length).astype(np.uint8).tobytes()
    encoded = imagecodecs.lzw_encode(content)
    assert imagecodecs.lzw_decode(encoded, out=max(1, length)) == content
    require_sound(encoded)


def test_what_libtiff_writes_is_read(tmp_path):
    values = RANDOM.integers(0, 200, (300, 90)).astype(np.uint16)
    Image.fromarray(values).save(tmp_path / "a.tif", compression="tiff_lzw")
    np.testing.assert_array_equal(rasters.read(tmp_path / "a.tif").values[..., 0], values)


@pytest.mark.parametrize(
    "codes", [(256, 300), (256, 65, 259), (256, 65, 258, 260), (256, 65, 256, 258), (400,)]
)
def test_a_code_that_nothing_defines_is_refused(codes):
    require_sound(packed(256, 65, 258, 259, 257, 511))
    with pytest.raises(DataError, match="LZW data are damaged"):
        require_sound(packed(*codes))


def test_a_table_that_overflows_is_refused():
    def repeated(count: int) -> bytes:
        widths = [9 + (n > 253) + (n > 765) + (n > 1789) for n in range(count)]
        bits = f"{256:09b}" + "".join(f"{65:0{width}b}" for width in widths)
        return int(bits.ljust(-(-len(bits) // 8) * 8, "1"), 2).to_bytes(-(-len(bits) // 8), "big")

    content = imagecodecs.lzw_decode(repeated(3830), out=3830)
    assert content == b"A" * 3830
    require_sound(repeated(3830))
    with pytest.raises(DataError, match="LZW data are damaged: the table overflows"):
        require_sound(repeated(3900))


def test_more_clear_codes_than_encoders_write_are_refused():
    require_sound(packed(*[256] * 16, 65, 257))
    require_sound(packed(*(256, *[65] * 200) * 30, 257))
    with pytest.raises(DataError, match="LZW data are damaged: they clear the table"):
        require_sound(packed(*[256] * 2000))


def test_a_damaged_file_does_not_reach_the_decoder(tmp_path):
    """This crashed the process, now and then."""
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((8, 8), np.uint16), compression="lzw")
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        offset = file.pages[0].dataoffsets[0]
    content = bytearray((tmp_path / "a.tif").read_bytes())
    content[offset + 1] = 0x76
    (tmp_path / "a.tif").write_bytes(content)
    with pytest.raises(DataError, match=r"a\.tif: its LZW data are damaged\."):
        rasters.read(tmp_path / "a.tif")
    with windows.opened(tmp_path / "a.tif") as page, pytest.raises(DataError, match="damaged"):
        page.read(Box(0, 8, 0, 8))
