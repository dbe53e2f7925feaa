"""Reading and writing picture files as uint8 arrays in sRGB.

The checks of files are in `formats`, the steps in `metadata`, `color` and `transparency`.
"""

import io
import sys
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from img2img import color, formats, metadata, transparency
from img2img.errors import DataError
from img2img.formats import (
    MAX_PIXELS,
    TooLarge,
    draft,
    load,
    most_bytes,
    open_header,
    require_bounded,
)
from img2img.metadata import Metadata

__all__ = [
    "LONGEST",
    "MAX_PIXELS",
    "QUALITY",
    "WRITERS",
    "Metadata",
    "Picture",
    "TooLarge",
    "as_shown",
    "contact_sheet",
    "draft",
    "encode",
    "left_out",
    "load",
    "most_bytes",
    "on_white",
    "open_header",
    "read",
    "require_bounded",
    "resize",
    "sheet_of",
    "shrink",
]

LONGEST = {"JPEG": 65_500, "WEBP": 16_383, "AVIF": 65_536}  # px, of a side
MODES = {1: "L", 3: "RGB", 4: "RGBA"}
QUALITY = 95  # of lossy formats, by default
WRITERS = {
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".jpe": "JPEG",
    ".jfif": "JPEG",
    ".png": "PNG",
    ".webp": "WEBP",
    ".avif": "AVIF",
    ".bmp": "BMP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
}


AROUND = transparency.BAND  # px around a part of a transparent picture that it depends on


@dataclass(frozen=True)
class Picture:
    """A decoded picture, upright and in sRGB."""

    pixels: np.ndarray  # uint8 [H, W, C], C as requested
    alpha: np.ndarray | None = None  # uint8 [H, W], if the file has any transparency
    hidden: np.ndarray | None = None  # uint8 [N, C], the stored colors where alpha is about 0
    metadata: Metadata = Metadata()  # noqa: RUF009 (frozen)
    notes: tuple[str, ...] = ()  # remarks for the user, for example that the file is animated
    lossless: bool = False  # a lossless WebP, which should be written as one

    def translated(self, result: np.ndarray) -> "Picture":
        """The picture with a model's output as pixels, and its own transparency and metadata.

        result: uint8 [H, W, C']. Invisible pixels keep the stored colors, if C' = C.
        """
        hidden, alpha = self.hidden, self.alpha
        if hidden is not None and alpha is not None and result.shape[-1] == hidden.shape[-1]:
            result = result.copy()
            result[transparency.is_hidden(alpha)] = hidden
        return replace(self, pixels=result, hidden=None)


def read(
    source: Path | bytes | Image.Image,
    channels: int = 3,
    max_pixels: int = MAX_PIXELS,
    max_side: int | None = None,
    to_translate: bool = False,
) -> Picture:
    """Decode a file, the bytes of one, or an image of Pillow.

    Args:
        channels: 1 for grey, 3 for RGB, 4 for RGBA as stored.
        max_pixels: the limit, after a JPEG was decoded at a fraction of its size for max_side.
        max_side: larger pictures are made smaller, px.
        to_translate: for pictures that will be written again: transparent pixels keep their colors,
            which are extended a little beyond the edges, and metadata is collected. Otherwise,
            transparent pixels are blended with white, as for training.

    Raises DataError, with the file's name first, for anything but a complete picture of a supported
    format, and TooLarge for too many pixels.
    """
    name = str(source) if isinstance(source, Path) else "the picture"
    notes: list[str] = []
    try:
        if isinstance(source, Image.Image):
            formats.require_size(name, source.size, max_pixels)
            opened = source.copy()  # the caller's stays as it is
            return _decode(opened, b"", channels, opened.size, max_side, to_translate, notes)
        content = load(source, max_pixels) if isinstance(source, Path) else source
        content, long_text = metadata.without_long_texts(content)
        if long_text:
            notes.append("a text or the color profile is too long; it is left out")
        drafted = max_side and formats.is_jpeg(content)  # whose fraction is what is limited
        limit = max(max_pixels, formats.MAX_DRAFTED) if drafted else max_pixels
        with open_header(content, limit) as image:
            full_size = image.size
            if max_side:
                draft(image, content, max_side, max_pixels)
                formats.require_size("the picture", image.size, max_pixels)
            return _decode(image, content, channels, full_size, max_side, to_translate, notes)
    except DataError as error:
        reason = str(error).removeprefix("the picture: ").removeprefix(f"{name}: ")
        raise type(error)(f"{name}: {reason.removesuffix('.')}.") from None
    except FileNotFoundError:
        raise DataError(f"{name}: there is no such file.") from None
    except (IsADirectoryError, PermissionError) as error:
        raise DataError(f"{name}: it can't be read ({error.strerror}).") from None
    except Exception as error:  # decoders raise a dozen kinds for broken files
        reason = str(error) or type(error).__name__
        raise DataError(f"{name}: the picture can't be decoded ({reason}).") from None


def encode(picture: Picture, suffix: str, quality: int | None = None) -> bytes:
    """The bytes of a file in the suffix's format. In formats without alpha, transparent pixels are
    blended with white.

    quality: 1 to 100, of lossy formats; 100 is lossless in WebP. None: 95, and lossless for a
    picture that was a lossless WebP. Raises DataError for a side that is too long for the format.
    """
    image, kind = _image(picture.pixels), WRITERS[suffix.lower()]
    if max(image.size) > LONGEST.get(kind, sys.maxsize):
        raise DataError(f"{max(image.size)} px are more than a side of {kind} may have")
    if picture.alpha is not None:
        image.putalpha(Image.fromarray(picture.alpha))
    if kind in ("JPEG", "BMP") and image.mode in ("LA", "RGBA"):
        grey = image.mode == "LA"
        image = _on_white(image.convert("RGBA"))
        image = image.convert("L") if grey else image
    options = metadata.save_options(picture.metadata, kind)
    level = QUALITY if quality is None else quality
    if kind == "JPEG":
        options |= {"quality": level, "subsampling": 0}
    elif kind == "WEBP" and (quality == 100 or (quality is None and picture.lossless)):
        # The effort that compresses well and is still fast.
        options |= {"lossless": True, "exact": True, "quality": 75, "method": 4}
    elif kind == "WEBP":
        options |= {"quality": level, "method": 4}
    elif kind == "AVIF":
        options |= {"quality": level, "subsampling": "4:4:4"}
    elif kind == "PNG":
        # Run-length coding takes a third of the time of level 6, for files of about the same size.
        options |= {"compress_level": 1, "compress_type": zlib.Z_RLE}
    elif kind == "TIFF" and not metadata.has_directories(options["tiffinfo"]):
        options |= {"compression": "tiff_lzw"}  # uses libtiff, which can't write EXIF directories
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def left_out(picture: Picture, suffix: str) -> tuple[str, ...]:
    """Notes on the metadata that the suffix's format can't hold, so that `encode` omits it."""
    return tuple(metadata.left_out(picture.metadata, WRITERS[suffix.lower()]))


def on_white(picture: Picture) -> np.ndarray:
    """The picture blended with white: uint8 [H, W, C]."""
    return transparency.on_white(picture.pixels, picture.alpha)


def resize(pixels: np.ndarray, width: int, height: int, labels: bool = False) -> np.ndarray:
    """Resize [H, W, C] with an antialiasing Lanczos filter; labels: by nearest neighbor, which
    mixes no colors. Integers are rounded.
    """
    if pixels.dtype != np.uint8 or pixels.shape[2] not in MODES:
        return _resize_bands(pixels, width, height, labels)
    kind = Image.Resampling.NEAREST if labels else Image.Resampling.LANCZOS
    resized = np.asarray(_image(pixels).resize((width, height), kind))
    return resized.reshape(height, width, -1)


def _resize_bands(pixels: np.ndarray, width: int, height: int, labels: bool) -> np.ndarray:
    """As `resize`, for other types and numbers of bands than those of photographs."""
    if labels:
        rows, columns = (
            (np.arange(wanted) + 0.5) * side // wanted
            for wanted, side in zip((height, width), pixels.shape, strict=False)
        )
        return np.asarray(pixels[rows.astype(int)[:, None], columns.astype(int)])
    bands = [
        Image.fromarray(band.astype(np.float32)).resize((width, height), Image.Resampling.LANCZOS)
        for band in np.moveaxis(pixels, -1, 0)
    ]
    resized = np.stack([np.asarray(band) for band in bands], -1)
    if pixels.dtype.kind in "iu":
        limits = np.iinfo(pixels.dtype)
        resized = np.rint(resized).astype(np.float64).clip(limits.min, limits.max)
    return np.asarray(resized, pixels.dtype)


def shrink(picture: Picture, side: int) -> Picture:
    """The picture, made smaller if its longer side is more than `side` px."""
    height, width = picture.pixels.shape[:2]
    if max(height, width) <= side:
        return picture
    size = formats.fitted((width, height), side)
    opacity = None if picture.alpha is None else Image.fromarray(picture.alpha)
    colors, opacity = _resized(_image(picture.pixels), opacity, size)
    return replace(
        picture,
        pixels=np.asarray(colors).reshape(*size[::-1], -1),
        alpha=None if opacity is None else np.asarray(opacity),
        hidden=None,
        notes=(*picture.notes, _made_smaller(width, height)),
    )


def contact_sheet(columns: dict[str, list[np.ndarray]], margin: int = 4) -> np.ndarray:
    """A grid, uint8 [H, W, 3], of cells uint8 [h, w, bands]: a titled column for each name. Three
    bands are shown as colors, or the first one if there are fewer.
    """
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
            shown = as_shown(cell)
            image = Image.fromarray(shown[..., 0] if shown.shape[-1] == 1 else shown)
            sheet.paste(image, (left, header + margin + y * (height + margin)))
    return np.asarray(sheet)


def as_shown(pixels: np.ndarray) -> np.ndarray:
    """The bands of [H, W, bands] that are shown: three as colors, or the first of fewer."""
    return pixels[..., :3] if pixels.shape[-1] >= 3 else pixels[..., :1]


def sheet_of(pictures: Sequence[np.ndarray], columns: int = 4, side: int = 64) -> np.ndarray:
    """A grid, uint8 [H, W, 3], of thumbnails of the pictures, without titles."""
    small = [as_shown(resize(p, side, side)) for p in pictures]
    rows = [
        np.hstack([np.broadcast_to(p, (side, side, 3)) for p in small[i : i + columns]])
        for i in range(0, len(small), columns)
    ]
    width = rows[0].shape[1]
    return np.vstack(
        [np.pad(r, ((0, 0), (0, width - r.shape[1]), (0, 0)), constant_values=255) for r in rows]
    )


def _decode(
    image: Image.Image,
    content: bytes,
    channels: int,
    full_size: tuple[int, int],
    max_side: int | None,
    to_translate: bool,
    notes: list[str],
) -> Picture:
    # Not n_frames, which reads all pages of a TIFF one by one.
    if getattr(image, "is_animated", False) and image.format != "MPO":
        notes.append("animated or multi-page; the first frame was used")
    if formats.has_spare_bands(image):
        notes.append("bands that are neither color nor alpha are left out")
    if image.format == "TIFF" and image.mode in ("I", "F"):
        described = "signed or 32-bit integers" if image.mode == "I" else "floats"
        raise DataError(
            f"the picture: a TIFF of {described} of an unknown range, which is not a photograph. "
            "Train a model on such pictures, or convert it to 8-bit RGB or grey first."
        )
    turned_by_pillow = metadata.is_turned_tiff(image)
    image = formats.load_pixels(image, content)
    carried = Metadata()
    profile = image.info.get("icc_profile")
    upright, turned = metadata.upright(image, notes)
    if to_translate:
        carried = metadata.collect(image, turned or turned_by_pillow, notes)
    colors, alpha = color.split(upright, content)
    colors = color.to_srgb(colors, profile, notes)
    if max_side and max(full_size) > max_side:
        colors, alpha = _resized(colors, alpha, formats.fitted(colors.size, max_side))
        width, height = reversed(full_size) if turned else full_size
        notes.append(_made_smaller(width, height))
    lossless = to_translate and formats.is_lossless_webp(content)
    hidden = None
    if channels == 4 or (alpha is not None and not to_translate):
        whole = colors.convert("RGBA")
        if alpha is not None:
            whole.putalpha(alpha)
        colors = whole if channels == 4 else _on_white(whole)
    pixels = np.asarray(colors.convert(MODES[channels])).reshape(*colors.size[::-1], channels)
    if channels == 4 or alpha is None:
        return Picture(pixels, None, None, carried, tuple(notes), lossless)
    opacity = np.asarray(alpha)
    if to_translate:
        hidden = pixels[transparency.is_hidden(opacity)]
        pixels = transparency.extend_colors(pixels, opacity)
    return Picture(pixels, opacity, hidden, carried, tuple(notes), lossless)


def _image(pixels: np.ndarray) -> Image.Image:
    """Of uint8 [H, W, C]."""
    return Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)


def _resized(
    colors: Image.Image, alpha: Image.Image | None, size: tuple[int, int]
) -> tuple[Image.Image, Image.Image | None]:
    """Resize with an antialiasing Lanczos filter, in which colors are weighted by alpha."""
    if alpha is None:
        return colors.resize(size, Image.Resampling.LANCZOS), None
    both = colors.copy()
    both.putalpha(alpha)
    small = both.resize(
        size, Image.Resampling.LANCZOS
    )  # premultiplies by alpha, and divides by it again
    return small.convert(colors.mode), small.getchannel("A")


def _made_smaller(width: int, height: int) -> str:
    return f"made smaller, from {width}x{height}"


def _on_white(image: Image.Image) -> Image.Image:
    white = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(white, image).convert("RGB")


def _fitting(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> str:
    while len(text) > 1 and font.getlength(text) > width:
        text = text[:-1]
    return text
