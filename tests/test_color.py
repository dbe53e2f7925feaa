"""Any depth, profile and kind of transparency to 8-bit sRGB and alpha."""

import struct
import zlib

import numpy as np
import pytest
from pictures import chunk, grey_profile, png, saved, scene
from PIL import Image, ImageCms

from img2img import images

LINEAR, GAMMA_18 = grey_profile(1.0), grey_profile(1.8)
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def levels(*values: int, dtype=np.uint8) -> Image.Image:
    """A row of each level, 8 px wide, so that JPEG has a block of it."""
    return Image.fromarray(np.array(values, dtype).repeat(8)[None].repeat(8, axis=0))


def row(picture: images.Picture) -> list[int]:
    return picture.pixels[4, 4::8, 0].astype(int).tolist()


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "JPEG"])
@pytest.mark.parametrize(
    ("profile", "expected"), [(LINEAR, [0, 137, 188, 255]), (GAMMA_18, [0, 81, 146, 255])]
)
@pytest.mark.parametrize("channels", [1, 3])
def test_a_grey_profile_is_applied(kind, profile, expected, channels):
    options = {"quality": 100} if kind == "JPEG" else {}
    content = saved(levels(0, 64, 128, 255), kind, icc_profile=profile, **options)
    picture = images.read(content, channels)
    assert row(picture) == pytest.approx(expected, abs=1)
    assert np.ptp(picture.pixels, axis=-1).max() == 0
    assert picture.notes == ()


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_a_grey_profile_is_applied_to_sixteen_bits_before_they_become_eight(kind):
    deep = levels(0, 128, 257, 64 * 257, 65535, dtype=np.uint16)
    found = row(images.read(saved(deep, kind, icc_profile=LINEAR), 1))
    assert found == pytest.approx([0, 6, 13, 137, 255], abs=1)  # as 8 bits: 0, 0 or 13, 13, ...


def test_a_grey_profile_leaves_the_alpha_channel_alone():
    image = levels(0, 64, 128, 255).convert("LA")
    image.putalpha(levels(0, 64, 128, 255))
    content = saved(image, "PNG", icc_profile=LINEAR)
    for channels in (1, 3):
        picture = images.read(content, channels, to_translate=True)
        assert picture.alpha[4, 4::8].tolist() == [0, 64, 128, 255]
        assert row(picture)[1:] == pytest.approx([137, 188, 255], abs=1)
    whole = images.read(content, 4).pixels
    assert whole[4, 12].tolist() == pytest.approx([137, 137, 137, 64], abs=1)


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_a_grey_profile_is_applied_where_greys_come_as_colors(kind):
    """As WebP has them, and a palette of greys."""
    image = levels(0, 64, 128, 255).convert("RGB")
    image = image.quantize(8) if kind == "PNG" else image
    options = {"lossless": True} if kind == "WEBP" else {}
    picture = images.read(saved(image, kind, icc_profile=LINEAR, **options))
    assert row(picture) == pytest.approx([0, 137, 188, 255], abs=1)
    assert picture.notes == ()


def test_a_grey_profile_is_applied_where_one_level_is_transparent():
    pixels = np.array([[64, 128]])
    content = png(pixels, 0, 8, icc_chunk(LINEAR), chunk(b"tRNS", struct.pack(">H", 64)))
    picture = images.read(content, 1, to_translate=True)
    assert picture.alpha.tolist() == [[0, 255]]
    assert picture.pixels[0, 1, 0] == pytest.approx(188, abs=1)


def icc_chunk(profile: bytes) -> bytes:
    return chunk(b"iCCP", b"grey\0\0" + zlib.compress(profile))


def test_the_darks_of_a_linear_grey_profile_are_exact():
    """lcms, optimizing, makes 6 of 13 and 12 of 22."""
    values = np.arange(256) / 255
    curve = np.where(values <= 0.0031308, 12.92 * values, 1.055 * values ** (1 / 2.4) - 0.055)
    image = Image.fromarray(np.arange(256, dtype=np.uint8)[None])
    found = images.read(saved(image, "PNG", icc_profile=LINEAR), 1).pixels[0, :, 0]
    assert np.abs(found - 255 * curve).max() < 0.6


def test_a_profile_of_rgb_on_a_grey_picture_is_applied():
    image = levels(0, 64, 128, 255)
    picture = images.read(saved(image, "PNG", icc_profile=SRGB), 1)
    assert row(picture) == pytest.approx([0, 64, 128, 255], abs=1)
    assert picture.notes == ()


def test_an_unusable_profile_of_a_grey_picture_is_noted():
    picture = images.read(saved(levels(0, 64), "PNG", icc_profile=b"no profile"), 1)
    assert row(picture) == [0, 64]
    assert any("profile" in note for note in picture.notes)


def test_a_grey_profile_on_a_picture_of_colors_is_noted():
    picture = images.read(saved(Image.fromarray(scene()), "PNG", icc_profile=LINEAR))
    assert (picture.pixels == scene()).all()
    assert any("profile" in note for note in picture.notes)


def test_the_profile_of_a_jpeg_2000_is_applied():
    """Pillow passes it over."""
    content = saved(levels(64, 64), "JPEG2000", irreversible=False)
    start = content.index(b"jp2h") - 4
    length = int.from_bytes(content[start : start + 4])
    color = content.index(b"colr") - 4
    size = int.from_bytes(content[color : color + 4])
    box = b"colr\2\0\0" + LINEAR
    box = struct.pack(">I", len(box) + 4) + box
    header = content[start + 4 : color] + box + content[color + size : start + length]
    changed = content[:start] + struct.pack(">I", 4 + len(header)) + header
    changed += content[start + length :]
    assert row(images.read(content, 1)) == [64, 64]
    assert row(images.read(changed, 1)) == pytest.approx([137, 137], abs=1)


# --- the one color of a PNG that is transparent, which is given at the file's depth -----------


@pytest.mark.parametrize(
    ("kind", "depth", "pixels", "key"),
    [
        (0, 1, [[0, 1]], [0]),
        (0, 1, [[1, 0]], [1]),
        (0, 2, [[1, 2]], [1]),
        (0, 4, [[7, 8]], [7]),
        (0, 8, [[10, 20]], [10]),
        (0, 16, [[1000, 2000]], [1000]),
        (2, 8, [[[1, 2, 3], [1, 2, 4]]], [1, 2, 3]),
        (2, 16, [[[1000, 2000, 3000], [5000, 2000, 3000]]], [1000, 2000, 3000]),
        (2, 16, [[[200, 200, 200], [51200, 51200, 51200]]], [200, 200, 200]),
    ],
)
def test_the_transparent_color_of_a_png_is_found_at_every_depth(kind, depth, pixels, key):
    transparent = chunk(b"tRNS", struct.pack(f">{len(key)}H", *key))
    content = png(np.array(pixels), kind, depth, transparent)
    assert images.read(content).alpha.tolist() == [[0, 255]]


def test_sixteen_bit_grey_with_alpha_is_scaled():
    content = png(np.array([[[64 * 257, 128 * 257]]]), 4, 16)
    picture = images.read(content, 1, to_translate=True)
    assert (picture.pixels.item(), picture.alpha.item()) == (64, 128)
