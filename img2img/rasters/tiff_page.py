"""The values of one directory of a TIFF, decoded by tifffile.

Only compressions whose decoders are bounded by the size of a strip or tile are accepted.
TIFF 6.0: https://www.itu.int/itudoc/itu-t/com16/tiff-fx/docs/tiff6.pdf
"""

import importlib.util
import math
import re
import zlib
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from img2img.errors import DataError, MissingPackage, install_command
from img2img.formats import jpeg_scans, require_few_scans
from img2img.rasters import lzw
from img2img.rasters.raster import type_read

if TYPE_CHECKING:
    from tifffile import TiffFile, TiffPage

INSTALL = f"needs another package. Install it with: {install_command('science')}"
MAX_SEGMENTS = 2**20  # strips or tiles of a page
WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, CMYK, YCBCR = 0, 1, 2, 3, 5, 6  # photometric forms
OTHER_COLORS = {CMYK: "CMYK", YCBCR: "YCbCr", 8: "CIELab", 9: "ICCLab", 10: "ITULab"}
DEFLATE = (8, 32946)
LZW, JPEG = 5, 7
PLAIN = (1, *DEFLATE, 32773)  # none, deflate and PackBits, which need no other package
BY_CODECS = {  # which need imagecodecs
    2: "CCITT RLE",
    3: "CCITT fax 3",
    4: "CCITT fax 4",
    LZW: "LZW",
    JPEG: "JPEG",
    34925: "LZMA",
    50000: "Zstandard",
}
FLOATING_POINT = 3  # predictor
FRAME = re.compile(rb"\xff[\xc0-\xc3\xc5-\xc7\xc9-\xcb\xcd-\xcf]..(.)(..)(..)", re.DOTALL)


def form_of(page: "TiffPage") -> tuple[int, int, int, np.dtype[np.generic]]:
    """Bands, height, width, and the type as which values are read."""
    if page.dtype is None:
        raise DataError(f"its values of {page.bitspersample} bits are of a type that is not read")
    separate, depth, height, width, together = page.shaped
    if not all(isinstance(side, int) for side in page.shaped):  # a damaged tag has several values
        raise DataError("its size is not valid")
    if depth != 1:
        raise DataError("a TIFF with a depth (SGI's volumes) is not read. Save slices as pages")
    if page.photometric == PALETTE:
        colors = palette(page)
        return 3, height, width, colors.dtype
    return separate * together, height, width, type_read(np.dtype(page.dtype))


def decoded(file: BinaryIO, page: "TiffPage", max_pixels: int) -> np.ndarray:
    """The stored values, [H, W, samples]. Raises DataError for what can't be decoded or bounded."""
    require_decodable(page, max_pixels)
    if trusts_its_data(page):
        area = segment_area(page)
        for offset, count in zip(page.dataoffsets, page.databytecounts, strict=False):
            if offset and count:
                file.seek(offset)
                require_sound_segment(file.read(count), page, area)
    values = page.asarray(squeeze=False, maxworkers=1)[:, 0]
    return joined(values)


def require_decodable(page: "TiffPage", max_pixels: int) -> None:
    """Raise DataError for a compression that is not read, and for strips or tiles that are missing,
    too many, or of more than max_pixels.
    """
    kind, bits = int(page.compression), page.bitspersample
    if kind not in PLAIN and kind not in BY_CODECS:
        raise DataError(
            f"its compression ({page.compression!s}) is not read. Save it with deflate or LZW"
        )
    needed = kind in BY_CODECS or page.predictor == FLOATING_POINT or bits not in (1, 8, 16, 32, 64)
    if needed and not has_codecs():
        raise MissingPackage(f"its compression ({BY_CODECS.get(kind, f'{bits} bits')}) {INSTALL}")
    if page.is_tiled and segment_area(page) > max(max_pixels, 2**20):
        raise DataError(f"its tiles of {page.tilewidth}x{page.tilelength} are too large")
    segments = _segments(page)
    if segments > MAX_SEGMENTS:
        raise DataError(f"it has {segments:,} strips or tiles, more than {MAX_SEGMENTS:,}")
    if min(len(page.dataoffsets), len(page.databytecounts)) < segments:
        raise DataError("strips or tiles are missing")


def _segments(page: "TiffPage") -> int:
    """The number of strips or tiles that the size requires."""
    planes, _, height, width, _ = page.shaped
    if page.is_tiled:
        return planes * math.ceil(height / page.tilelength) * math.ceil(width / page.tilewidth)
    return planes * math.ceil(height / max(1, min(page.rowsperstrip, height)))


def segment_area(page: "TiffPage") -> int:
    """Pixels of a tile, or of a strip."""
    rows = min(page.rowsperstrip, page.imagelength)
    return max(page.tilewidth * page.tilelength, page.imagewidth * rows)


def trusts_its_data(page: "TiffPage") -> bool:
    """Whether the decoder relies on compressed data that are sound: see `require_sound_segment`."""
    return page.compression in (JPEG, LZW) or (page.compression in DEFLATE and not has_codecs())


def require_sound_segment(content: bytes, page: "TiffPage", area: int) -> None:
    """Raise DataError for a compressed strip or tile that would decode to more than its size, for a
    JPEG of too many scans, and for LZW data that are damaged.

    Without imagecodecs, tifffile does not limit what deflate expands to. A JPEG is decoded at the
    size that its frame states.
    """
    if page.compression == LZW:
        lzw.require_sound(content)
        return
    if page.compression == JPEG:
        require_few_scans("a strip or tile", jpeg_scans(content))
        sizes = [int.from_bytes(m[2]) * int.from_bytes(m[3]) for m in FRAME.finditer(content)]
        too_large = max(sizes, default=0) > 2 * area
    else:
        most = area * page.samplesperpixel * np.dtype(page.dtype).itemsize
        too_large = len(zlib.decompressobj().decompress(content, most + 1)) > most
    if too_large:
        raise DataError("a strip or tile is larger than its header says")


def plane_without_directory(file: BinaryIO, tif: "TiffFile", index: int) -> np.ndarray:
    """A plane behind that of the only directory, in a file of ImageJ. Big-endian there."""
    page = tif.pages.first
    separate, _, height, width, together = page.shaped
    file.seek(page.dataoffsets[0] + index * page.nbytes)
    content = file.read(page.nbytes)
    if len(content) < page.nbytes:
        raise DataError("the file is truncated: pixels are missing")
    values = np.frombuffer(content, np.dtype(page.dtype).newbyteorder(tif.byteorder))
    stored = values.reshape(separate, height, width, together)
    return joined(stored)


def joined(values: np.ndarray) -> np.ndarray:
    """[H, W, bands] from [planes, H, W, samples], of which one is 1."""
    planes: list[np.ndarray] = list(values)
    return planes[0] if len(planes) == 1 else np.concatenate(planes, axis=-1)


def colored(values: np.ndarray, page: "TiffPage", notes: list[str]) -> np.ndarray:
    """Palettes applied and MinIsWhite inverted, with notes on what is written otherwise."""
    form = page.photometric
    if form == PALETTE:
        notes.append("its palette is applied; RGB is written")
        colors = palette(page)
        return colors[values[..., 0].astype(np.intp)]
    if form in OTHER_COLORS and not (form == YCBCR and page.compression == JPEG):
        notes.append(f"its bands are {OTHER_COLORS[form]}, and are not converted to RGB")
    if form != WHITE_IS_ZERO:
        return values
    most = largest(page)
    if most is None:
        notes.append("MinIsWhite: smaller values are brighter, because they are signed")
        return values
    notes.append("MinIsWhite values are inverted; MinIsBlack is written")
    unsigned = values.astype(np.uint8) if values.dtype.kind == "b" else values
    inverted: np.ndarray = most - unsigned
    return inverted


def largest(page: "TiffPage") -> int | None:
    """The largest value, of unsigned ones."""
    unsigned = np.dtype(page.dtype).kind in "bu"
    return 2**page.bitspersample - 1 if unsigned else None


def palette(page: "TiffPage") -> np.ndarray:
    """[2**bits, 3]: uint8 if the colors are those of 8 bits, else uint16."""
    unsigned = page.dtype is not None and page.dtype.kind in "bu"
    if page.colormap is None or page.samplesperpixel != 1 or not unsigned:
        raise DataError("its palette is missing or not valid")
    colors = np.asarray(page.colormap, np.uint16).reshape(3, -1).T
    if len(colors) < 2**page.bitspersample:
        raise DataError("its palette is missing or not valid")
    if is_8_bit(colors):
        return np.ascontiguousarray(colors >> 8, np.uint8)
    return np.ascontiguousarray(colors)


def is_8_bit(colors: np.ndarray) -> bool:
    """Whether all colors of 16 bits are 8-bit colors times 257, or, as some write them, 256."""
    return not (colors % 257).any() or not (colors % 256).any()


def has_codecs() -> bool:
    """Whether imagecodecs is installed, which tifffile uses for most compressions."""
    return importlib.util.find_spec("imagecodecs") is not None
