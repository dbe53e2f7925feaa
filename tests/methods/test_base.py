"""What all methods share."""

import pytest
import torch

from img2img.methods.base import in_one_call
from img2img.methods.cyclegan import CycleGAN, CycleGANConfig
from img2img.nets.patchgan import PatchGAN
from img2img.nets.resnet import ResNet


@pytest.mark.parametrize("make", [lambda n: PatchGAN(3, 4, 2, n), lambda n: ResNet(3, 3, 4, 1, n)])
def test_one_call_gives_what_two_give_but_for_batchnorm(make):
    torch.manual_seed(0)
    x, y = torch.randn(2, 3, 32, 32).double(), torch.randn(1, 3, 32, 32).double()
    network = make("instance").double()
    for found, expected in zip(
        in_one_call(network, x, y, apart=False), (network(x), network(y)), strict=True
    ):
        assert torch.allclose(found, expected, atol=1e-12)
    mixing = make("batch").double()
    alone = in_one_call(mixing, x, y, apart=True)
    assert torch.equal(alone[1], mixing(y))
    assert not torch.allclose(in_one_call(mixing, x, y, apart=False)[1], alone[1], atol=1e-3)


@pytest.mark.parametrize("norm", ["instance", "batch"])
def test_cyclegan_calls_apart_what_batchnorm_would_mix(norm):
    settings = {"size": 32, "width": 4, "d_width": 4, "d_layers": 2, "blocks": 1, "batch": 2}
    method = CycleGAN(CycleGANConfig(norm=norm, **settings))
    seen = []
    for network in (*method.generators.values(), *method.discriminators.values()):
        network.register_forward_pre_hook(lambda _, args: seen.append(len(args[0])))
    batch = {name: torch.randn(2, 3, 32, 32) for name in "ab"}
    draws = method.draws(batch, torch.tensor(0.0), 1.0)
    scene = method.scene(batch, draws)
    method.d_terms(batch, {name: image.detach() for name, image in scene.items()}, draws)
    assert max(seen) == (4 if norm == "instance" else 2)
    assert sum(seen) == (6 + 4) * 2  # six translations, four judgements of two pictures


def test_without_gradients_neither_cycles_nor_identity_are_computed():
    settings = {"size": 32, "width": 4, "d_width": 4, "d_layers": 2, "blocks": 1}
    method = CycleGAN(CycleGANConfig(**settings))
    batch = {name: torch.randn(1, 3, 32, 32) for name in "ab"}
    draws = method.draws(batch, torch.tensor(0.0), 1.0)
    with torch.no_grad():
        assert method.scene(batch, draws).keys() == {"fake_a", "fake_b"}
        grid = method.grid(batch)
    scene = method.scene(batch, draws)
    assert {"same_a", "cycle_a", "cycle_b"} <= scene.keys()
    for column, name in (("back to a", "cycle_a"), ("back to b", "cycle_b")):
        assert torch.allclose(grid[column], scene[name], atol=1e-4)
