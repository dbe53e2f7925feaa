"""Generators that change their input: the start, the gate, and the gradients at the ends."""

import copy

import pytest
import torch
from pydantic import ValidationError

from img2img.methods import METHODS
from img2img.nets.attention_unet import AttentionUNetConfig
from img2img.nets.init import initialize
from img2img.nets.modulated import ModulatedConfig, ModulatedResNet
from img2img.nets.residual import Output, within
from img2img.nets.resnet import ResNetConfig
from img2img.nets.stargan import StarGenerator, StarGeneratorConfig
from img2img.nets.unet import UNetConfig
from img2img.sizes import Size

SIZE = Size(32, 32)
ROWS = {
    "unet": UNetConfig(width=4, levels=4),
    "resnet": ResNetConfig(width=4, blocks=1),
    "stargan": StarGeneratorConfig(width=4, blocks=1),
    "attention-unet": AttentionUNetConfig(width=4, levels=2),
    "modulated": ModulatedConfig(width=4, blocks=1),
}


@pytest.fixture(params=ROWS)
def row(request):
    return ROWS[request.param]


def built(row, init="normal", **settings):
    network = row.model_copy(update=settings).build(SIZE, 3, 3, 2 if row.conditional else 0)
    torch.manual_seed(0)
    initialize(network, init)
    return network


def translated(network, image):
    """By the network, whether or not it takes a domain."""
    conditional = isinstance(network, StarGenerator | ModulatedResNet)
    return network(image, torch.eye(2)) if conditional else network(image)


def picture(seed=0):
    """With values at both ends of the range."""
    generator = torch.Generator().manual_seed(seed)
    return (torch.rand(2, 3, 32, 32, generator=generator) * 3 - 1.5).clamp(-1, 1)


@pytest.mark.parametrize("init", ["normal", "xavier", "torch"])
@pytest.mark.parametrize("residual", ["plain", "gated"])
@pytest.mark.parametrize("upsample", ["transposed", "subpixel"])
def test_training_starts_exactly_at_the_identity(row, residual, upsample, init):
    network, image = built(row, init, residual=residual, upsample=upsample), picture()
    assert torch.equal(translated(network, image), image)
    with torch.no_grad():
        assert torch.equal(translated(network, image), image)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(translated(network, image), image)


@pytest.mark.parametrize("residual", ["plain", "gated"])
def test_a_step_leaves_the_identity_and_the_range_is_kept(row, residual):
    network, image = built(row, residual=residual), picture()
    target = (image + 0.5).clamp(-1, 1)
    optimizer = torch.optim.Adam(network.parameters(), 0.02)
    losses = []
    for _ in range(30):
        optimizer.zero_grad()
        output = translated(network, image)
        assert output.abs().max() <= 1
        losses.append((output - target).abs().mean())
        losses[-1].backward()
        optimizer.step()
    assert losses[-1] < 0.8 * losses[0]


def test_a_gate_can_be_closed():
    """The maps alone make the picture then: of an input that says nothing about the target."""
    output, image = Output("gated", 3), picture()
    maps = torch.zeros(2, 4, 32, 32, requires_grad=True)
    optimizer = torch.optim.Adam([maps], 0.05)
    other = picture(1)
    for _ in range(200):  # the same maps for both
        optimizer.zero_grad()
        loss = sum((output(maps, x) - 0.5).square().mean() for x in (image, other))
        loss.backward()
        optimizer.step()
    assert loss < 1e-3
    assert (1 + maps[:, 3]).mean() < 0.1


def test_a_gate_that_is_closed_opens_again():
    output, image = Output("gated", 3), picture()
    maps = torch.zeros(2, 4, 32, 32)
    maps[:, 3] = -2.0
    maps.requires_grad_()
    (output(maps, image) - image).square().mean().backward()
    assert (maps.grad[:, 3] < 0).float().mean() > 0.9


@pytest.mark.parametrize(
    ("x", "gradient", "passed"),
    [
        (0.5, 1.0, 1.0),
        (0.5, -1.0, -1.0),
        (2.0, 1.0, 1.0),  # descent leads back into the range
        (2.0, -1.0, 0.0),  # descent leads further out
        (1.0, -1.0, 0.0),
        (-2.0, -1.0, -1.0),
        (-2.0, 1.0, 0.0),
        (-1.0, 1.0, 0.0),
    ],
)
def test_gradients_are_blocked_only_where_they_lead_out(x, gradient, passed):
    x = torch.tensor([x], requires_grad=True)
    held = within(x, -1, 1)
    held.backward(torch.tensor([gradient]))
    assert held.item() == max(-1, min(1, x.item()))
    assert x.grad.item() == passed


def test_without_gradients_it_is_a_plain_clamp():
    x = torch.linspace(-3, 3, 7)
    with torch.no_grad():
        assert torch.equal(within(x, 0, 1), x.clamp(0, 1))


@pytest.mark.parametrize("residual", ["plain", "gated"])
def test_a_compiled_network_and_a_copy_have_the_same_gradients(residual):
    network = built(ROWS["resnet"], residual=residual)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape))
    twin, gradients = copy.deepcopy(network), []
    twin.compile(dynamic=False)
    for each in (network, twin):
        (each(picture()) - picture(1)).abs().mean().backward()
        gradients.append([p.grad for p in each.parameters()])
    for first, second in zip(*gradients, strict=True):
        torch.testing.assert_close(first, second, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("name", ["unet", "resnet", "stargan"])
def test_the_papers_networks_have_the_keys_of_the_published_ones(name):
    """Other settings of the same row may have other keys."""
    row = ROWS[name]
    plain, other = built(row), built(row, residual="gated")
    assert plain.state_dict().keys() != other.state_dict().keys()
    assert not any("layers" in key for key in plain.state_dict())


@pytest.mark.parametrize("residual", ["plain", "gated"])
def test_what_is_no_change_of_the_input_is_refused(residual):
    pix2pix = METHODS["pix2pix"].Config
    with pytest.raises(ValidationError, match="needs in_channels equal to out_channels"):
        pix2pix(in_channels=1, residual=residual)
    with pytest.raises(ValidationError, match="one-hot labels are none"):
        pix2pix(labels_in="one-hot", residual=residual)
    assert pix2pix(in_channels=1, out_channels=1, residual=residual).generator.residual == residual
    assert pix2pix(labels_in="one-hot").generator.residual == "off"


@pytest.mark.parametrize("mode", ["pix2pix", "cyclegan", "cut"])
@pytest.mark.parametrize("extra", [{"recompute": True}, {"accumulate": 2}])
def test_gradients_are_the_same_however_they_are_computed(mode, extra, make_config):
    from img2img.training.runtime import Runtime
    from img2img.training.schedule import Schedule
    from img2img.training.trainer import Trainer

    gradients = []
    for more in ({}, extra):
        settings = {"residual": "gated", "upsample": "subpixel", "norm": "instance", **more}
        config = make_config(mode, batch=2, dropout=False, pool=0, **settings).method
        torch.manual_seed(0)
        method = METHODS[mode](config).double()
        trainer = Trainer(method, Runtime("cpu", "fp32"), 0, Schedule.of(config, 10))
        batch = {name: picture(seed).double() for seed, name in enumerate("ab")}
        for _ in range(2):  # in the first step the last weights alone have a gradient
            trainer.update(batch)
        gradients.append([p.grad.clone() for p in method.generators.parameters()])
    for first, second in zip(*gradients, strict=True):
        torch.testing.assert_close(first, second)
