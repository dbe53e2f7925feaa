"""Runs with --group: no group is on both sides, and resume and export keep the split."""

import io
import json
import shutil

import numpy as np
import pytest
import tifffile
from rich.console import Console

from img2img.data.sources import Sources
from img2img.errors import DataError, UsageError
from img2img.export.run import _split
from img2img.intensity import Intensity
from img2img.training.config import RunConfig
from img2img.training.plan import make_plan
from img2img.training.resume import resumed
from img2img.training.settings import differences, read_texts


@pytest.fixture
def patients(emoji, tmp_path):
    """Sources of 20 pairs of 5 patients, in the folders pN of a and b."""
    for side, style in (("a", "flat"), ("b", "3d")):
        for number, path in enumerate(sorted((emoji / style).iterdir())):
            folder = tmp_path / "data" / side / f"p{number % 5}"
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, folder)
    return Sources(a=tmp_path / "data" / "a", b=tmp_path / "data" / "b")


def groups_of_files(dataset) -> set[str]:
    return {path.parent.name for path in dataset.files()}


@pytest.mark.parametrize(
    ("mode", "said"), [("pix2pix", "4 pairs"), ("cyclegan", "4 pictures of a, 4 of b")]
)
def test_a_run_holds_out_a_whole_group_and_so_do_resume_and_export(
    mode, said, patients, make_config, quiet, tmp_path
):
    config = make_config(mode, {"sources": patients, "group": "parent"})
    console = Console(file=io.StringIO(), width=400)
    plan = make_plan(config, console)
    [name] = groups_of_files(plan.held_out)
    assert f"held out: {name} ({said})" in console.file.getvalue()
    assert not groups_of_files(plan.held_out) & groups_of_files(plan.training)
    (tmp_path / "config.json").write_text(plan.config.to_json())
    saved = RunConfig.load(tmp_path)
    assert saved.group == "parent"
    again = make_plan(resumed(tmp_path, saved, {}), quiet)
    assert (again.training, again.held_out) == (plan.training, plan.held_out)
    assert _split(saved) == (plan.training, plan.held_out)


def test_a_config_of_before_has_no_group_and_the_split_of_before(make_config, tmp_path, quiet):
    config = make_config("pix2pix")
    values = json.loads(config.to_json())
    del values["group"]
    (tmp_path / "config.json").write_text(json.dumps(values))
    old = RunConfig.load(tmp_path)
    assert old.group is None
    plan = make_plan(old, quiet)
    whole = plan.training.items + plan.held_out.items
    assert sorted(whole).index(plan.held_out.items[0]) == 5  # of 20, evenly spread
    assert sorted(whole).index(plan.held_out.items[1]) == 15


def test_another_group_is_another_run(patients, make_config):
    first, second = (
        make_config("pix2pix", {"sources": patients, "group": rule}) for rule in ("parent", None)
    )
    assert differences(first, second) == {"group": ("parent", None)}
    with pytest.raises(UsageError, match="--resume takes --group from the run"):
        resumed(patients.a, first, {"group": "p.$"})


def test_the_option_takes_a_regex_with_commas_and_brackets():
    given = read_texts(["--group", r"^[^/]{1,3}/(\d+)"], [], "pix2pix", {})
    assert given == {"group": r"^[^/]{1,3}/(\d+)"}
    with pytest.raises(UsageError, match=r"--group p\(: it is no regular expression"):
        read_texts(["--group", "p("], [], "pix2pix", {})


def test_a_group_without_anything_held_out_is_refused(patients, make_config):
    with pytest.raises(UsageError, match=r"--group would change nothing: --held-out 0"):
        make_config("pix2pix", {"sources": patients, "group": "parent", "held_out": 0})


def test_a_group_in_the_folders_of_both_parts_is_refused(patients, make_config, quiet, tmp_path):
    for side, folder in (("a", patients.a), ("b", patients.b)):
        (tmp_path / "test" / side).mkdir(parents=True)
        shutil.move(folder / "p1", tmp_path / "test" / side)
    test = Sources(a=tmp_path / "test" / "a", b=tmp_path / "test" / "b")
    config = make_config("pix2pix", {"sources": patients, "test": test, "group": "parent"})
    plan = make_plan(config, quiet)
    assert groups_of_files(plan.held_out) == {"p1"}
    for folder, side in ((test.a, patients.a), (test.b, patients.b)):
        (folder / "p2").mkdir()
        path = next((side / "p2").iterdir())
        shutil.move(path, folder / "p2" / f"other{path.suffix}")
    for decode in (True, False):
        with pytest.raises(DataError, match=r"1 group is both in the training .* held out: p2"):
            make_plan(config, quiet, decode)


def test_a_file_in_two_groups_of_both_parts_is_refused(patients, make_config, quiet):
    config = make_config("cyclegan", {"sources": patients, "group": "parent"})
    held_out = make_plan(config, quiet).held_out
    group = held_out.a[0].parent.name
    [other, *_] = sorted(folder for folder in patients.a.iterdir() if folder.name != group)
    shutil.copy(held_out.a[0], other / f"copy{held_out.a[0].suffix}")
    with pytest.raises(DataError, match=r"1 held-out file is also in .*The first: .*copy"):
        make_plan(config, quiet)


def test_without_groups_a_picture_in_both_parts_is_told_and_trained_on(make_config, emoji):
    console = Console(file=io.StringIO(), width=400)
    both = {"sources": {"a": emoji / "flat", "b": emoji / "3d"}}
    config = make_config("pix2pix", both | {"test": both["sources"]})
    plan = make_plan(config, console)
    assert len(plan.held_out) == 20
    assert "40 held-out files are also in the training data" in console.file.getvalue()
    resumed_console = Console(file=io.StringIO(), width=400)
    make_plan(plan.config, resumed_console)
    assert resumed_console.file.getvalue() == ""


@pytest.fixture
def volumes(tmp_path):
    """a and b with volumes of 3 slices of each of 4 patients."""
    random = np.random.default_rng(0)
    for side in "ab":
        (tmp_path / side).mkdir()
        for patient in range(4):
            values = random.integers(0, 4096, (3, 40, 40)).astype(np.uint16)
            tifffile.imwrite(tmp_path / side / f"p{patient}.tif", values, photometric="minisblack")
    return Sources(a=tmp_path / "a", b=tmp_path / "b", pages="each")


def with_values(config: RunConfig) -> RunConfig:
    intensity = Intensity(dtype="uint16", bands=("1",), low=(0,), high=(4095,))
    both = {"a": intensity, "b": intensity}
    return config.with_method(in_channels=1, out_channels=1, intensities=both)


@pytest.mark.parametrize("mode", ["pix2pix", "cyclegan"])
def test_the_pages_of_a_file_are_held_out_together(mode, volumes, make_config, quiet):
    plan = make_plan(with_values(make_config(mode, {"sources": volumes})), quiet)
    held = {path.parent.name for path in plan.held_out.files()}
    assert len(held) == 1
    assert len(plan.held_out) == 3
    assert not held & {path.parent.name for path in plan.training.files()}


def test_held_out_volumes_may_have_the_names_of_others(volumes, make_config, quiet, tmp_path):
    """Without --group, a name is no patient's."""
    for side in "ab":
        (tmp_path / "test" / side).mkdir(parents=True)
        values = np.random.default_rng(9).integers(0, 4096, (3, 40, 40)).astype(np.uint16)
        tifffile.imwrite(tmp_path / "test" / side / "p0.tif", values, photometric="minisblack")
    test = Sources(a=tmp_path / "test" / "a", b=tmp_path / "test" / "b")
    config = make_config("pix2pix", {"sources": volumes, "test": test})
    plan = make_plan(with_values(config), quiet)
    assert len(plan.held_out) == 3
    assert len(plan.training) == 12
