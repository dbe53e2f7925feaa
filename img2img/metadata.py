"""A file's metadata (EXIF, XMP, PNG texts, resolution), prepared for a translation of its picture,
which is upright, may have another size, and has other contents.

Invalid metadata is dropped with a note; the picture is still read.
"""

import math
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar
from xml.dom import minidom

from PIL import Image, PngImagePlugin, TiffImagePlugin

MAX_EXIF, MAX_XMP, MAX_TEXT = 2**20, 2**18, 2**20  # bytes that are copied, at most
MAX_JPEG_EXIF, MAX_JPEG_XMP = 65_533, 65_502  # bytes, of a segment
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
MAX_ENTRIES = 1000  # of one EXIF directory
DPI = (2, 65_535)  # range that every format can hold; 1 means "unknown"

TURNS = {  # orientation -> what turns the picture upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
ORIENTATION, X_RESOLUTION, Y_RESOLUTION = 0x0112, 0x011A, 0x011B
EXIF_POINTER, GPS_POINTER = 0x8769, 0x8825  # to other directories
XMP_TAG = 700
IPTC_RESOURCE = 0x0404  # of Photoshop's segment in a JPEG
THUMBNAIL = {0x0201, 0x0202}  # the position of its JPEG, and the length
# Orientation and size, which differ in the output.
CONTRADICTING = {ORIENTATION, 0x0100, 0x0101, 0xA002, 0xA003}
# The tags of a TIFF that describe the picture; the others describe how it is stored.
DESCRIPTIVE_TAGS = (
    *(0x010D, 0x010E, 0x010F, 0x0110, X_RESOLUTION, Y_RESOLUTION, 0x0128, 0x0131, 0x0132, 0x013B),
    *(0x013C, 0x8298),
)
# Namespace and name of XMP's properties for orientation, size and thumbnails.
TIFF_NS, EXIF_NS = "http://ns.adobe.com/tiff/1.0/", "http://ns.adobe.com/exif/1.0/"
CONTRADICTING_XMP = {
    *((TIFF_NS, name) for name in ("Orientation", "ImageWidth", "ImageLength")),
    *((EXIF_NS, name) for name in ("PixelXDimension", "PixelYDimension")),
    ("http://ns.adobe.com/xap/1.0/", "Thumbnails"),
}
# Videos, depth maps and gain maps that phones append to a picture, which are not copied.
ATTACHED_NS = ("http://ns.google.com/photos/", "http://ns.adobe.com/hdr-gain-map/")
EXTENDED = ("http://ns.adobe.com/xmp/note/", "HasExtendedXMP")
# Texts that repeat EXIF, XMP or the header, or describe a thumbnail.
OTHER_TEXTS = ("XML:com.adobe.xmp", "Raw profile type", "Thumb::", "exif:", "png:")

T = TypeVar("T")


@dataclass(frozen=True)
class Metadata:
    """The metadata of a picture, without orientation, size and thumbnail."""

    exif: bytes | None = None  # begins with "Exif\0\0"
    xmp: bytes | None = None  # UTF-8
    texts: tuple[tuple[str, str], ...] = ()  # keywords and texts of a PNG
    dpi: tuple[float, float] | None = None  # across, down


def is_turned_tiff(image: Image.Image) -> bool:
    """Whether Pillow will swap the sides of a TIFF when it loads it, and drop the orientation."""
    if not isinstance(image, TiffImagePlugin.TiffImageFile):
        return False
    return image.tag_v2.get(ORIENTATION, 1) in (5, 6, 7, 8)


def upright(image: Image.Image, notes: list[str]) -> tuple[Image.Image, bool]:
    """The loaded picture, turned upright by its EXIF or XMP, and whether its sides were swapped."""
    try:
        orientation = image.getexif().get(ORIENTATION, 1)
        # The decoder of JPEG XL has applied the orientation of the codestream, unless it has
        # reconstructed a JPEG.
        if image.format == "JXL" and not getattr(image, "jpeg", False):
            orientation = 1
    except Exception:  # Pillow raises almost any type for tags of a wrong type
        notes.append("the EXIF can't be read; it is left out")
        return image, False
    if not isinstance(orientation, int) or orientation not in TURNS:
        return image, False
    return image.transpose(TURNS[orientation]), orientation >= 5


def collect(image: Image.Image, turned: bool, notes: list[str]) -> Metadata:
    """The metadata of a loaded file that can be copied, with notes on the rest. turned: whether the
    picture's sides were swapped.
    """

    def part(name: str, read: Callable[[Image.Image, bool], T], default: T) -> T:
        try:
            return read(image, turned)
        except Exception as error:  # of hostile bytes, almost any
            reason = str(error) if isinstance(error, TooLong) else "can't be read"
            note = f"the {name} {reason}; it is left out"
            if note not in notes:
                notes.append(note)
            return default

    exif = part("EXIF", _exif, None)
    no_xmp: tuple[bytes | None, bool] = (None, False)
    no_texts: tuple[tuple[str, str], ...] = ()
    xmp, extended = part("XMP", _xmp, no_xmp)
    texts = part("text", _texts, no_texts)
    dpi = part("resolution", _dpi, None)
    if extended:
        notes.append("the extended part of its XMP is left out")
    photoshop = image.info.get("photoshop")
    if isinstance(photoshop, dict) and IPTC_RESOURCE in photoshop:
        notes.append("the IPTC is left out")
    return Metadata(exif, xmp, texts, dpi)


def save_options(metadata: Metadata, kind: str) -> dict[str, Any]:
    """Pillow's options to save the metadata that the format, by Pillow's name, can hold."""
    options: dict[str, Any] = {}
    exif, xmp, dpi = metadata.exif, metadata.xmp, metadata.dpi
    if dpi and kind in ("WEBP", "AVIF") and not exif:
        resolution = Image.Exif()
        resolution[X_RESOLUTION], resolution[Y_RESOLUTION] = dpi
        exif = resolution.tobytes()
    if kind == "TIFF":
        options["tiffinfo"] = _tags_of_tiff(exif, xmp)
    elif exif and kind != "BMP" and not (kind == "JPEG" and len(exif) > MAX_JPEG_EXIF):
        options["exif"] = exif
    if dpi and kind in ("JPEG", "PNG", "TIFF", "BMP"):
        options["dpi"] = dpi
    if xmp and (kind in ("WEBP", "AVIF") or (kind == "JPEG" and len(xmp) <= MAX_JPEG_XMP)):
        options["xmp"] = xmp
    if kind == "PNG" and (metadata.texts or xmp):
        chunks = PngImagePlugin.PngInfo()
        for keyword, text in metadata.texts:
            chunks.add_text(keyword, text)
        if xmp:
            chunks.add_itxt("XML:com.adobe.xmp", xmp.decode())
        options["pnginfo"] = chunks
    return options


def has_directories(tags: dict[int, object]) -> bool:
    """Whether a TIFF's tags include directories: the camera's settings, or the location."""
    return any(isinstance(value, dict) for value in tags.values())


def left_out(metadata: Metadata, kind: str) -> list[str]:
    """A note for each part of the metadata that the format, by Pillow's name, can't hold."""
    notes = []
    if metadata.exif and (kind == "BMP" or (len(metadata.exif) > MAX_JPEG_EXIF and kind == "JPEG")):
        notes.append(f"the EXIF is left out, for which {kind} has no room")
    if metadata.xmp and (kind == "BMP" or (len(metadata.xmp) > MAX_JPEG_XMP and kind == "JPEG")):
        notes.append(f"the XMP is left out, for which {kind} has no room")
    if metadata.texts and kind != "PNG":
        notes.append(f"the text is left out, for which {kind} has no room")
    return notes


def without_long_texts(png: bytes) -> tuple[bytes, bool]:
    """The PNG without compressed texts so long that Pillow would refuse the picture, and whether
    there were any.
    """
    packed = (b"zTXt", b"iTXt", b"iCCP")
    if not png.startswith(PNG_SIGNATURE) or not any(name in png for name in packed):
        return png, False
    kept, at, total, dropped = [png[:8]], 8, 0, False
    while at < len(png):
        end = at + 12 + int.from_bytes(png[at : at + 4])
        name, size = png[at + 4 : at + 8], 0
        if name in packed:
            size = _unpacked(png[at + 8 : end - 4], name)
            total += size
        if size < PngImagePlugin.MAX_TEXT_CHUNK and total < PngImagePlugin.MAX_TEXT_MEMORY:
            kept.append(png[at:end])
        else:
            dropped = True
        at = end
    return (b"".join(kept), True) if dropped else (png, False)


class TooLong(ValueError):
    """The metadata is longer than what is copied."""

    def __init__(self) -> None:
        super().__init__("is too long")


def _unpacked(chunk: bytes, name: bytes) -> int:
    """Bytes of a text or profile, decompressed; counted up to a little beyond Pillow's limit."""
    _, _, rest = chunk.partition(b"\0")
    packed = rest[1:]  # behind the method
    if name == b"iTXt":
        if rest[:1] != b"\1":
            return len(chunk)
        packed = rest[2:].split(b"\0", 2)[-1]  # behind the language and the translated keyword
    try:
        return len(zlib.decompressobj().decompress(packed, PngImagePlugin.MAX_TEXT_CHUNK + 1))
    except zlib.error:
        return len(chunk)


def _exif(image: Image.Image, turned: bool) -> bytes | None:
    exif, content = image.getexif(), image.info.get("exif")
    if image.format == "TIFF":
        content = _exif_of_tiff(exif)
    elif not content and len(exif):
        content = exif.tobytes()
    if not content:
        return None
    if len(content) > MAX_EXIF:
        raise TooLong
    return strip_exif(content, turned)


def _exif_of_tiff(tags: Image.Exif) -> bytes | None:
    """EXIF from the tags of a TIFF."""
    exif, kept = Image.Exif(), _descriptive(tags)
    for tag, value in kept.items():
        if isinstance(value, dict):
            exif.get_ifd(tag).update(value)
        else:
            exif[tag] = value
    return exif.tobytes() if kept else None


def _tags_of_tiff(exif: bytes | None, xmp: bytes | None) -> dict[int, object]:
    """The tags of a TIFF to be written, from EXIF and XMP."""
    tags = Image.Exif()
    if exif:
        tags.load(exif)
    return _descriptive(tags) | ({XMP_TAG: xmp} if xmp else {})


def _descriptive(tags: Image.Exif) -> dict[int, object]:
    """The tags that describe the picture; directories as dicts."""
    values = {tag: _text(tags[tag]) for tag in DESCRIPTIVE_TAGS if tag in tags}
    for pointer in (EXIF_POINTER, GPS_POINTER):
        if inner := tags.get_ifd(pointer):
            values[pointer] = {tag: _text(value) for tag, value in inner.items()}
    return values


def _text(value: object) -> object:
    """Texts as bytes, unless they are ASCII: Pillow reads Latin-1, but writes only ASCII."""
    return value.encode("latin-1") if isinstance(value, str) and not value.isascii() else value


def strip_exif(exif: bytes, turned: bool) -> bytes | None:
    """The EXIF without orientation, width, height and thumbnail; None where nothing else is left.

    turned: swap the horizontal and the vertical resolution. The bytes are edited in place, because
    maker notes contain absolute positions, and texts may have any encoding. Raises ValueError or
    struct.error for invalid EXIF. CIPA DC-008 (EXIF 2.32), sections 4.5 and 4.6.
    """
    content = bytearray(exif.removeprefix(b"Exif\0\0"))
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(bytes(content[:4]))
    if order is None:
        raise ValueError("no TIFF header")

    def number(at: int) -> int:
        [value] = struct.unpack_from(order + "I", content, at)
        return int(value)

    entries, thumbnail = _strip_directory(content, order, number(4))
    if EXIF_POINTER in entries:
        _strip_directory(content, order, number(entries[EXIF_POINTER] + 8))
    if turned and {X_RESOLUTION, Y_RESOLUTION} <= entries.keys():
        across, down = (
            slice(entries[tag] + 2, entries[tag] + 12) for tag in (X_RESOLUTION, Y_RESOLUTION)
        )
        content[across], content[down] = content[down], content[across]
    if thumbnail:
        shown, _ = _strip_directory(content, order, thumbnail)
        if shown.keys() >= THUMBNAIL:
            start, length = (number(shown[tag] + 8) for tag in sorted(THUMBNAIL))
            end = min(len(content), start + length)
            content[start:end] = b"" if end == len(content) else bytes(max(0, end - start))
    return b"Exif\0\0" + bytes(content) if entries else None


def _strip_directory(content: bytearray, order: str, at: int) -> tuple[dict[int, int], int]:
    """Remove the contradicting entries and the pointer to the next directory. Returns the positions
    of the remaining entries by tag, and that of the next directory (0: there is none).
    """
    [count] = struct.unpack_from(order + "H", content, at)
    end = at + 2 + 12 * count
    if count > MAX_ENTRIES or end > len(content):
        raise ValueError("more entries than possible")
    kept = {}
    for place in range(at + 2, end, 12):
        entry = bytes(content[place : place + 12])
        [tag] = struct.unpack_from(order + "H", entry)
        if tag not in CONTRADICTING:
            kept[tag] = entry
    # Some writers omit the position of the next directory where there is none.
    after = struct.unpack_from(order + "I", content, end)[0] if end + 4 <= len(content) else 0
    room = min(end + 4, len(content)) - at
    written = struct.pack(order + "H", len(kept)) + b"".join(kept.values())
    content[at : at + room] = written.ljust(room, b"\0")
    return {tag: at + 2 + 12 * number for number, tag in enumerate(kept)}, after


def _xmp(image: Image.Image, turned: bool) -> tuple[bytes | None, bool]:
    """The packet, and whether the file contains an extended part of it."""
    packet = image.info.get("xmp")
    if not packet:
        return None, False
    if len(packet) > MAX_XMP:
        raise TooLong
    text = (packet.decode("utf-8-sig") if isinstance(packet, bytes) else packet).rstrip("\0")
    if "<!DOCTYPE" in text:
        raise ValueError("entities are not expanded")
    document = minidom.parseString(text.strip())  # noqa: S318, it has no entities
    extended = False
    for element in document.getElementsByTagName("*"):
        for attribute in list(element.attributes.values()):
            key = (attribute.namespaceURI, attribute.localName)
            extended |= key == EXTENDED
            if _contradicts(*key) or key == EXTENDED:
                element.removeAttributeNode(attribute)
        if _contradicts(element.namespaceURI, element.localName) and element.parentNode:
            element.parentNode.removeChild(element)
    return "".join(node.toxml() for node in document.childNodes).encode(), extended


def _contradicts(namespace: str | None, name: str) -> bool:
    attached = (namespace or "").startswith(ATTACHED_NS)
    return attached or (namespace, name) in CONTRADICTING_XMP


def _texts(image: Image.Image, turned: bool) -> tuple[tuple[str, str], ...]:
    if not isinstance(image, PngImagePlugin.PngImageFile):
        return ()
    texts = tuple(
        (str(keyword), str(text))
        for keyword, text in image.text.items()
        if 1 <= len(keyword) <= 79 and not keyword.startswith(OTHER_TEXTS)
    )
    if sum(len(text) for _, text in texts) > MAX_TEXT:
        raise TooLong
    return texts


def _dpi(image: Image.Image, turned: bool) -> tuple[float, float] | None:
    if "dpi" not in image.info:
        return None
    across, down = (float(value) for value in image.info["dpi"])
    if not all(math.isfinite(value) and DPI[0] <= value <= DPI[1] for value in (across, down)):
        return None
    return (down, across) if turned else (across, down)
