"""A mixture: what its settings say follows from its parts, and it sums what they score."""

import json

import pytest
import torch
from pydantic import ValidationError
from torch.nn.utils.parametrize import is_parametrized

from img2img.errors import UsageError
from img2img.methods import METHODS
from img2img.nets.discriminator import Looking, Scores
from img2img.nets.mixture import MixtureConfig
from img2img.nets.patchgan import PatchConfig
from img2img.sizes import Size
from img2img.training.settings import read_texts

SIZE = Size(64, 64)
PATCH = {"name": "patch", "width": 4, "layers": 2, "norm": "instance"}
PROJECTED = {"name": "projected", "width": 8}


def mixture(*parts, **settings):
    return MixtureConfig(parts=[{"network": p, "weight": w} for p, w in parts], **settings)


def test_parts_are_written_in_a_line_or_with_settings():
    in_a_line = MixtureConfig(parts="patch = 2, projected=0.5,pixel", norm="none")
    assert [(p.network.name, p.weight) for p in in_a_line.parts] == [
        ("patch", 2.0),
        ("projected", 0.5),
        ("pixel", 1.0),
    ]
    assert in_a_line == MixtureConfig(parts=["patch=2", "projected=0.5", "pixel"], norm="none")
    nested = mixture((PATCH, 2.0), ({"name": "projected"}, 0.5))
    assert nested.parts[0].network == PatchConfig(width=4, layers=2, norm="instance")
    values = json.loads(nested.model_dump_json())
    assert values.pop("name") == "mixture"
    assert MixtureConfig(**values) == nested


def test_a_norm_is_that_of_the_parts_which_have_none_of_their_own():
    settings = mixture(({"name": "patch"}, 1), (PATCH, 1), (PROJECTED, 1), norm="none")
    assert [p.network.model_dump().get("norm") for p in settings.parts] == [
        "none",
        "instance",
        None,
    ]
    again = MixtureConfig(parts=settings.model_dump()["parts"], norm="batch")
    assert again.parts == settings.parts


@pytest.mark.parametrize("mode", METHODS)
def test_it_is_chosen_by_options_and_has_the_methods_defaults(mode):
    texts = ["--discriminator", "mixture", "--d-parts", "patch=1,projected=0.5"]
    config = METHODS[mode].Config(**read_texts(texts, [], mode, {}), size=64)
    norm = METHODS[mode].Config.discriminator_defaults["norm"]
    assert config.discriminator == MixtureConfig(parts="patch=1,projected=0.5", norm=norm)
    assert config.discriminator.parts[0].network == PatchConfig(norm=norm)
    assert config.feature_networks() == {"efficientnet-lite0"}
    assert type(config).model_validate_json(config.model_dump_json()) == config
    assert type(config)(**json.loads(json.dumps(config.flat()))) == config


def test_a_preset_can_set_it():
    schema = METHODS["pix2pix"].Config
    preset = {"discriminator": "mixture", "d_parts": "patch,projected", "norm": "instance"}
    config = schema(**schema.route({}, preset))
    assert config.discriminator.parts[0].network.norm == "instance"
    assert schema(**schema.route({"discriminator": "patch"}, preset)).discriminator == PatchConfig(
        norm="instance"
    )


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ("autoencoder=1", "autoencoder can't be part of a mixture"),
        ("patch=0", "parts.0.weight"),
        ("patch=much", "parts.0.weight"),
        ("", "parts"),
        ([{"network": {"name": "patch", "widht": 3}}], "widht"),
        ([{"network": {"width": 3}}], "must be the name of a discriminator"),
        ([{"network": "patch", "wieght": 3}], "wieght"),
    ],
)
def test_parts_that_make_no_sense_are_refused(parts, message):
    with pytest.raises(ValidationError, match=message):
        MixtureConfig(parts=parts)


def test_an_unknown_part_is_refused_with_those_that_are_close():
    with pytest.raises(UsageError, match=r"no discriminator pach; .* Did you mean patch\?"):
        MixtureConfig(parts="pach=1")


def test_what_it_needs_and_does_follows_from_its_parts():
    plain = mixture((PATCH, 1), ({"name": "pixel", "norm": "none"}, 1))
    assert not plain.batch_norm
    assert not plain.compares
    assert not plain.separate_calls
    assert plain.feature_networks() == ()
    assert plain.classifies == "never"
    assert MixtureConfig(parts="pixel").batch_norm
    assert mixture(({**PATCH, "minibatch": "std"}, 1)).compares
    looking = mixture((PATCH, 1), (PROJECTED, 1), (PROJECTED, 1))
    assert looking.separate_calls
    assert looking.feature_networks() == ("efficientnet-lite0",)
    assert looking.classifies == "if asked"
    assert MixtureConfig(parts="projected,stargan").classifies == "always"
    assert looking.scores_domains
    assert not MixtureConfig(parts="projected,unet").scores_domains
    with pytest.raises(ValueError, match="too small for 2 PatchGAN layers"):
        looking.require_size(Size(8, 64))


def test_scores_are_those_of_the_parts_by_their_weights():
    torch.manual_seed(0)
    settings = mixture((PATCH, 2.0), (PROJECTED, 0.5))
    network, image = settings.build(SIZE, (3, 3)), torch.rand(2, 6, 64, 64)
    scores, parts = network(image), [Scores.of(judge(image)) for judge in network.judges]
    assert scores.weights == (2.0, *[0.5 * 0.25] * 4)
    expected = [each for part in parts for each in part.maps]
    assert all(map(torch.equal, scores.maps, expected))
    assert isinstance(network, Looking)
    features = [network.look(each) for each in image.split(3, 1)]
    assert all(map(torch.equal, network.score(image, features).maps, expected))


def test_each_looking_part_gets_the_features_of_its_network():
    torch.manual_seed(0)
    other = {**PROJECTED, "network": "efficientnet-lite1", "side": 96}
    network = mixture((PROJECTED, 1), (PATCH, 1), (other, 1)).build(SIZE, (3,))
    image = torch.rand(1, 3, 64, 64)
    features = network.look(image)
    first, _, last = network.judges
    for name, judge in (("efficientnet-lite0", first), ("efficientnet-lite1", last)):
        assert all(map(torch.equal, network.features_of(name, features), judge.look(image)))
    expected = [*Scores.of(first(image)).maps, network.judges[1](image), *last(image).maps]
    assert all(map(torch.equal, network.score(image, [features]).maps, expected))


def test_class_logits_are_the_mean_of_the_parts_that_classify():
    torch.manual_seed(0)
    star = {"name": "stargan", "width": 4, "layers": 2}
    network = mixture((PATCH, 1), (PROJECTED, 3), (star, 1)).build(SIZE, (3,), domains=4)
    image = torch.rand(2, 3, 64, 64)
    scores, classes = network(image)
    assert len(scores.maps) == 1 + 4 + 1
    expected = (network.judges[1](image)[1] + network.judges[2](image)[1]) / 2
    assert torch.allclose(classes, expected)


def test_spectral_normalization_is_that_of_each_part_or_of_all():
    def normalized(**settings):
        built = mixture((PATCH, 1), (PROJECTED, 1), **settings)
        network = built.build(SIZE, (3,))
        built.normalize(network)
        return [any(map(is_parametrized, judge.modules())) for judge in network.judges]

    assert normalized() == [False, True]
    assert normalized(spectral=True) == [True, True]
    assert mixture((PROJECTED, 1)).uses_spectral_norm
    assert not mixture((PATCH, 1)).uses_spectral_norm
    with pytest.raises(ValidationError, match="wgan clips the weights"):
        METHODS["cyclegan"].Config(objective="wgan", discriminator="mixture")
