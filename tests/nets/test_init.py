"""Initial weights: their spread, and what is left alone."""

import pytest
import torch
from torch import nn

from img2img.nets.init import ZeroStart, initialize
from img2img.nets.resample import SubpixelConvolution


def layers() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(32, 128, 3),
        nn.BatchNorm2d(4096),
        nn.ConvTranspose2d(128, 64, 4),
        nn.Linear(128, 256),
    )


@pytest.mark.parametrize(
    ("init", "spreads"),
    [
        ("normal", (0.02, 0.02, 0.02)),
        # gain sqrt(2 / (fan in + fan out))
        ("xavier", [0.02 * (2 / fans) ** 0.5 for fans in (160 * 9, 192 * 16, 384)]),
    ],
)
def test_weights_have_the_spread_of_their_distribution(init, spreads):
    torch.manual_seed(0)
    module = layers()
    initialize(module, init)
    convolution, norm, transposed, linear = module
    for layer, spread in zip((convolution, transposed, linear), spreads, strict=True):
        assert layer.weight.std().item() == pytest.approx(spread, rel=0.02)
        assert layer.weight.mean().item() == pytest.approx(0, abs=spread / 20)
        assert layer.bias.abs().max() == 0
    assert norm.weight.mean().item() == pytest.approx(1, abs=2e-3)
    assert norm.weight.std().item() == pytest.approx(0.02, rel=0.1)
    assert norm.bias.abs().max() == 0


def test_torch_leaves_them_as_they_are():
    module = layers()
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    initialize(module, "torch")
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())


@pytest.mark.parametrize("init", ["normal", "xavier", "torch"])
def test_conditions_on_the_start_hold_after_weights_are_drawn(init):
    zero, subpixel = ZeroStart(nn.ReLU(), nn.Conv2d(3, 4, 3)), SubpixelConvolution(3, 2, bias=True)
    module = nn.Sequential(zero, ZeroStart(SubpixelConvolution(4, 3, True)), subpixel)
    for parameter in module.parameters():
        nn.init.normal_(parameter)
    torch.manual_seed(0)
    initialize(module, init)
    assert all((p == 0).all() for p in (*module[0].parameters(), *module[1].parameters()))
    weight = subpixel.convolution.weight
    assert weight.std() > 0
    assert all(torch.equal(weight[i::4], weight[::4]) for i in range(4))


@pytest.mark.parametrize("init", ["normal", "xavier"])
def test_conditions_draw_no_random_numbers(init):
    """So that the weights behind them are those of the same network without conditions."""
    states = []
    for last in (nn.Conv2d(3, 4, 3), ZeroStart(nn.Conv2d(3, 4, 3))):
        module = nn.Sequential(last, nn.Linear(4, 4))
        torch.manual_seed(0)
        initialize(module, init)
        states.append((module[1].weight, torch.get_rng_state()))
    assert all(map(torch.equal, *states))
