"""Which pages of a file make up a picture, and how pages are named."""

import gzip

import numpy as np
import pytest
import tifffile

from img2img import rasters
from img2img.errors import DataError
from img2img.rasters import pages, tiff

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
    with pages.opened(stack, mode, neighbors) as pictures:
        assert pictures.header == header
        every = [pictures.read(number) for number in range(header.pages)]
    np.testing.assert_array_equal(every[page or 0].values, raster.values)


def test_every_page_is_decoded_once_for_the_pictures_in_their_order(stack, monkeypatch):
    decoded, read = [], rasters.OpenFile.read

    def counted(file, page, max_pixels):
        decoded.append(page)
        return read(file, page, max_pixels)

    monkeypatch.setattr(rasters.OpenFile, "read", counted)
    with pages.opened(stack, "each", 1) as pictures:
        values = [pictures.read(page).values for page in range(5)]
    assert decoded == [0, 1, 2, 3, 4]
    for page, expected in enumerate(([0, 0, 1], [0, 1, 2], [1, 2, 3], [2, 3, 4], [3, 4, 4])):
        np.testing.assert_array_equal(values[page], np.moveaxis(VOLUME[expected], 0, -1))


def test_a_packed_volume_is_decompressed_once_and_again_only_to_go_back(tmp_path, monkeypatch):
    nibabel = pytest.importorskip("nibabel")
    path = tmp_path / "v.nii.gz"
    nibabel.save(nibabel.Nifti1Image(VOLUME.T, np.eye(4)), path)
    rewound, rewind = [], gzip.GzipFile.rewind

    def counted(stream):
        rewound.append(stream)
        rewind(stream)

    monkeypatch.setattr(gzip.GzipFile, "rewind", counted)
    with pages.opened(path) as pictures:
        for page in (0, 1, 3, 4):
            assert np.array_equal(pictures.read(page).values[..., 0], VOLUME[page])
        assert not rewound
        assert np.array_equal(pictures.read(1).values[..., 0], VOLUME[1])
        assert len(rewound) == 1


def test_the_directories_of_a_stack_are_walked_once(stack, monkeypatch):
    walked, directories = [], tiff.directories
    monkeypatch.setattr(tiff, "directories", lambda file: walked.append(file) or directories(file))
    with pages.opened(stack) as pictures:
        values = [pictures.read(page).values[..., 0] for page in (4, *range(pictures.header.pages))]
    assert np.array_equal(values, VOLUME[[4, 0, 1, 2, 3, 4]])
    assert len(walked) == 1


def test_a_damaged_page_does_not_hide_the_next_ones(tmp_path):
    path = tmp_path / "z.tif"
    tifffile.imwrite(path, VOLUME, photometric="minisblack", metadata=None, compression="zlib")
    with tifffile.TiffFile(path) as tif:
        place, size = tif.pages[2].dataoffsets[0], tif.pages[2].databytecounts[0]
    content = path.read_bytes()
    path.write_bytes(content[:place] + bytes(size) + content[place + size :])
    with pages.kept_open() as read:
        for page, name in enumerate(pages.names(path, 5)):
            if page == 2:
                with pytest.raises(DataError, match=r"z\.tif: it can't be decoded"):
                    read(name, "each", 0, 1000)
            else:
                assert np.array_equal(read(name, "each", 0, 1000).values[..., 0], VOLUME[page])


def test_a_page_that_is_not_there_is_named(stack):
    with pytest.raises(DataError, match=r"z\.tif: it has no page 7, only 0 to 4"):
        pages.read(stack / "page-7")
