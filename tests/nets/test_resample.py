"""How generators halve and double, and what their forms have in common."""

from typing import get_args

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from img2img.methods.cyclegan import CycleGAN, CycleGANConfig
from img2img.methods.pix2pix import Pix2Pix, Pix2PixConfig
from img2img.nets.attention_unet import AttentionUNetConfig
from img2img.nets.flat_unet import UNetForm
from img2img.nets.modulated import ModulatedConfig
from img2img.nets.resample import (
    Blur,
    BlurDownsample,
    NearestConvolution,
    SubpixelConvolution,
    Upsample,
    doubling,
)
from img2img.nets.resnet import ResNet, ResNetConfig
from img2img.nets.unet import UNetConfig
from img2img.sizes import Size

SMALL = {"size": 32, "width": 4, "d_width": 4, "d_layers": 2}


def test_a_blur_takes_every_second_pixel_of_what_it_smooths():
    row = torch.tensor([0.0, 0, 8, 0, 0, 4])
    x = row.expand(1, 2, 6, 6)
    # At 0 the border is reflected: (0 + 2 * 0 + 0) / 4; at 2: 2 * 8 / 4; at 4: (0 + 0 + 4) / 4.
    expected = torch.tensor([0.0, 4, 1]).expand(1, 2, 3, 3)
    torch.testing.assert_close(BlurDownsample(2)(x), expected)


def test_a_blur_before_a_strided_convolution_is_zhangs_after_one_of_stride_one():
    """But for the border."""
    torch.manual_seed(0)
    convolution, x = nn.Conv2d(3, 5, 4, 2, 1), torch.randn(1, 3, 16, 16)
    before = convolution(Blur(3)(x))
    dense = F.conv2d(x, convolution.weight, convolution.bias, padding=2)[..., 1:, 1:]
    after = BlurDownsample(5)(dense)
    torch.testing.assert_close(before[..., 1:-1, 1:-1], after[..., 1:-1, 1:-1])


def test_a_blur_leaves_an_odd_size_whole():
    assert BlurDownsample(3)(torch.zeros(1, 3, 7, 9)).shape == (1, 3, 4, 5)


def test_a_blur_is_nothing_to_learn_or_to_save():
    assert not list(BlurDownsample(2).parameters())
    assert not BlurDownsample(2).state_dict()


@pytest.mark.parametrize("upsample", get_args(Upsample))
@pytest.mark.parametrize("kernel", [3, 4])
def test_doubling_doubles(upsample, kernel):
    layers = nn.Sequential(*doubling(upsample, 8, 4, bias=False, kernel=kernel))
    assert layers(torch.zeros(1, 8, 5, 6)).shape == (1, 4, 10, 12)


@pytest.mark.parametrize("upsample", ["nearest", "bilinear", "subpixel"])
def test_nothing_but_a_transposed_convolution_makes_a_checkerboard_at_the_start(upsample):
    torch.manual_seed(0)
    layers = nn.Sequential(*doubling(upsample, 8, 4, bias=True))
    with torch.no_grad():
        made = layers(torch.ones(1, 8, 6, 6))[..., 2:-2, 2:-2]  # without the padded border
    assert (made - made[..., :1, :1]).abs().max() < 1e-6


@pytest.mark.parametrize("bias", [True, False])
def test_a_nearest_convolution_is_interpolation_and_a_convolution(bias):
    torch.manual_seed(0)
    layer, x = NearestConvolution(3, 5, bias).double(), torch.randn(2, 3, 4, 7).double()
    expected = F.interpolate(x, scale_factor=2, mode="nearest")
    expected = F.conv2d(expected, layer.weight, layer.bias, padding=1)
    torch.testing.assert_close(layer(x), expected)


@pytest.mark.parametrize("padding", ["replicate", "reflect"])
@pytest.mark.parametrize("size", [(4, 7), (1, 1)])
def test_a_nearest_convolution_can_repeat_or_reflect_the_border(padding, size):
    torch.manual_seed(0)
    layers = nn.Sequential(*doubling("nearest", 3, 5, True, padding=padding)).double()
    x, layer = torch.randn(2, 3, *size).double(), layers[1]
    padded = F.pad(F.interpolate(x, scale_factor=2, mode="nearest"), (1, 1, 1, 1), mode=padding)
    torch.testing.assert_close(layers(x), F.conv2d(padded, layer.weight, layer.bias))


def test_a_subpixel_convolution_starts_as_nearest_interpolation():
    torch.manual_seed(0)
    layer, x = SubpixelConvolution(3, 2, bias=True), torch.randn(1, 3, 5, 4)
    made = layer(x)
    whole = layer.convolution(x)[:, ::4]
    torch.testing.assert_close(made, F.interpolate(whole, scale_factor=2, mode="nearest"))


@pytest.mark.parametrize("upsample", get_args(Upsample))
@pytest.mark.parametrize("antialias", [False, True])
@pytest.mark.parametrize("padding", ["paper", "reflect", "zeros"])
def test_every_resnet_keeps_the_size(upsample, antialias, padding):
    network = ResNet(3, 1, 4, 1, upsample=upsample, antialias=antialias, padding=padding)
    assert network(torch.zeros(1, 3, 20, 24)).shape == (1, 1, 20, 24)


def test_a_cyclegan_learns_with_antialiased_generators():
    settings = {"upsample": "nearest", "antialias": True, "padding": "reflect", "blocks": 1}
    method = CycleGAN(CycleGANConfig(**SMALL, **settings))
    batch = {name: torch.rand(1, 3, 32, 32) for name in "ab"}
    draws = method.draws(batch, torch.tensor(0.0), 1.0)
    sum(method.g_terms(batch, method.scene(batch, draws), draws).values()).backward()
    assert all(p.grad is not None for p in method.generators.parameters())


@pytest.mark.parametrize("upsample", get_args(Upsample))
@pytest.mark.parametrize(
    ("antialias", "padding", "residual"), [(False, "zeros", "off"), (True, "replicate", "gated")]
)
@pytest.mark.parametrize("form", get_args(UNetForm))
def test_a_pix2pix_learns_with_every_unet(form, upsample, antialias, padding, residual):
    settings = {"form": form, "upsample": upsample, "residual": residual, "levels": 4}
    settings |= {"antialias": antialias, "padding": padding}
    method = Pix2Pix(Pix2PixConfig(**SMALL, **settings, norm="instance_affine"))
    batch = {name: torch.rand(1, 3, 32, 48) for name in "ab"}
    draws = method.draws(batch, torch.tensor(0.0), 1.0)
    scene = method.scene(batch, draws)
    assert scene["fake_b"].shape == batch["b"].shape
    sum(method.g_terms(batch, scene, draws).values()).backward()
    assert all(p.grad is not None for p in method.generators.parameters())


FRAMELESS = {
    **{
        f"unet {form}": UNetConfig(form=form, width=4, levels=4, padding="replicate")
        for form in get_args(UNetForm)
    },
    "attention-unet": AttentionUNetConfig(width=12, levels=3, padding="replicate"),
    "resnet": ResNetConfig(width=4, blocks=1, norm="batch", padding="reflect"),
    "modulated": ModulatedConfig(width=4, blocks=1, padding="replicate"),
}


@pytest.mark.parametrize("upsample", ["nearest", "bilinear", "subpixel"])
@pytest.mark.parametrize("network", FRAMELESS)
def test_a_uniform_picture_has_no_frame_unless_zeros_are_padded(network, upsample):
    row = FRAMELESS[network].model_copy(update={"upsample": upsample, "antialias": True})
    zeros = row.model_copy(update={"padding": "zeros"})
    # The innermost features of the U-Net are 1x1, and 3x3.
    for frame, config in ((False, row), (True, zeros)):
        torch.manual_seed(0)
        generator = config.build(Size(32, 32), 3, 3, 2).double().eval()
        for side in (16, 48):
            inputs = [torch.full((1, 3, side, side), 0.5).double()]
            inputs += [torch.tensor([[0.0, 1.0]]).double()] if config.conditional else []
            with torch.no_grad():
                output = generator(*inputs)
            assert output.isfinite().all()
            middle = output[..., side // 2 : side // 2 + 1, side // 2 : side // 2 + 1]
            assert ((output - middle).abs().max() > 1e-4) == frame
