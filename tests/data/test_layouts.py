"""The table of layouts: each row describes itself, and one of another package works everywhere."""

import ast
import json
import shutil
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from img2img.cli.check import check
from img2img.data import LAYOUTS
from img2img.data.sources import Sources
from img2img.errors import UsageError
from img2img.export.run import export_run
from img2img.methods import METHODS
from img2img.training.config import RunConfig
from img2img.training.loop import train
from img2img.training.plan import make_plan

PACKAGE = Path(__file__).parents[2] / "img2img"
SOURCES = {
    "pairs": {"a": "x", "b": "y"},
    "side-by-side": {"pairs": "x"},
    "pairs-and-inputs": {"a": "x", "b": "y"},
    "unpaired": {"a": "x", "b": "y"},
    "partly-paired": {"a": "x", "b": "y"},
    "labelled": {"data": "x"},
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("given", SOURCES)
def test_a_layout_accepts_the_fields_that_it_reads(layout, given):
    alike = SOURCES[layout] == SOURCES[given]
    assert LAYOUTS[layout].accepts(Sources(**SOURCES[given])) == alike


def test_every_method_names_layouts_that_there_are():
    assert all(name in LAYOUTS for method in METHODS.values() for name in method.layouts)


def test_only_the_evaluation_of_domains_knows_a_layout_by_its_class():
    layouts = {f"img2img.data.{name}" for name in ("paired", "unpaired", "labelled")}
    users = {
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and node.module in layouts
    }
    assert users == {"evaluate/domains.py"}


@pytest.fixture
def foreign(monkeypatch, emoji, tmp_path):
    """A package with a method and a layout is installed; and a folder that the layout reads."""
    for table, name, target in (
        (METHODS, "foreign", "foreign:Foreign"),
        (LAYOUTS, "suffixed", "foreign:Suffixed"),
    ):
        point = EntryPoint(name, target, table.group)
        monkeypatch.setattr(table, "_plugins", {name: [point]})
    folder = tmp_path / "pairs"
    folder.mkdir()
    for style, suffix in (("flat", "in"), ("3d", "out")):
        for path in sorted((emoji / style).iterdir())[:12]:
            shutil.copy(path, folder / f"{path.stem}-{suffix}{path.suffix}")
    (folder / "notes.txt").touch()
    return folder


def test_a_foreign_method_is_checked_on_its_layout(foreign, capsys):
    check([foreign], mode="foreign", as_json=True)
    report = json.loads(capsys.readouterr().out)
    assert report["mode"] == "foreign"
    assert {role: of["pictures"] for role, of in report["roles"].items()} == {"in": 12, "out": 12}
    notes = [finding["what"] for finding in report["findings"]]
    assert "1 file passed over: 1 .txt." in notes


def test_a_foreign_method_is_not_chosen_by_itself(foreign, capsys):
    check([foreign], as_json=True)
    assert json.loads(capsys.readouterr().out)["mode"] == "pix2pix"


def test_a_foreign_method_trains_and_is_exported(foreign, make_config, quiet, tmp_path):
    tiny = make_config("pix2pix").model_dump(mode="json")
    config = RunConfig.build({**tiny, "mode": "foreign", "sources": {"pairs": foreign}})
    train(make_plan(config, quiet), tmp_path / "run", quiet)
    [(path, parity)] = export_run(tmp_path / "run", quiet)
    assert path.exists()
    assert parity["max_levels"] <= 1
    card = (tmp_path / "run" / "README.md").read_text()
    assert "A foreign translator" in card
    assert "11 pairs" in card


def test_folders_of_another_kind_are_refused_with_the_method_s_own_words(foreign):
    with pytest.raises(UsageError, match=r"foreign needs --pairs DIR\."):
        METHODS["foreign"].open_data(Sources(a=foreign, b=foreign), (3, 3))


def test_a_layout_without_groups_refuses_them_and_leaks_nothing(
    foreign, make_config, quiet, tmp_path
):
    tiny = make_config("pix2pix").model_dump(mode="json")
    sources = {"pairs": foreign}
    config = RunConfig.build({**tiny, "mode": "foreign", "sources": sources, "group": "^.."})
    with pytest.raises(UsageError, match="--group: Suffixed data sets are not split by groups"):
        make_plan(config, quiet)
