"""Initial weights: their spread, and what is left alone."""

import pytest
import torch
from torch import nn

from img2img.nets.init import initialize


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
