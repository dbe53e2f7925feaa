"""Decoding strangers' pictures into upright sRGB arrays, and encoding arrays into files."""

import io
import struct
import zlib

import numpy as np
import pytest
from pictures import near, plain, saved, scene
from PIL import Image, ImageCms, TiffImagePlugin

from img2img import images
from img2img.errors import DataError
from img2img.images import Metadata, Picture, contact_sheet, encode, read, resize

ARTIST, ORIENTATION = 0x013B, 0x0112
RED, BLUE, WHITE = (255, 0, 0), (0, 0, 255), (255, 255, 255)


def tiff_of(tag: int, value: str | int) -> bytes:
    """EXIF of one tag, as text or as a signed number."""
    kind, content = (2, value.encode() + b"\0") if isinstance(value, str) else (9, b"")
    small = content.ljust(4, b"\0") if content else struct.pack("<i", value)
    place = struct.pack("<I", 26) if len(small) > 4 else small
    entry = struct.pack("<HHI", tag, kind, len(content) or 1) + place
    return b"II*\0\x08\0\0\0\x01\0" + entry + bytes(4) + (small if len(small) > 4 else b"")


# --- colour ---------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bit_grey_is_scaled_not_saturated(kind):
    levels = np.array([[0, 257, 128 * 257, 200 * 257, 65535]], np.uint16)
    picture = read(saved(Image.fromarray(levels), kind))
    assert picture.pixels.dtype == np.uint8
    assert picture.pixels[0, :, 0].tolist() == [0, 1, 128, 200, 255]
    assert (picture.pixels == picture.pixels[..., :1]).all()


def test_big_endian_sixteen_bit_grey_is_scaled():
    levels = np.array([[0, 64 * 257, 65535, 128 * 257]], ">u2")
    image = Image.frombytes("I;16B", (4, 1), levels.tobytes())
    assert read(saved(image, "TIFF"), channels=1).pixels[0, :, 0].tolist() == [0, 64, 255, 128]


def test_sixteen_bit_grey_rounds_to_the_nearest_level():
    levels = np.array([[128, 129, 65535 - 128, 65535 - 129]], np.uint16)
    pixels = read(saved(Image.fromarray(levels), "PNG"), channels=1).pixels
    assert pixels[0, :, 0].tolist() == [0, 1, 255, 254]


@pytest.mark.parametrize("dtype", [np.float32, np.int32])
def test_pixels_of_unknown_range_are_refused_by_name(tmp_path, dtype):
    path = tmp_path / "depth.tif"
    Image.fromarray(np.array([[-7, 100_000]], dtype)).save(path)
    with pytest.raises(DataError, match="of an unknown range") as caught:
        read(path)
    assert str(caught.value).startswith(str(path))


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_cmyk_becomes_rgb(kind):
    options = {"quality": 100} if kind == "JPEG" else {}
    picture = read(saved(plain((0, 255, 255, 0), mode="CMYK"), kind, **options))
    assert picture.pixels.shape == (16, 16, 3)
    assert near(picture.pixels, RED)


def test_lab_becomes_rgb():
    grey = read(saved(plain((128, 128, 128), mode="LAB"), "TIFF")).pixels
    assert grey.shape == (16, 16, 3)
    assert np.ptp(grey.astype(int)) <= 4
    assert 100 < grey.mean() < 140


def red_and_green_swapped() -> bytes:
    """sRGB's own profile with the first two primaries exchanged."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    count = struct.unpack(">I", profile[128:132])[0]
    table, rest = profile[132 : 132 + 12 * count], profile[132 + 12 * count :]
    table = table.replace(b"rXYZ", b"????").replace(b"gXYZ", b"rXYZ").replace(b"????", b"gXYZ")
    return profile[:132] + table + rest


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF"])
def test_an_embedded_profile_is_converted_to_srgb(kind):
    options = {"quality": 100} if kind in ("JPEG", "WEBP") else {}
    content = saved(plain(RED), kind, icc_profile=red_and_green_swapped(), **options)
    picture = read(content)
    assert near(picture.pixels, (0, 255, 0), 12)
    assert not picture.notes


def test_a_profile_leaves_the_alpha_channel_alone():
    image = plain((255, 0, 0, 77), mode="RGBA")
    picture = read(saved(image, "PNG", icc_profile=red_and_green_swapped()), channels=4)
    assert near(picture.pixels, (0, 255, 0, 77))


def test_the_srgb_profile_changes_nothing():
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    content = saved(Image.fromarray(scene()), "PNG", icc_profile=profile)
    assert (np.abs(read(content).pixels.astype(int) - scene()) <= 1).all()


def test_an_unusable_profile_is_noted_and_the_picture_read():
    picture = read(saved(Image.fromarray(scene()), "PNG", icc_profile=b"not a profile"))
    assert (picture.pixels == scene()).all()
    assert any("profile" in note for note in picture.notes)


def test_a_profile_of_another_colour_space_is_noted_and_the_picture_read():
    rgb_profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    cmyk = plain((0, 255, 255, 0), mode="CMYK")
    picture = read(saved(cmyk, "TIFF", icc_profile=rgb_profile))
    assert near(picture.pixels, RED)
    assert any("profile" in note for note in picture.notes)


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_any_mode_gives_the_channels_asked_for(mode, channels):
    content = saved(Image.fromarray(scene()).convert(mode), "PNG")
    pixels = read(content, channels).pixels
    assert pixels.shape == (20, 30, channels)
    assert pixels.dtype == np.uint8
    if channels == 4:
        assert (pixels[..., 3] == 255).all()


def test_black_and_white_uses_the_whole_range():
    half = np.zeros((4, 4), bool)
    half[:, 2:] = True
    pixels = read(saved(Image.fromarray(half), "PNG"), channels=1).pixels
    assert (pixels[..., 0] == half * 255).all()


# --- transparency ---------------------------------------------------------------------------


def half_transparent(mode: str) -> bytes:
    """Left half opaque and dark, right half transparent, over black."""
    if mode == "RGBA":
        image = plain((40, 40, 40, 255), mode="RGBA")
        image.paste((0, 0, 0, 0), (8, 0, 16, 16))
        return saved(image, "PNG")
    if mode == "LA":
        image = plain((40, 255), mode="LA")
        image.paste((0, 0), (8, 0, 16, 16))
        return saved(image, "PNG")
    image = plain(40, mode="L")
    image.paste(0, (8, 0, 16, 16))
    if mode in ("P", "GIF"):
        indices = image.point(lambda level: int(level > 0))
        indices = indices.convert("P")
        indices.putpalette([0, 0, 0, 40, 40, 40])
        return saved(indices, "GIF" if mode == "GIF" else "PNG", transparency=0)
    if mode == "RGB":
        return saved(image.convert("RGB"), "PNG", transparency=(0, 0, 0))
    return saved(image, "PNG", transparency=0)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "GIF", "L", "RGB"])
def test_transparency_of_every_kind_is_kept_and_blended_with_white(mode):
    picture = read(half_transparent(mode))
    assert picture.alpha is not None
    assert (picture.alpha[:, :8] == 255).all()
    assert (picture.alpha[:, 8:] == 0).all()
    assert near(picture.pixels[:, :8], (40, 40, 40), 0)
    assert near(picture.pixels[:, 8:], WHITE, 0)


def test_palette_entries_of_partial_transparency_are_kept():
    image = Image.new("P", (2, 1))
    image.putpalette([0, 0, 0, 200, 100, 50])
    image.putdata([0, 1])
    picture = read(saved(image, "PNG", transparency=bytes([128, 255])))
    assert picture.alpha.tolist() == [[128, 255]]
    assert near(picture.pixels[0, 0], (127, 127, 127), 1)
    assert near(picture.pixels[0, 1], (200, 100, 50), 0)


def test_an_alpha_channel_that_hides_nothing_is_dropped():
    assert read(saved(plain((9, 8, 7, 255), mode="RGBA"), "PNG")).alpha is None


def test_four_channels_keep_colour_and_alpha_unblended():
    pixels = read(saved(plain((10, 20, 30, 0), mode="RGBA"), "PNG"), channels=4).pixels
    assert near(pixels, (10, 20, 30, 0), 0)


def test_a_grey_model_sees_transparency_as_white():
    picture = read(half_transparent("RGBA"), channels=1)
    assert near(picture.pixels[:, 8:, 0], 255, 0)


# --- orientation and metadata ---------------------------------------------------------------

TURNS = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a.transpose(1, 0, 2)[::-1, ::-1],
    8: lambda a: np.rot90(a, 1),
}


def with_exif(orientation: int | None = None) -> Image.Exif:
    exif = Image.Exif()
    exif[ARTIST] = "Ada"
    if orientation:
        exif[ORIENTATION] = orientation
    return exif


@pytest.mark.parametrize("orientation", TURNS)
def test_every_exif_orientation_is_applied(orientation):
    content = saved(Image.fromarray(scene()), "PNG", exif=with_exif(orientation))
    assert np.array_equal(read(content).pixels, TURNS[orientation](scene()))


@pytest.mark.parametrize("kind", ["JPEG", "TIFF", "WEBP"])
def test_orientation_is_applied_in_every_format_that_has_it(kind):
    options = {"quality": 100} if kind != "TIFF" else {}
    content = saved(Image.fromarray(scene()), kind, exif=with_exif(6), **options)
    pixels = read(content).pixels.astype(int)
    assert pixels.shape == (30, 20, 3)
    assert np.abs(pixels - TURNS[6](scene())).mean() < 4


def test_alpha_turns_with_the_picture():
    rgba = np.dstack([scene(), scene()[..., 0]])
    content = saved(Image.fromarray(rgba), "PNG", exif=with_exif(8))
    assert np.array_equal(read(content).alpha, np.rot90(rgba[..., 3], 1))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_exif_is_kept_without_the_orientation(kind):
    picture = read(saved(Image.fromarray(scene()), kind, exif=with_exif(6)), to_translate=True)
    assert picture.metadata.exif is not None
    exif = Image.Exif()
    exif.load(picture.metadata.exif)
    assert exif[ARTIST] == "Ada"
    assert ORIENTATION not in exif


def test_without_metadata_there_is_none():
    assert read(saved(plain(), "JPEG"), to_translate=True).metadata.exif is None


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_broken_exif_does_not_cost_the_picture(kind):
    options = {"lossless": True} if kind == "WEBP" else {}
    broken = b"Exif\x00\x00MM\x00*\xff\xff\xff\xffnonsense"
    assert read(saved(plain(), kind, exif=broken, **options)).pixels.shape == (16, 16, 3)


@pytest.mark.parametrize(
    ("tag", "value"), [(0x0100, "wide"), (0x011A, "sharp"), (ORIENTATION, "up"), (0x0100, -1)]
)
def test_odd_exif_does_not_cost_the_picture(tag, value):
    exif = b"Exif\0\0" + tiff_of(tag, value)
    picture = read(saved(plain(), "JPEG", exif=exif))
    assert picture.pixels.shape == (16, 16, 3)


def test_exif_too_long_for_a_jpeg_is_left_out():
    exif = Image.Exif()
    exif[ARTIST] = "a" * 70_000
    picture = read(saved(plain(), "PNG", exif=exif.tobytes()), to_translate=True)
    assert len(picture.metadata.exif) > 70_000
    assert read(encode(picture, ".jpg"), to_translate=True).metadata.exif is None
    assert images.left_out(picture, ".jpg") == ("the EXIF is left out, for which JPEG has no room",)
    assert read(encode(picture, ".png"), to_translate=True).metadata == picture.metadata
    assert images.left_out(picture, ".png") == ()


def test_the_film_behind_a_phones_picture_is_not_counted(tmp_path):
    photo = saved(plain(), "JPEG", progressive=True) + b"\xff\xda" * 1000
    assert read(photo).pixels.shape == (16, 16, 3)
    start, end = photo[: photo.rindex(b"\xff\xd9")], b"\xff\xd9"
    scan = start[start.rindex(b"\xff\xda") :]
    bomb = start + scan * 100 + end
    # A marker without a length, by which a walk that took it for one would pass over the scans.
    hidden = start + b"\xff\x01\xff\xff" + scan * 100 + end
    (tmp_path / "bomb.jpg").write_bytes(bomb)
    for source in (bomb, hidden, start + b"\xff\xe0\x00\x02" * 20_000, tmp_path / "bomb.jpg"):
        with pytest.raises(DataError, match="more than 100 scans"):
            read(source)


# --- animation ------------------------------------------------------------------------------


def test_pages_are_not_counted(monkeypatch):
    """Pillow counts a TIFF's by reading all, in time that grows with their square."""
    content = saved(plain(), "TIFF", save_all=True, append_images=[plain()] * 3)
    count = property(lambda _: pytest.fail("counted"))
    monkeypatch.setattr(TiffImagePlugin.TiffImageFile, "n_frames", count)
    assert "first frame" in read(content).notes[0]


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_of_an_animation_the_first_frame_is_read_and_noted(kind):
    options = {"lossless": True} if kind == "WEBP" else {}
    content = saved(plain(RED), kind, save_all=True, append_images=[plain(BLUE)], **options)
    picture = read(content)
    assert near(picture.pixels, RED, 0)
    assert any("first frame" in note for note in picture.notes)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF", "JPEG", "BMP"])
def test_a_still_picture_has_no_note(kind):
    assert read(saved(plain(), kind)).notes == ()


def test_a_phone_picture_with_a_second_view_is_no_animation():
    content = saved(plain(RED), "MPO", save_all=True, append_images=[plain(BLUE)])
    picture = read(content)
    assert near(picture.pixels, RED)
    assert picture.notes == ()


# --- what is refused ------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF"])
def test_a_truncated_file_is_refused(tmp_path, kind):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    content = saved(Image.fromarray(noise), kind)
    path = tmp_path / f"half.{kind.lower()}"
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError) as caught:
        read(path)
    assert str(caught.value).startswith(str(path))


def test_a_file_with_a_few_bytes_missing_at_the_end_of_its_pixels_is_refused():
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    content = saved(Image.fromarray(noise), "PNG")
    with pytest.raises(DataError):
        read(content[:-40])


@pytest.mark.parametrize("content", [b"", b"hello", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"])
def test_what_is_no_picture_is_refused(tmp_path, content):
    path = tmp_path / "words.png"
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        read(path)
    assert str(caught.value).startswith(str(path))


@pytest.mark.parametrize("kind", ["EPS", "ICO", "TGA", "PCX", "PDF", "DDS", "SGI"])
def test_a_format_that_is_not_allowed_is_refused_whatever_its_name(tmp_path, kind):
    path = tmp_path / "picture.png"
    path.write_bytes(saved(plain(), kind))
    with pytest.raises(DataError, match="format other than JPEG, PNG"):
        read(path)


def test_a_missing_file_and_a_folder_are_refused_by_name(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        read(tmp_path / "none.png")
    with pytest.raises(DataError) as caught:
        read(tmp_path)
    assert str(caught.value).startswith(str(tmp_path))


def test_the_pixel_limit_is_exact():
    content = saved(plain(size=(10, 10)), "PNG")
    assert read(content, max_pixels=100).pixels.shape == (10, 10, 3)
    with pytest.raises(DataError, match="10x10 is more than the limit of 99 "):
        read(content, max_pixels=99)


def claiming(width: int, height: int) -> bytes:
    """A tiny PNG whose header claims a large picture."""
    content = bytearray(saved(plain(size=(1, 1)), "PNG"))
    content[16:24] = struct.pack(">II", width, height)
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    return bytes(content)


def test_a_decompression_bomb_is_refused_from_its_header():
    with pytest.raises(DataError, match="100000x100000 is more than the limit"):
        read(claiming(100_000, 100_000))


def test_the_callers_limit_decides_not_pillows():
    content = claiming(20_000, 10_000)  # Pillow alone would refuse it from its header
    with pytest.raises(DataError, match="can't be decoded"):  # because its pixels are missing
        read(content, max_pixels=300_000_000)


def test_open_header_does_not_decode(tmp_path):
    path = tmp_path / "large.png"
    path.write_bytes(claiming(5000, 4000))
    with images.open_header(path) as image:
        assert image.size == (5000, 4000)


# --- encode ---------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif", ".tiff", ".PNG"])
@pytest.mark.parametrize("channels", [1, 3])
def test_lossless_formats_come_back_bit_for_bit(suffix, channels):
    pixels = scene()[..., :channels]
    assert np.array_equal(read(encode(Picture(pixels), suffix), channels).pixels, pixels)


@pytest.mark.parametrize("suffix", [".jpg", ".jpeg", ".webp"])
def test_lossy_formats_come_back_close(suffix):
    pixels = read(encode(Picture(scene()), suffix)).pixels.astype(int)
    assert np.abs(pixels - scene()).mean() < 4


@pytest.mark.parametrize(
    ("suffix", "kind"),
    [(".jpg", "JPEG"), (".JPEG", "JPEG"), (".png", "PNG"), (".webp", "WEBP"), (".bmp", "BMP"),
     (".tif", "TIFF"), (".tiff", "TIFF")],
)  # fmt: skip
def test_the_suffix_decides_the_format(suffix, kind):
    assert Image.open(io.BytesIO(encode(Picture(scene()), suffix))).format == kind


@pytest.mark.parametrize("suffix", [".png", ".webp", ".tif"])
@pytest.mark.parametrize("channels", [1, 3])
def test_alpha_is_kept_where_the_format_has_it(suffix, channels):
    alpha = np.zeros((20, 30), np.uint8)
    alpha[5:15, 5:25] = 200
    again = read(encode(Picture(scene()[..., :channels], alpha), suffix), channels)
    assert np.array_equal(again.alpha, alpha)


@pytest.mark.parametrize("suffix", [".jpg", ".bmp"])
@pytest.mark.parametrize("channels", [1, 3])
def test_what_is_transparent_is_white_where_the_format_has_no_alpha(suffix, channels):
    alpha = np.zeros((20, 30), np.uint8)
    alpha[:, 10:20], alpha[:, 20:] = 128, 255
    pixels = scene()[..., :channels]
    again = read(encode(Picture(pixels, alpha), suffix, 100), channels)
    assert again.alpha is None
    assert near(again.pixels[:, :8], 255)
    blended = (pixels.astype(int) * 128 + 255 * 127) // 255
    assert near(again.pixels[:, 12:18], blended[:, 12:18], 6)
    assert np.abs(again.pixels.astype(int) - pixels)[:, 22:].mean() < 4


@pytest.mark.parametrize("suffix", [".jpg", ".bmp"])
def test_four_channels_are_blended_with_white_where_the_format_has_no_alpha(suffix):
    clear = np.zeros((16, 16, 4), np.uint8)
    assert near(read(encode(Picture(clear), suffix)).pixels, WHITE)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp"])
def test_exif_is_passed_on(suffix):
    content = encode(Picture(scene(), metadata=Metadata(with_exif().tobytes())), suffix)
    assert Image.open(io.BytesIO(content)).getexif()[ARTIST] == "Ada"


def test_quality_decides_the_size_of_lossy_files():
    for suffix in (".jpg", ".webp"):
        small, large = (len(encode(Picture(scene(200, 200)), suffix, q)) for q in (30, 98))
        assert small < large


def test_jpeg_keeps_colour_at_full_resolution():
    stripes = np.zeros((16, 16, 3), np.uint8)
    stripes[:, ::2] = RED
    stripes[:, 1::2] = BLUE
    pixels = read(encode(Picture(stripes), ".jpg", 100)).pixels.astype(int)
    assert np.abs(pixels - stripes).mean() < 8  # subsampled colour would mix red and blue


# --- resize and the contact sheet -----------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_resize_keeps_the_channels(channels):
    pixels = np.full((9, 7, channels), 200, np.uint8)
    assert resize(pixels, 4, 5).shape == (5, 4, channels)
    assert (resize(pixels, 4, 5) == 200).all()


def test_resize_is_antialiased():
    board = (np.indices((64, 64)).sum(axis=0) % 2 * 255).astype(np.uint8)[..., None]
    assert near(resize(board, 8, 8), 127, 30)


def test_the_contact_sheet_shows_every_cell_under_its_name():
    red, blue = (np.full((10, 12, 3), colour, np.uint8) for colour in (RED, BLUE))
    grey = np.full((10, 12, 1), 77, np.uint8)
    sheet = contact_sheet({"input": [red, grey], "a very long name indeed": [blue]})
    assert sheet.dtype == np.uint8
    assert sheet.shape[-1] == 3
    for colour in (RED, BLUE, (77, 77, 77)):
        assert (sheet == np.array(colour)).all(axis=-1).sum() >= 120
