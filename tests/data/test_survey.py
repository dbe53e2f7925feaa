"""The look before training: each oddity is made here and must be found; clean data stay silent."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from img2img import images
from img2img.data.labelled import Labelled
from img2img.data.paired import Pairs
from img2img.data.shift import shift_of
from img2img.data.sources import Sources
from img2img.data.survey import look, survey
from img2img.data.unpaired import Unpaired
from img2img.files import find_pictures
from img2img.methods import METHODS
from img2img.rasters.pages import read

SAMPLE = Path(__file__).parents[2] / "examples" / "quickstart" / "train"
RGB = (3, 3)


@pytest.fixture
def pairs(tmp_path):
    """a/ and b/: 40 flat emoji and their 3D twins, every 11th, so that no two are alike."""
    for folder, style in (("a", "flat"), ("b", "3d")):
        (tmp_path / folder).mkdir()
        for path in sorted((SAMPLE / style).iterdir())[::11][:40]:
            shutil.copy(path, tmp_path / folder)
    return tmp_path


def paired(folder: Path) -> Pairs:
    return Pairs.open(Sources(a=folder / "a", b=folder / "b"), RGB)


def found(result) -> list[tuple[str, str]]:
    return [(finding.level, finding.what) for finding in result.findings]


def rewrite(path: Path, pixels: np.ndarray) -> None:
    path.unlink()
    Image.fromarray(pixels).save(path.with_suffix(".png"))


def test_clean_pairs_have_counts_and_no_warning(pairs, quiet):
    result = survey(paired(pairs), None, quiet)
    assert [told["pictures"] for told in result.roles.values()] == [40, 40]
    assert result.roles["a"]["width"] == [64, 64, 64]
    assert [what for level, what in found(result) if level != "note"] == []


def test_a_broken_file_is_an_error(pairs, quiet):
    broken = next((pairs / "a").iterdir())
    broken.write_bytes(broken.read_bytes()[:200])
    [finding] = [f for f in survey(paired(pairs), None, quiet).findings if f.level == "error"]
    assert "1 file can't be read. Repair or remove it." in finding.what
    assert broken.name in finding.files[0]


def test_files_without_a_partner_are_told(pairs, quiet):
    next((pairs / "b").iterdir()).unlink()
    assert ("warning", "1 files have no partner and are left out.") in found(
        survey(paired(pairs), None, quiet)
    )


def test_pairs_that_do_not_lie_on_one_another_are_told(pairs, quiet):
    for path in list(find_pictures(pairs / "b")):
        rewrite(path, np.roll(images.read(path).pixels, 6, axis=1))
    [finding] = [f for f in survey(paired(pairs), None, quiet).findings if "misaligned" in f.what]
    assert finding.level == "warning"
    assert "9 % of the side" in " ".join(finding.files)


@pytest.mark.parametrize("pixels", [0, 2, 5, 9])
def test_the_shift_is_measured_across_styles(pixels):
    name = sorted(path.name for path in (SAMPLE / "flat").iterdir())[0]
    a, b = (images.read(SAMPLE / style / name).pixels for style in ("flat", "3d"))
    moved = np.full_like(b, 255)
    moved[pixels:] = b[: len(b) - pixels]
    shift, certainty = shift_of(a, moved)
    assert shift == pytest.approx(pixels / 64, abs=0.012)
    assert certainty > 0.4


def test_double_files_and_leaks_into_the_test_set_are_told(pairs, quiet, tmp_path):
    first, second, *_ = sorted((pairs / "a").iterdir())
    unpaired = Sources(a=pairs / "a", b=pairs / "b")
    shutil.copy(first, pairs / "a" / "again.webp")
    test = tmp_path / "test"
    for folder in ("a", "b"):
        (test / folder).mkdir(parents=True)
        shutil.copy(second, test / folder / "x.webp")  # of b's folder a different role: no leak
    near = images.read(second).pixels.astype(int) + 3
    rewrite(test / "a" / "x.webp", near.clip(0, 255).astype(np.uint8))
    held_out = Unpaired.open(Sources(a=test / "a", b=test / "b"), RGB)
    said = found(survey(Unpaired.open(unpaired, RGB), held_out, quiet))
    assert ("warning", "1 pair of identical files.") in said
    leak = (
        "1 pair of near-duplicates across training and test, which make held-out results too good."
    )
    assert ("warning", leak) in said


def test_pictures_of_one_color_are_no_duplicates(quiet, tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        for level in (10, 90, 200):
            rewrite_to = tmp_path / folder / f"{level}.png"
            Image.new("RGB", (40, 40), (level, 0, 0)).save(rewrite_to)
    data = Unpaired.open(Sources(a=tmp_path / "a", b=tmp_path / "b"), RGB)
    assert not any(
        "duplicates" in what or "identical" in what for _, what in found(survey(data, None, quiet))
    )


def test_few_pictures_of_a_domain_are_told(pairs, quiet):
    for path in list((pairs / "a").iterdir())[3:]:
        path.unlink()
    data = Labelled.open(Sources(data=pairs), RGB)
    assert ("warning", "a has 3 pictures of 43, which makes it hard to learn.") in found(
        survey(data, None, quiet)
    )


def test_odd_channels_and_shapes_are_told(pairs, quiet):
    grey, long, alpha, small, colourless = sorted(find_pictures(pairs / "a"))[:5]
    rewrite(grey, images.read(grey, 1).pixels[..., 0])
    rewrite(long, np.tile(images.read(long).pixels, (1, 3, 1)))
    rgba = images.read(alpha, 4).pixels.copy()
    rgba[:9, :, 3] = 0
    rewrite(alpha, rgba)
    rewrite(small, images.resize(images.read(small).pixels, 20, 20))
    rewrite(colourless, images.read(colourless, 1).pixels.repeat(3, -1))
    data = Unpaired.open(Sources(a=pairs / "a", b=pairs / "b"), RGB)
    said = {what: level for level, what in found(survey(data, None, quiet))}
    assert said["1 of 80 pictures are gray, the others are in color."] == "note"
    assert (
        said["1 pictures have an aspect ratio over 2:1; resizing distorts it (see --fit)."]
        == "warning"
    )
    assert said["1 pictures: transparent (composited on white)."] == "note"
    assert said["1 pictures have a side under 32 px."] == "warning"
    assert any("a color file, but all gray" in what for what in said)


def test_several_inputs_are_looked_at_each_and_uneven_sizes_are_an_error(tmp_path, quiet):
    random = np.random.default_rng(0)
    for folder, shape in (("x", (40, 50, 3)), ("y", (40, 50)), ("b", (40, 50, 3))):
        (tmp_path / folder).mkdir()
        for number in range(3):
            pixels = random.integers(0, 256, shape).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / folder / f"{number}.png")
    sources = Sources(a=[tmp_path / "x", tmp_path / "y"], b=tmp_path / "b")
    result = survey(Pairs.open(sources, RGB), None, quiet)
    assert {role: told["kinds"] for role, told in result.roles.items()} == {
        "a": {"RGB": 3},
        "a (folder 2)": {"L": 3},
        "b": {"RGB": 3},
    }
    assert [level for level, _ in found(result)].count("error") == 0
    Image.new("L", (48, 40)).save(tmp_path / "y" / "1.png")
    Image.fromarray(np.full((40, 50), 999, np.uint16)).save(tmp_path / "y" / "2.png")
    errors = [
        f for f in survey(Pairs.open(sources, RGB), None, quiet).findings if f.level == "error"
    ]
    assert [finding.what for finding in errors] == [
        "The pictures of a (folder 2) are not of one kind: 2 photographs, 1 1 band of uint16.",
        "1 pictures of a have files of different sizes. Resample them to one grid first.",
    ]
    assert "1.png (50x40), " in errors[1].files[0]
    assert "1.png (48x40)" in errors[1].files[0]


def test_pages_are_compared_without_their_neighbors_and_not_within_a_file(quiet, tmp_path):
    random = np.random.default_rng(0)
    pages = random.integers(0, 900, (6, 40, 40)).astype(np.uint16)
    pages[1] = pages[0]  # in one file, and in two
    volumes = {"a/p1": pages[[0, 1, 2]], "a/p2": pages[[3, 2, 4]]}
    volumes |= {"b/p1": pages[[5, 5, 5]], "b/p2": pages[[0, 2, 3]]}
    for name, values in volumes.items():
        path = tmp_path / f"{name}.tif"
        path.parent.mkdir(exist_ok=True)
        tifffile.imwrite(path, values, photometric="minisblack")
    sources = Sources(a=tmp_path / "a", b=tmp_path / "b", pages="each", neighbors=1)
    dataset = METHODS["cut"].open_data(sources, RGB)
    result = survey(dataset, None, quiet)
    [finding] = [each for each in result.findings if "identical files" in each.what]
    assert finding.what == "1 pair of identical files."
    assert finding.files == [f"{tmp_path}/a/p1.tif/page-2 = {tmp_path}/a/p2.tif/page-1"]
    near = [each.what for each in result.findings if "near-duplicates" in each.what]
    assert near == []
    page = tmp_path / "a/p2.tif/page-1"
    alone = look(page, "a", replace(dataset, neighbors=0), read)
    assert look(page, "a", dataset, read).hash == alone.hash
