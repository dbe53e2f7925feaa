"""Settings as they are written on a command line and in files, and laid over one another."""

import re

import pytest

from img2img.errors import UsageError
from img2img.methods import METHODS
from img2img.methods.config import MethodConfig
from img2img.training.config import RunConfig
from img2img.training.settings import layered, read_file, read_texts, run_name, settings_of


@pytest.mark.parametrize(
    ("arguments", "values"),
    [
        (["--levels", "5", "--ema=0.999"], {"levels": 5, "ema": 0.999}),
        (["--generator-lr", "1e-4"], {"generator_lr": 1e-4}),
        (["--no-flip", "--spectral"], {"flip": False, "spectral": True}),
        (["--spectral", "no", "--dropout", "True"], {"spectral": False, "dropout": True}),
        (["--augment", "colour,cutout"], {"augment": ("colour", "cutout")}),
        (["--augment", "[colour, cutout]"], {"augment": ("colour", "cutout")}),
        (["--augment="], {"augment": ()}),
        (["--betas", "0,0.9"], {"betas": (0.0, 0.9)}),
        (["--resize", "none", "--minibatch", "null"], {"resize": None, "minibatch": None}),
        (["--norm", "none", "--extractor", "none"], {"norm": "none", "extractor": "none"}),
        (["--in-channels", "1"], {"in_channels": 1}),
        (["--licence", "[x: y"], {"licence": "[x: y"}),  # text, and no YAML
        (["--licence", "1.0"], {"licence": "1.0"}),
        (["--loggers", "none", "--keep", "5"], {"loggers": (), "keep": "5"}),
        (["--blocks", "2", "--generator", "resnet"], {"blocks": 2, "generator": "resnet"}),
        (["--blocks", "2", "--generator=resnet"], {"blocks": 2, "generator": "resnet"}),
    ],
)
def test_options_are_parsed_as_their_fields_are_declared(arguments, values):
    assert read_texts(arguments, [], "pix2pix", {}) == values


def test_settings_of_sides_may_be_given_once_for_each():
    texts = ["--show", "a=4,3,2@0:3000", "--show=b=1", "--range", "a=0:1", "--bands", "3"]
    assert read_texts(texts, [], "pix2pix", {}) == {
        "show": ("a=4", "3", "2@0:3000", "b=1"),
        "range": ("a=0:1",),
        "bands": ("3",),
    }
    with pytest.raises(UsageError, match="--bands 1: it is given before"):
        read_texts(["--bands", "a=3", "--bands", "1"], [], "pix2pix", {})


def test_assignments_are_parsed_alike_and_win():
    texts = read_texts(
        ["--d-width", "8"], ["d_width=16", "generator=resnet", "blocks=3"], "pix2pix", {}
    )
    assert texts == {"d_width": 16, "generator": "resnet", "blocks": 3}
    assert read_texts([], ["save-every=7"], "pix2pix", {}) == {"save_every": 7}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--levels", "five"], "--levels five: must be a whole number"),
        (["--ema", "1"], "--ema 1: must be less than 1"),
        (["--ema", "high"], "--ema high: must be a number"),
        (["--ema"], "--ema needs a value"),
        (["--ema", "--no-flip"], "--ema needs a value"),
        (["--no-ema"], "--ema needs a value"),
        (["--spectral=perhaps"], "--spectral perhaps: must be true or false"),
        (["--augment", "color"], r"color must be 'colour', .*Did you mean colour\?"),
        (["--betas", "0.5,1"], "--betas 0.5,1: 1 must be less than 1"),
        (["--bacth", "4"], r"There is no setting --bacth. Did you mean --batch\?"),
        (["--moed", "4"], r"Did you mean --mode\?"),
        (["--zzz", "4"], "--list-settings prints them all"),
        (["--blocks", "4"], "--blocks: the generator unet has no setting blocks; resnet"),
        (["--generator", "unett"], r"no generator unett; .*Did you mean unet\?"),
        (["folder"], "Unexpected argument folder"),
        (["--in-channels", "0"], "--in-channels 0: must be at least 1"),
        (["--extractor", "incepton"], "'none'"),
    ],
)
def test_a_mistake_is_told_by_the_option_and_what_is_allowed(arguments, message):
    with pytest.raises(UsageError, match=message):
        read_texts(arguments, [], "pix2pix", {}, declared=["--mode", "--size"])


def test_the_layers_are_preset_file_and_options_in_this_order():
    file = {"mode": "cyclegan", "preset": "modern", "method": {"ema": 0.5, "batch": 3}, "seed": 4}
    options = {"batch": 7, "d_norm": "none", "log_every": 11}
    config = RunConfig.build(layered(file, options, {"a": "/x", "b": "/y"}, {}))
    assert (config.method.objective, config.method.ema, config.method.batch) == ("hinge", 0.5, 7)
    assert (config.method.discriminator.norm, config.log_every, config.seed) == ("none", 11, 4)
    assert config.name == "cyclegan-x-y"


FLAT = """
mode: cut
a: /x
b: /y
test-a: /z
size: 48x32
width: 4
d_layers: 2
generator-lr: 1e-4
steps: 3
seed: 2
"""
NESTED = """
mode: cut
sources: {a: /x, b: /y}
test: {a: /z}
method:
  size: 48x32
  generator: {width: 4}
  discriminator: {layers: 2}
  generator_lr: 0.0001
  steps: 3
seed: 2
"""


def test_a_file_may_name_settings_as_options_or_nested(tmp_path):
    configs = []
    for text in (FLAT, NESTED):
        (tmp_path / "config.yaml").write_text(text)
        configs.append(RunConfig.build(layered(read_file(tmp_path / "config.yaml"), {}, {}, {})))
    assert configs[0] == configs[1]
    assert (configs[0].method.steps, configs[0].method.epochs, configs[0].seed) == (3, None, 2)
    assert (str(configs[0].sources.b), str(configs[0].test.a)) == ("/y", "/z")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sise: 64", r"no setting sise; did you mean size\?"),
        ("direction: up", "--direction up: must be 'ab' or 'ba'"),
        ("epochs: 3\nsteps: 3", "epochs or steps"),
    ],
)
def test_a_mistake_in_a_file_is_told(text, message, tmp_path):
    (tmp_path / "config.yaml").write_text(f"mode: pix2pix\npairs: /p\n{text}\n")
    with pytest.raises(UsageError, match=message):
        RunConfig.build(layered(read_file(tmp_path / "config.yaml"), {}, {}, {}))


def test_epochs_replace_steps_and_both_together_are_refused():
    file = {"mode": "stargan", "method": {"steps": 500}}
    config = RunConfig.build(layered(file, {"epochs": 5}, {"data": ["/x"]}, {}))
    assert (config.method.epochs, config.method.steps) == (5, None)
    with pytest.raises(UsageError, match="epochs or steps"):
        RunConfig.build(layered(file, {"epochs": 5, "steps": 5}, {"data": ["/x"]}, {}))


def test_given_folders_replace_those_of_a_file_and_a_direction_alone_does_not():
    file = {"mode": "pix2pix", "sources": {"pairs": "/p"}, "test": {"pairs": "/t"}, "name": "p"}
    turned = RunConfig.build(layered(file, {}, {"swap": True}, {}))
    assert (str(turned.sources.pairs), turned.sources.swap) == ("/p", True)
    assert turned.test.given()
    moved = RunConfig.build(layered(file, {}, {"a": "/a", "b": "/b"}, {}))
    assert moved.sources.pairs is None
    assert not moved.test.given()


def test_what_a_run_found_and_its_history_are_no_settings_of_another():
    file = {"mode": "pix2pix", "fingerprint": "f", "measured_by": "none", "history": [{"until": 3}]}
    config = RunConfig.build(layered(file, {}, {}, {}))
    assert (config.fingerprint, config.measured_by, config.history) == ("", "", ())
    file = {"mode": "cyclegan", "method": {"labels_out": True, "palettes": {"b": [[1, 2, 3]]}}}
    assert RunConfig.build(layered(file, {}, {"a": "/a", "b": "/b"}, {})).method.palettes == {}


def test_a_name_is_made_of_the_method_and_the_folders(tmp_path):
    sources = {"a": tmp_path / "horses", "b": tmp_path / "zebras"}
    assert run_name("cyclegan", sources) == "cyclegan-horses-zebras"
    assert run_name("stargan", {"data": [tmp_path / "x", tmp_path / "y"]}) == "stargan-x-y"
    assert run_name("stargan", {"data": str(tmp_path / "x")}) == "stargan-x"


@pytest.mark.parametrize("mode", METHODS.builtin)
def test_every_setting_is_described_in_a_sentence(mode):
    shared = {**MethodConfig.model_fields, **RunConfig.model_fields}
    for generator in ("unet", "resnet", "stargan"):
        settings = settings_of(mode, {"generator": generator})
        del settings["name"]
        for name, setting in settings.items():
            field = setting.field if setting.field.description else shared[name]
            assert re.fullmatch(r"[A-Z].+\.", field.description or ""), name
