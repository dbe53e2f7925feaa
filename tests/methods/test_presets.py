"""Presets: the papers' settings by default, others under what the user gives."""

import json

import pytest
from conftest import tiny_preset
from typer.testing import CliRunner

from img2img.cli import app
from img2img.errors import UsageError
from img2img.methods import METHODS
from img2img.training.config import RunConfig
from img2img.training.loop import train
from img2img.training.plan import make_plan


@pytest.mark.parametrize("mode", METHODS)
def test_the_papers_settings_are_the_default(mode, make_config):
    assert make_config(mode).preset == "paper"
    assert make_config(mode) == make_config(mode, {"preset": "paper"})


@pytest.mark.parametrize(
    ("mode", "preset"),
    [(mode, name) for mode in METHODS for name in METHODS[mode].presets if name != "paper"],
)
def test_every_method_trains_with_its_presets_and_repeats_from_its_config(
    mode, preset, make_config, quiet, tmp_path
):
    config = make_config(mode, {"preset": preset}, steps=2, **tiny_preset(mode, preset))
    found = config.method.flat()
    given = {"steps", "epochs", "d_steps"}  # by make_config
    settings = json.loads(json.dumps(METHODS[mode].presets[preset]))
    own = {key: value for key, value in settings.items() if key not in given}
    assert own
    assert {key: found[key] for key in own} == own
    run = tmp_path / "run"
    train(make_plan(config, quiet), run, quiet)
    again = RunConfig.load(run)
    assert again.preset == preset
    assert RunConfig.build(again.model_dump(mode="json")) == again


def test_what_is_given_wins_over_the_preset(make_config):
    small = {"width": 4}  # settings alone do not choose another discriminator
    config = make_config("pix2pix", {"preset": "modern"}, ema=0.5, discriminator=small)
    assert config.method.discriminator.name == "projected"
    assert config.method.ema == 0.5
    assert config.method.objective == METHODS["pix2pix"].presets["modern"]["objective"]


@pytest.fixture
def modern(make_config):
    """A function (**settings) -> the config of pix2pix with its modern preset."""

    def make(**settings):
        small = {"discriminator": {"width": 4}, "resize": None}
        return make_config("pix2pix", {"preset": "modern"}, **small, **settings)

    return make


@pytest.mark.parametrize(
    "settings", [{"in_channels": 1}, {"out_channels": 4}, {"labels_in": "one-hot"}]
)
def test_modern_adds_the_input_only_where_it_has_the_outputs_channels(settings, modern):
    assert modern(in_channels=1, out_channels=1).method.generator.residual == "gated"
    for generator in ("unet", "resnet"):
        network = modern(**settings, generator=generator).method.generator
        assert (network.name, network.residual) == (generator, "off")
        assert network.upsample == "bilinear"  # the rest of the preset
    for chosen in ({"residual": "plain"}, {"generator": {"width": 4, "residual": "plain"}}):
        with pytest.raises(UsageError, match="residual=plain changes the input picture"):
            modern(**settings, **chosen)


@pytest.mark.parametrize(
    ("objective", "discriminator"),
    [("ebgan", "autoencoder"), ("mmd", "patch"), ("wgan", "patch"), ("bce", "projected")],
)
def test_modern_leaves_its_discriminator_to_objectives_that_need_another(
    objective, discriminator, make_config
):
    settings = {"objective": objective, "discriminator": {}, "resize": None}
    config = make_config("pix2pix", {"preset": "modern"}, **settings)
    assert config.method.discriminator.name == discriminator
    assert config.method.generator.residual == "gated"
    with pytest.raises(UsageError):
        make_config("pix2pix", {"preset": "modern"}, objective="ebgan", discriminator="projected")


def test_modern_trains_gray_pictures_to_color(modern, quiet, tmp_path):
    config = modern(in_channels=1, steps=2)
    train(make_plan(config, quiet), tmp_path / "run", quiet)
    assert RunConfig.load(tmp_path / "run").method == config.method


def test_another_preset_replaces_what_the_files_had_set(make_config, tmp_path):
    file = tmp_path / "config.json"
    chosen = {"generator": {"width": 4}, "discriminator": {}}
    modern = make_config("cyclegan", {"preset": "modern"}, cycle=3.0, **chosen)
    file.write_text(modern.model_dump_json())

    def planned(*options):
        command = ["train", "--config", str(file), "--dry-run", "--no-check", *options]
        result = CliRunner().invoke(app, command)
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    assert planned()["method"] == json.loads(modern.method.model_dump_json())
    paper = planned("--preset", "paper")
    assert paper["preset"] == "paper"
    assert paper["method"]["objective"] == "lsgan"
    assert paper["method"]["cycle"] == 3.0
    assert planned("--preset", "modern", "--ema", "0.7")["method"]["ema"] == 0.7
    own = make_config("cyclegan", {"preset": "modern"}, ema=0.5, objective="bce", **chosen)
    file.write_text(own.model_dump_json())  # what it has of its own stays
    again = planned("--preset", "paper")["method"]
    assert (again["ema"], again["objective"]) == (0.5, "bce")


@pytest.mark.parametrize(
    "settings",
    [{"objective": "wgan-gp"}, {"objective": "rpgan"}, {"r1": 1.0}, {"objective": "mmd"}],
)
def test_stargan_modern_scores_domains_only_where_no_penalty_needs_one_score(settings, make_config):
    def modern(**settings):
        return make_config(
            "stargan", {"preset": "modern"}, size=64, discriminator={}, **settings
        ).method

    assert modern().domain_scores
    assert not modern(**settings).domain_scores
    with pytest.raises(UsageError, match="works without gradient penalties"):
        modern(**settings, domain_scores=True)
