"""What a file tells of itself goes along where it is still true and there is room for it."""

import io
import struct
import zlib

import numpy as np
import pytest
from pictures import chunk, plain, png, saved, scene
from PIL import ExifTags, Image, PngImagePlugin

from img2img import images
from img2img.images import Picture
from img2img.metadata import Metadata, strip_exif

ARTIST, MODEL, ORIENTATION, X_RESOLUTION, Y_RESOLUTION = 0x013B, 0x0110, 0x0112, 0x011A, 0x011B
EXIF, GPS = 0x8769, 0x8825
XMP = (
    '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
    '<x:xmpmeta xmlns:x="adobe:ns:meta/">'
    '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    '<rdf:Description rdf:about="" xmlns:tiff="http://ns.adobe.com/tiff/1.0/" '
    'xmlns:exif="http://ns.adobe.com/exif/1.0/" xmlns:dc="http://purl.org/dc/elements/1.1/" '
    'xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmlns:other="http://ns.adobe.com/tiff/1.0/" '
    'xmlns:GCamera="http://ns.google.com/photos/1.0/camera/" '
    'tiff:Orientation="6" tiff:ImageWidth="30" exif:PixelXDimension="30" GCamera:MotionPhoto="1" '
    'xmp:Rating="4">'
    "<other:ImageLength>20</other:ImageLength>"
    "<dc:title><rdf:Alt><rdf:li>Müller &amp; Söhne</rdf:li></rdf:Alt></dc:title>"
    "<xmp:Thumbnails><rdf:Alt><rdf:li>/9j/4AAQ</rdf:li></rdf:Alt></xmp:Thumbnails>"
    "</rdf:Description></rdf:RDF></x:xmpmeta>"
    '<?xpacket end="w"?>'
).encode()


def camera_exif(orientation: int = 6, thumbnail: bytes = b"") -> bytes:
    """As a camera writes it, big-endian: settings, place, old sizes, a thumbnail."""
    exif = Image.Exif()
    exif[ARTIST], exif[MODEL], exif[ORIENTATION] = "Ada", "Box", orientation
    exif[X_RESOLUTION], exif[Y_RESOLUTION] = 300.0, 200.0
    exif[0x0100], exif[0x0101] = 30, 20
    settings = {0x829A: 0.008, 0x9003: "2020:01:01 00:00:00", 0xA002: 30, 0xA003: 20}
    exif.get_ifd(EXIF).update(settings)
    exif.get_ifd(GPS).update({1: "N", 2: (1.0, 2.0, 3.0)})
    content = exif.tobytes()
    if thumbnail:  # Pillow writes none: a directory of two entries behind the first's
        header = len(content) - 6
        [first] = struct.unpack_from(">I", content, 10)
        [count] = struct.unpack_from(">H", content, 6 + first)
        after = 6 + first + 2 + 12 * count
        content = content[:after] + struct.pack(">I", header) + content[after + 4 :]
        start = header + 2 + 24 + 4
        content += struct.pack(">H", 2) + struct.pack(">HHII", 0x0201, 4, 1, start)
        content += struct.pack(">HHII", 0x0202, 4, 1, len(thumbnail)) + bytes(4) + thumbnail
    return content


def again(content: bytes, suffix: str, **options) -> Image.Image:
    """The file, read to be translated and written by an identity."""
    picture = images.read(content, to_translate=True, **options)
    written = images.encode(picture.translated(picture.pixels), suffix)
    image = Image.open(io.BytesIO(written))
    image.load()
    return image


# --- EXIF -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "AVIF"])
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif", ".avif"])
def test_exif_goes_along_without_the_old_orientation_and_size(kind, suffix):
    image = again(saved(Image.fromarray(scene()), kind, exif=camera_exif()), suffix)
    assert image.size == (20, 30)
    exif = image.getexif()
    assert (exif[ARTIST], exif[MODEL]) == ("Ada", "Box")
    assert ORIENTATION not in exif or exif[ORIENTATION] == 1
    assert (exif.get(0x0100, 20), exif.get(0x0101, 30)) == (20, 30)  # a TIFF has its own there
    settings = exif.get_ifd(EXIF)
    assert settings[0x9003] == "2020:01:01 00:00:00"
    assert not {0xA002, 0xA003} & settings.keys()
    assert exif.get_ifd(GPS)[2] == (1.0, 2.0, 3.0)


def test_exif_of_a_tiff_goes_along_without_what_is_about_its_strips():
    content = saved(Image.fromarray(scene()), "TIFF", exif=camera_exif(1))
    exif = again(content, ".jpg").getexif()
    assert (exif[ARTIST], exif[MODEL]) == ("Ada", "Box")
    assert exif.get_ifd(GPS)[1] == "N"
    assert not {0x0100, 0x0102, 0x0103, 0x0106, 0x0111, 0x0117} & exif.keys()


def test_the_thumbnail_which_shows_the_original_is_not_carried():
    shown = b"\xff\xd8" + b"original" * 20 + b"\xff\xd9"
    exif = camera_exif(1, shown)
    assert shown in exif
    content = saved(plain(), "JPEG", exif=exif)
    with Image.open(io.BytesIO(content)) as image:
        assert image.getexif().get_ifd(ExifTags.IFD.IFD1)[0x0202] == len(shown)  # as others see it
    picture = images.read(content, to_translate=True)
    assert b"original" not in picture.metadata.exif
    assert b"original" not in images.encode(picture, ".jpg")
    behind = strip_exif(exif + b"maker", False)
    assert b"original" not in behind
    assert behind.endswith(b"maker")


def test_texts_and_makers_notes_stay_byte_for_byte():
    exif = Image.Exif()
    exif[ARTIST] = "Jürgen".encode()
    exif.get_ifd(EXIF)[0x927C] = bytes(range(256))
    content = saved(plain(), "JPEG", exif=exif.tobytes())
    carried = images.read(content, to_translate=True).metadata.exif
    assert "Jürgen".encode() in carried
    assert bytes(range(256)) in carried
    for suffix in (".tif", ".jpg"):  # by way of a TIFF's own tags
        tiff = images.encode(images.read(content, to_translate=True), ".tif")
        picture = images.read(tiff, to_translate=True)
        assert "Jürgen".encode() in images.encode(picture, suffix)
        assert bytes(range(256)) in images.encode(picture, suffix)


def test_a_tiff_has_exif_and_xmp_at_once():
    exif = strip_exif(camera_exif(1), turned=False)
    metadata = Metadata(exif, b"<x>Ada</x>", (), (300, 200))
    written = images.encode(Picture(scene(), metadata=metadata), ".tif")
    image = Image.open(io.BytesIO(written))
    assert np.array_equal(np.asarray(image), scene())
    assert image.info["xmp"] == b"<x>Ada</x>"
    assert image.getexif()[ARTIST] == "Ada"
    assert image.getexif().get_ifd(GPS)[1] == "N"


def test_exif_that_claims_to_be_about_strips_breaks_no_tiff():
    exif = Image.Exif()
    exif[ARTIST] = "Ada"
    for tag, value in ((0x0102, 1), (0x0103, 7), (0x0115, 9), (0x0152, 1), (0x0153, 3), (317, 2)):
        exif[tag] = value
    written = images.encode(Picture(scene(), metadata=Metadata(exif.tobytes())), ".tif")
    assert np.array_equal(images.read(written).pixels, scene())


def test_resolutions_change_places_with_the_sides():
    content = saved(Image.fromarray(scene()), "JPEG", exif=camera_exif(6), dpi=(300, 200))
    image = again(content, ".jpg")
    assert image.info["dpi"] == (200, 300)
    assert (image.getexif()[X_RESOLUTION], image.getexif()[Y_RESOLUTION]) == (200, 300)


@pytest.mark.parametrize("cut", range(8, 220, 7))
def test_exif_that_is_cut_off_never_costs_the_picture(cut):
    content = saved(plain(), "PNG", exif=camera_exif(1, b"shown" * 9)[:cut])
    assert images.read(content, to_translate=True).pixels.shape == (16, 16, 3)


def test_hostile_exif_never_costs_the_picture():
    random = np.random.default_rng(0)
    whole = np.frombuffer(camera_exif(6, b"shown" * 9), np.uint8)
    for _ in range(200):
        hostile = whole.copy()
        hostile[random.integers(6, len(whole), 6)] = random.integers(0, 256, 6)
        picture = images.read(saved(plain(), "PNG", exif=hostile.tobytes()), to_translate=True)
        assert picture.pixels.shape == (16, 16, 3)


# --- XMP ------------------------------------------------------------------------------------


def xmp_of(image: Image.Image) -> bytes:
    return image.info["xmp"]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif", ".avif"])
def test_xmp_goes_along_without_orientation_size_and_thumbnail(kind, suffix):
    options: dict = {"xmp": XMP}
    if kind == "PNG":
        chunks = PngImagePlugin.PngInfo()
        chunks.add_itxt("XML:com.adobe.xmp", XMP.decode())
        options = {"pnginfo": chunks}
    elif kind == "TIFF":
        options = {"tiffinfo": {700: XMP}}
    image = again(saved(Image.fromarray(scene()), kind, **options), suffix)
    assert image.size == (20, 30)  # the orientation of XMP counts where EXIF has none
    xmp = xmp_of(image)
    assert "Müller &amp; Söhne".encode() in xmp
    assert b'Rating="4"' in xmp
    for gone in (b"Orientation", b"ImageWidth", b"ImageLength", b"PixelX", b"/9j/", b"MotionPhoto"):
        assert gone not in xmp
    assert image.getexif().get(ORIENTATION, 1) == 1


@pytest.mark.parametrize(
    ("xmp", "note"),
    [
        (b"<x", "can't be read"),
        (b"\xff\xfe<\0x\0", "can't be read"),
        (b'<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><x>&b;</x>', "can't be read"),
        (b"<x>" * 20_000 + b"</x>" * 20_000, "can't be read"),
        (b"<x>" + b"a" * 2**18 + b"</x>", "too long"),
    ],
)
def test_hostile_xmp_is_left_out_with_a_note(xmp, note):
    picture = images.read(saved(plain(), "WEBP", xmp=xmp), to_translate=True)
    assert picture.metadata.xmp is None
    assert picture.notes == (f"the XMP {'is ' * (note[0] == 't')}{note}; it is left out",)


def test_that_more_xmp_lies_elsewhere_is_noted():
    more = b'<x xmlns:n="http://ns.adobe.com/xmp/note/" n:HasExtendedXMP="ABC">text</x>'
    picture = images.read(saved(plain(), "JPEG", xmp=more), to_translate=True)
    assert b"ABC" not in picture.metadata.xmp
    assert b">text<" in picture.metadata.xmp
    assert picture.notes == ("the extended part of its XMP is left out",)


# --- texts and resolution -------------------------------------------------------------------


def texts(**pairs: str) -> PngImagePlugin.PngInfo:
    chunks = PngImagePlugin.PngInfo()
    for keyword, text in pairs.items():
        chunks.add_text(keyword, text)
    return chunks


def test_texts_of_a_png_go_along():
    content = saved(plain(), "PNG", pnginfo=texts(Title="Ada", Comment="東京", Software="x" * 9000))
    assert again(content, ".png").text == {
        "Title": "Ada",
        "Comment": "東京",
        "Software": "x" * 9000,
    }


def test_texts_are_noted_where_the_format_has_no_room_for_them():
    picture = images.read(saved(plain(), "PNG", pnginfo=texts(Title="Ada")), to_translate=True)
    assert images.left_out(picture, ".png") == ()
    assert images.left_out(picture, ".jpg") == ("the text is left out, for which JPEG has no room",)


@pytest.mark.parametrize("name", [b"zTXt", b"iTXt", b"iCCP"])
def test_a_text_that_unpacks_to_too_much_is_left_out_with_a_note(name):
    packed = zlib.compress(bytes(50_000_000))
    head = {b"zTXt": b"Title\0\0", b"iTXt": b"Title\0\1\0\0\0", b"iCCP": b"name\0\0"}[name]
    content = png(np.full((2, 2), 7), 0, 8, chunk(name, head + packed))
    picture = images.read(content, 1, to_translate=True)
    assert (picture.pixels == 7).all()
    assert picture.notes == ("a text or the color profile is too long; it is left out",)
    assert images.read(content, 1).pixels.shape == (2, 2, 1)


def test_other_files_may_have_a_text_chunks_name_in_them():
    content = saved(plain(), "JPEG", comment=b"zTXt")
    assert images.read(content, to_translate=True).pixels.shape == (16, 16, 3)


def test_iptc_is_noted():
    resource = b"8BIM\x04\x04\0\0\0\0\0\x04\x1c\x02\x05\0"
    segment = b"Photoshop 3.0\0" + resource
    jpeg = saved(plain(), "JPEG")
    content = jpeg[:2] + b"\xff\xed" + struct.pack(">H", len(segment) + 2) + segment + jpeg[2:]
    assert images.read(content, to_translate=True).notes == ("the IPTC is left out",)


def test_many_texts_are_left_out_with_a_note():
    many = [chunk(b"tEXt", b"Title%d\0" % i + b"x" * 100_000) for i in range(20)]
    picture = images.read(png(np.full((2, 2), 7), 0, 8, *many), 1, to_translate=True)
    assert picture.metadata.texts == ()
    assert picture.notes == ("the text is too long; it is left out",)


def test_no_text_repeats_exif_or_a_thumbnail():
    chunks = texts(**{"Raw profile type exif": "x", "Thumb::Image::Width": "9", "Title": "Ada"})
    assert again(saved(plain(), "PNG", pnginfo=chunks), ".png").text == {"Title": "Ada"}


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "BMP"])
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif", ".bmp"])
def test_the_resolution_goes_along(kind, suffix):
    found = again(saved(plain(), kind, dpi=(300, 200)), suffix).info["dpi"]
    assert found == pytest.approx((300, 200), abs=0.1)


@pytest.mark.parametrize("suffix", [".webp", ".avif"])
def test_a_format_without_a_resolution_has_it_in_exif(suffix):
    exif = again(saved(plain(), "JPEG", dpi=(300, 200)), suffix).getexif()
    assert (exif[X_RESOLUTION], exif[Y_RESOLUTION]) == (300, 200)


@pytest.mark.parametrize("pixels_a_meter", [0, 1, 2**32 - 1])
def test_an_impossible_resolution_does_not_go_along(pixels_a_meter):
    size = chunk(b"pHYs", struct.pack(">IIB", pixels_a_meter, pixels_a_meter, 1))
    content = png(np.full((2, 2), 7), 0, 8, size)
    for suffix in images.WRITERS:
        info = again(content, suffix).info
        assert max(info.get("dpi", (0, 0))) < 97  # a BMP has one always
    assert images.read(content, 1, to_translate=True).metadata.dpi is None


def test_bmp_has_room_for_the_resolution_alone():
    metadata = Metadata(camera_exif(), b"<x/>", (("Title", "Ada"),), (300, 300))
    picture = Picture(np.zeros((4, 4, 3), np.uint8), metadata=metadata)
    assert len(images.left_out(picture, ".bmp")) == 3
    assert Image.open(io.BytesIO(images.encode(picture, ".bmp"))).size == (4, 4)


def test_what_training_reads_has_no_metadata():
    assert images.read(saved(plain(), "JPEG", exif=camera_exif())).metadata == Metadata()


def test_a_tiff_that_is_turned_exchanges_its_resolutions():
    """Which Pillow turns by itself."""
    options = {"tiffinfo": {0x0112: 6}, "dpi": (300, 150)}
    content = saved(Image.fromarray(scene()), "TIFF", **options)
    picture = images.read(content, to_translate=True)
    assert picture.pixels.shape == (30, 20, 3)
    again = Image.open(io.BytesIO(images.encode(picture, ".tif")))
    assert again.info["dpi"] == pytest.approx((150, 300))
