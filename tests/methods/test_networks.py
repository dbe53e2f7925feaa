"""Networks chosen by name: where their settings go, flat or nested, and the methods' defaults."""

import json
import sys

import pytest
import torch
from pydantic import ValidationError

from img2img.errors import UsageError
from img2img.export.graph import load_run
from img2img.methods import METHODS
from img2img.nets import GENERATORS
from img2img.nets.patchgan import PixelConfig
from img2img.nets.resnet import ResNetConfig
from img2img.nets.unet import UNetConfig
from img2img.sizes import Size
from img2img.training.loop import train
from img2img.training.plan import make_plan

PIX2PIX, CYCLEGAN = METHODS["pix2pix"].Config, METHODS["cyclegan"].Config


@pytest.mark.parametrize(
    ("mode", "generator", "discriminator"),
    [
        (
            "pix2pix",
            {"name": "unet", "width": 64, "levels": None, "norm": "batch", "dropout": True},
            {"name": "patch", "width": 64, "layers": 3, "norm": "batch", "antialias": False},
        ),
        (
            "cyclegan",
            {"name": "resnet", "width": 64, "blocks": None, "norm": "instance", "dropout": False},
            {"name": "patch", "width": 64, "layers": 3, "norm": "instance", "antialias": False},
        ),
        (
            "stargan",
            {"name": "stargan", "width": 64, "blocks": 6},
            {"name": "stargan", "width": 64, "layers": 6, "minibatch": None},
        ),
    ],
)
def test_the_papers_networks_are_the_default(mode, generator, discriminator):
    values = METHODS[mode].Config().model_dump()
    assert values["generator"].items() >= generator.items()
    assert values["discriminator"].items() >= {"spectral": False, **discriminator}.items()


def test_without_norm_layers_pictures_still_reach_the_last_layer():
    """The papers' initial weights let a narrow generator's features vanish."""
    settings = {"size": 64, "generator": "resnet", "width": 16, "blocks": 4, "norm": "none"}
    pictures = torch.rand(2, 3, 64, 64) * 2 - 1
    spreads = {}
    for init in ("normal", None):
        given = settings if init is None else {**settings, "init": init}
        torch.manual_seed(0)
        generator = METHODS["pix2pix"](PIX2PIX(**given)).generators["ab"]
        spreads[init] = generator(pictures).std().item()
    assert spreads[None] > 1e-2
    assert spreads["normal"] < 1e-4
    assert PIX2PIX(norm="none").init == "torch"
    assert PIX2PIX(norm="none", init="xavier").init == "xavier"
    assert PIX2PIX(d_norm="none").init == "normal"


def test_another_network_has_the_methods_defaults_where_it_has_such_settings():
    assert PIX2PIX(generator="resnet").generator == ResNetConfig(norm="batch", dropout=True)
    assert CYCLEGAN(generator="unet").generator == UNetConfig(norm="instance", dropout=False)
    assert CYCLEGAN(discriminator="pixel").discriminator == PixelConfig(norm="instance")


def test_a_flat_setting_goes_to_its_network():
    config = PIX2PIX(width=8, d_width=16, levels=5, d_layers=2, size=64, spectral=True, l1=1.0)
    assert config.generator == UNetConfig(width=8, levels=5, norm="batch", dropout=True)
    assert config.discriminator.model_dump() == {
        "name": "patch",
        "spectral": True,
        "width": 16,
        "layers": 2,
        "norm": "batch",
        "minibatch": None,
        "antialias": False,
    }
    assert (config.size, config.l1) == (Size(64, 64), 1.0)


@pytest.mark.parametrize(
    ("settings", "norms"),
    [
        ({"norm": "none"}, ("none", "none")),
        ({"d_norm": "none"}, ("batch", "none")),
        ({"d_norm": "instance", "norm": "none"}, ("none", "instance")),
        ({"norm": "none", "d_norm": "instance"}, ("none", "instance")),
        ({"generator": {"norm": "none"}}, ("none", "batch")),
    ],
)
def test_norm_sets_both_networks_and_d_norm_one(settings, norms):
    config = PIX2PIX(**settings)
    assert (config.generator.norm, config.discriminator.norm) == norms


def test_a_flat_setting_wins_over_a_nested_one():
    config = CYCLEGAN(generator={"name": "resnet", "width": 8, "blocks": 3}, blocks=2)
    assert config.generator == ResNetConfig(width=8, blocks=2)


@pytest.mark.parametrize("mode", METHODS)
def test_settings_come_back_from_json_nested_and_flat(mode):
    batch = {"norm": "instance", "d_norm": "none"} if mode != "stargan" else {"blocks": 2}
    config = METHODS[mode].Config(size=64, width=8, d_width=16, **batch)
    schema = type(config)
    assert schema.model_validate_json(config.model_dump_json()) == config
    assert schema(**config.model_dump()) == config
    assert schema(**json.loads(json.dumps(config.flat()))) == config
    assert schema.model_validate(config) == config
    assert config.flat()["width"] == 8
    assert config.flat()["d_width"] == 16
    assert config.flat().keys() == schema.spellings({}).keys()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"levls": 5}, "there is no setting levls; did you mean levels?"),
        ({"zzz": 5}, "there is no setting zzz"),
        (
            {"blocks": 5},
            "the generator unet has no setting blocks; resnet, attention-unet, "
            "stargan, modulated have",
        ),
        ({"discriminator": "pixel", "d_layers": 2}, "discriminator pixel has no setting layers"),
        (
            {"generator": "resnet", "levels": 5},
            "levels; unet, attention-unet have; choose one with generator=unet",
        ),
        ({"layers": 2}, "no setting layers"),  # that would be d_layers
        (
            {"generator": "stargan", "padding": "zeros"},
            "the generator stargan has no setting padding; unet, resnet, attention-unet, "
            "modulated have",
        ),
        ({"form": "flat", "generator": "resnet"}, "resnet has no setting form; unet has"),
        ({"padding": "reflect"}, "generator.padding"),
        ({"width": 0}, "generator.width"),
        ({"d_width": 0}, "discriminator.width"),
        ({"generator": {"name": "unet", "widht": 3}}, "generator.widht"),
        ({"generator": 3}, "generator must be a name, or the settings"),
        ({"generator": {"name": 3}}, "the name of a generator must be a string, not 3"),
        ({"generator": "resnet", "size": 38}, "size 38 must be a multiple of 4 for resnet"),
        (
            {"generator": "stargan"},
            "the generator stargan takes a domain, and this method has none; set generator=unet",
        ),
        ({"discriminator": "stargan"}, "stargan classifies domains, and this method has none"),
        (
            {"discriminator": "autoencoder"},
            "the discriminator autoencoder is for energy-based objectives, and bce is none",
        ),
        ({"objective": "ebgan", "discriminator": "patch"}, "set discriminator=autoencoder"),
    ],
)
def test_what_is_no_setting_or_does_not_fit_is_refused_by_name(settings, message):
    with pytest.raises(ValidationError) as error:
        PIX2PIX(**settings)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"generator": "resnt"}, "no generator resnt; .* Did you mean resnet?"),
        ({"discriminator": {"name": "pach"}}, "no discriminator pach; .* Did you mean patch?"),
        ({"objective": "ebgn"}, "no objective ebgn; .* Did you mean ebgan?"),
    ],
)
def test_a_name_that_is_in_no_table_is_refused_with_those_that_are_close(settings, message):
    with pytest.raises(UsageError, match=message):
        PIX2PIX(**settings)


PLUGIN = """
from typing import ClassVar

from torch import nn

from img2img.nets.generator import Generator, GeneratorConfig


class Flat(Generator):
    size_multiple = min_size = 1

    def __init__(self, given, made, kernel):
        super().__init__()
        self.model = nn.Sequential(nn.Conv2d(given, made, kernel, padding="same"), nn.Tanh())

    def forward(self, image):
        return self.model(image)


class FlatConfig(GeneratorConfig):
    name: ClassVar[str] = "flat"
    local: ClassVar[bool] = True
    kernel: int = 3

    def size_multiple(self, size):
        return 1

    def build(self, size, in_channels, out_channels, domains=0):
        return Flat(in_channels, out_channels, self.kernel)
"""


@pytest.fixture
def plugin(tmp_path, monkeypatch):
    """A package that is installed and brings the generator "flat"."""
    info = tmp_path / "flat_nets-2.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: flat-nets\nVersion: 2.0\n")
    (info / "entry_points.txt").write_text("[img2img.generators]\nflat = flat_nets:FlatConfig\n")
    (tmp_path / "flat_nets.py").write_text(PLUGIN)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(vars(GENERATORS), "_plugins", raising=False)
    yield "flat"
    vars(GENERATORS).pop("_plugins", None)
    sys.modules.pop("flat_nets", None)


@pytest.mark.parametrize("mode", ["pix2pix", "cyclegan"])
def test_a_generator_of_another_package_is_trained_without_a_line_here(
    mode, plugin, make_config, quiet, tmp_path
):
    settings = {"generator": plugin, "kernel": 5, "d_width": 4, "d_layers": 2, "steps": 2}
    config = make_config(mode, discriminator={}, **settings)
    assert config.method.generator.model_dump() == {"name": "flat", "kernel": 5}
    assert config.method.flat()["kernel"] == 5
    train(make_plan(config, quiet), tmp_path / "run", quiet)
    method = load_run(tmp_path / "run")[1]
    assert method.generators["ab"].model[0].kernel_size == (5, 5)


def test_stargan_takes_conditional_networks_alone():
    schema = METHODS["stargan"].Config
    with pytest.raises(
        ValidationError, match="needs a generator that takes a domain; resnet does not"
    ):
        schema(generator="resnet")
    with pytest.raises(ValidationError, match="classifies the domain; patch does not"):
        schema(discriminator="patch")


def test_objectives_of_energy_choose_the_autoencoder():
    config = PIX2PIX(objective="ebgan", d_layers=2)
    assert (config.discriminator.name, config.discriminator.layers) == ("autoencoder", 2)
    assert PIX2PIX(objective="ebgan", discriminator="autoencoder", d_layers=2) == config


def test_a_preset_sets_what_the_networks_have_and_nested_settings_win_over_it():
    preset = METHODS["pix2pix"].presets["modern"] | {"discriminator": "patch"}
    modern = PIX2PIX(**PIX2PIX.route({}, preset))
    assert (modern.generator.norm, modern.generator.dropout) == ("instance", False)
    assert modern.discriminator.norm == "instance"
    given = PIX2PIX(**PIX2PIX.route({"generator": {"norm": "none"}}, preset))
    assert (given.generator.norm, given.discriminator.norm) == ("none", "instance")
    again = PIX2PIX(**PIX2PIX.route(given.model_dump(), preset))
    assert again == given
    # A setting that the chosen network lacks is not the preset's mistake.
    with_form = PIX2PIX.route({"generator": "resnet"}, {"form": "flat", "objective": "lsgan"})
    assert PIX2PIX(**with_form).objective == "lsgan"
