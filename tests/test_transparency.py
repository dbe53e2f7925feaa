"""Transparent pictures: an identity gives them back, and no ground shows through at the edges."""

import io
from pathlib import Path

import numpy as np
import pytest
from pictures import emoji, near, plain, saved
from PIL import Image

from img2img import images
from img2img.images import Picture
from img2img.infer.translator import Translator
from img2img.transparency import BAND, FAINT, extend_colors

ROOT = Path(__file__).parents[1]
PANDA = ROOT / "weights" / "examples" / "flat-to-3d" / "1f43c.png"
GROUNDS = ["black", "white", "#00ff00"]


def through(content: bytes, model, suffix: str = ".png", channels: int = 3) -> np.ndarray:
    """What a model makes of a file, as the file that it is written to."""
    picture = images.read(content, channels, to_translate=True)
    answer = images.encode(picture.translated(model(picture.pixels)), suffix, 100)
    return np.asarray(Image.open(io.BytesIO(answer)))


def identity(pixels: np.ndarray) -> np.ndarray:
    return pixels


def inverted(pixels: np.ndarray) -> np.ndarray:
    return 255 - pixels


def over(rgba: np.ndarray, ground: str) -> np.ndarray:
    image = Image.fromarray(rgba)
    below = Image.new("RGBA", image.size, ground)
    return np.asarray(Image.alpha_composite(below, image).convert("RGB")).astype(int)


def test_half_transparent_pixels_come_back_from_an_identity():
    content = saved(plain((29, 39, 59, 128), mode="RGBA"), "PNG")
    assert near(through(content, identity), (29, 39, 59, 128), 0)


@pytest.mark.parametrize("suffix", [".png", ".webp", ".tif"])
def test_an_identity_gives_every_pixel_of_an_emoji_back(suffix):
    cut_out = emoji(PANDA)
    content = saved(cut_out, "PNG")
    assert len(np.unique(np.asarray(cut_out)[..., 3])) > 50
    assert np.array_equal(through(content, identity, suffix), np.asarray(cut_out))


def test_colors_under_clear_pixels_come_back_from_an_identity():
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 4), np.uint8)
    pixels[:, ::2, 3] = 0
    content = saved(Image.fromarray(pixels), "PNG")
    assert np.array_equal(through(content, identity), pixels)
    # A grey model has fewer channels than the file, and no colors to keep.
    assert np.array_equal(through(content, identity, channels=1)[..., 1], pixels[..., 3])


@pytest.mark.parametrize("ground", GROUNDS)
def test_what_is_inverted_has_no_fringe_on_any_ground(ground):
    cut_out = np.asarray(emoji(PANDA))
    wanted = np.dstack([255 - cut_out[..., :3], cut_out[..., 3]])
    difference = np.abs(over(through(saved(emoji(PANDA), "PNG"), inverted), ground)
                        - over(wanted, ground))  # fmt: skip
    assert difference.max() <= FAINT


def test_a_shipped_model_draws_edges_without_the_ground_in_them():
    """Dark ears: their soft edge is as dark on black as what lies just inside of it."""
    translator = Translator("flat-to-3d", "cpu")
    content = saved(emoji(PANDA), "PNG")
    result = through(content, translator)
    edge = (result[..., 3] > 20) & (result[..., 3] < 235)
    edge &= np.arange(128)[:, None] < 40  # the ears
    brightness = result[edge][:, :3].mean()
    assert edge.sum() > 50
    blended = images.read(content)  # the old way: pasted on white, and the alpha put back
    ringed = translator(blended.pixels)[edge].mean()
    assert brightness < 120 < 150 < ringed


def test_a_model_sees_colors_continued_over_a_band_and_white_beyond():
    image = plain((0, 0, 0, 0), (20, 9), "RGBA")
    image.paste((200, 100, 50, 255), (0, 0, 8, 9))
    picture = images.read(saved(image, "PNG"), to_translate=True)
    assert near(picture.pixels[:, : 8 + BAND], (200, 100, 50), 0)
    assert near(picture.pixels[:, 8 + BAND :], 255, 0)


def test_what_training_sees_is_blended_with_white(tmp_path):
    (tmp_path / "a.png").write_bytes(saved(plain((29, 39, 59, 128), mode="RGBA"), "PNG"))
    assert near(images.read(tmp_path / "a.png").pixels, (142, 147, 157), 0)
    assert near(images.read(tmp_path / "a.png", 1).pixels, 147, 1)


def test_four_channels_are_given_as_stored():
    content = saved(plain((29, 39, 59, 128), mode="RGBA"), "PNG")
    for to_translate in (False, True):
        picture = images.read(content, 4, to_translate=to_translate)
        assert near(picture.pixels, (29, 39, 59, 128), 0)
        assert picture.alpha is None


def palette() -> Image.Image:
    image = Image.new("P", (16, 16), 1)
    image.putpalette([9, 9, 9, 29, 39, 59])
    image.paste(0, (0, 0, 4, 16))
    return image


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (saved(plain((77, 128), mode="LA"), "PNG"), (77, 77, 77, 128)),
        (saved(palette(), "PNG", transparency=bytes([0, 128])), (29, 39, 59, 128)),
        (saved(palette(), "GIF", transparency=0), (29, 39, 59, 255)),
        (saved(plain((29, 39, 59, 128), mode="RGBA"), "WEBP", lossless=True), (29, 39, 59, 128)),
        (saved(plain((29, 39, 59, 128), mode="RGBA"), "TIFF"), (29, 39, 59, 128)),
        (saved(plain((29, 39, 59, 128), mode="RGBA"), "JPEG2000"), (29, 39, 59, 128)),
    ],
    ids=["LA", "palette", "GIF", "WebP", "TIFF", "JP2"],
)
def test_every_kind_of_transparency_comes_back_from_an_identity(content, expected):
    assert near(through(content, identity)[:, 5:], expected, 0)
    # The palette's clear entry, too.
    if expected == (29, 39, 59, 255):
        assert near(through(content, identity)[:, :4], (9, 9, 9, 0), 0)


def test_a_picture_with_nothing_to_see_is_white_for_the_model():
    content = saved(plain((10, 20, 30, 0), mode="RGBA"), "PNG")
    assert near(images.read(content, to_translate=True).pixels, 255, 0)
    assert near(through(content, identity), (10, 20, 30, 0), 0)


def test_faint_colors_which_rounding_has_made_are_not_continued():
    """Alpha 1 of a picture that was multiplied by it: any channel is 0 or 255."""
    pixels = np.full((1, 8, 3), (200, 100, 50), np.uint8)
    alpha = np.full((1, 8), 255, np.uint8)
    pixels[0, 4:], alpha[0, 4:] = (255, 0, 255), 1
    assert near(extend_colors(pixels, alpha)[:, : 4 + BAND], (200, 100, 50), 0)


@pytest.mark.parametrize("suffix", [".jpg", ".bmp"])
def test_a_format_without_alpha_gets_the_result_on_white(suffix):
    cut_out = emoji(PANDA)
    found = through(saved(cut_out, "PNG"), inverted, suffix).astype(int)
    wanted = over(through(saved(cut_out, "PNG"), inverted), "white")
    assert np.abs(found - wanted).mean() < 1.5
    assert near(found[0, :5], 255, 2)


def test_made_smaller_a_picture_keeps_the_colors_of_what_is_seen():
    """The black that lies under clear pixels is not mixed into them."""
    pixels = np.zeros((64, 64, 4), np.uint8)
    pixels[:, :33] = (200, 100, 50, 255)
    content = saved(Image.fromarray(pixels), "PNG")
    small = images.read(content, max_side=16, to_translate=True)
    assert small.alpha.shape == (16, 16)
    assert 0 < small.alpha[8, 8] < 255
    assert near(small.pixels[:, : 9 + BAND - 1], (200, 100, 50), 10)
    shrunk = images.shrink(Picture(pixels[..., :3], pixels[..., 3]), 16)
    assert np.array_equal(shrunk.alpha, small.alpha)
    assert near(shrunk.pixels[:, :9], (200, 100, 50), 10)
