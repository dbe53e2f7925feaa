"""Which pages of a file make up a picture, and how pages are named."""

import numpy as np
import pytest
import tifffile

from img2img import rasters
from img2img.rasters import pages

VOLUME = np.random.default_rng(0).integers(0, 4096, (5, 12, 16)).astype(np.uint16)


@pytest.fixture
def stack(tmp_path):
    path = tmp_path / "z.tif"
    tifffile.imwrite(path, VOLUME, photometric="minisblack")
    return path


def test_names_of_pages_sort_in_their_order_and_lead_back(stack):
    names = pages.names(stack, 12)
    assert [name.name for name in names[::11]] == ["page-00", "page-11"]
    assert sorted(names) == names
    assert [pages.split_name(name) for name in names] == [(stack, page) for page in range(12)]
    assert pages.names(stack, 1) == [stack]


def test_a_folder_may_have_the_name_of_a_file(tmp_path):
    path = tmp_path / "z.tif" / "page-3"
    path.parent.mkdir()
    path.write_bytes(b"")
    assert pages.split_name(path) == (path, None)


@pytest.mark.parametrize(
    ("mode", "neighbors", "page", "expected"),
    [
        ("each", 0, 3, [3]),
        ("each", 1, 0, [0, 0, 1]),
        ("each", 1, 4, [3, 4, 4]),
        ("each", 2, 1, [0, 0, 1, 2, 3]),
        ("first", 0, None, [0]),
        ("stack", 0, None, [0, 1, 2, 3, 4]),
    ],
)
def test_a_picture_has_the_bands_of_its_pages(stack, mode, neighbors, page, expected):
    path = stack if page is None else pages.names(stack, 5)[page]
    raster = pages.read(path, mode, neighbors)
    np.testing.assert_array_equal(raster.values, np.moveaxis(VOLUME[expected], 0, -1))
    header = pages.header_of_picture(rasters.header(stack), mode, neighbors)
    assert header.bands == len(expected)
    assert header.pages == (5 if mode == "each" else 1)
    every = [rasters.read(stack, number) for number in range(5)]
    [*pictures] = pages.pictures(every, mode, neighbors)
    assert len(pictures) == header.pages
    np.testing.assert_array_equal(pictures[page or 0].values, raster.values)


def test_a_page_that_is_not_there_is_named(stack):
    with pytest.raises(rasters.raster.DataError, match=r"z\.tif: it has no page 7, only 0 to 4"):
        pages.read(stack / "page-7")
