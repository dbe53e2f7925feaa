"""config.json as a stranger may have written it, or a run with another package's parts."""

import json
from importlib.metadata import EntryPoint

import pytest

from img2img.cli import lists
from img2img.errors import DataError
from img2img.methods.objectives import OBJECTIVES
from img2img.training.config import RunConfig


def load(folder, **values):
    content = {"name": "x", "mode": "pix2pix", "sources": {}, "method": {}, **values}
    (folder / "config.json").write_text(json.dumps(content))
    return RunConfig.load(folder)


NAMES = ["mode", "preset", "loggers", "keep", "objective", "generator"]
NOTHING = [("generator", None), ("generator", {}), ("loggers", [])]  # which is allowed


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (name, value)
        for name in NAMES
        for value in (None, [], {}, [1], True, 1.5)
        if (name, value) not in NOTHING
    ],
)
def test_a_value_of_another_kind_is_a_data_error(name, value, tmp_path):
    in_method = name in ("objective", "generator")
    with pytest.raises(DataError, match=r"config\.json can't be used"):
        load(tmp_path, **({"method": {name: value}} if in_method else {name: value}))


@pytest.mark.parametrize(
    "values",
    [
        {"mode": "theirs"},
        {"method": {"objective": "theirs"}},
        {"method": {"generator": {"name": "theirs"}}},
        {"method": {"discriminator": {"name": "theirs"}}},
    ],
)
def test_a_run_of_a_package_that_is_not_installed_says_what_to_install(values, tmp_path):
    with pytest.raises(DataError, match=r"config\.json .*theirs.* install that package\.$"):
        load(tmp_path, **values)


def test_an_objective_of_another_package_is_not_imported_unless_it_is_named(
    tmp_path, monkeypatch, capsys
):
    broken = EntryPoint("theirs", "no_such_package:THEIRS", OBJECTIVES.group)
    monkeypatch.setitem(OBJECTIVES._plugins, "theirs", [broken])
    assert RunConfig.build({"name": "x", "mode": "cyclegan", "sources": {}}).method
    lists.show_objectives()
    assert "no_such_package:THEIRS" in capsys.readouterr().out.replace("\n", "")
    with pytest.raises(DataError, match="can't be loaded"):
        load(tmp_path, method={"objective": "theirs"})
