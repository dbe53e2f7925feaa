"""PNG of 8 or 16 bits, as grey or RGB, with or without alpha, to exact values.

https://www.w3.org/TR/png-3/
"""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from img2img.errors import DataError
from img2img.metadata import PNG_SIGNATURE
from img2img.rasters.raster import Carried, Header, Raster, opened, require_bounded

BANDS = {0: 1, 2: 3, 4: 2, 6: 4}  # color type -> bands
COLOR_TYPES = {1: 0, 3: 2, 4: 6}  # bands -> color type that is written
NAMES = {4: ("grey", "alpha"), 6: ("red", "green", "blue", "alpha")}  # color type -> bands
PALETTE = 3  # color type
MAX_CHUNKS = 1_000_000  # writers use one for about 8 kB of pixels
MAX_SIDE = 2**31 - 1
CRITICAL = (b"IHDR", b"PLTE", b"IDAT", b"IEND")
CARRIED = (
    *(b"cHRM", b"gAMA", b"iCCP", b"sBIT", b"sRGB", b"cICP", b"pHYs", b"eXIf", b"tEXt", b"zTXt"),
    b"iTXt",
)
OF_COLOR_TYPE = (b"sBIT", b"iCCP")  # not valid for another number of bands
SUB, UP, PAETH = 1, 2, 4  # filters, section 9.2
# The passes of an interlaced picture, section 8.2: first column and row, and their steps.
ADAM7 = (
    *((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2)),
    (0, 1, 1, 2),
)


@dataclass(frozen=True)
class PngMetadata(Carried):
    chunks: tuple[tuple[bytes, bytes], ...] = ()  # names and contents
    depth: int = 16
    bands: int = 1


@dataclass(frozen=True)
class _Start:
    """The contents of IHDR, section 11.2.1."""

    width: int
    height: int
    depth: int
    color_type: int
    interlaced: bool


def header(source: Path | bytes) -> Header:
    """8-bit files, and those with a palette or less than 8 bits, are photographs."""
    with opened(source) as file:
        start = _start(file.read(33))
    names = NAMES.get(start.color_type, ())
    bands = BANDS.get(start.color_type, 3)
    dtype = "uint16" if start.depth == 16 else "uint8"
    size = (start.width, start.height)
    return Header("png", size, bands, dtype, 1, names, is_photograph=start.depth != 16)


def read(source: Path | bytes, max_pixels: int) -> Raster:
    """Raises DataError for palettes and less than 8 bits, which img2img.images reads."""
    with opened(source) as file:
        content = file.read(33)
        start = _start(content)
        if start.color_type == PALETTE or start.depth < 8:
            raise DataError("a PNG with a palette, or less than 8 bits, is a photograph")
        bands = BANDS[start.color_type]
        dtype = np.dtype(np.uint16 if start.depth == 16 else np.uint8)
        require_bounded((start.width, start.height), bands, dtype, max_pixels)
        # Filters and deflate add less than this to pixels; the rest are texts and profiles.
        content += file.read(8 * start.width * start.height + 2**26)
    packed, carried, transparent = [], [], b""
    for name, data in _chunks(content):
        if name == b"IDAT":
            packed.append(data)
        elif name in CARRIED:
            carried.append((name, data))
        elif name == b"tRNS":
            transparent = data
    values = _pixels(b"".join(packed), start, bands)
    nodata: float | None = None
    notes: tuple[str, ...] = ()
    if len(transparent) == 2 and bands == 1:
        nodata = float(int.from_bytes(transparent))
    elif transparent:
        notes = ("its transparent color is left out",)
    metadata = PngMetadata(tuple(carried), start.depth, bands)
    return Raster(values, NAMES.get(start.color_type, ()), nodata, "", metadata, notes)


def encode(values: np.ndarray, metadata: PngMetadata | None, nodata: float | None) -> bytes:
    """values: [H, W, bands], uint8 or uint16, of 1, 3 or 4 bands.

    Raises DataError for others. nodata is written as the transparent grey.
    """
    height, width, bands = values.shape
    depth = 8 * values.dtype.itemsize
    grey_and_alpha = bands == 2 and metadata is not None and metadata.bands == 2
    if values.dtype.name not in ("uint8", "uint16") or not (bands in COLOR_TYPES or grey_and_alpha):
        raise DataError(
            f"PNG can't hold {bands} bands of {values.dtype.name}, only 1, 3 or 4 of uint8 or "
            "uint16. Write .tif"
        )
    color_type = 4 if grey_and_alpha else COLOR_TYPES[bands]
    start = struct.pack(">IIBBBBB", width, height, depth, color_type, 0, 0, 0)
    written = [PNG_SIGNATURE, _chunk(b"IHDR", start)]
    for name, data in metadata.chunks if metadata else ():
        if name not in OF_COLOR_TYPE or (metadata and (depth, bands) == _form(metadata)):
            written.append(_chunk(name, data))
    if nodata is not None and bands == 1 and 0 <= nodata < 2**depth and nodata == int(nodata):
        written.append(_chunk(b"tRNS", int(nodata).to_bytes(2)))
    stored = values.astype(">u2") if depth == 16 else values
    rows = np.ascontiguousarray(stored).view(np.uint8).reshape(height, width, -1)
    above = np.zeros_like(rows)
    above[1:] = rows[:-1]
    filtered = np.full((height, 1 + rows[0].size), UP, np.uint8)
    filtered[:, 1:] = (rows - above).reshape(height, -1)
    written.append(_chunk(b"IDAT", zlib.compress(filtered.tobytes())))
    return b"".join([*written, _chunk(b"IEND", b"")])


def _form(metadata: PngMetadata) -> tuple[int, int]:
    return metadata.depth, metadata.bands


def _start(content: bytes) -> _Start:
    if len(content) < 33 or content[8:16] != b"\0\0\0\rIHDR":
        raise DataError("the file is truncated, or has no header")
    width, height, depth, color_type, packing, filters, interlace = struct.unpack(
        ">IIBBBBB", content[16:29]
    )
    depths = {0: (1, 2, 4, 8, 16), PALETTE: (1, 2, 4, 8)}.get(color_type, (8, 16))
    known = color_type in BANDS or color_type == PALETTE
    if not known or depth not in depths or packing or filters or interlace > 1:
        raise DataError("its header is not valid")
    if zlib.crc32(content[12:29]) != int.from_bytes(content[29:33]):
        raise DataError("its header is damaged (the checksum differs)")
    if not (0 < width <= MAX_SIDE and 0 < height <= MAX_SIDE):
        raise DataError(f"its size, {width}x{height}, is not valid")
    return _Start(width, height, depth, color_type, interlace == 1)


def _chunks(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Names and contents. Raises DataError where a chunk is damaged or the last one is missing."""
    at = len(PNG_SIGNATURE)
    for _ in range(MAX_CHUNKS):
        size, name = int.from_bytes(content[at : at + 4]), content[at + 4 : at + 8]
        end = at + 8 + size
        if end + 4 > len(content):
            raise DataError("the file is truncated")
        if zlib.crc32(content[at + 4 : end]) != int.from_bytes(content[end : end + 4]):
            raise DataError(f"its chunk {name.decode('latin-1')!r} is damaged (checksum differs)")
        if name[0:1].isupper() and name not in CRITICAL:
            raise DataError(f"its chunk {name.decode('latin-1')!r} is not known")
        if name == b"IEND":
            return
        yield name, content[at + 8 : end]
        at = end + 4
    raise DataError(f"more than {MAX_CHUNKS:,} chunks are not read")


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def _pixels(packed: bytes, start: _Start, bands: int) -> np.ndarray:
    """[H, W, bands] from the compressed rows."""
    step = bands * start.depth // 8  # bytes of a pixel
    passes = ADAM7 if start.interlaced else ((0, 0, 1, 1),)
    sizes = []  # width and height of each pass
    for left, top, across, down in passes:
        width = max(0, -(-(start.width - left) // across))
        sizes.append((width, max(0, -(-(start.height - top) // down)) if width else 0))
    expected = sum(height * (1 + width * step) for width, height in sizes)
    try:
        content = zlib.decompressobj().decompress(packed, expected)
    except zlib.error as error:
        raise DataError(f"its pixels can't be decompressed ({error})") from None
    if len(content) < expected:
        raise DataError("the file is truncated: pixels are missing")
    dtype = ">u2" if start.depth == 16 else "u1"
    values = np.empty((start.height, start.width, bands), np.uint16 if step > bands else np.uint8)
    at = 0
    for (left, top, across, down), (width, height) in zip(passes, sizes, strict=True):
        if not width or not height:
            continue
        size = height * (1 + width * step)
        rows = np.frombuffer(content, np.uint8, size, at).reshape(height, -1)
        at += size
        pixels = _unfiltered(rows[:, 0], rows[:, 1:].reshape(height, width, step))
        values[top::down, left::across] = pixels.view(dtype).reshape(height, width, bands)
    return values


def _unfiltered(filters: np.ndarray, filtered: np.ndarray) -> np.ndarray:
    """Undo the filters, uint8 [H], of rows, uint8 [H, W, bytes of a pixel]. Section 9.

    A pixel depends on the left one and two of the row above. Pixels on a diagonal from the lower
    left to the upper right don't depend on each other, so that each diagonal is one operation:
    in flat, padded rows of length W + 1, the step along it is W.
    """
    if filters.max(initial=0) > PAETH:
        raise DataError("a row has a filter that is not known")
    height, width, step = filtered.shape
    if not filters.any():
        return np.ascontiguousarray(filtered)
    for kind, axis in ((UP, 0), (SUB, 1)):  # as some encoders write all rows
        if (filters == kind).all():
            return np.cumsum(filtered, axis, np.uint8)
    padded = np.zeros((height + 1, width + 1, step), np.uint8)  # zeros are above and on the left
    padded[1:, 1:] = filtered
    flat, row = padded.reshape(-1, step), width + 1
    kinds = filters[:, np.newaxis]
    for diagonal in range(height + width - 1):
        first = max(0, diagonal - width + 1)  # row
        last = min(height - 1, diagonal)
        begin, count = (first + 1) * row + diagonal - first + 1, last - first + 1
        stop = begin + (count - 1) * width + 1
        here = slice(begin, stop, width)
        left = flat[begin - 1 : stop - 1 : width]
        above = flat[begin - row : stop - row : width]
        corner = flat[begin - row - 1 : stop - row - 1 : width]
        chosen = kinds[first : last + 1]
        mean = ((left.astype(np.uint16) + above) >> 1).astype(np.uint8)
        choices = (np.uint8(0), left, above, mean, _paeth(left, above, corner))
        flat[here] += np.choose(chosen, choices)
    return np.ascontiguousarray(padded[1:, 1:])


def _paeth(left: np.ndarray, above: np.ndarray, corner: np.ndarray) -> np.ndarray:
    """The neighbor that is closest to left + above - corner, section 9.4."""
    a, b, c = left.astype(np.int16), above.astype(np.int16), corner.astype(np.int16)
    to_a, to_b = np.abs(b - c), np.abs(a - c)
    to_c = np.abs(a + b - 2 * c)
    nearest = np.where((to_a <= to_b) & (to_a <= to_c), left, np.where(to_b <= to_c, above, corner))
    return nearest.astype(np.uint8)
