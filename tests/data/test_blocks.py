"""Held-out blocks of a scene: no training tile overlaps or touches a held-out tile."""

import re

import numpy as np
import pytest
import tifffile
from command_line import run
from PIL import Image

from img2img.data.blocks import Blocks
from img2img.data.groups import Groups, as_rule
from img2img.data.labelled import Labelled
from img2img.data.paired import Pairs, PairsAndInputs, SideBySide
from img2img.data.sources import Sources
from img2img.data.unpaired import PartlyPaired, Unpaired
from img2img.errors import DataError

RGB = (3, 3)


@pytest.fixture
def tiles(tmp_path):
    """A function (folder, step): tiles of 32 px of a scene of 256 x 256 px."""

    def cut(name, step=32, scene="lake"):
        folder = tmp_path / name
        folder.mkdir(parents=True, exist_ok=True)
        for top in range(0, 225, step):
            for left in range(0, 225, step):
                Image.new("L", (32, 32)).save(folder / f"{scene}-y{top:03}-x{left:03}.png")
        return folder

    return cut


def corners(paths) -> np.ndarray:
    """Top and left of each tile, [N, 2]."""
    return np.array([re.findall(r"-[yx](\d+)", path.name) for path in paths], int)


def gaps(trained, held) -> np.ndarray:
    """The px between each tile of training and each held-out one; below 0 where they overlap."""
    apart = np.abs(corners(trained)[:, None] - corners(held)[None]) - 32
    return apart.max(-1)


@pytest.mark.parametrize(("step", "margin"), [(32, 0), (16, 0), (20, 0), (32, 40), (16, 8)])
def test_no_tile_of_training_overlaps_or_touches_a_held_out_one(tiles, step, margin):
    folder = tiles("a", step)
    groups = Groups(f"blocks:64:{margin}" if margin else "blocks:64", (folder,))
    data = SideBySide.open(Sources(pairs=folder), RGB)
    rest, out = data.split_groups(4, groups)
    distances = gaps(rest.files(), out.files())
    assert distances.min() > margin
    assert len(groups.names(out.files())) <= 2
    # Only the tiles that are so near are left out.
    unused = set(data.files()) - {*rest.files(), *out.files()}
    assert unused
    assert all(gaps([path], out.files()).min() <= margin for path in unused)


@pytest.mark.parametrize("layout", [Pairs, PairsAndInputs, Unpaired, PartlyPaired, Labelled])
def test_every_layout_keeps_them_apart(layout, tiles, tmp_path):
    a, b = tiles("data/a", 16), tiles("data/b", 16)
    if layout in (PairsAndInputs, PartlyPaired):
        for path in sorted(b.iterdir())[::5]:
            path.unlink()
    sources = Sources(data=tmp_path / "data") if layout is Labelled else Sources(a=a, b=b)
    data = layout.open(sources, RGB)
    rest, out = data.split_groups(8, Groups.of("blocks:64", sources))
    for folder in (a, b):
        trained, held = (
            [path for path in part.files() if path.parent == folder] for part in (rest, out)
        )
        assert held
        assert gaps(trained, held).min() > 0


def test_other_scenes_are_not_near(tiles):
    folder = tiles("a")
    tiles("a", scene="sea")
    data = SideBySide.open(Sources(pairs=folder), RGB)
    rest, out = data.split_groups(4, Groups("blocks:64", (folder,)))
    [scene] = {path.name.partition("-")[0] for path in out.files()}
    other = {"lake": "sea", "sea": "lake"}[scene]
    assert sum(path.name.startswith(other) for path in rest.files()) == 64


def test_where_nothing_is_left_it_is_an_error(tiles):
    data = SideBySide.open(Sources(pairs=tiles("a", 112)), RGB)
    with pytest.raises(DataError, match="so none is left to train on"):
        data.split_groups(1, Groups("blocks:64:300", (data.items[0].parent,)))


def test_rules_and_names_that_are_none_are_refused(tmp_path):
    assert as_rule("blocks:2048:256") == "blocks:2048:256"
    assert Blocks.of("parent") is None
    for rule in ("blocks:", "blocks:0", "blocks:64:", "blocks:64:x"):
        with pytest.raises(ValueError, match="write blocks:2048"):
            as_rule(rule)
    with pytest.raises(DataError, match=r"--group blocks: 7\.png is not named as img2img tiles"):
        Groups("blocks:64", (tmp_path,)).name(tmp_path / "7.png")


def test_tiles_of_a_scene_are_held_out_as_blocks(tmp_path):
    """From a scene through `img2img tiles` to `check`."""
    (tmp_path / "scene").mkdir()
    values = np.random.default_rng(0).integers(0, 999, (300, 400, 1)).astype(np.uint16)
    np.save(tmp_path / "scene" / "s.npy", values)
    for side in "ab":
        assert run("tiles", "scene", "-o", side, "--size", "64", cwd=tmp_path).returncode == 0
    done = run("check", "a", "b", "--group", "blocks:128", "--held-out", "4", cwd=tmp_path)
    assert "23 pairs; held out: 4 pairs" in done.stdout  # of 5 x 7 tiles
    assert "note: 5 groups are trained on, 1 held out:" in done.stdout
    assert "note: 16 files near the held-out ones are not used." in done.stdout


def test_a_tile_of_several_pages_lies_where_its_file_says(tmp_path):
    for name, left in (("lake-y000-x000", 0), ("lake-y000-x064", 64)):
        tifffile.imwrite(
            tmp_path / f"{name}.tif", np.zeros((3, 32, 32), np.uint16), photometric="minisblack"
        )
        pages = [tmp_path / f"{name}.tif" / f"page-{page}" for page in range(3)]
        names = {Blocks(64, 0).name(f"{name}.tif/page-{page}") for page in range(3)}
        assert names == {f"lake y0 x{left}"}
    first = tmp_path / "lake-y000-x000.tif" / "page-0"
    assert Blocks(64, 0).near([first], pages) == [False]  # 32 px between them
    assert Blocks(64, 40).near([first], pages) == [True]
    with pytest.raises(DataError, match="not named as img2img tiles names tiles"):
        Blocks(64, 0).name("lake-y000-x000.d/other.tif")
