"""Losses against the papers' formulas written out again, penalties against finite differences."""

import math

import pytest
import torch
from torch import nn

from img2img.methods.objectives import OBJECTIVES

REAL = torch.tensor([[-1.5, 0.2], [0.9, 3.0]], dtype=torch.float64)
FAKE = torch.tensor([[-0.7, 1.1], [0.4, -2.0]], dtype=torch.float64)


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


FORMULAS = {  # (real term, fake term, generator term) of one logit
    "bce": (
        lambda r: -math.log(sigmoid(r)),
        lambda f: -math.log(1 - sigmoid(f)),
        lambda f: -math.log(sigmoid(f)),
    ),
    "lsgan": (lambda r: (r - 1) ** 2, lambda f: f**2, lambda f: (f - 1) ** 2),
    "hinge": (lambda r: max(0, 1 - r), lambda f: max(0, 1 + f), lambda f: -f),
    "wgan-gp": (lambda r: -r, lambda f: f, lambda f: -f),
}


def mean(formula, values):
    return sum(formula(v) for v in values.flatten().tolist()) / values.numel()


@pytest.mark.parametrize("name", OBJECTIVES)
def test_losses_are_the_papers(name):
    objective, (real, fake, generator) = OBJECTIVES[name], FORMULAS[name]
    terms = objective.d_terms(REAL, FAKE)
    assert terms["real"].item() == pytest.approx(mean(real, REAL), rel=1e-12)
    assert terms["fake"].item() == pytest.approx(mean(fake, FAKE), rel=1e-12)
    assert objective.g_loss(FAKE).item() == pytest.approx(mean(generator, FAKE), rel=1e-12)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_losses_of_half_precision_logits_are_full_precision(name):
    terms = OBJECTIVES[name].d_terms(REAL.bfloat16(), FAKE.bfloat16())
    assert all(term.dtype == torch.float32 for term in terms.values())


def test_gradient_penalty_is_zero_for_a_critic_of_slope_one():
    def critic(image):
        return image.flatten(1).sum(1) / math.sqrt(image[0].numel())

    real, fake = torch.rand(2, 3, 3, 4, 4, dtype=torch.float64)
    penalty = OBJECTIVES["wgan-gp"].penalty(critic, real, fake, torch.rand(3, 1, 1, 1).double())
    assert penalty.item() == pytest.approx(0, abs=1e-12)


def test_gradient_penalty_agrees_with_finite_differences():
    torch.manual_seed(1)
    critic = nn.Sequential(nn.Conv2d(1, 3, 3), nn.Tanh(), nn.Conv2d(3, 1, 2)).double()
    real, fake = torch.rand(2, 2, 1, 5, 5, dtype=torch.float64)
    mix = torch.tensor([0.3, 0.8]).double().view(2, 1, 1, 1)
    between, h = mix * real + (1 - mix) * fake, 1e-6
    slopes = torch.zeros_like(between)
    for index in range(25):
        shift = torch.zeros(25, dtype=torch.float64)
        shift[index] = h
        shift = shift.view(1, 1, 5, 5)
        with torch.no_grad():
            rise = (critic(between + shift) - critic(between - shift)).flatten(1).sum(1)
        slopes.view(2, 25)[:, index] = rise / (2 * h)
    expected = (slopes.flatten(1).norm(dim=1) - 1).square().mean().item()
    penalty = OBJECTIVES["wgan-gp"].penalty(critic, real, fake, mix)
    assert penalty.item() == pytest.approx(expected, rel=1e-7)
    penalty.backward()
    assert critic[0].weight.grad.abs().sum() > 0  # it trains the critic
