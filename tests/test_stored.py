"""Pictures that are stacked from one file of each of several inputs."""

import re

import numpy as np
import pytest
import tifffile
from PIL import Image

from img2img.errors import DataError
from img2img.intensity import Intensity, stacked
from img2img.stored import read_pages, read_stored, read_values

RANDOM = np.random.default_rng(0)


def part(name: str, dtype: str, bands: int = 1, **more) -> Intensity:
    names = tuple(str(band + 1) for band in range(bands))
    ends = {"low": (0,) * bands, "high": (100,) * bands}
    return Intensity(name=name, dtype=dtype, bands=names, file_bands=bands, **ends, **more)


def save(path, values, **tags):
    form = {"planarconfig": "contig"} if values.ndim == 3 else {}
    tifffile.imwrite(path, values, photometric="minisblack", **form, **tags)
    return path


@pytest.fixture
def files(tmp_path):
    """Paths and values of 4 bands of uint16, and of 1 band of float32."""
    optical = RANDOM.integers(0, 60_000, (9, 7, 4)).astype(np.uint16)
    sar = RANDOM.random((9, 7)).astype(np.float32)
    paths = save(tmp_path / "optical.tif", optical), save(tmp_path / "sar.tif", sar)
    return paths, (optical, sar[..., None])


STACK = stacked([part("optical", "uint16", 4), part("sar", "float32")])


def test_a_stack_is_its_parts_side_by_side(files):
    paths, (optical, sar) = files
    for sources in (paths, [path.read_bytes() for path in paths]):
        stored = read_stored(sources, STACK)
        assert stored.values.dtype == np.float32
        assert np.array_equal(stored.values, np.concatenate([optical.astype(np.float32), sar], -1))
        assert stored.missing is None


def test_each_part_has_its_bands_picked(files):
    paths, (optical, sar) = files
    first = Intensity(
        dtype="uint16", bands=("4", "2"), picked=(3, 1), file_bands=4, low=(0, 0), high=(9, 9)
    )
    values = read_values(paths, stacked([first, part("sar", "float32")]))
    assert np.array_equal(values, np.concatenate([optical[..., [3, 1]], sar], -1))


def test_a_pixel_is_missing_where_a_part_is_and_keeps_the_values_of_the_others(files, tmp_path):
    paths, (optical, sar) = files
    optical[2, 3, 1] = 7
    optical[4, 4] = 0  # a value of sar's type that marks nothing there
    save(paths[0], optical, extratags=[(42113, "s", 0, "7")])
    sar[5, 6] = np.nan
    save(paths[1], sar[..., 0])
    stack = stacked([part("optical", "uint16", 4, nodata=7), part("sar", "float32")])
    stored = read_stored(paths, stack)
    missing = np.zeros((9, 7), bool)
    missing[2, 3] = missing[5, 6] = True
    assert np.array_equal(stored.missing, missing)
    assert (stored.values[2, 3, :4] == 7).all()
    assert stored.values[2, 3, 4] == sar[2, 3, 0]
    assert np.array_equal(stored.values[5, 6, :4], optical[5, 6])
    read = read_values(paths, stack)
    assert np.array_equal(np.isnan(read).all(-1), missing)
    assert np.array_equal(np.isnan(read).any(-1), missing)


def test_a_marker_of_one_part_is_a_value_of_another(tmp_path):
    """Both are integers, of which one has pixels without a value."""
    first, second = np.full((4, 4), 3, np.uint16), np.zeros((4, 4), np.uint8)
    first[0, 0] = 0
    paths = [
        save(tmp_path / "x.tif", first, extratags=[(42113, "s", 0, "0")]),
        tmp_path / "y.png",
    ]
    Image.fromarray(second).save(paths[1])
    gray = part("mask", "uint8", photographs=True)
    read = read_values(paths, stacked([part("x", "uint16", nodata=0), gray]))
    assert np.isnan(read).sum() == 2
    assert (read[1:, 1:] == [3, 0]).all()


@pytest.mark.parametrize("bands", [1, 3])
def test_a_part_of_photographs_is_gray_or_rgb(files, tmp_path, bands):
    paths, (_, sar) = files
    pixels = RANDOM.integers(0, 256, (9, 7, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    photographs = part("photo", "uint8", bands, photographs=True)
    stack = stacked([part("sar", "float32"), photographs])
    values = read_stored((paths[1], tmp_path / "photo.png"), stack).values
    assert values.shape == (9, 7, 1 + bands)
    if bands == 3:
        assert np.array_equal(values, np.concatenate([sar, pixels], -1))


def test_files_of_different_sizes_are_named_with_theirs(files, tmp_path):
    paths, _ = files
    small = save(tmp_path / "small.tif", np.zeros((9, 6), np.float32))
    message = r"optical\.tif is 7x9, and .*small\.tif 6x9\. Resample them to one grid first"
    with pytest.raises(DataError, match=message):
        read_stored((paths[0], small), STACK)


def test_the_file_that_is_wrong_is_named(files):
    paths, _ = files
    with pytest.raises(DataError, match=r"sar\.tif: 1 band of float32, where 4 bands of uint16"):
        read_stored(paths[::-1], STACK)


def test_another_form_is_refused_before_a_pixel_is_decoded(files, monkeypatch):
    (_, sar), _ = files
    monkeypatch.setattr("img2img.rasters.OpenFile.read", lambda *_: pytest.fail("decoded"))
    with pytest.raises(DataError, match="1 band of float32, where 4 bands of uint16"):
        read_stored(sar, STACK.parts[0])


def test_a_file_of_several_pages_is_refused_with_the_name_of_one(tmp_path):
    pages, path = RANDOM.integers(0, 100, (12, 9, 7)).astype(np.uint16), tmp_path / "a.tif"
    tifffile.imwrite(path, pages, photometric="minisblack", metadata=None)
    advice = f"12 pages, where one is expected. Name one, such as {path}/page-00, or translate the"
    with pytest.raises(DataError, match=re.escape(advice)):
        read_stored(path, part("a", "uint16"))
    assert np.array_equal(
        read_stored(path / "page-00", part("a", "uint16")).values[..., 0], pages[0]
    )
    with pytest.raises(DataError, match="Save each as a file with img2img slices, or translate"):
        read_stored(path.read_bytes(), part("a", "uint16"))


def test_reading_can_be_stopped_before_each_page(tmp_path):
    pages, path = RANDOM.integers(0, 100, (5, 9, 7)).astype(np.uint16), tmp_path / "a.tif"
    tifffile.imwrite(path, pages, photometric="minisblack", metadata=None)
    left = iter([None, None])
    with pytest.raises(StopIteration):
        read_pages(path, part("a", "uint16"), before_page=lambda: next(left))
    assert len(read_pages(path, part("a", "uint16"))) == 5


@pytest.mark.parametrize(("number", "said"), [(1, "1 file is given"), (3, "3 files are given")])
def test_another_number_of_files_is_refused_with_the_names_of_the_inputs(files, number, said):
    sources = (files[0] * 2)[:number]
    message = f"{said}, where a picture has one of each input, in this order: optical, sar"
    with pytest.raises(DataError, match=message):
        read_stored(sources if number > 1 else sources[0], STACK)
    with pytest.raises(DataError, match="2 files are given, where a picture has one"):
        read_stored(files[0], part("optical", "uint16", 4))


def test_other_numbers_of_pages_are_refused(files, tmp_path):
    sar = np.zeros((3, 9, 7), np.float32)
    tifffile.imwrite(tmp_path / "pages.tif", sar, photometric="minisblack")
    with pytest.raises(DataError, match=r"pages\.tif have different numbers of pages, 1 and 3"):
        read_stored((files[0][0], tmp_path / "pages.tif"), STACK)
