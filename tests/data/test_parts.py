"""Which files of several input folders make up a picture."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from img2img.data.check import fingerprint
from img2img.data.paired import Pairs, PairsAndInputs
from img2img.data.parts import stacks
from img2img.data.sources import Sources
from img2img.data.unpaired import PartlyPaired, Unpaired
from img2img.errors import DataError
from img2img.files import PassedOver

RGB = (3, 3)


@pytest.fixture
def make(tmp_path):
    """A function: names of files by folder -> their folders, with a picture in each file."""

    def make(**names: list[str]) -> dict[str, Path]:
        for folder, files in names.items():
            for name in files:
                path = tmp_path / folder / name
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(path)
        return {folder: tmp_path / folder for folder in names}

    return make


def below(paths, root) -> list[str]:
    return [str(path.relative_to(root)) for path in paths]


def test_files_of_one_name_without_suffix_belong_together(make, tmp_path):
    folders = make(x=["1.png", "deep/2.png", "3.png"], y=["deep/2.jpg", "1.bmp"], z=["1.png"])
    first, stacked = stacks(Sources(a=[folders["x"], folders["y"]]), PassedOver())
    assert list(first) == ["1", "deep/2"]
    further = [stacked.further[path] for path in first.values()]
    assert [below(files, tmp_path) for files in further] == [["y/1.bmp"], ["y/deep/2.jpg"]]
    assert below(stacked.alone, tmp_path) == ["x/3.png"]
    first, stacked = stacks(Sources(a=list(folders.values())), PassedOver())
    assert list(first) == ["1"]
    assert sorted(below(stacked.alone, tmp_path)) == ["x/3.png", "x/deep/2.png", "y/deep/2.jpg"]


def test_folders_without_a_common_name_are_refused(make):
    folders = make(x=["1.png"], y=["2.png"])
    with pytest.raises(DataError, match=r"No picture in .*x has one of the same name in each of"):
        stacks(Sources(a=list(folders.values())), PassedOver())


@pytest.mark.parametrize("layout", [Pairs, PairsAndInputs, Unpaired, PartlyPaired])
def test_every_layout_of_two_sets_takes_several_inputs(make, tmp_path, layout):
    names = [f"{number}.png" for number in range(4)]
    folders = make(x=[*names, "8.png"], y=names, b=[*names[:3], "9.png"])
    sources = Sources(a=[folders["x"], folders["y"]], b=folders["b"])
    assert layout.accepts(sources)
    dataset = layout.open(sources, RGB)
    roles = [role for role, _ in dataset.file_roles()]
    for role in {role for role in roles if role.startswith("a") and "folder" not in role}:
        assert roles.count(f"{role} (folder 2)") == roles.count(role) > 0
    assert below(dataset.files_of("a", folders["x"] / "2.png"), tmp_path) == ["x/2.png", "y/2.png"]
    assert dataset.files_of("b", folders["b"] / "2.png") == (folders["b"] / "2.png",)
    gaps = dict(dataset.gaps())
    assert below(gaps["files are not in all folders of a"], tmp_path) == ["x/8.png"]


def test_the_fingerprint_covers_the_files_of_all_inputs(make, tmp_path):
    folders = make(x=["1.png", "2.png"], y=["1.png", "2.png"], b=["1.png", "2.png"])
    sources = Sources(a=[folders["x"], folders["y"]], b=folders["b"])
    before = fingerprint(Pairs.open(sources, RGB))
    assert fingerprint(Pairs.open(sources, RGB)) == before
    Image.fromarray(np.zeros((9, 90, 3), np.uint8)).save(folders["y"] / "2.png")
    assert fingerprint(Pairs.open(sources, RGB)) != before
    rest, out = Pairs.open(sources, RGB).split(1)
    assert len(list(rest.files())) == len(list(out.files())) == 3


def test_the_folder_of_a_may_be_that_of_b_too(make):
    folders = make(x=["1.png"], y=["1.png"])
    dataset = Pairs.open(Sources(a=[folders["x"], folders["y"]], b=folders["x"]), RGB)
    [(a, b)] = dataset.items
    assert len(dataset.files_of("a", a)) == 2
    assert dataset.files_of("b", b) == (b,)
