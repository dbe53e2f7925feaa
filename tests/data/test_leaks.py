"""Leaks between training and held-out pictures: each is made here and must be found."""

import shutil

import numpy as np
import pytest
from PIL import Image

from img2img.data.groups import Groups
from img2img.data.leaks import leaked_files, leaked_groups, same_files, same_groups
from img2img.data.paired import Pairs
from img2img.data.sources import Sources
from img2img.data.unpaired import Unpaired

RGB = (3, 3)


@pytest.fixture
def parts(tmp_path):
    """The sources of a training part, and of a test part of other pictures of other patients."""
    random = np.random.default_rng(0)
    for part, patients in (("train", range(9)), ("test", range(9, 12))):
        for side in "ab":
            (tmp_path / part / side).mkdir(parents=True)
            for patient in patients:
                pixels = random.integers(0, 256, (8, 8, 3), np.uint8)
                Image.fromarray(pixels).save(tmp_path / part / side / f"p{patient:02}_x.png")
    return [Sources(a=tmp_path / part / "a", b=tmp_path / part / "b") for part in ("train", "test")]


def opened(parts, layout=Unpaired):
    return [layout.open(sources, RGB) for sources in parts]


@pytest.mark.parametrize("layout", [Unpaired, Pairs])
def test_other_pictures_of_other_groups_are_no_leak(parts, layout):
    both = opened(parts, layout)
    assert leaked_files(*both) == leaked_groups(*both, Groups.of(r"p\d+", *parts)) == []


def test_a_file_of_the_same_content_is_a_leak_whatever_it_is_called(parts):
    train, test = parts
    shutil.copy(train.a / "p03_x.png", test.a / "p10_y.png")
    shutil.copy(train.a / "p03_x.png", train.a / "p04_y.png")  # twice, but told once
    [finding] = leaked_files(*opened(parts))
    assert finding.level == "error"
    assert finding.what.startswith("1 held-out file is also in the training data")
    assert finding.files == [f"{test.a / 'p10_y.png'} = {train.a / 'p03_x.png'}"]


def test_a_file_of_the_other_side_is_no_leak(parts):
    train, test = parts
    shutil.copy(train.a / "p03_x.png", test.b / "p10_y.png")
    assert same_files(*opened(parts)) == []


@pytest.mark.parametrize("suffix", [".png", ".npy"])
def test_empty_pictures_are_alike_without_a_leak(tmp_path, suffix):
    sides = {}
    for part in ("train", "test"):
        for side in "ab":
            (tmp_path / part / side).mkdir(parents=True)
            for name, last in (("empty", -1024), ("other", 7)):
                values = np.full((8, 8), -1024, np.int16)
                values[-1, -1] = last
                path = tmp_path / part / side / f"{name}{suffix}"
                if suffix == ".npy":
                    np.save(path, values)
                else:
                    Image.fromarray((values % 256).astype(np.uint8)).save(path)
        sides[part] = Sources(a=tmp_path / part / "a", b=tmp_path / part / "b")
    found = same_files(*opened(sides.values()))
    assert [(held.stem, trained.stem) for held, trained in found] == [("other", "other")] * 2


def test_a_group_of_both_parts_is_a_leak_and_is_named(parts):
    train, test = parts
    for number in range(7):
        Image.new("RGB", (9, 9 + number)).save(test.b / f"p{number:02}_z.png")
    training, held_out = opened(parts)
    groups = Groups.of(r"p\d+", *parts)
    shared = same_groups(training, held_out, groups)
    assert list(shared) == [f"p{number:02}" for number in range(7)]
    assert shared["p00"] == (test.b / "p00_z.png", train.a / "p00_x.png")
    [finding] = leaked_groups(training, held_out, groups)
    assert finding.level == "error"
    assert (
        "7 groups are both in the training data and held out: p00, p01, p02, p03, p04 and 2 "
        in (finding.what)
    )
