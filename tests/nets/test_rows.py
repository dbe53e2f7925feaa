"""What every network says of itself by its settings, held against the network."""

import json

import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError
from torch import nn
from torch.nn.utils.parametrize import is_parametrized

from img2img.nets import DISCRIMINATORS, GENERATORS
from img2img.nets.discriminator import Scores
from img2img.nets.generator import reach
from img2img.nets.patchgan import PatchConfig
from img2img.nets.resnet import ResidualBlock, ResNetConfig
from img2img.nets.unet import UNetConfig
from img2img.sizes import Size

SMALL = {"width": 4, "blocks": 1, "levels": 4, "layers": 2, "scales": 2}


def small(row):
    """The row's settings, of a network that is built and run in no time."""
    return row(**{name: value for name, value in SMALL.items() if name in row.model_fields})


@pytest.fixture(params=GENERATORS)
def generator(request):
    return small(GENERATORS[request.param])


@pytest.fixture(params=DISCRIMINATORS)
def discriminator(request):
    return small(DISCRIMINATORS[request.param])


def test_the_settings_are_in_json_under_the_name_of_their_row(generator, discriminator):
    for table, settings in ((GENERATORS, generator), (DISCRIMINATORS, discriminator)):
        values = json.loads(settings.model_dump_json())
        assert table[values.pop("name")](**values) == settings
    with pytest.raises(ValidationError):
        type(generator)(no_such_setting=1)


def test_a_generator_is_as_its_row_says(generator):
    size, domains = Size(32, 32), 3 if generator.conditional else 0
    network = generator.build(size, 3, 3, domains)
    assert generator.size_multiple(size) % network.size_multiple == 0
    label = [torch.zeros(2, domains)] if domains else []
    image = torch.rand(2, 3, *size.shape) * 2 - 1
    output = network(image, *label)
    assert output.shape == image.shape
    assert output.abs().max() <= 1
    if generator.local:
        assert 0 < reach(network, 3, domains) < 64
    else:  # opposite corners depend on each other
        image.requires_grad_()
        [slope] = torch.autograd.grad(network(image, *label)[..., -1, -1].sum(), image)
        assert slope[..., 0, 0].abs().max() > 0
    generator.require_size(size)
    with pytest.raises(ValueError, match="must be a multiple of"):
        generator.require_size(size.plus(generator.size_multiple(size) // 2, 0))


def test_features_are_given_by_those_that_say_so(generator):
    network = generator.build(Size(32, 32), 3, 3, 3 if generator.conditional else 0)
    if generator.encodes:
        features = network.encode(torch.rand(1, 3, 32, 32))
        assert [x.shape[1] for x in features] == generator.feature_channels(3)
    else:
        with pytest.raises(NotImplementedError, match="no features"):
            network.encode(torch.rand(1, 3, 32, 32))
        with pytest.raises(NotImplementedError, match="no features"):
            generator.feature_channels(3)


@pytest.mark.parametrize("domains", [0, 3])
def test_a_discriminator_is_as_its_row_says(discriminator, domains):
    if discriminator.classifies == ("never" if domains else "always"):
        pytest.skip("no method builds it so")
    answers = discriminator.most_answers or 5
    network = discriminator.build(Size(32, 32), (3,), answers, domains)
    output = network(torch.rand(2, 3, 32, 32))
    assert isinstance(output, tuple) == bool(domains)
    if domains:
        output, classes = output
        assert classes.shape == (2, domains)
    scores = Scores.of(output)
    assert all(each.shape[:2] == (2, answers) for each in scores.maps)
    assert len(scores.weights) == len(scores.maps)
    if discriminator.name != "mixture":  # whose weights are chosen
        assert sum(scores.weights) == pytest.approx(1)
    discriminator.require_size(Size(32, 32))
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in network.modules()) or (
        discriminator.batch_norm and discriminator.separate_calls
    )


def test_spectral_normalization_is_on_convolutions_where_the_settings_say_so(discriminator):
    network = discriminator.build(Size(32, 32), (3,), domains=3)
    discriminator.normalize(network)
    assert is_parametrized_anywhere(network) == discriminator.uses_spectral_norm
    everywhere = discriminator.model_copy(update={"spectral": True})
    again = everywhere.build(Size(32, 32), (3,), domains=3)
    everywhere.normalize(again)
    convolutions = [m for m in again.modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)]
    assert convolutions
    assert all(map(is_parametrized, convolutions))


def is_parametrized_anywhere(network):
    return any(map(is_parametrized, network.modules()))


@pytest.mark.parametrize(
    ("name", "size", "message"),
    [
        ("patch", 8, "too small for 2 PatchGAN layers; set d_layers lower"),
        ("autoencoder", 34, "must be a multiple of 4 .*set d_layers lower"),
        ("stargan", 34, "must be a multiple of 4 .*set d_layers lower"),
        ("multiscale", 20, "too small for 2 scales of 2 PatchGAN layers; set d_scales or d_layers"),
        ("unet", 24, "must be a multiple of 16 for 4 levels .*set d_levels lower"),
    ],
)
def test_discriminators_refuse_sizes_that_they_cannot_take(name, size, message):
    with pytest.raises(ValueError, match=message):
        small(DISCRIMINATORS[name]).require_size(Size(size, size))


@pytest.mark.parametrize(("size", "levels"), [(256, 8), (128, 7), (96, 5), (1024, 9)])
def test_a_unet_goes_down_to_one_pixel(size, levels):
    square, wide = Size(size, size), Size(3 * size, size)
    assert UNetConfig().depth(square) == UNetConfig().depth(wide) == levels
    assert UNetConfig().size_multiple(square) == 2**levels
    assert UNetConfig(levels=4).size_multiple(square) == 16


@pytest.mark.parametrize(("size", "blocks"), [(128, 6), (256, 9)])
def test_a_resnet_has_as_many_blocks_as_the_size_asks_for(size, blocks):
    network = ResNetConfig(width=2).build(Size(size, size), 3, 3)
    assert sum(isinstance(layer, ResidualBlock) for layer in network.model) == blocks


@pytest.mark.parametrize("antialias", [False, True])
@pytest.mark.parametrize("norm", ["instance", "none"])
@pytest.mark.parametrize(("blocks", "last"), [(9, 5), (3, 3), (1, 1)])
def test_a_resnet_encodes_as_cut_has_it(antialias, norm, blocks, last):
    """Against a walk through the layers; width 6 looks like a halving of 3 channels."""
    torch.manual_seed(0)
    settings = ResNetConfig(width=6, blocks=blocks, norm=norm, antialias=antialias)
    network, image = settings.build(Size(32, 32), 3, 3), torch.rand(1, 3, 32, 32)
    layers = list(network.model)
    convolutions = [n for n, layer in enumerate(layers) if isinstance(layer, nn.Conv2d)]
    residual = [n for n, layer in enumerate(layers) if isinstance(layer, ResidualBlock)]
    wanted = sorted({0, convolutions[1], convolutions[2], residual[0], residual[last - 1]})
    expected, x = [], image
    for place, layer in enumerate(layers):
        x = layer(x.clone())
        if place in wanted:
            expected.append(x.clone())
    features = network.encode(image)
    assert len(features) == len(expected) == (4 if blocks == 1 else 5)
    assert all(torch.equal(a, b) for a, b in zip(features, expected, strict=True))
    assert torch.equal(features[0], F.pad(image, (3, 3, 3, 3), "reflect"))
    assert [f.shape[1] for f in features] == settings.feature_channels(3)
    assert [f.shape[-1] for f in features[1:4]] == [32, 16, 8] if antialias else [16, 8, 8]


def test_nothing_behind_the_last_feature_is_computed():
    network = ResNetConfig(width=2, blocks=9).build(Size(32, 32), 3, 3)
    fifth = [layer for layer in network.model if isinstance(layer, ResidualBlock)][4]
    run = []
    for layer in network.model:
        layer.register_forward_hook(lambda layer, *_: run.append(layer))
    network.encode(torch.rand(1, 3, 32, 32))
    assert run[-1] is fifth


@pytest.mark.parametrize("size", [32, 33, 64])
def test_an_antialiased_patchgan_is_that_of_cut(size):
    """Its layers as the authors' NLayerDiscriminator has them, written down once more."""

    def blur(x):
        row = torch.tensor([1.0, 2.0, 1.0])
        kernel = (row[:, None] * row / 16).expand(x.shape[1], 1, 3, 3)
        return F.conv2d(F.pad(x, (1, 1, 1, 1), "reflect"), kernel, stride=2, groups=x.shape[1])

    torch.manual_seed(0)
    network = PatchConfig(width=4, layers=3, norm="instance", antialias=True).build(
        Size(size, size), (3,)
    )
    image = torch.rand(1, 3, size, size)
    convolutions = [layer for layer in network.model if isinstance(layer, nn.Conv2d)]
    assert [c.stride for c in convolutions] == [(1, 1)] * 5
    x = blur(F.leaky_relu(convolutions[0](image), 0.2))
    for convolution in convolutions[1:3]:
        x = blur(F.leaky_relu(F.instance_norm(convolution(x)), 0.2))
    x = F.leaky_relu(F.instance_norm(convolutions[3](x)), 0.2)
    assert torch.allclose(network(image), convolutions[4](x), atol=1e-6)
    plain = PatchConfig(width=4, layers=3, norm="instance").build(Size(size, size), (3,))
    assert plain.state_dict().keys() != network.state_dict().keys()
