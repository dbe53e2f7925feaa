"""The picture formats that are read, and the checks of a file before its pixels are decoded.

Files may be malicious: only listed formats are opened, and the size is checked in the header. For
decoders that do not respect the header, there are additional checks.
"""

import importlib
import io
import re
import sys
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageFile, PpmImagePlugin, TiffImagePlugin, UnidentifiedImageError

from img2img.errors import DataError, install_command
from img2img.jxl import JxlHeader, read_jxl_header
from img2img.shards import Member

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "AVIF", "JPEG2000", "PPM")
# Pillow's format -> package with its decoder, and the extra that installs it
OPTIONAL = {"HEIF": ("pillow_heif", "formats"), "JXL": ("pillow_jxl", "jxl")}
COMMON_NAMES = {"HEIF": "HEIC", "JXL": "JPEG XL"}

MAX_PIXELS = 100_000_000  # 300 MB as RGB; more than any camera in 2026 takes
MAX_DRAFTED = 250_000_000  # of a JPEG that is decoded at a fraction; phones take 200 million
MAX_SCANS = (
    100  # of a progressive JPEG, each of which costs a full decoding; encoders write about 10
)
# Pixels times scans of a JPEG on a server: encoders write at most 24 scans, here of 25 megapixels.
MAX_SCANNED = 600_000_000
MARKER = re.compile(rb"\xff([\xc0-\xcf\xd9-\xfe])")  # JPEG's with a length, and its end
MAX_SEGMENTS = 10_000  # of a JPEG; cameras write tens
MAX_BOXES = 10_000  # of a JPEG 2000 or JPEG XL
MAX_COMPONENTS = 4  # of a JPEG 2000; the decoder allocates what the codestream declares
MAX_EXTRA_CHANNELS = 4  # of a JPEG XL
HEAD = 256  # bytes of a file by which its format is recognized

JP2_SIGNATURE, J2K_SIGNATURE = b"\x00\x00\x00\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51"
JXL_SIGNATURES = (b"\xff\x0a", b"\x00\x00\x00\x0cJXL \r\n\x87\n")
HEVC_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"}
AVIF_BRANDS = {b"avif", b"avis"}
TIFF_SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
COMPRESSION, OLD_JPEG, JPEG = 259, 6, 7  # a tag of TIFF, and two of its values
SEGMENTS = ((273, 279), (324, 325))  # TIFF's tags of where strips are, or tiles, and of their sizes
TIFF_SAMPLES = {1: "uint", 2: "int", 3: "float", 5: "complex int", 6: "complex"}

# Sizes are checked here against max_pixels, from the header. Pillow's own limit is process-wide.
Image.MAX_IMAGE_PIXELS = None


class TooLarge(DataError):
    """The picture has more pixels than the caller accepts."""


def load(path: Path, max_pixels: int = MAX_PIXELS) -> bytes:
    """A file's bytes. Raises DataError where it is larger than a picture of max_pixels can be."""
    size, most = path.stat().st_size, most_bytes(max_pixels)
    if size > most:
        raise DataError(f"{path}: {size:,} bytes are more than a picture may have ({most:,}).")
    return path.read_bytes()


def most_bytes(max_pixels: int) -> int:
    """The size of the largest file of a picture of max_pixels: 16-bit RGBA, and metadata."""
    return 8 * max_pixels + 64 * 2**20


def open_header(source: Path | bytes, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Open a picture and check its format and size, without decoding the pixels.

    Raises DataError for a file that is not a picture of a supported format or whose decoder is not
    installed, TooLarge for more than max_pixels, and OSError where a file can't be opened.
    """
    name = str(source) if isinstance(source, Path) else "the picture"
    if isinstance(source, bytes):
        kind = _kind(source[:HEAD])
    else:
        with source.open("rb") as file:
            kind = _kind(file.read(HEAD))
        if kind in ("JPEG2000", "JXL") or isinstance(source, Member):  # which only we can open
            source = load(source, max_pixels)
    if kind == "JPEG" and isinstance(source, bytes):
        require_few_scans(name, jpeg_scans(source))
    profile = None
    if kind == "JPEG2000" and isinstance(source, bytes):
        profile = _check_jpeg2000(name, source, max_pixels)
    if kind in OPTIONAL:
        _import_decoder(name, kind)
    if kind == "JXL" and isinstance(source, bytes):
        _check_jxl(name, source, max_pixels)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about odd but harmless metadata
            image = Image.open(
                io.BytesIO(source) if isinstance(source, bytes) else source,
                formats=(kind,) if kind in OPTIONAL else FORMATS,
            )
    except UnidentifiedImageError:
        raise DataError(f"{name}: {_unidentified(source)}.") from None
    except Exception as error:  # decoders raise almost any type for a malformed header
        if isinstance(source, Path) and isinstance(error, OSError):
            raise  # the file is missing or can't be read
        raise DataError(f"{name}: the picture's header can't be read ({error}).") from None
    try:
        require_size(name, image.size, max_pixels)
    except TooLarge:
        image.close()
        raise
    if kind == "TIFF" and isinstance(source, bytes):
        require_few_scans(name, jpeg_scans_in_tiff(image, source))
    if profile:
        image.info["icc_profile"] = profile
    return image


def require_size(name: str, size: tuple[int, int], max_pixels: int) -> None:
    """Raises TooLarge where width times height is more than max_pixels."""
    width, height = size
    if width * height > max_pixels:
        raise TooLarge(
            f"{name}: {width}x{height} is more than the limit of {max_pixels:,} "
            "pixels (translate has --max-pixels to raise it)."
        )


def require_few_scans(name: str, scans: int) -> None:
    """Raises DataError for a JPEG of more than MAX_SCANS scans."""
    if scans > MAX_SCANS:
        raise DataError(
            f"{name}: a JPEG of more than {MAX_SCANS} scans would take too long to decode."
        )


def require_bounded(content: bytes) -> None:
    """Raises DataError for a picture whose decoding can't be limited, which a server should refuse.

    A few bytes of JPEG XL can describe a frame of any size and any number of layers, and the
    decoder decodes all of them. A few bytes of a JPEG can be another scan of all its pixels, also
    where it is a strip or tile of a TIFF.
    """
    kind = _kind(content[:HEAD])
    if kind == "JXL":
        raise DataError("the picture: JPEG XL is not accepted here. Send it as PNG or JPEG.")
    if kind not in ("JPEG", "TIFF"):
        return
    try:
        with open_header(content, sys.maxsize) as header:
            width, height = header.size
            scans = jpeg_scans(content) if kind == "JPEG" else jpeg_scans_in_tiff(header, content)
    except DataError:
        if kind == "TIFF":  # one of values, perhaps, whose scans are counted where it is read
            return
        raise
    if scans * width * height > MAX_SCANNED:
        raise DataError(
            f"the picture: a JPEG of {width}x{height} and {scans} scans takes too long to "
            "decode. Send it without progressive scans, or as PNG."
        )


def draft(image: Image.Image, content: bytes, max_side: int, max_pixels: int) -> None:
    """Configure a JPEG that is opened, but not decoded, to be decoded at 1/2, 1/4 or 1/8 of its
    size, and set its `size` accordingly: to at least twice the final size, or, where that would be
    more than max_pixels, to at least the final size.

    Progressive JPEGs and those with several scans are not changed, because the decoder needs memory
    for the full size. Raises TooLarge for more pixels than both MAX_DRAFTED and max_pixels.
    """
    jpeg = image.format in ("JPEG", "MPO")
    if not jpeg or max(image.size) <= max_side or jpeg_scans(content) > 1:
        return
    if image.info.get("progressive") or image.info.get("progression"):
        return
    require_size("the picture", image.size, max(MAX_DRAFTED, max_pixels))
    width, height = fitted(image.size, max_side)
    twice = (2 * width, 2 * height)
    fraction = min(image.width // twice[0], image.height // twice[1])
    fraction = max(scale for scale in (1, 2, 4, 8) if scale <= max(1, fraction))
    enough = image.width * image.height <= max_pixels * fraction**2
    image.draft(None, twice if enough else (width, height))


def load_pixels(image: Image.Image, content: bytes) -> Image.Image:
    """The opened picture, decoded."""
    if isinstance(image, PpmImagePlugin.PpmImageFile) and image.tile[0].codec_name == "ppm":
        return _deep_pnm(image, content)
    image.load()
    return image


def has_spare_bands(image: Image.Image) -> bool:
    """Whether a TIFF has bands that are neither color nor alpha, which Pillow ignores."""
    if not isinstance(image, TiffImagePlugin.TiffImageFile):
        return False
    return int(image.tag_v2.get(277, 1)) > len(image.getbands())


def fitted(size: tuple[int, int], max_side: int) -> tuple[int, int]:
    """Width and height scaled down, so that the longer one is at most max_side."""
    scale = min(1, max_side / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def is_jpeg(content: bytes) -> bool:
    return content.startswith(b"\xff\xd8")


def is_lossless_webp(content: bytes) -> bool:
    """Whether a WebP's (first) picture is lossless (VP8L).

    https://developers.google.com/speed/webp/docs/riff_container
    """
    if content[:4] != b"RIFF" or content[8:12] != b"WEBP":
        return False
    at = 12
    for _ in range(MAX_BOXES):
        kind, size = content[at : at + 4], int.from_bytes(content[at + 4 : at + 8], "little")
        if kind in (b"VP8L", b"VP8 ", b""):
            return kind == b"VP8L"
        at += 8 + (16 if kind == b"ANMF" else size + size % 2)  # a frame's chunks lie within it
    return False


def _kind(head: bytes) -> str | None:
    """Pillow's name of the format, for formats that need additional checks or packages."""
    if is_jpeg(head):
        return "JPEG"
    if head.startswith((JP2_SIGNATURE, J2K_SIGNATURE)):
        return "JPEG2000"
    if head.startswith(JXL_SIGNATURES):
        return "JXL"
    if head.startswith(TIFF_SIGNATURES):
        return "TIFF"
    if head[4:8] == b"ftyp":
        end = min(len(head), int.from_bytes(head[:4]))
        brands = {head[8:12], *(head[at : at + 4] for at in range(16, end, 4))}
        if brands & HEVC_BRANDS or (brands & {b"mif1", b"msf1"} and not brands & AVIF_BRANDS):
            return "HEIF"
    return None


def _import_decoder(name: str, kind: str) -> None:
    package, extra = OPTIONAL[kind]
    try:
        module = importlib.import_module(package)
    except ImportError:
        raise DataError(
            f"{name}: {COMMON_NAMES[kind]} needs another package. "
            f"Install it with: {install_command(extra)}"
        ) from None
    if kind == "HEIF":
        module.register_heif_opener(thumbnails=False)


def jpeg_scans(jpeg: bytes) -> int:
    """The number of scans up to the end of the picture, which phones may append a video to. More
    than MAX_SEGMENTS segments count as too many scans.
    """
    scans, at = 0, 2
    for _ in range(MAX_SEGMENTS):
        marker = MARKER.search(jpeg, at)
        if not marker or marker[1] == b"\xd9":
            return scans
        scans += marker[1] == b"\xda"
        at = marker.end() + int.from_bytes(jpeg[marker.end() : marker.end() + 2])
    return MAX_SCANS + 1


def jpeg_scans_in_tiff(image: Image.Image, content: bytes) -> int:
    """The number of scans of the strip or tile with the most, of a TIFF's first page; 0 where they
    are no JPEG. Parts that overlap, so that it would take long to look through them, count as too
    many scans.
    """
    tags = image.tag_v2  # type: ignore[attr-defined]  # of Pillow's class for TIFF
    compression = tags.get(COMPRESSION)
    if compression == OLD_JPEG:  # whose parts can lie anywhere
        return content.count(b"\xff\xda")
    if compression != JPEG:
        return 0
    parts = {
        part
        for offsets, counts in SEGMENTS
        for part in zip(tags.get(offsets, ()), tags.get(counts, ()), strict=False)
    }
    if sum(count for _, count in parts) > 2 * len(content):
        return MAX_SCANS + 1
    return max((jpeg_scans(content[at : at + count]) for at, count in parts), default=0)


def _boxes(content: bytes, at: int = 0) -> Iterator[tuple[bytes, bytes]]:
    """Types and contents of the boxes that JP2 and JPEG XL consist of (ISO/IEC 15444-1, I.4)."""
    for _ in range(MAX_BOXES):
        size, kind = int.from_bytes(content[at : at + 4]), content[at + 4 : at + 8]
        start = at + 8
        if size == 1:
            size, start = int.from_bytes(content[start : start + 8]), at + 16
        end = at + size if size else len(content)  # 0: up to the end
        if len(kind) < 4 or end < start:
            return
        yield kind, content[start:end]
        at = end


def _check_jpeg2000(name: str, content: bytes, max_pixels: int) -> bytes | None:
    """Check the size and components in the codestream, which Pillow does not compare with the
    file's header. Returns the ICC profile, which Pillow ignores.
    """
    stream, profile = content, None
    if content.startswith(JP2_SIGNATURE):
        boxes = list(_boxes(content))
        stream = next((inner for kind, inner in boxes if kind == b"jp2c"), b"")
        header = next((inner for kind, inner in boxes if kind == b"jp2h"), b"")
        colors = [inner for kind, inner in _boxes(header) if kind == b"colr"]
        profile = next((inner[3:] for inner in colors if inner[:1] in (b"\2", b"\3")), None)
    if not stream.startswith(J2K_SIGNATURE):
        raise DataError(f"{name}: a JPEG 2000 without a picture in it.")
    right, bottom, left, top = (int.from_bytes(stream[at : at + 4]) for at in (8, 12, 16, 20))
    components = int.from_bytes(stream[40:42])
    require_size(name, (max(0, right - left), max(0, bottom - top)), max_pixels)
    if components > MAX_COMPONENTS:
        raise DataError(
            f"{name}: a JPEG 2000 of {components} bands, which is not a photograph. "
            "Convert it to RGB or grey first."
        )
    return profile


def _check_jxl(name: str, content: bytes, max_pixels: int) -> None:
    """Check the size in the header before the package opens the file, which decodes all of it."""
    stream = content
    if content.startswith(JXL_SIGNATURES[1]):
        boxes = list(_boxes(content))
        whole = [inner for kind, inner in boxes if kind == b"jxlc"]
        parts = [inner[4:] for kind, inner in boxes if kind == b"jxlp"]
        stream = b"".join([*whole, *parts])
    header: JxlHeader | None = read_jxl_header(stream)
    if header is None:
        raise DataError(f"{name}: a JPEG XL whose header can't be read.")
    require_size(name, (header.width, header.height), max_pixels)
    if header.extra_channels > MAX_EXTRA_CHANNELS:
        raise DataError(
            f"{name}: a JPEG XL of {header.extra_channels} channels beside the colors, which is "
            "not a photograph. Convert it to PNG first."
        )
    if header.animated:
        raise DataError(f"{name}: an animated JPEG XL. Convert its first frame to PNG first.")


def _deep_pnm(image: ImageFile.ImageFile, content: bytes) -> Image.Image:
    """Decode a binary PNM of a depth other than 8 bits, for which Pillow needs 10 s per megapixel.

    Grey of more than 8 bits becomes I;16, everything else 8 bits. Raises DataError where pixels are
    missing.
    https://netpbm.sourceforge.net/doc/ppm.html
    """
    bands, arguments = len(image.getbands()), image.tile[0].args
    assert isinstance(arguments, tuple)  # of Pillow's decoder for these files
    largest = int(arguments[1])
    count, dtype = image.width * image.height * bands, ">u2" if largest > 255 else "u1"
    start = image.tile[0].offset
    if len(content) < start + count * np.dtype(dtype).itemsize:
        raise DataError("the picture: the file is truncated.")
    values = np.frombuffer(content, dtype, count, start).astype(np.uint32).clip(0, largest)
    deep = bands == 1 and largest > 255
    full = 65535 if deep else 255
    scaled = ((values * full + largest // 2) // largest).astype(np.uint16 if deep else np.uint8)
    shape = (image.height, image.width) + ((bands,) if bands > 1 else ())
    return Image.fromarray(scaled.reshape(shape), None if deep else image.mode)


def _unidentified(source: Path | bytes) -> str:
    """Why Pillow can't open a file."""
    if isinstance(source, Path):
        with source.open("rb") as file:
            head = file.read(HEAD)
    else:
        head = source[:HEAD]
    if head.startswith(TIFF_SIGNATURES) and (described := _describe_tiff(source)):
        return f"{described}; convert it to 8-bit RGB or grey first"
    return f"not a picture, or of a format other than {', '.join(FORMATS)}, HEIC, JPEG XL"


def _describe_tiff(source: Path | bytes) -> str | None:
    """The pixel format of a TIFF's first page, in words; None where it can't be read."""
    try:
        with io.BytesIO(source) if isinstance(source, bytes) else source.open("rb") as file:
            header = file.read(8)
            tags = TiffImagePlugin.ImageFileDirectory_v2(
                header + (file.read(8) if 43 in header[2:4] else b"")  # BigTIFF
            )
            file.seek(tags.next)
            tags.load(file)
            bands, bits = int(tags.get(277, 1)), tuple(tags[258])
            kinds = tuple(tags.get(339, [1]))
            compression = int(tags.get(259, 1))
    except Exception:  # of hostile bytes, almost any
        return None
    kind = Counter(TIFF_SAMPLES.get(kind, "unknown ") for kind in kinds).most_common(1)[0][0]
    pixels = f"{kind}{max(bits)}"
    if bands in (1, 3, 4) and pixels == "uint8":
        return f"a TIFF that Pillow can't read (compression {compression})"
    plural = "s" if bands > 1 else ""
    return f"a TIFF of {bands} band{plural} of {pixels} pixels, which is not a photograph"
