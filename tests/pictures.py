"""Files made by hand, of every format and oddity that pictures come with."""

import io
import struct
import zlib

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

D50 = (0.9642, 1.0, 0.8249)


def saved(image: Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def plain(colour=(255, 0, 0), size=(16, 16), mode="RGB") -> Image.Image:
    return Image.new(mode, size, colour)


def scene(height: int = 20, width: int = 30) -> np.ndarray:
    """An uneven picture: no flip or turn of it looks like itself."""
    y, x = np.mgrid[:height, :width]
    planes = [x * 255 // width, y * 255 // height, (x + y) * 255 // (width + height)]
    return np.stack(planes, axis=-1).astype(np.uint8)


def near(pixels: np.ndarray, colour, tolerance: int = 4) -> bool:
    return bool((np.abs(pixels.astype(int) - np.array(colour)) <= tolerance).all())


def emoji(path, side: int = 128) -> Image.Image:
    """A real emoji, cut out of its white ground: RGBA with soft edges, black where it is clear."""
    image = Image.open(path).convert("RGB").resize((512, 512), Image.Resampling.LANCZOS)
    ground = image.copy()
    ImageDraw.floodfill(ground, (0, 0), (255, 0, 255), thresh=40)
    inside = (np.asarray(ground) != (255, 0, 255)).any(-1)
    mask = Image.fromarray((inside * 255).astype(np.uint8))
    alpha = mask.filter(ImageFilter.MinFilter(9)).filter(ImageFilter.GaussianBlur(1))
    rgba = np.dstack([np.asarray(image), np.asarray(alpha)])
    rgba[rgba[..., 3] == 0] = 0
    return Image.fromarray(rgba).resize((side, side), Image.Resampling.LANCZOS)


def chunk(name: bytes, content: bytes) -> bytes:
    check = struct.pack(">I", zlib.crc32(name + content))
    return struct.pack(">I", len(content)) + name + content + check


def png(pixels: np.ndarray, kind: int, depth: int, *chunks: bytes) -> bytes:
    """A PNG of such a color type and depth. pixels: [H, W] or [H, W, C]; chunks lie before."""
    height, width = pixels.shape[:2]
    if depth < 8:
        bits = np.unpackbits(pixels.astype(np.uint8)[..., None], axis=-1)[..., 8 - depth :]
        rows = np.packbits(bits.reshape(height, -1), axis=-1)
    else:
        rows = pixels.reshape(height, -1).astype(">u2" if depth == 16 else "u1")
    lines = b"".join(b"\0" + row.tobytes() for row in rows)
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0))
    body = chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + body


def grey_profile(gamma: float) -> bytes:
    """A minimal ICC profile of grey (ICC.1:2001-04)."""

    def xyz(values: tuple[float, ...]) -> bytes:
        return struct.pack(">iii", *(round(value * 65536) for value in values))

    curve = struct.pack(">I", 0) if gamma == 1 else struct.pack(">IH", 1, round(gamma * 256))
    tags = {
        b"desc": b"desc" + bytes(4) + struct.pack(">I", 2) + b"g\0" + bytes(78),
        b"wtpt": b"XYZ " + bytes(4) + xyz(D50),
        b"kTRC": b"curv" + bytes(4) + curve,
    }
    table, body, start = struct.pack(">I", len(tags)), b"", 132 + 12 * len(tags)
    for name, content in tags.items():
        table += name + struct.pack(">II", start + len(body), len(content))
        body += content + bytes(-len(content) % 4)
    head = struct.pack(">I4xI4s4s4s", start + len(body), 0x02200000, b"mntr", b"GRAY", b"XYZ ")
    head += struct.pack(">6H", 2026, 1, 1, 0, 0, 0) + b"acsp" + bytes(28) + xyz(D50)
    return head.ljust(128, b"\0") + table + body


def tiff(bands: int, dtype: str, size: tuple[int, int] = (4, 3)) -> bytes:
    """A TIFF of so many bands of any type, little-endian and in one strip."""
    width, height = size
    kind = np.dtype(dtype)
    pixels = np.ones((height, width, bands), kind).tobytes()
    formats = {"u": 1, "i": 2, "f": 3}
    tags = {
        256: [width],
        257: [height],
        258: [8 * kind.itemsize] * bands,
        259: [1],
        262: [2 if bands >= 3 else 1],
        273: [0],
        277: [bands],
        278: [height],
        279: [len(pixels)],
        284: [1],
        339: [formats[kind.kind]] * bands,
    }
    spare = bands - (3 if bands >= 3 else 1)
    if spare > 0:
        tags[338] = [0] * spare
    start = 8 + 2 + 12 * len(tags) + 4
    entries, extra = b"", b""
    end = start + sum(2 * len(values) for values in tags.values() if len(values) > 2)
    tags[273] = [end]
    for tag, values in sorted(tags.items()):
        content = struct.pack(f"<{len(values)}H", *values)
        place = content.ljust(4, b"\0")
        if len(values) > 2:
            place, extra = struct.pack("<I", start + len(extra)), extra + content
        entries += struct.pack("<HHI", tag, 3, len(values)) + place
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(tags)) + entries + bytes(4) + extra + pixels
