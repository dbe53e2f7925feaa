"""Conversion of any of Pillow's modes to 8-bit grey or RGB in sRGB, and separate alpha."""

import io

import numpy as np
from PIL import Image, ImageCms

from img2img.errors import DataError

GREY = ("1", "L", "LA", "La", "I;16", "I;16B", "I;16L", "I;16N", "I", "F")
UNUSABLE = "the embedded color profile can't be used; sRGB is assumed"


def split(image: Image.Image, content: bytes) -> tuple[Image.Image, Image.Image | None]:
    """The colors without alpha, in the picture's mode or a similar one, and alpha as L, or None
    where nothing is transparent. Colors of transparent pixels are kept.

    content: of the file, from which the bit depth of a PNG is read.
    """
    if not image.has_transparency_data:
        return image, None
    if image.format == "PNG" and "transparency" in image.info and image.mode != "P":
        alpha = _key_alpha(image, depth=content[24])
        colors = image
    else:
        both = image.convert("LA" if image.mode in ("LA", "La") else "RGBA")
        alpha, colors = both.getchannel("A"), both.convert(both.mode[:-1])
    colors.info.pop("transparency", None)
    return colors, None if alpha.getextrema() == (255, 255) else alpha


def to_srgb(image: Image.Image, profile: bytes | None, notes: list[str]) -> Image.Image:
    """The image as L or RGB in sRGB. An unusable profile is ignored, with a note."""
    if image.mode in GREY:
        return _grey_to_srgb(image, profile, notes)
    if image.mode not in ("CMYK", "LAB"):
        image = image.convert("RGB")
        if (
            profile and _is_grey(profile) and _all_grey(image)
        ):  # Pillow opens 16-bit grey PNGs with alpha as RGBA
            return _grey_to_srgb(image.getchannel("R"), profile, notes)
    if profile:
        try:
            image = _profile_to_srgb(image, ImageCms.ImageCmsProfile(io.BytesIO(profile)))
        except (ImageCms.PyCMSError, OSError):
            notes.append(UNUSABLE)
    return image.convert("RGB")


def _grey_to_srgb(image: Image.Image, profile: bytes | None, notes: list[str]) -> Image.Image:
    if image.mode.startswith(("I", "F")):
        image = _sixteen_bits(image)
    elif image.mode != "L":
        image = image.convert("L")
    if profile:
        try:
            pixels = np.asarray(image)
            return Image.fromarray(_grey_levels(profile, pixels.dtype)[pixels])
        except (ImageCms.PyCMSError, OSError):
            notes.append(UNUSABLE)
    return _eight_bits(image).convert("L")


def _profile_to_srgb(
    image: Image.Image,
    profile: ImageCms.ImageCmsProfile,
    flags: ImageCms.Flags = ImageCms.Flags.NONE,
) -> Image.Image:
    srgb = ImageCms.createProfile("sRGB")
    converted = ImageCms.profileToProfile(image, profile, srgb, outputMode="RGB", flags=flags)
    assert converted is not None  # it is only where the image is converted in place
    return converted


def _is_grey(profile: bytes) -> bool:
    """Whether the color space in an ICC header is grey (ICC.1:2022, section 7.2)."""
    return profile[16:20] == b"GRAY"


def _all_grey(image: Image.Image) -> bool:
    red, green, blue = (np.asarray(channel) for channel in image.split())
    return np.array_equal(red, green) and np.array_equal(red, blue)


def _grey_levels(profile: bytes, depth: np.dtype) -> np.ndarray:
    """The sRGB value of each grey level: uint8 [256] or [65536], by depth."""
    source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    levels = Image.fromarray(np.arange(np.iinfo(depth).max + 1, dtype=depth)[None])
    if source.profile.xcolor_space.strip() == "RGB":  # grey as equal red, green and blue
        levels = _eight_bits(levels).convert("RGB")
    # With optimization, lcms is off by up to ten levels in the shadows of a linear profile.
    converted = _profile_to_srgb(levels, source, ImageCms.Flags.NOOPTIMIZE)
    first_row: np.ndarray = np.asarray(converted.convert("L"))[0]
    return first_row


def _sixteen_bits(image: Image.Image) -> Image.Image:
    """The image as I;16 in the machine's byte order. Raises DataError for values out of range."""
    values = np.asarray(image)
    if image.mode == "F" or values.min() < 0 or values.max() > 65535:
        raise DataError(
            "the pixels are floats or 32-bit integers of an unknown range; convert them to 8 or 16 "
            "bits first"
        )
    return Image.fromarray(values.astype(np.uint16))


def _eight_bits(image: Image.Image) -> Image.Image:
    """16-bit grey scaled to 8 bits; `Image.convert` would clip it."""
    if not image.mode.startswith("I"):
        return image
    values = np.asarray(image).astype(np.uint32)
    return Image.fromarray(((values * 255 + 32767) // 65535).astype(np.uint8))


def _key_alpha(image: Image.Image, depth: int) -> Image.Image:
    """The alpha of a PNG with a transparent color, which is stored at the file's bit depth."""
    key = np.atleast_1d(image.info["transparency"])
    if depth < 8 and image.mode == "L":
        key = key * 255 // (2**depth - 1)
    elif depth == 16 and image.mode == "RGB":
        key = key >> 8  # Pillow keeps the upper 8 bits
    pixels = np.asarray(image).reshape(image.height, image.width, -1).astype(np.int32)
    if image.mode == "1":
        pixels = pixels * 255
    return Image.fromarray(np.where((pixels == key).all(-1), 0, 255).astype(np.uint8))
