"""Pages of files as the pictures of a data set: which ones, in which pairs and groups."""

import io
from dataclasses import replace

import numpy as np
import pytest
import tifffile
from PIL import Image
from rich.console import Console

from img2img import rasters
from img2img.data.check import fingerprint, verify
from img2img.data.groups import Groups
from img2img.data.intensities import fit_intensities
from img2img.data.labelled import Labelled
from img2img.data.leaks import same_files
from img2img.data.paired import Pairs, SideBySide
from img2img.data.sources import Sources
from img2img.data.survey import survey
from img2img.data.unpaired import PartlyPaired, Unpaired
from img2img.errors import DataError, UsageError
from img2img.methods import METHODS

RANDOM = np.random.default_rng(0)
RGB = (3, 3)


def save(path, pages: int, dtype=np.int16):
    path.parent.mkdir(parents=True, exist_ok=True)
    values = RANDOM.integers(-900, 900, (pages, 20, 24)).astype(dtype)
    tifffile.imwrite(path, values, photometric="minisblack")
    return values


@pytest.fixture
def volumes(tmp_path):
    """a and b with volumes of 3, 4 and 1 pages."""
    for side in "ab":
        for name, pages in (("p1", 3), ("p2", 4), ("p3", 1)):
            save(tmp_path / side / f"{name}.tif", pages)
    return Sources(a=tmp_path / "a", b=tmp_path / "b", pages="each")


def below(paths, folder) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in paths]


def test_pages_are_paired_one_by_one(volumes):
    dataset = Pairs.open(volumes, RGB)
    first, second = zip(*dataset.items, strict=True)
    names = [f"p1.tif/page-{n}" for n in range(3)] + [f"p2.tif/page-{n}" for n in range(4)]
    assert below(first, volumes.a) == below(second, volumes.b) == [*names, "p3.tif"]


def test_volumes_of_different_depths_are_no_pair(volumes):
    save(volumes.b / "p2.tif", 5)
    with pytest.raises(DataError, match=r"a/p2\.tif and .*b/p2\.tif have different numbers of"):
        Pairs.open(volumes, RGB)
    save(volumes.b / "p2.tif", 1)
    with pytest.raises(DataError, match=r"numbers of pages, 4 and 1, so"):
        PartlyPaired.open(volumes, RGB)


@pytest.mark.parametrize(
    ("layout", "sources"),
    [
        (Unpaired, lambda folder: {"a": folder / "a", "b": folder / "b"}),
        (PartlyPaired, lambda folder: {"a": folder / "a", "b": folder / "b"}),
        (SideBySide, lambda folder: {"pairs": folder / "a"}),
        (Labelled, lambda folder: {"data": [folder]}),
        (Pairs, lambda folder: {"a": [folder / "a", folder / "b"], "b": folder / "b"}),
    ],
)
def test_every_layout_has_the_pages(layout, sources, volumes, tmp_path):
    dataset = layout.open(Sources(**sources(tmp_path), pages="each"), RGB)
    assert len(dataset) == (16 if layout is Labelled else 8)
    assert len(set(dataset.files())) == (8 if layout is SideBySide else 16)


def test_pages_of_a_list_have_the_attributes_of_their_file(volumes, tmp_path):
    (tmp_path / "list.csv").write_text("file,deep\np1.tif,1\np2.tif,0\np3.tif,1\n")
    sources = Sources(
        data=volumes.a, attributes=tmp_path / "list.csv", attribute=("deep",), pages="each"
    )
    dataset = Labelled.open(sources, RGB)
    assert [names for _, _, names in dataset.items] == [("deep",)] * 3 + [()] * 4 + [("deep",)]


def test_photographs_and_broken_files_are_one_picture(tmp_path):
    (tmp_path / "a").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "a" / "1.tif")
    (tmp_path / "a" / "2.tif").write_bytes(b"II*\0")
    dataset = SideBySide.open(Sources(pairs=tmp_path / "a", pages="each"), RGB)
    assert below(dataset.files(), tmp_path / "a") == ["1.tif", "2.tif"]


def opened(sources):
    """The data set of pix2pix, with the intensities of its sides."""
    dataset = METHODS["pix2pix"].open_data(sources, RGB)
    files = dataset.files_by_side()
    pages = dataset.pages, dataset.neighbors
    return replace(dataset, intensities=fit_intensities(files, ["full"], [], None, (), *pages))


def test_each_page_is_read_with_its_neighbors_on_the_side_of_a_alone(volumes, quiet):
    values = save(volumes.a / "p2.tif", 4)
    dataset = opened(volumes.model_copy(update={"neighbors": 1}))
    verify(dataset, None, True, quiet)
    assert dataset.form("a").channels == 3
    a, b = dataset.read_pair(6)  # the last page of p2
    np.testing.assert_array_equal(a, np.moveaxis(values[[2, 3, 3]], 0, -1))
    assert b.shape == (20, 24, 1)
    a, _ = dataset.read_pair(7)  # of a file of one page
    assert np.ptp(a, -1).max() == 0


def test_neighbors_have_the_range_of_their_page(volumes):
    """The last page is repeated as its own neighbor, which would shift percentiles."""
    dataset = METHODS["pix2pix"].open_data(volumes.model_copy(update={"neighbors": 1}), RGB)
    files = dataset.files_by_side()
    wide = fit_intensities(files, ["1%:99%"], [], None, (), "each", 1)["a"]
    alone = fit_intensities(files, ["1%:99%"], [])["a"]
    assert (wide.low, wide.high) == (alone.low * 3, alone.high * 3)


@pytest.mark.parametrize(
    ("mode", "update", "said"),
    [
        ("cyclegan", {"neighbors": 1}, "--neighbors: cyclegan also translates to a"),
        ("pix2pix", {"neighbors": 1, "pages": "stack"}, "give --pages each, too"),
    ],
)
def test_neighbors_are_of_inputs_and_of_single_pages(mode, update, said, volumes):
    with pytest.raises(UsageError, match=said):
        METHODS[mode].open_data(volumes.model_copy(update=update), RGB)


def test_all_pages_or_the_first_one_are_a_picture(tmp_path):
    values = save(tmp_path / "a" / "1.tif", 3)
    save(tmp_path / "b" / "1.tif", 3)
    sources = Sources(a=tmp_path / "a", b=tmp_path / "b", pages="stack")
    a, b = opened(sources).read_pair(0)
    np.testing.assert_array_equal(a, np.moveaxis(values, 0, -1))
    assert b.shape == (20, 24, 3)
    a, _ = opened(sources.model_copy(update={"pages": "first"})).read_pair(0)
    np.testing.assert_array_equal(a[..., 0], values[0])


def test_without_a_choice_several_pages_are_refused(volumes):
    with pytest.raises(DataError, match=r"2 pictures of a have several pages .*p1\.tif\)\. Choose"):
        opened(volumes.model_copy(update={"pages": None}))


@pytest.mark.parametrize(("rule", "name"), [("file", "x/p1"), ("parent", "x"), (r"p\d", "p1")])
def test_the_pages_of_a_file_are_in_one_group(rule, name, tmp_path):
    save(tmp_path / "x" / "p1.tif", 3)
    groups = Groups(rule, (tmp_path,))
    dataset = SideBySide.open(Sources(pairs=tmp_path, pages="each"), RGB)
    assert groups.names(dataset.files()) == [name]


def test_a_page_that_another_volume_has_too_is_a_leak(tmp_path):
    values = RANDOM.integers(0, 900, (3, 9, 9)).astype(np.int16)
    values[0] = 7  # empty slices are alike
    tifffile.imwrite(tmp_path / "1.tif", values, photometric="minisblack")
    (tmp_path / "held").mkdir()
    tifffile.imwrite(tmp_path / "held/2.tif", values[:2], photometric="minisblack")
    trained, held = (
        SideBySide.open(Sources(pairs=folder, pages="each"), RGB)
        for folder in (tmp_path, tmp_path / "held")
    )
    trained = replace(trained, items=trained.items[:3])
    [(first, second)] = same_files(trained, held)
    assert (first.name, second.name) == ("page-1", "page-1")


def test_values_among_photographs_are_told(tmp_path):
    for number in range(5):
        Image.new("L", (9, 9)).save(tmp_path / f"{number}.png")
    Image.fromarray(np.full((9, 9), 4000, np.uint16)).save(tmp_path / "deep.png")
    console = Console(file=io.StringIO(), width=500)
    verify(SideBySide.open(Sources(pairs=tmp_path), (1, 1)), None, True, console)
    told = console.file.getvalue()
    assert "a: 1 of its files have other values, such as 16 bits" in told
    assert "deep.png" in told


def test_the_fingerprint_covers_every_page(volumes):
    before = fingerprint(Pairs.open(volumes, RGB))
    assert fingerprint(Pairs.open(volumes.model_copy(update={"pages": None}), RGB)) != before
    save(volumes.a / "p2.tif", 4, np.int32)
    assert fingerprint(Pairs.open(volumes, RGB)) != before


def test_checks_open_every_volume_once(volumes, monkeypatch):
    dataset = Pairs.open(volumes, RGB)
    intensities = fit_intensities(dataset.files_by_side(), (), ())
    opened, open_file = [], rasters.open_file
    monkeypatch.setattr(rasters, "open_file", lambda path: opened.append(path) or open_file(path))
    console = Console(file=io.StringIO())
    files = sorted(volumes.a.iterdir()) + sorted(volumes.b.iterdir())

    verify(replace(dataset, intensities=intensities), None, True, console)
    assert sorted(opened) == files

    opened.clear()
    looks = survey(dataset, None, console).roles
    assert looks["a"]["pictures"] == looks["b"]["pictures"] == 8
    assert sorted(opened) == files

    opened.clear()
    assert same_files(dataset, dataset) == [(path, path) for path in dataset.files()]
    stacks = [path for path in files if path.stem != "p3"]  # that is hashed without being decoded
    assert sorted(opened) == sorted([*stacks, *files])  # for the hashes, and for what is plain


@pytest.mark.parametrize(
    ("pages", "neighbors", "leaked"), [("stack", 0, 1), ("first", 0, 0), ("each", 1, 3)]
)
def test_a_volume_is_empty_if_all_pages_that_are_read_are(pages, neighbors, leaked, tmp_path):
    values = RANDOM.integers(0, 900, (4, 20, 24)).astype(np.int16)
    values[0] = 0
    sides = []
    for part in ("train", "test"):
        for side, content in (("a", values), ("b", RANDOM.integers(0, 9, (4, 20, 24), np.int16))):
            (tmp_path / part / side).mkdir(parents=True)
            path = tmp_path / part / side / "p.tif"
            tifffile.imwrite(path, content, photometric="minisblack")
        folders = {side: tmp_path / part / side for side in "ab"}
        sides.append(Sources(**folders, pages=pages, neighbors=neighbors))
    training, held_out = (METHODS["cut"].open_data(sources, RGB) for sources in sides)
    assert len(same_files(training, held_out)) == leaked
