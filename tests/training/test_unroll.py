"""Looking ahead against plain descent done by torch, and its gradient by finite differences."""

import copy

import pytest
import torch

from img2img.methods import METHODS
from img2img.training.unroll import unrolled_terms

RATE = 0.05


@pytest.fixture(params=["pix2pix", "cyclegan"])
def method(request, make_config):
    settings = {"objective": "bce", "norm": "instance", "dropout": False}
    torch.manual_seed(0)
    return METHODS[request.param](make_config(request.param, **settings).method).double()


@pytest.fixture
def batch():
    torch.manual_seed(1)
    a, b = torch.rand(2, 2, 3, 32, 32, dtype=torch.float64) * 2 - 1
    return {"a": a, "b": b}


@pytest.fixture
def draws(method, batch):
    return method.draws(batch, torch.tensor(0.0), 1.0)


def value_after(method, batch, draws, steps):
    """The generators' loss after so many steps of torch's own gradient descent."""
    method = copy.deepcopy(method)
    scene = {name: image.detach() for name, image in method.scene(batch, draws).items()}
    descent = torch.optim.SGD(method.discriminators.parameters(), RATE)
    for _ in range(steps):
        descent.zero_grad()
        sum(method.d_terms(batch, scene, draws).values()).backward()
        descent.step()
    return sum(method.g_terms(batch, scene, draws).values()).item()


@pytest.mark.parametrize("steps", [1, 3])
def test_looking_ahead_is_descent_and_its_gradient_goes_through(method, batch, draws, steps):
    before = {name: x.clone() for name, x in method.state_dict().items()}
    adam = torch.optim.Adam(method.discriminators.parameters(), RATE)
    terms = unrolled_terms(method, batch, method.scene(batch, draws), draws, steps, adam)
    loss = sum(terms.values())
    assert loss.item() == pytest.approx(value_after(method, batch, draws, steps), rel=1e-9)
    assert loss.item() != pytest.approx(value_after(method, batch, draws, 0), rel=1e-6)
    weight = list(method.generators.parameters())[-2]
    (slope,) = torch.autograd.grad(loss, weight)
    place = tuple(index // 2 for index in weight.shape)
    weight.data[place] += 1e-5
    up = value_after(method, batch, draws, steps)
    weight.data[place] -= 2e-5
    down = value_after(method, batch, draws, steps)
    weight.data[place] += 1e-5
    assert slope[place].item() == pytest.approx((up - down) / 2e-5, rel=1e-4)
    assert all(torch.allclose(x, before[name]) for name, x in method.state_dict().items())


def test_a_step_ahead_is_as_long_as_adams(method, batch, draws):
    """After one step of Adam, whose mean square is then the slope's own."""
    adam = torch.optim.Adam(method.discriminators.parameters(), RATE, betas=(0.0, 0.999))
    twin = copy.deepcopy(method)
    scene = {name: image.detach() for name, image in method.scene(batch, draws).items()}
    sum(method.d_terms(batch, scene, draws).values()).backward()
    was = [p.detach().clone() for p in method.discriminators.parameters()]
    adam.step()
    one = [p.detach().clone() for p in method.discriminators.parameters()]
    for p, w in zip(method.discriminators.parameters(), was, strict=True):
        p.data.copy_(w)
    ahead = unrolled_terms(method, batch, scene, draws, 1, adam)
    for p, w in zip(twin.discriminators.parameters(), one, strict=True):
        p.data.copy_(w)
    stepped = twin.g_terms(batch, scene, draws)
    for name, term in stepped.items():
        assert ahead[name].item() == pytest.approx(term.item(), rel=1e-4), name
