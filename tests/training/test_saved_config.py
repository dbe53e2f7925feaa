"""config.json as a stranger may have written it, or a run with another package's parts."""

import json
from importlib.metadata import EntryPoint

import pytest

from img2img.cli import lists
from img2img.errors import DataError, UsageError
from img2img.methods import METHODS
from img2img.methods.objectives import OBJECTIVES
from img2img.nets import GENERATORS
from img2img.training import checkpoint
from img2img.training.config import RunConfig
from img2img.training.resume import resumed


def load(folder, **values):
    content = {"name": "x", "mode": "pix2pix", "sources": {}, "method": {}, **values}
    (folder / "config.json").write_text(json.dumps(content))
    return RunConfig.load(folder)


def test_a_run_keeps_its_settings_when_its_preset_gets_others(tmp_path):
    saved = {"discriminator": {"name": "patch"}, "l1": 100.0, "objective": "rpgan", "norm": "none"}
    config = load(tmp_path, preset="modern", method=saved)  # of a version without `residual`
    assert config.preset == "modern"
    assert config.method == METHODS["pix2pix"].Config(**saved)
    assert config.method.generator.residual == "off"
    again = RunConfig.load(tmp_path)  # as it is written anew when it is resumed
    (tmp_path / "config.json").write_text(again.to_json())
    assert RunConfig.load(tmp_path) == config


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


def test_a_network_of_two_names_is_refused(monkeypatch):
    twin = EntryPoint("twin", "img2img.nets.resnet:ResNetConfig", GENERATORS.group)
    monkeypatch.setitem(GENERATORS._plugins, "twin", [twin])
    with pytest.raises(UsageError, match=r"generator twin .* name = 'resnet'\. Both names must"):
        METHODS["cyclegan"].Config(generator="twin")


def test_one_hot_labels_without_colors_are_a_usage_error():
    config = METHODS["pix2pix"].Config(labels_in="one-hot")
    with pytest.raises(UsageError, match="one-hot needs the colors"):
        METHODS["pix2pix"](config)


def test_a_checkpoint_that_is_none_is_a_data_error(tmp_path):
    config = load(tmp_path)
    checkpoint.save(tmp_path / checkpoint.LAST, {"epoch": 3})
    with pytest.raises(DataError, match=r"last\.pt is not the checkpoint of a run"):
        resumed(tmp_path, config, {"epochs": 300})


def test_an_objective_of_another_package_is_not_imported_unless_it_is_named(
    tmp_path, monkeypatch, capsys
):
    broken = EntryPoint("theirs", "no_such_package:THEIRS", OBJECTIVES.group)
    monkeypatch.setitem(OBJECTIVES._plugins, "theirs", [broken])
    assert RunConfig.build({"name": "x", "mode": "cyclegan", "sources": {}}).method
    monkeypatch.setenv("COLUMNS", "200")  # so that no word is broken
    lists.show_objectives()
    assert "no_such_package:THEIRS" in capsys.readouterr().out
    with pytest.raises(DataError, match="can't be loaded"):
        load(tmp_path, method={"objective": "theirs"})
