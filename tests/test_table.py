"""What can be chosen by name: this package's rows, and those of others."""

import subprocess
import sys

import pytest

from img2img.errors import UsageError
from img2img.table import Table

GROUP = "img2img.test_rows"
BUILTIN = {"square": "math:sqrt", "circle": "math:pi", "absent": "img2img.no_such_module:thing"}


@pytest.fixture
def install(tmp_path, monkeypatch):
    """A function (package, {row: "module:attribute"}, modules' sources) that installs a package."""
    monkeypatch.syspath_prepend(tmp_path)

    def add(package: str, rows: dict[str, str], **modules: str) -> None:
        info = tmp_path / f"{package}-1.2.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.2\n")
        lines = [f"{name} = {target}" for name, target in rows.items()]
        (info / "entry_points.txt").write_text("\n".join([f"[{GROUP}]", *lines]) + "\n")
        for name, source in modules.items():
            (tmp_path / f"{name}.py").write_text(source)

    yield add
    for name in [name for name in sys.modules if name.startswith("shapes_")]:
        del sys.modules[name]


def table() -> Table:
    return Table("shape", GROUP, BUILTIN)


def test_rows_are_listed_without_being_loaded(install):
    install("shapes", {"hexagon": "shapes_six:SIX"}, shapes_six="SIX = 6")
    shapes = table()
    assert list(shapes) == ["square", "circle", "absent", "hexagon"]
    assert len(shapes) == 4
    assert "hexagon" in shapes
    assert "absent" in shapes
    assert "shapes_six" not in sys.modules


def test_a_row_is_loaded_when_it_is_looked_up(install):
    install("shapes", {"hexagon": "shapes_six:SIX"}, shapes_six="SIX = 6")
    shapes = table()
    assert shapes["circle"] == shapes.choose("circle") == pytest.approx(3.14159, abs=1e-5)
    assert shapes["hexagon"] == shapes.choose("hexagon") == 6
    assert shapes.get("triangle") is None
    with pytest.raises(ModuleNotFoundError):  # ours is a bug, no user's mistake
        shapes["absent"]


def test_a_row_of_another_class_is_refused_by_the_name_of_its_package(install):
    rows = {"six": "shapes_six:Six", "seven": "shapes_six:SEVEN", "none": "shapes_six:text"}
    install("shapes", rows, shapes_six="class Six(int): pass\nSEVEN = 7\ntext = 'x'")
    shapes = Table("shape", GROUP, BUILTIN, base="builtins:int")
    assert (shapes["six"].__name__, shapes["seven"]) == ("Six", 7)
    with pytest.raises(UsageError, match=r"none of shapes 1.2 \(shapes_six:text\) is no int"):
        shapes["none"]


def test_an_unknown_name_is_refused_with_those_that_are_close(install):
    install("shapes", {"hexagon": "shapes_six:SIX"}, shapes_six="SIX = 6")
    with pytest.raises(UsageError, match=r"no shape hexagn; there are .*Did you mean hexagon\?"):
        table().choose("hexagn")
    with pytest.raises(UsageError, match=r"no shape xyz; there are square, circle, .*hexagon\.$"):
        table().choose("xyz")
    assert "shapes_six" not in sys.modules


def test_a_built_in_row_wins_and_choosing_it_names_both(install):
    install("shapes", {"circle": "shapes_round:ROUND"}, shapes_round="ROUND = 0")
    shapes = table()
    assert shapes["circle"] == pytest.approx(3.14159, abs=1e-5)
    assert len(shapes) == 3
    with pytest.raises(
        UsageError, match=r"img2img itself \(math:pi\) and shapes 1\.2 \(shapes_round:ROUND\)"
    ):
        shapes.choose("circle")
    assert shapes.choose("square")


def test_two_packages_with_one_name_are_both_named(install):
    install("shapes", {"oval": "shapes_one:OVAL"}, shapes_one="OVAL = 1")
    install("forms", {"oval": "shapes_two:OVAL"}, shapes_two="OVAL = 2")
    shapes = table()
    assert "oval" in shapes
    for look_up in (shapes.choose, shapes.__getitem__):
        with pytest.raises(UsageError, match=r"The shape oval is in .*1\.2 .* and .*1\.2 "):
            look_up("oval")


@pytest.mark.parametrize("source", ["raise RuntimeError('too old')", "OTHER = 1"])
def test_a_package_that_cannot_be_loaded_is_named(source, install):
    install("shapes", {"hexagon": "shapes_six:SIX"}, shapes_six=source)
    with pytest.raises(UsageError, match=r"shape hexagon of shapes 1\.2 .* can't be loaded"):
        table().choose("hexagon")


@pytest.mark.parametrize(
    "names", ["img2img.methods.METHODS", "img2img.nets.GENERATORS", "img2img.nets.DISCRIMINATORS"]
)
def test_methods_and_networks_are_listed_without_torch(names):
    module, _, attribute = names.rpartition(".")
    script = f"import sys; from {module} import {attribute} as rows; print(list(rows)); "
    script += "print([m for m in ('torch', 'pydantic') if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    listed, heavy = done.stdout.splitlines()
    assert "stargan" in listed or "patch" in listed
    assert heavy == "[]"
