"""Picture files <-> uint8 arrays in sRGB: decode, orient, colour, alpha, encode.

Strangers' files come through here: formats are an allow-list, the size is checked before the
pixels are decoded, a truncated file is an error.
"""

import io
import re
import warnings
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageCms, ImageDraw, ImageFont

from img2img.errors import DataError

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF")
MAX_PIXELS = 100_000_000  # 300 MB as RGB; more than any camera in 2026 takes
MAX_SCANS = 100  # of a progressive JPEG, each as much work as the picture; encoders make about 10
MARKER = re.compile(rb"\xff([\xc0-\xcf\xd9-\xfe])")  # of JPEG, with a length; and the end
MAX_SEGMENTS = 10_000  # of a JPEG; cameras write tens
MAX_EXIF = 65_533  # bytes, of a JPEG
TURNS = {  # what rights a picture of an orientation
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
MODES = {1: "L", 3: "RGB", 4: "RGBA"}
WRITERS = {
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".png": "PNG",
    ".webp": "WEBP",
    ".bmp": "BMP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
}

# Sizes are checked here against max_pixels, from the header. Pillow's own limit is process-wide.
Image.MAX_IMAGE_PIXELS = None


@dataclass(frozen=True)
class Picture:
    """A decoded picture, upright and in sRGB."""

    pixels: np.ndarray  # uint8 [H, W, C], C as asked; what was transparent is blended with white
    alpha: np.ndarray | None = None  # uint8 [H, W], where the file has any transparency
    exif: bytes | None = None  # without the orientation, which is applied
    notes: tuple[str, ...] = ()  # what the reader should know, e.g. that it was animated


def read(source: Path | bytes, channels: int = 3, max_pixels: int = MAX_PIXELS) -> Picture:
    """Decode a file or the bytes of one.

    Raises DataError, in a sentence that begins with the file's name, for anything that is no
    whole picture of an allowed format and size.
    """
    name = str(source) if isinstance(source, Path) else "the picture"
    try:
        content = load(source, max_pixels) if isinstance(source, Path) else source
        with open_header(content, max_pixels) as image:
            return _decode(image, channels)
    except DataError as error:
        said = str(error).removeprefix("the picture: ").removeprefix(f"{name}: ")
        raise DataError(f"{name}: {said.removesuffix('.')}.") from None
    except FileNotFoundError:
        raise DataError(f"{name}: there is no such file.") from None
    except Exception as error:  # decoders raise a dozen kinds for broken files
        reason = str(error) or type(error).__name__
        raise DataError(f"{name}: the picture can't be decoded ({reason}).") from None


def load(path: Path, max_pixels: int = MAX_PIXELS) -> bytes:
    """A file's bytes; DataError where it has more than a picture of so many pixels can have."""
    size, most = path.stat().st_size, 8 * max_pixels + 64 * 2**20  # 16-bit RGBA, and metadata
    if size > most:
        raise DataError(f"{path}: {size:,} bytes are more than a picture may have ({most:,}).")
    return path.read_bytes()


def open_header(source: Path | bytes, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Open without decoding the pixels; size and format are checked. Errors as in `read`."""
    name = str(source) if isinstance(source, Path) else "the picture"
    jpeg = isinstance(source, bytes) and source.startswith(b"\xff\xd8")
    if jpeg and _scans(source) > MAX_SCANS:
        raise DataError(f"{name}: a JPEG of more than {MAX_SCANS} scans would take for ever.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about odd but harmless metadata
            image = Image.open(
                io.BytesIO(source) if isinstance(source, bytes) else source, formats=FORMATS
            )
    except Image.UnidentifiedImageError:
        raise DataError(
            f"{name}: not a picture, or of a format other than {', '.join(FORMATS)}."
        ) from None
    except Exception as error:  # a header that is not what it should be raises almost any
        if isinstance(source, Path) and isinstance(error, OSError):
            raise  # there is no such file, or it may not be read
        raise DataError(f"{name}: the picture's header can't be read ({error}).") from None
    if image.width * image.height > max_pixels:
        image.close()
        raise DataError(
            f"{name}: {image.width}x{image.height} is more than the limit of {max_pixels:,} "
            "pixels (translate has --max-pixels to raise it)."
        )
    return image


def _scans(jpeg: bytes) -> int:
    """Scans up to the picture's end, after which phones put a film; of too many segments, too
    many.
    """
    scans, at = 0, 2
    for _ in range(MAX_SEGMENTS):
        found = MARKER.search(jpeg, at)
        if not found or found[1] == b"\xd9":
            return scans
        scans += found[1] == b"\xda"
        at = found.end() + int.from_bytes(jpeg[found.end() : found.end() + 2])
    return MAX_SCANS + 1


def encode(picture: Picture, suffix: str, quality: int = 95) -> bytes:
    """The bytes of a file of the suffix's format; alpha is kept where the format has it."""
    pixels = picture.pixels
    image = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
    kind = WRITERS[suffix.lower()]
    if picture.alpha is not None and kind in ("PNG", "WEBP", "TIFF"):
        image.putalpha(Image.fromarray(picture.alpha))
    elif kind in ("JPEG", "BMP") and image.mode == "RGBA":
        image = _on_white(image)
    buffer = io.BytesIO()
    exif = picture.exif or b""
    if kind == "JPEG":
        exif = exif if len(exif) <= MAX_EXIF else b""
        image.save(buffer, kind, quality=quality, subsampling=0, exif=exif)
    elif kind == "WEBP":
        image.save(buffer, kind, quality=quality, method=4, exif=exif)
    elif kind == "PNG":
        # Runs alone are found in a third of level 6's time, and make files of about its size.
        image.save(buffer, kind, compress_level=1, compress_type=zlib.Z_RLE, exif=exif)
    elif kind == "TIFF":
        image.save(buffer, kind, compression="tiff_lzw")
    else:
        image.save(buffer, kind)
    return buffer.getvalue()


def resize(pixels: np.ndarray, width: int, height: int) -> np.ndarray:
    """Resize uint8 [H, W, C] with an antialiasing Lanczos filter."""
    flat = pixels[..., 0] if pixels.shape[-1] == 1 else pixels
    resized = np.asarray(Image.fromarray(flat).resize((width, height), Image.Resampling.LANCZOS))
    return resized.reshape(height, width, -1)


def shrink(picture: Picture, side: int) -> Picture:
    """The picture, made smaller where its longer side is more than so many pixels."""
    height, width = picture.pixels.shape[:2]
    if max(height, width) <= side:
        return picture
    scale = side / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    alpha = picture.alpha
    if alpha is not None:
        alpha = resize(alpha[..., None], *size)[..., 0]
    notes = (*picture.notes, f"made smaller, from {width}x{height}")
    return Picture(resize(picture.pixels, *size), alpha, picture.exif, notes)


def contact_sheet(columns: dict[str, list[np.ndarray]], margin: int = 4) -> np.ndarray:
    """A grid, uint8 [H, W, 3], of uint8 [h, w, 1 or 3] cells: a column a name, a row an example."""
    cells = [cell for column in columns.values() for cell in column]
    height, width = (max(cell.shape[axis] for cell in cells) for axis in (0, 1))
    rows, header = max(map(len, columns.values())), 16
    sheet = Image.new(
        "RGB",
        (len(columns) * (width + margin) + margin, header + rows * (height + margin) + margin),
        "white",
    )
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=11)
    for x, (name, column) in enumerate(columns.items()):
        left = margin + x * (width + margin)
        draw.text((left, 1), _fitting(name, font, width), fill="black", font=font)
        for y, cell in enumerate(column):
            image = Image.fromarray(cell[..., 0] if cell.shape[-1] == 1 else cell[..., :3])
            sheet.paste(image, (left, header + margin + y * (height + margin)))
    return np.asarray(sheet)


def sheet_of(pictures: Sequence[np.ndarray], columns: int = 4, side: int = 64) -> np.ndarray:
    """A grid, uint8 [H, W, 3], of small copies of the pictures, without a word."""
    small = [resize(p, side, side)[..., :3] for p in pictures]
    rows = [
        np.hstack([np.broadcast_to(p, (side, side, 3)) for p in small[i : i + columns]])
        for i in range(0, len(small), columns)
    ]
    width = rows[0].shape[1]
    return np.vstack(
        [np.pad(r, ((0, 0), (0, width - r.shape[1]), (0, 0)), constant_values=255) for r in rows]
    )


def _decode(image: Image.Image, channels: int) -> Picture:
    notes = []
    # n_frames reads a TIFF's thousands of pages one by one.
    if getattr(image, "is_animated", False) and image.format != "MPO":
        notes.append("animated or multi-page: the first frame was used")
    image.load()
    profile = image.info.get("icc_profile")
    image, exif = _upright(image, notes)
    if image.mode.startswith(("I", "F")):
        image = _eight_bits(image)
    alpha = None
    if image.has_transparency_data:
        image = image.convert("RGBA")
        alpha = np.asarray(image.getchannel("A"))
        if alpha.min() == 255:
            alpha = None
    image = _to_srgb(image, profile, notes)
    if channels == 4:
        pixels = np.asarray(image.convert("RGBA"))
        return Picture(pixels, None, exif, tuple(notes))
    if image.mode == "RGBA":
        image = _on_white(image)
    pixels = np.asarray(image.convert(MODES[channels])).reshape(image.height, image.width, channels)
    return Picture(pixels, alpha, exif, tuple(notes))


def _upright(image: Image.Image, notes: list[str]) -> tuple[Image.Image, bytes | None]:
    """Turned as its EXIF says, and the rest of it; what is odd there costs no picture."""
    try:
        exif = image.getexif()
        orientation = exif.pop(ExifTags.Base.Orientation, 1)
        if isinstance(orientation, int) and orientation in TURNS:
            image = image.transpose(TURNS[orientation])
        return image, exif.tobytes() if len(exif) else None
    except Exception:  # tags of another type than they should have raise almost any
        notes.append("the EXIF can't be read: left out")
        return image, None


def _eight_bits(image: Image.Image) -> Image.Image:
    """16-bit grey scaled to 8 bits; `Image.convert` would saturate it."""
    values = np.asarray(image)
    if image.mode == "F" or values.min() < 0 or values.max() > 65535:
        raise DataError("the pixels are floats or 32-bit integers, whose range is not known")
    return Image.fromarray(((values.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8))


def _to_srgb(image: Image.Image, profile: bytes | None, notes: list[str]) -> Image.Image:
    """RGB or RGBA in sRGB; grey stays grey. An unusable profile is noted and passed over."""
    if image.mode in ("1", "L"):
        return image.convert("L")
    alpha = image.getchannel("A") if image.mode == "RGBA" else None
    colours = image.convert("RGB") if image.mode not in ("CMYK", "LAB") else image
    if profile:
        try:
            colours = ImageCms.profileToProfile(
                colours,
                ImageCms.ImageCmsProfile(io.BytesIO(profile)),
                ImageCms.createProfile("sRGB"),
                outputMode="RGB",
            )
        except (ImageCms.PyCMSError, OSError):
            notes.append("the embedded colour profile can't be used: taken as sRGB")
    colours = colours.convert("RGB")
    if alpha is not None:
        colours.putalpha(alpha)
    return colours


def _on_white(image: Image.Image) -> Image.Image:
    white = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(white, image).convert("RGB")


def _fitting(text: str, font: ImageFont.FreeTypeFont, width: int) -> str:
    while len(text) > 1 and font.getlength(text) > width:
        text = text[:-1]
    return text
