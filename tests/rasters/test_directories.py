"""The chain of directories, of classic TIFF and BigTIFF."""

import io
import struct

import numpy as np
import pytest

from img2img.errors import DataError
from img2img.rasters import directories as module
from img2img.rasters.directories import directories

tifffile = pytest.importorskip("tifffile")


def chain(count, **options) -> tuple[bytearray, list[int]]:
    """A file and the positions of its directories."""
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer, **options) as file:
        for _ in range(count):
            file.write(np.zeros((3, 4), np.uint16), metadata=None)
    content = bytearray(buffer.getvalue())
    with tifffile.TiffFile(io.BytesIO(content)) as file:
        return content, [page.offset for page in file.pages]


@pytest.mark.parametrize("options", [{}, {"byteorder": ">"}, {"bigtiff": True}])
def test_counted(options):
    for count in (1, 2, 7):
        content, _ = chain(count, **options)
        assert len(directories(io.BytesIO(content))) == count


@pytest.mark.parametrize("back_to", [0, 1, 2])
def test_loops(back_to):
    content, offsets = chain(3)
    [entries] = struct.unpack_from("<H", content, offsets[2])
    struct.pack_into("<I", content, offsets[2] + 2 + 12 * entries, offsets[back_to])
    with pytest.raises(DataError, match="loop"):
        directories(io.BytesIO(content))


def test_too_many(monkeypatch):
    monkeypatch.setattr(module, "MAX_DIRECTORIES", 2)
    with pytest.raises(DataError, match="more than 2"):
        directories(io.BytesIO(chain(3)[0]))


def test_a_directory_or_a_value_behind_the_end():
    content, _ = chain(1)
    struct.pack_into("<I", content, 4, len(content) + 10)
    with pytest.raises(DataError, match="a page is missing"):
        directories(io.BytesIO(content))
    content, offsets = chain(1)
    [entries] = struct.unpack_from("<H", content, offsets[0])
    for at in range(offsets[0] + 2, offsets[0] + 2 + 12 * entries, 12):
        if struct.unpack_from("<H", content, at)[0] == 282:
            struct.pack_into("<I", content, at + 8, len(content))
    with pytest.raises(DataError, match="tag 282"):
        directories(io.BytesIO(content))


@pytest.mark.parametrize("options", [{}, {"byteorder": ">"}, {"bigtiff": True}])
def test_thumbnails_and_other_forms(options):
    buffer = io.BytesIO()
    array = np.zeros((6, 5), np.uint16)
    with tifffile.TiffWriter(buffer, **options) as file:
        for page, subfile in [(array, 0), (array, 1), (array, 2), (array[1:], 0)]:
            file.write(page, metadata=None, subfiletype=subfile)
        file.write(array.astype(np.float32), metadata=None)
        file.write(array.view(np.int16), metadata=None)
    described = directories(io.BytesIO(buffer.getvalue()))
    assert [d.is_page for d in described] == [True, False, True, True, True, True]
    same = [d.form == described[0].form for d in described]
    assert same == [True, True, True, False, False, False]
    assert described[0].form[:3] == (5, 6, 16)


def test_masks():
    assert not module.Directory(module.MASK, ()).is_page
    assert module.Directory(2, ()).is_page
