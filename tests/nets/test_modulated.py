"""Convolutions modulated by a domain, against modulated weights."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from img2img.nets.modulated import EPSILON, NORM_EPSILON, Modulated, ModulatedResNet
from img2img.nets.resample import doubling


def drawn(layer):
    """The layer in double precision, with weights that make scales differ."""
    torch.manual_seed(0)
    for parameter in layer.double().parameters():
        nn.init.normal_(parameter)
    return layer


def directly(layer, x, domain):
    """The formula of StyleGAN2 with the weights of each picture (equations 1 and 3), behind that of
    a pixel's norm.
    """
    convolution, pictures = layer.layers[-1], []
    x = x / (x.square().mean(1, keepdim=True) + NORM_EPSILON).sqrt()
    for picture, label in zip(x, domain, strict=True):
        scale = 1 + layer.scale(label)
        weight = convolution.weight * scale[None, :, None, None]
        weight = weight / (weight.square().sum((1, 2, 3), keepdim=True) + EPSILON).sqrt()
        y = F.conv2d(layer.layers[:-1](picture[None]), weight, padding=1)
        pictures.append(2**0.5 * F.leaky_relu(y + layer.bias[:, None, None], 0.2))
    return torch.cat(pictures)


@pytest.mark.parametrize("before", [[], [nn.Upsample(scale_factor=2, mode="bilinear")]])
def test_it_is_a_convolution_with_modulated_weights(before):
    convolution = nn.Conv2d(4, 5, 3, padding=1, bias=False)
    layer = drawn(Modulated(3, 4, 5, *before, convolution))
    x, domain = torch.randn(2, 4, 6, 7).double(), torch.eye(3)[:2].double()
    torch.testing.assert_close(layer(x, domain), directly(layer, x, domain))


def test_nearest_interpolation_is_modulated_before_its_convolution():
    layer = drawn(Modulated(3, 4, 5, *doubling("nearest", 4, 5, False)))
    plain = Modulated(3, 4, 5, nn.Upsample(scale_factor=2), nn.Conv2d(4, 5, 3, 1, 1, bias=False))
    plain.double().load_state_dict(layer.state_dict())
    x, domain = torch.randn(2, 4, 6, 7).double(), torch.eye(3)[:2].double()
    torch.testing.assert_close(layer(x, domain), directly(plain, x, domain))


@pytest.mark.parametrize("upsample", ["transposed", "nearest", "subpixel"])
def test_the_output_has_unit_variance_whatever_the_weights_and_scales_are(upsample):
    """Times the gain; nearest interpolation adds weights of equal values, in random order."""
    layer = drawn(Modulated(3, 64, 8, *doubling(upsample, 64, 8, False, 4))).float()
    torch.manual_seed(1)
    nn.init.zeros_(layer.bias)
    layer.activation = nn.Identity()
    with torch.no_grad():
        made = layer(torch.randn(16, 64, 16, 16), torch.eye(3)[[0, 1] * 8])[..., 2:-2, 2:-2]
    assert made.var().item() == pytest.approx(2, rel=0.15)


def test_weights_that_no_longer_change_are_squared_in_advance():
    layer = drawn(Modulated(3, 4, 5, nn.Conv2d(4, 5, 3, padding=1, bias=False)))
    x, domain = torch.randn(2, 4, 6, 7).double(), torch.eye(3)[:2].double()
    before, keys = layer(x, domain), layer.state_dict().keys()
    layer.precompute()
    assert torch.equal(layer(x, domain), before)
    assert layer.state_dict().keys() == keys


def test_features_that_correlate_do_not_grow_from_layer_to_layer():
    """Equal weights add up what is equal in all channels, which no variance foresees."""
    network = ModulatedResNet(3, 3, 4, width=8, blocks=8)
    features = []
    for block in network.blocks:
        for layer in (block.first, block.second):
            nn.init.ones_(layer.layers[-1].weight)
        block.register_forward_hook(lambda *hooked: features.append(hooked[-1].abs().max().item()))
    with torch.no_grad():
        network(torch.rand(1, 3, 32, 32), torch.eye(4)[:1])
    alone = 2**0.5 * (9 * 32) ** 0.5  # one layer's, where all of its inputs are 1
    assert max(features) < 4 * alone


def test_every_domain_has_a_translation_of_its_own():
    torch.manual_seed(0)
    network = ModulatedResNet(3, 3, 4, width=8, blocks=1)
    image = torch.rand(1, 3, 16, 16).expand(4, -1, -1, -1)
    with torch.no_grad():
        output = network(image, torch.eye(4))
    distances = (output[:, None] - output[None]).abs().mean((2, 3, 4)) + torch.eye(4)
    assert distances.min() > 1e-3
