"""What is read, what is refused and in which words, and what is known before pixels are decoded."""

import io
import struct
import sys
from pathlib import Path

import numpy as np
import pillow_heif
import pillow_jxl  # noqa: F401 (so that Pillow writes it)
import pytest
from pictures import plain, png, saved, scene, tiff
from PIL import Image

from img2img import formats, images
from img2img.errors import DataError
from img2img.files import PICTURE_SUFFIXES
from img2img.images import Picture, TooLarge
from img2img.jxl import read_jxl_header

pillow_heif.register_heif_opener(thumbnails=False)

ORIENTATION = 0x0112
PHOTO = next((Path(__file__).parent / "data" / "photos").glob("*.jpg"))


def turned(orientation: int = 6) -> bytes:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    return exif.tobytes()


def close(pixels: np.ndarray, expected: np.ndarray, tolerance: float = 4) -> bool:
    return np.abs(pixels.astype(int) - expected).mean() < tolerance


# --- formats --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("AVIF", {"quality": 100, "subsampling": "4:4:4"}),
        ("JPEG2000", {}),
        ("JPEG2000", {"no_jp2": True}),
        ("PPM", {}),
        ("HEIF", {"quality": 100, "chroma": 444}),
        ("JXL", {"lossless": True}),
    ],
)
def test_modern_and_plain_formats_are_read(tmp_path, kind, options):
    content = saved(Image.fromarray(scene()), kind, **options)
    (tmp_path / "a").write_bytes(content)
    for source in (content, tmp_path / "a"):
        picture = images.read(source, to_translate=True)
        assert close(picture.pixels, scene())
        assert picture.notes == ()
        with images.open_header(source) as image:
            assert image.size == (30, 20)


@pytest.mark.parametrize("kind", ["AVIF", "HEIF"])
def test_the_orientation_of_modern_formats_is_applied_once(kind):
    content = saved(Image.fromarray(scene()), kind, exif=turned(), quality=100)
    assert close(images.read(content).pixels, np.rot90(scene(), -1))


def test_of_jpeg_xl_the_orientation_of_the_codestream_counts():
    """ISO/IEC 18181-2: what EXIF says of it is not looked at."""
    content = saved(Image.fromarray(scene()), "JXL", exif=turned(), lossless=True)
    assert np.array_equal(images.read(content).pixels, scene())


def test_a_jpeg_within_a_jpeg_xl_is_turned(tmp_path):
    path = tmp_path / "a.jpg"
    Image.fromarray(scene()).save(path, exif=turned(), quality=98)
    with Image.open(path) as image:
        content = saved(image, "JXL", lossless_jpeg=True)
    assert close(images.read(content).pixels, np.rot90(scene(), -1))


@pytest.mark.parametrize("kind", ["AVIF", "HEIF", "JXL"])
def test_alpha_of_modern_formats_is_kept(kind):
    image = plain((200, 100, 50, 255), (32, 32), "RGBA")
    image.paste((200, 100, 50, 128), (16, 0, 32, 32))
    options = {"lossless": True} if kind == "JXL" else {"quality": 100}
    picture = images.read(saved(image, kind, **options), to_translate=True)
    assert abs(int(picture.alpha[16, 8]) - 255) <= 1
    assert abs(int(picture.alpha[16, 24]) - 128) <= 2
    assert close(picture.pixels, np.array((200, 100, 50)))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"P5 3 1 255\n" + bytes([0, 128, 255]), [0, 128, 255]),
        (b"P5 3 1 65535\n" + struct.pack(">3H", 0, 128 * 257, 65535), [0, 128, 255]),
        (b"P5 3 1 1023\n" + struct.pack(">3H", 0, 512, 1023), [0, 128, 255]),
        (b"P5 3 1 15\n" + bytes([0, 8, 15]), [0, 136, 255]),
        (b"P2\n# words\n3 1 255\n0 128 255", [0, 128, 255]),
        (b"P4 3 1\n" + bytes([0b01000000]), [255, 0, 255]),
        (b"P6 1 1 255\n" + bytes([1, 2, 3]), [1, 2, 3]),
        (b"P6 1 1 65535\n" + struct.pack(">3H", 257, 514, 771), [1, 2, 3]),
        (b"P6 1 1 1023\n" + struct.pack(">3H", 0, 512, 1023), [0, 128, 255]),
        (b"P3 1 1 1023 0 512 1023", [0, 128, 255]),
    ],
)
def test_every_depth_of_pnm_is_scaled(content, expected):
    channels = 3 if content[:2] in (b"P3", b"P6") else 1
    assert images.read(content, channels).pixels.ravel().tolist() == expected


@pytest.mark.parametrize("largest", [255, 1023, 65535])
def test_a_pnm_of_which_pixels_are_missing_is_refused(largest):
    content = b"P6 9 9 %d\n" % largest + bytes(100)
    with pytest.raises(DataError, match=r"is truncated|can't be decoded"):
        images.read(content)


def test_sixteen_bits_of_jpeg_2000_are_scaled():
    levels = np.array([[0, 257, 128 * 257, 65535]], np.uint16).repeat(8, 0).repeat(8, 1)
    content = saved(Image.fromarray(levels), "JPEG2000", irreversible=False)
    assert images.read(content, 1).pixels[4, 4::8, 0].tolist() == [0, 1, 128, 255]


@pytest.mark.parametrize("suffix", sorted(PICTURE_SUFFIXES))
def test_every_suffix_that_is_read_has_a_format_of_pillows(suffix):
    Image.init()
    assert Image.registered_extensions()[suffix] in (*formats.FORMATS, *formats.OPTIONAL)


def test_avif_is_written():
    for quality in (None, 100):
        again = images.read(images.encode(Picture(scene()), ".avif", quality))
        assert close(again.pixels, scene())
    small, large = (images.encode(Picture(scene()), ".avif", quality) for quality in (10, 100))
    assert len(small) < len(large)


@pytest.mark.parametrize(
    ("kind", "package", "name", "extra"),
    [("HEIF", "pillow_heif", "HEIC", "formats"), ("JXL", "pillow_jxl", "JPEG XL", "jxl")],
)
def test_a_missing_decoder_is_named_with_the_line_that_installs_it(
    tmp_path, monkeypatch, kind, package, name, extra
):
    path = tmp_path / "photo.any"
    path.write_bytes(saved(plain(), kind))
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(DataError) as caught:
        images.read(path)
    assert str(caught.value).startswith(f"{path}: {name} needs another package. ")
    assert f"pip install 'img2img-gan[{extra}]'" in str(caught.value)


# --- words ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bands", "dtype", "words"),
    [
        (8, "u1", "a TIFF of 8 bands of uint8 pixels, which is not a photograph"),
        (2, "u2", "a TIFF of 2 bands of uint16 pixels"),
        (5, "u2", "a TIFF of 5 bands of uint16 pixels"),
        (3, "f4", "a TIFF of 3 bands of float32 pixels"),
        (3, "i2", "a TIFF of 3 bands of int16 pixels"),
        (1, "f2", "a TIFF of 1 band of float16 pixels"),
        (12, "f8", "a TIFF of 12 bands of float64 pixels"),
    ],
)
def test_a_tiff_that_is_no_photograph_is_described(tmp_path, bands, dtype, words):
    path = tmp_path / "a.tif"
    path.write_bytes(tiff(bands, dtype))
    for source in (path, path.read_bytes()):
        with pytest.raises(DataError) as caught:
            images.read(source)
        assert words in str(caught.value)
        assert "convert it to 8-bit RGB or grey first" in str(caught.value)
        assert "format other than" not in str(caught.value)


@pytest.mark.parametrize(("bands", "dtype"), [(1, "u1"), (3, "u1"), (1, "u2"), (3, "u2")])
def test_the_same_tiff_of_usual_bands_is_read(bands, dtype):
    assert images.read(tiff(bands, dtype)).pixels.shape == (3, 4, 3)


def test_bands_that_are_neither_color_nor_alpha_are_noted():
    for bands in (4, 5):
        picture = images.read(tiff(bands, "u1"))
        assert picture.alpha is None
        assert picture.notes == ("bands that are neither color nor alpha are left out",)


def test_a_tiff_of_tifffiles_is_described(tmp_path):
    tifffile = pytest.importorskip("tifffile")
    for number, options in enumerate([{"bigtiff": True}, {"byteorder": ">"}, {"tile": (16, 16)}]):
        path = tmp_path / f"{number}.tif"
        tifffile.imwrite(path, np.ones((20, 30, 3), np.float32), photometric="rgb", **options)
        with pytest.raises(DataError, match="a TIFF of 3 bands of float32 pixels"):
            images.read(path)


def test_hostile_bytes_of_a_tiff_are_no_picture():
    for content in (b"II*\0", b"II*\0\xff\xff\xff\xff", b"MM\0*\0\0\0\x08\xff\xff" + bytes(99)):
        with pytest.raises(DataError, match="format other than"):
            images.read(content)


# --- what is checked before pixels are decoded ------------------------------------------------


def test_the_size_of_the_codestream_counts_in_a_jpeg_2000():
    """Pillow takes the size from the file's header, OpenJPEG from the codestream."""
    content = bytearray(saved(Image.fromarray(scene()), "JPEG2000"))
    at = content.index(b"\xff\x4f\xff\x51")
    content[at + 8 : at + 16] = struct.pack(">II", 60_000, 60_000)
    with pytest.raises(TooLarge, match="60000x60000 is more than"):
        images.read(bytes(content))
    content[at + 8 : at + 16] = struct.pack(">II", 30, 20)
    content[at + 40 : at + 42] = struct.pack(">H", 16_000)
    with pytest.raises(DataError, match="16000 bands"):
        images.read(bytes(content))


@pytest.mark.parametrize("kind", ["AVIF", "HEIF", "JPEG2000", "PPM", "JXL"])
def test_the_limit_of_pixels_holds_for_every_format(tmp_path, kind):
    content = saved(plain(size=(64, 64)), kind)
    (tmp_path / "a").write_bytes(content)
    for source in (content, tmp_path / "a"):
        assert images.read(source, max_pixels=64 * 64).pixels.shape == (64, 64, 3)
        with pytest.raises(TooLarge, match="64x64 is more than the limit of 4,095 pixels"):
            images.read(source, max_pixels=64 * 64 - 1)


def codestream(content: bytes) -> bytes:
    if content[:2] == b"\xff\x0a":
        return content
    boxes = dict(formats._boxes(content))
    return boxes.get(b"jxlc") or boxes[b"jxlp"][4:]


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "I;16"])
@pytest.mark.parametrize("size", [(1, 1), (30, 20), (64, 64), (640, 480), (1920, 1080), (9, 4000)])
def test_the_header_of_a_jpeg_xl_is_read(size, mode):
    header = read_jxl_header(codestream(saved(Image.new(mode, size), "JXL", lossless=True)))
    assert (header.width, header.height) == size
    assert header.extra_channels == (mode in ("LA", "RGBA"))
    assert not header.animated


def bits(*fields: tuple[int, int]) -> bytes:
    """(value, width) ... after each other, the lowest bit first."""
    value = sum(number << sum(w for _, w in fields[:i]) for i, (number, _) in enumerate(fields))
    return b"\xff\x0a" + value.to_bytes(64, "little")


EIGHT_BY_EIGHT = ((1, 1), (0, 5), (1, 3))  # eighths, height, square


def test_what_a_hostile_jpeg_xl_says_of_itself_is_read_before_it_is_decoded(monkeypatch):
    monkeypatch.setattr(Image, "open", lambda *a, **b: pytest.fail("decoded"))
    moving = (*EIGHT_BY_EIGHT, (0, 1), (1, 1), (0, 3), (0, 1), (0, 1), (1, 1))
    with pytest.raises(DataError, match="an animated JPEG XL"):
        images.read(bits(*moving))
    # 8 bits, then 4,096 channels more.
    many = (*EIGHT_BY_EIGHT, (0, 1), (0, 1), (0, 1), (0, 2), (1, 1), (3, 2), (4095, 12))
    with pytest.raises(DataError, match="4096 channels beside"):
        images.read(bits(*many))
    large = ((0, 1), (3, 2), (2**30 - 1, 30), (1, 3))
    with pytest.raises(TooLarge, match="1073741824x1073741824"):
        images.read(bits(*large))
    with pytest.raises(DataError, match="header can't be read"):
        images.read(b"\xff\x0a")


def test_what_is_made_smaller_is_limited_as_it_is_where_it_has_no_fraction(monkeypatch):
    content = saved(plain(size=(64, 64)), "JXL")
    monkeypatch.setattr(Image, "open", lambda *a, **b: pytest.fail("decoded"))
    with pytest.raises(TooLarge):
        images.read(content, max_pixels=1000, max_side=8)


def test_jpeg_xl_whose_decoder_can_not_be_bounded_is_no_servers():
    with pytest.raises(DataError, match="JPEG XL is not accepted here"):
        images.require_bounded(saved(plain(), "JXL"))
    for kind in ("PNG", "HEIF", "AVIF", "JPEG2000"):
        images.require_bounded(saved(plain(), kind))


# --- lossless WebP --------------------------------------------------------------------------


def webp(**options) -> bytes:
    return saved(Image.fromarray(noise()), "WEBP", **options)


def noise(channels: int = 3) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (20, 30, channels), np.uint8)


def test_a_lossless_webp_comes_back_lossless():
    picture = images.read(webp(lossless=True), to_translate=True)
    again = images.read(images.encode(picture.translated(picture.pixels), ".webp"))
    assert np.array_equal(again.pixels, noise())


def test_a_lossless_webp_is_lossy_where_a_quality_is_asked_for():
    picture = images.read(webp(lossless=True), to_translate=True)
    assert not formats.is_lossless_webp(images.encode(picture, ".webp", 50))


def test_quality_100_is_lossless_webp():
    again = images.read(images.encode(Picture(noise()), ".webp", 100))
    assert np.array_equal(again.pixels, noise())
    assert not formats.is_lossless_webp(images.encode(Picture(noise()), ".webp"))


def test_lossless_webp_is_recognised_in_every_kind_of_file():
    more = [Image.fromarray(255 - noise())]
    exif = turned(1)
    for lossless in (True, False):
        for options in ({}, {"exif": exif}, {"save_all": True, "append_images": more}):
            assert formats.is_lossless_webp(webp(lossless=lossless, **options)) == lossless
    clear = Image.fromarray(noise(4))
    assert formats.is_lossless_webp(saved(clear, "WEBP", lossless=True))
    assert not formats.is_lossless_webp(saved(clear, "WEBP"))
    assert not formats.is_lossless_webp(saved(clear, "PNG"))
    for hostile in (b"RIFF\0\0\0\0WEBP", b"RIFF\0\0\0\0WEBPJUNK\0\0\0\0" * 9):
        assert not formats.is_lossless_webp(hostile)


# --- large JPEGs, at a fraction of their size -------------------------------------------------


def photo(width: int, **options) -> bytes:
    """A real photograph, enlarged; as a camera's, with detail of its own."""
    image = Image.open(PHOTO).convert("RGB")
    height = round(width * image.height / image.width)
    large = np.asarray(image.resize((width, height), Image.Resampling.BICUBIC)).astype(int)
    grain = np.random.default_rng(0).normal(0, 6, large.shape)
    pixels = (large + grain).clip(0, 255).astype(np.uint8)
    return saved(Image.fromarray(pixels), "JPEG", quality=92, **options)


def psnr(one: np.ndarray, other: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / max(1e-9, np.mean((one.astype(float) - other) ** 2))))


@pytest.mark.parametrize("side", [75, 150, 250, 400, 600])
def test_a_jpeg_decoded_at_a_fraction_looks_as_if_it_were_decoded_whole(side):
    content = photo(1280)
    whole = images.shrink(images.read(content), side)
    drafted = images.read(content, max_side=side)
    assert drafted.pixels.shape == whole.pixels.shape
    assert drafted.notes == whole.notes
    assert psnr(drafted.pixels, whole.pixels) > 39
    # Where there is no room for one of twice the size.
    small = images.read(content, max_pixels=1280 * 852 // 2, max_side=side)
    assert small.pixels.shape == whole.pixels.shape
    assert psnr(small.pixels, whole.pixels) > 38


@pytest.mark.parametrize("orientation", [3, 6])
def test_a_fraction_is_turned_as_the_whole_is(orientation):
    content = photo(800, exif=turned(orientation))
    whole = images.shrink(images.read(content), 200)
    drafted = images.read(content, max_side=200)
    assert drafted.pixels.shape == whole.pixels.shape
    assert drafted.notes == whole.notes
    assert psnr(drafted.pixels, whole.pixels) > 38


def test_of_a_large_jpeg_the_fraction_that_is_decoded_is_limited():
    content = photo(1280)
    with pytest.raises(TooLarge):
        images.read(content, max_pixels=300_000)
    assert max(images.read(content, max_pixels=300_000, max_side=600).pixels.shape) == 600
    with pytest.raises(TooLarge):
        images.read(content, max_pixels=300_000, max_side=700)  # can't be decoded any smaller


@pytest.mark.parametrize("kind", ["grey", "CMYK", "MPO"])
def test_jpegs_of_every_kind_are_decoded_at_a_fraction(kind):
    image = Image.open(io.BytesIO(photo(800)))
    if kind == "MPO":
        content = saved(image, "MPO", save_all=True, append_images=[image])
    else:
        content = saved(image.convert({"grey": "L"}.get(kind, kind)), "JPEG", quality=95)
    whole = images.shrink(images.read(content), 300)
    assert psnr(images.read(content, max_pixels=200_000, max_side=300).pixels, whole.pixels) > 36


def test_a_progressive_jpeg_is_limited_by_its_whole_size():
    """Its decoder holds all of it, whatever the fraction."""
    content = photo(1280, progressive=True)
    assert max(images.read(content, max_side=600).pixels.shape) == 600
    with pytest.raises(TooLarge, match="1280x"):
        images.read(content, max_pixels=300_000, max_side=600)


def test_a_progressive_jpeg_of_one_scan_and_another_of_several_are_limited_alike(monkeypatch):
    content = photo(1280, progressive=True)
    second = content.index(b"\xff\xda", content.index(b"\xff\xda") + 2)
    with pytest.raises(TooLarge, match="1280x"):
        images.read(content[:second] + b"\xff\xd9", max_pixels=300_000, max_side=600)
    monkeypatch.setattr(formats, "jpeg_scans", lambda jpeg: 3)  # of a baseline JPEG, a color each
    with pytest.raises(TooLarge, match="1280x"):
        images.read(photo(1280), max_pixels=300_000, max_side=600)


def test_no_jpeg_is_decoded_at_a_fraction_without_limit(monkeypatch):
    monkeypatch.setattr(formats, "MAX_DRAFTED", 500_000)
    with pytest.raises(TooLarge, match="more than the limit of 500,000"):
        images.read(photo(1280), max_pixels=300_000, max_side=100)


def test_a_narrow_panorama_keeps_a_pixel_of_its_short_side():
    content = saved(plain(size=(4000, 3)), "JPEG")
    assert images.read(content, max_side=64).pixels.shape == (1, 64, 3)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_pictures_of_other_formats_are_made_smaller_after_they_are_decoded(channels):
    content = png(np.full((40, 80), 77), 0, 8)
    picture = images.read(content, channels, max_side=20)
    assert picture.pixels.shape == (10, 20, channels)
    assert picture.notes == ("made smaller, from 80x40",)
    small = images.read(content, channels, max_side=80)
    assert small.notes == ()


def test_a_server_refuses_a_large_jpeg_of_many_scans():
    """As many as any encoder writes are accepted, and more of a small picture."""
    photo = saved(plain(size=(5000, 5000)), "JPEG", progressive=True)
    start, end = photo[: photo.rindex(b"\xff\xd9")], b"\xff\xd9"
    scan = start[start.rindex(b"\xff\xda") :]
    images.require_bounded(start + scan * (24 - formats.jpeg_scans(photo)) + end)
    with pytest.raises(DataError, match="JPEG of 5000x5000 and 25 scans takes too long to decode"):
        images.require_bounded(start + scan * (25 - formats.jpeg_scans(photo)) + end)
    small = saved(plain(size=(500, 500)), "JPEG", progressive=True)
    start = small[: small.rindex(b"\xff\xd9")]
    images.require_bounded(start + start[start.rindex(b"\xff\xda") :] * 60 + end)


def tiff_of(jpeg: bytes, side: int, compression: int = 7, strips: int = 1) -> bytes:
    """A TIFF whose strips are this JPEG; of several, each begins a byte after the one before."""
    rows, at = -(-side // strips), 8 + len(jpeg)
    listed = [8 + n for n in range(strips)] + [len(jpeg)] * strips
    places, sizes = (at, at + 4 * strips) if strips > 1 else listed
    fields = [(256, 4, 1, side), (257, 4, 1, side), (258, 3, 1, 8), (259, 3, 1, compression)]
    fields += [(262, 3, 1, 1), (273, 4, strips, places), (277, 3, 1, 1), (278, 4, 1, rows)]
    entries = b"".join(struct.pack("<HHLL", *each) for each in [*fields, (279, 4, strips, sizes)])
    directory = struct.pack("<H", len(fields) + 1) + entries + bytes(4)
    start = b"II*\0" + struct.pack("<L", at + 8 * strips) + jpeg
    return start + struct.pack(f"<{2 * strips}L", *listed) + directory


def gray_jpeg(side: int, scans: int) -> bytes:
    """A progressive JPEG with further scans like its last one."""
    photo = saved(plain(size=(side, side)).convert("L"), "JPEG", progressive=True)
    start = photo[: photo.rindex(b"\xff\xd9")]
    scan = start[start.rindex(b"\xff\xda") :]
    return start + scan * (scans - formats.jpeg_scans(photo)) + b"\xff\xd9"


def test_the_scans_of_a_jpeg_in_a_tiff_count_too():
    few, many = gray_jpeg(500, 60), gray_jpeg(500, 101)
    images.require_bounded(tiff_of(few, 500))
    assert images.read(tiff_of(few, 500)).pixels.shape == (500, 500, 3)
    with pytest.raises(DataError, match="more than 100 scans would take too long"):
        images.read(tiff_of(many, 500))
    with pytest.raises(DataError, match="JPEG of 5000x5000 and 25 scans takes too long"):
        images.require_bounded(tiff_of(gray_jpeg(5000, 25), 5000))
    with pytest.raises(DataError, match="more than 100 scans"):  # of the older kind
        images.read(tiff_of(many, 500, compression=6))
    with pytest.raises(DataError, match="more than 100 scans"):  # strips that overlap
        images.read(tiff_of(few, 500, strips=100))
