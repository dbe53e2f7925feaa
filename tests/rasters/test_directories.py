"""The chain of directories, of classic TIFF and BigTIFF."""

import io
import struct

import numpy as np
import pytest

from img2img.errors import DataError
from img2img.rasters import directories
from img2img.rasters.directories import count_directories

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
        assert count_directories(io.BytesIO(content)) == count


@pytest.mark.parametrize("back_to", [0, 1, 2])
def test_loops(back_to):
    content, offsets = chain(3)
    [entries] = struct.unpack_from("<H", content, offsets[2])
    struct.pack_into("<I", content, offsets[2] + 2 + 12 * entries, offsets[back_to])
    with pytest.raises(DataError, match="loop"):
        count_directories(io.BytesIO(content))


def test_too_many(monkeypatch):
    monkeypatch.setattr(directories, "MAX_DIRECTORIES", 2)
    with pytest.raises(DataError, match="more than 2"):
        count_directories(io.BytesIO(chain(3)[0]))


def test_a_directory_or_a_value_behind_the_end():
    content, _ = chain(1)
    struct.pack_into("<I", content, 4, len(content) + 10)
    with pytest.raises(DataError, match="a page is missing"):
        count_directories(io.BytesIO(content))
    content, offsets = chain(1)
    [entries] = struct.unpack_from("<H", content, offsets[0])
    for at in range(offsets[0] + 2, offsets[0] + 2 + 12 * entries, 12):
        if struct.unpack_from("<H", content, at)[0] == 282:
            struct.pack_into("<I", content, at + 8, len(content))
    with pytest.raises(DataError, match="tag 282"):
        count_directories(io.BytesIO(content))
