"""Pages and channels of ImageJ's files and of OME-TIFF, which tifffile writes."""

import io
import re

import numpy as np
import pytest

from img2img import rasters
from img2img.errors import DataError

BEYOND = '<TiffData IFD="7"/>'
tifffile = pytest.importorskip("tifffile")


def stack(*shape, dtype="uint16"):
    return np.random.default_rng(0).integers(0, 65536, (*shape, 6, 7)).astype(dtype)


def imagej(array, axes, **metadata) -> bytes:
    buffer = io.BytesIO()
    options = {"photometric": "minisblack", "metadata": {"axes": axes} | metadata}
    tifffile.imwrite(buffer, array, imagej=True, **options)
    return buffer.getvalue()


def ome(array, axes, photometric="minisblack", **metadata) -> bytes:
    buffer = io.BytesIO()
    options = {"photometric": photometric, "metadata": {"axes": axes} | metadata}
    tifffile.imwrite(buffer, array, ome=True, **options)
    return buffer.getvalue()


def by_hand(xml: str, planes) -> bytes:
    """A file with any OME-XML."""
    xml = xml.replace("<OME", '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"')
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer) as file:
        for index, plane in enumerate(planes):
            file.write(plane, description=xml if not index else None, metadata=None)
    return buffer.getvalue()


def pixels(inner="", order="XYCZT", c=1, z=1, t=1, size=7) -> str:
    sizes = f'SizeX="{size}" SizeY="6" SizeC="{c}" SizeZ="{z}" SizeT="{t}"'
    return (
        f'<Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="{order}" Type="uint16" '
        f"{sizes}>{inner}</Pixels></Image>"
    )


@pytest.mark.parametrize("write", [imagej, ome])
def test_channels_are_bands_and_slices_and_times_are_pages(write):
    array = stack(2, 3, 4)
    content = write(array, "TZCYX")
    header = rasters.header(content)
    assert (header.bands, header.pages, header.size) == (4, 6, (7, 6))
    for page in range(6):
        expected = np.moveaxis(array[page // 3, page % 3], 0, -1)
        assert np.array_equal(rasters.read(content, page).values, expected)


@pytest.mark.parametrize("write", [imagej, ome])
@pytest.mark.parametrize(("axes", "bands", "pages"), [("ZYX", 1, 5), ("TYX", 1, 5), ("CYX", 5, 1)])
def test_one_axis(write, axes, bands, pages):
    array = stack(5)
    content = write(array, axes)
    header = rasters.header(content)
    assert (header.bands, header.pages) == (bands, pages)
    values = [rasters.read(content, page).values for page in range(pages)]
    assert np.array_equal(np.concatenate(values, -1), np.moveaxis(array, 0, -1))


def test_imagej_rgb():
    array = np.moveaxis(stack(2, 3, dtype="uint8"), 1, -1)
    content = imagej(array, "ZYXS", mode="color")
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, array, imagej=True, photometric="rgb", metadata={"axes": "ZYXS"})
    content = buffer.getvalue()
    assert rasters.header(content).pages == 2
    assert np.array_equal(rasters.read(content, 1).values, array[1])


@pytest.mark.parametrize("photometric", ["minisblack", "miniswhite"])
def test_imagej_files_with_one_directory_for_all_planes(photometric):
    array = stack(3, 2)
    buffer = io.BytesIO()
    options = {"photometric": photometric, "metadata": {"axes": "ZCYX"}}
    tifffile.imwrite(buffer, array, imagej=True, truncate=True, **options)
    content = buffer.getvalue()
    assert rasters.header(content).pages == 3
    expected = 65535 - array if photometric == "miniswhite" else array
    for page in range(3):
        values = rasters.read(content, page).values
        assert np.array_equal(values, np.moveaxis(expected[page], 0, -1))
        assert values.dtype.isnative


def test_imagej_descriptions_that_contradict_the_file_are_noted():
    buffer = io.BytesIO()
    text = "ImageJ=1.53\nimages=9\nslices=9\n"
    tifffile.imwrite(buffer, stack(), description=text, metadata=None)
    raster = rasters.read(buffer.getvalue())
    assert np.array_equal(raster.values[..., 0], stack())
    assert "lists 9 planes, the file has 1" in raster.notes[0]


def test_names_of_channels():
    content = ome(stack(2), "CYX", Channel={"Name": ["DAPI", "GFP"]})
    assert rasters.read(content).bands == rasters.header(content).band_names == ("DAPI", "GFP")


def test_rgb_in_ome():
    array = np.moveaxis(stack(2, 3), 1, -1)
    content = ome(array, "ZYXS", photometric="rgb")
    header = rasters.header(content)
    assert (header.bands, header.pages) == (3, 2)
    assert np.array_equal(rasters.read(content, 1).values, array[1])


@pytest.mark.parametrize("order", ["XYCZT", "XYCTZ", "XYZCT", "XYZTC", "XYTCZ", "XYTZC"])
@pytest.mark.parametrize("data", ["", "<TiffData/>", '<TiffData IFD="0" PlaneCount="24"/>'])
def test_orders_of_dimensions(order, data):
    sizes = {"C": 2, "Z": 3, "T": 4}
    array = stack(2, 3, 4)
    axes = ["CZT".index(axis) for axis in reversed(order[2:])]
    planes = np.transpose(array, (*axes, 3, 4)).reshape(24, 6, 7)
    content = by_hand(
        f"<OME>{pixels(data, order, **{k.lower(): sizes[k] for k in sizes})}</OME>", planes
    )
    for page in range(12):
        expected = np.moveaxis(array[:, page % 3, page // 3], 0, -1)
        assert np.array_equal(rasters.read(content, page).values, expected)


def test_planes_in_any_order():
    array = stack(2, 3)
    places = [(c, z) for z in (2, 0, 1) for c in (1, 0)]
    blocks = "".join(
        f'<TiffData IFD="{i}" FirstC="{c}" FirstZ="{z}" PlaneCount="1"/>'
        for i, (c, z) in enumerate(places)
    )
    content = by_hand(f"<OME>{pixels(blocks, c=2, z=3)}</OME>", [array[c, z] for c, z in places])
    for z in range(3):
        assert np.array_equal(rasters.read(content, z).values, np.moveaxis(array[:, z], 0, -1))


def test_images_of_one_size_are_pages_and_others_are_left_out():
    array = stack(3)
    xml = f"<OME>{pixels()}{pixels()}{pixels(size=9)}</OME>"
    raster = rasters.read(by_hand(xml, array), 1)
    assert np.array_equal(raster.values[..., 0], array[1])
    assert "another size" in raster.notes[0]
    assert rasters.header(by_hand(xml, array)).pages == 2


@pytest.mark.parametrize(
    ("xml", "reason"),
    [
        (f"<OME>{pixels(c=3)}</OME>", "describes 3 planes, the file has 2 pages"),
        (f"<OME>{pixels(t=999_999_999, z=999_999_999)}</OME>", "describes"),
        (f"<OME>{pixels(z=0)}</OME>", "size below 1"),
        (f"<OME>{pixels(z='x')}</OME>", "not a number"),
        (f"<OME>{pixels(order='XYABC')}</OME>", "planes"),
        ("<OME></OME>", "describes no image"),
        ('<OME><BinaryOnly MetadataFile="/etc/passwd" UUID="a"/></OME>', "in another file"),
        (f"<OME>{pixels(BEYOND)}</OME>", "are missing"),
        (f"<OME>{pixels('<TiffData/>' * 9)}</OME>", "more than once"),
        ("<OME><Image></OME>", "can't be read"),
        ("<OME><!ENTITY a 'b'></OME>", "entities"),
    ],
)
def test_broken_metadata(xml, reason):
    with pytest.raises(DataError, match=reason):
        rasters.read(by_hand(xml, stack(2)))


def test_planes_in_other_files_are_not_opened(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tifffile.imwrite("b.tif", stack(), metadata=None)
    blocks = (
        '<TiffData IFD="0" FirstC="0"><UUID FileName="a.tif">urn:uuid:1</UUID></TiffData>'
        '<TiffData IFD="0" FirstC="1"><UUID FileName="b.tif">urn:uuid:2</UUID></TiffData>'
    )
    content = by_hand(f'<OME UUID="urn:uuid:1">{pixels(blocks, c=2)}</OME>', stack(1))
    opened = []
    monkeypatch.setattr("builtins.open", lambda *a, **k: opened.append(a))
    for source in (
        content,
        by_hand(f'<OME UUID="urn:uuid:1">{pixels(blocks, c=2)}</OME>', stack(2)),
    ):
        with pytest.raises(DataError, match="planes"):
            rasters.read(source)
    assert not opened


def test_many_blocks_take_no_long_time():
    blocks = '<TiffData IFD="0" PlaneCount="999999999"/>' * 50_000
    with pytest.raises(DataError):
        rasters.read(by_hand(f"<OME>{pixels(blocks, z=2)}</OME>", stack(2)))


def test_what_is_written_again_is_valid_for_tifffile():
    content = ome(stack(2, 3), "ZCYX", PhysicalSizeX=0.25, PhysicalSizeXUnit="µm")
    raster = rasters.read(content, 1)
    written = rasters.encode(raster.values, raster, ".tif")
    with tifffile.TiffFile(io.BytesIO(written)) as file:
        assert file.is_ome
        assert file.series[0].axes == "CYX"
        assert re.search(r'PhysicalSizeX="0\.25"', file.ome_metadata)
