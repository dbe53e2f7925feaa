"""Losses against the papers' formulas written out again, penalties against finite differences."""

import itertools
import math

import pytest
import torch
from torch import nn

from img2img.methods.objectives import (
    OBJECTIVES,
    gradient_penalty,
    kernel,
    mmd2,
    zero_centered_penalty,
)

REAL = torch.tensor([[-1.5, 0.2], [0.9, 3.0]], dtype=torch.float64)
FAKE = torch.tensor([[-0.7, 1.1], [0.4, -2.0]], dtype=torch.float64)


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def log_sigmoid(x: float) -> float:
    return math.log(sigmoid(x))


# What D and G minimise, for lists of logits of real and fake pictures, by the papers' formulas.
FORMULAS = {
    "bce": (
        lambda r, f: -avg(map(log_sigmoid, r)) - avg(math.log(1 - sigmoid(x)) for x in f),
        lambda r, f: -avg(map(log_sigmoid, f)),
    ),
    "minimax": (
        lambda r, f: -avg(map(log_sigmoid, r)) - avg(math.log(1 - sigmoid(x)) for x in f),
        lambda r, f: avg(math.log(1 - sigmoid(x)) for x in f),
    ),
    "lsgan": (
        lambda r, f: avg((x - 1) ** 2 for x in r) + avg(x**2 for x in f),
        lambda r, f: avg((x - 1) ** 2 for x in f),
    ),
    "hinge": (
        lambda r, f: -avg(min(0, x - 1) for x in r) - avg(min(0, -x - 1) for x in f),
        lambda r, f: -avg(f),
    ),
    "wgan": (lambda r, f: avg(f) - avg(r), lambda r, f: -avg(f)),
    "wgan-gp": (lambda r, f: avg(f) - avg(r), lambda r, f: -avg(f)),
    "ebgan": (  # of energies, which are minus the logits
        lambda r, f: avg(-x for x in r) + avg(max(0, 1 - (-x)) for x in f),
        lambda r, f: avg(-x for x in f),
    ),
    "rpgan": (
        lambda r, f: -avg(log_sigmoid(x - y) for x, y in zip(r, f, strict=True)),
        lambda r, f: -avg(log_sigmoid(y - x) for x, y in zip(r, f, strict=True)),
    ),
    "mmd": (  # of two patches with two features each
        lambda r, f: -discrepancy(*([v[:2], v[2:]] for v in (list(r), list(f)))),
        lambda r, f: discrepancy(*([v[:2], v[2:]] for v in (list(r), list(f)))),
    ),
}


def likeness(x, y) -> float:
    apart = sum((a - b) ** 2 for a, b in zip(x, y, strict=True))
    quadratic = sum((1 + apart / (2 * a)) ** -a for a in (0.2, 0.5, 1, 2, 5))
    return quadratic + sum(a * b for a, b in zip(x, y, strict=True))


def discrepancy(x, y) -> float:
    """The unbiased estimate: no point is compared with itself."""

    def among(points):
        return avg(likeness(p, q) for p, q in itertools.permutations(points, 2))

    return among(x) + among(y) - 2 * avg(likeness(p, q) for p in x for q in y)


def avg(values) -> float:
    values = list(values)
    return sum(values) / len(values)


def slopes(formula, first, second, step=1e-6):
    """Finite differences of formula(first, second) in every one of both lists."""
    found = []
    for which in (0, 1):
        for index in range(4):
            up, down = ([list(first), list(second)] for _ in range(2))
            up[which][index] += step
            down[which][index] -= step
            found.append((formula(*up) - formula(*down)) / (2 * step))
    return found


def losses(name, real, fake):
    objective = OBJECTIVES[name]
    discriminator = sum(objective.d_terms(real, fake).values())
    return discriminator, objective.g_loss(fake, real if objective.compares else None)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_losses_and_their_gradients_are_the_papers(name):
    r, f = REAL.flatten().tolist(), FAKE.flatten().tolist()
    real, fake = REAL.clone().requires_grad_(), FAKE.clone().requires_grad_()
    for loss, formula in zip(losses(name, real, fake), FORMULAS[name], strict=True):
        assert loss.item() == pytest.approx(formula(r, f), rel=1e-12)
        found = torch.autograd.grad(loss, (real, fake), retain_graph=True, allow_unused=True)
        flat = [(torch.zeros(4) if g is None else g).flatten().tolist() for g in found]
        assert flat[0] + flat[1] == pytest.approx(slopes(formula, r, f), abs=1e-8)


def test_every_objective_says_what_it_is():
    assert set(OBJECTIVES) == set(FORMULAS)
    for objective in OBJECTIVES.values():
        assert objective.formula.startswith("D: ")
        assert "; G: " in objective.formula
        assert objective.paper


def test_the_best_discriminator_of_two_densities_gives_their_divergence():
    """Goodfellow et al. 2014, theorem 1: at D = p / (p + q) the value is 2 JSD - log 4."""
    p, q = torch.tensor([4, 3, 2, 1]), torch.tensor([1, 1, 4, 4])  # how often each point comes
    logits = torch.log(p.double() / q).requires_grad_()
    terms = OBJECTIVES["bce"].d_terms(logits.repeat_interleave(p), logits.repeat_interleave(q))
    loss = sum(terms.values())
    p, q = p / 10, q / 10
    middle = (p + q) / 2
    divergence = (p * (p / middle).log() + q * (q / middle).log()).sum() / 2
    assert -loss.item() == pytest.approx(2 * divergence.item() - math.log(4), rel=1e-6)
    (slope,) = torch.autograd.grad(loss, logits)
    assert slope.abs().max() < 1e-12  # no other does better


@pytest.mark.parametrize("name", ["wgan", "wgan-gp"])
def test_a_critic_of_slope_one_finds_how_far_two_sets_are_apart(name):
    points = torch.randn(50, 1, dtype=torch.float64)
    for slope in (-1.0, 0.3, 1.0):
        distance = -sum(OBJECTIVES[name].d_terms(slope * (points + 2.5), slope * points).values())
        assert distance.item() == pytest.approx(2.5 * slope)


def test_the_best_penalised_critic_has_a_slope_of_nearly_one():
    """min over s of -2.5 s + 10 (s - 1)^2 is at s = 1 + 2.5 / 20."""
    slope = torch.tensor(0.0, dtype=torch.float64, requires_grad=True)
    real = torch.rand(8, 1, 1, 1, dtype=torch.float64)
    fake, mix = real - 2.5, torch.rand_like(real)

    def critic(image):
        return slope * image.flatten(1)

    for _ in range(200):
        loss = sum(OBJECTIVES["wgan-gp"].d_terms(critic(real), critic(fake)).values())
        loss = loss + 10 * gradient_penalty(critic, real, fake, mix)
        (down,) = torch.autograd.grad(loss, slope)
        slope = (slope - 0.02 * down).detach().requires_grad_()
    assert slope.item() == pytest.approx(1.125, abs=1e-6)


def test_the_witness_tells_two_sets_apart_by_their_discrepancy():
    """Its means over the two sets are apart by MMD^2, points compared with themselves counted."""
    real, fake = torch.randn(2, 3, 4, 2, 2, dtype=torch.float64)
    witness = OBJECTIVES["mmd"].witness(lambda image: image, real, fake + 1)
    apart = (witness(real).mean() - witness(fake + 1).mean()).item()
    x, y = (z.movedim(1, -1).reshape(-1, 4) for z in (real, fake + 1))
    whole = kernel(x, x).mean() + kernel(y, y).mean() - 2 * kernel(x, y).mean()
    assert apart == pytest.approx(whole.item(), rel=1e-9)
    assert apart > 0


def test_the_discrepancy_of_two_samples_of_one_density_is_zero_on_average():
    torch.manual_seed(0)
    found = torch.stack([mmd2(*torch.randn(2, 20, 3, dtype=torch.float64)) for _ in range(400)])
    assert abs(found.mean()) < 3 * found.std() / 20
    assert found.min() < 0 < found.max()
    assert mmd2(torch.randn(20, 3), torch.randn(20, 3) + 1) > 1


def test_the_discrepancy_is_the_same_under_autocast():
    real, fake = (torch.randn(4, 16, 5, 5) * 0.1 + 5 for _ in range(2))
    whole = OBJECTIVES["mmd"].g_loss(fake, real)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(OBJECTIVES["mmd"].g_loss(fake, real), whole)


def test_of_many_patches_some_are_drawn():
    many = torch.randn(1, 4, 40, 40)
    first, second = (OBJECTIVES["mmd"].g_loss(many, many + 0.5).item() for _ in range(2))
    assert first != second
    assert first == pytest.approx(second, rel=0.5)


@pytest.mark.parametrize("name", ["bce", "minimax", "lsgan"])
def test_smoothed_labels_move_what_real_logits_are_drawn_to(name):
    """To the logit of 0.9, by cross-entropy and by least squares; fakes stay at 0."""
    logit = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    for _ in range(4000):
        loss = OBJECTIVES[name].d_terms(logit, torch.zeros(()), smooth=0.1)["real"]
        (slope,) = torch.autograd.grad(loss, logit)
        logit = (logit - 0.5 * slope).detach().requires_grad_()
    wanted = 0.9 if name == "lsgan" else math.log(0.9 / 0.1)
    assert logit.item() == pytest.approx(wanted, abs=1e-6)
    plain, smoothed = (OBJECTIVES[name].d_terms(REAL, FAKE, s)["fake"] for s in (0.0, 0.1))
    assert plain == smoothed


def test_paired_logits_that_are_equal_cost_log_two():
    found = losses("rpgan", REAL, REAL)
    assert [loss.item() for loss in found] == pytest.approx([math.log(2)] * 2)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_losses_of_half_precision_logits_are_full_precision(name):
    terms = OBJECTIVES[name].d_terms(REAL.bfloat16(), FAKE.bfloat16())
    assert all(term.dtype == torch.float32 for term in terms.values())


def test_gradient_penalty_is_zero_for_a_critic_of_slope_one():
    def critic(image):
        return image.flatten(1).sum(1) / math.sqrt(image[0].numel())

    real, fake = torch.rand(2, 3, 3, 4, 4, dtype=torch.float64)
    penalty = gradient_penalty(critic, real, fake, torch.rand(3, 1, 1, 1).double())
    assert penalty.item() == pytest.approx(0, abs=1e-12)


@torch.no_grad()
def pixel_slopes(score, images, step=1e-6):
    """Finite differences of score [N] in every pixel of images [N, 1, 5, 5]: [N, 25]."""
    found = []
    for shift in torch.eye(25, dtype=torch.float64).view(25, 1, 1, 5, 5) * step:
        found.append((score(images + shift) - score(images - shift)) / (2 * step))
    return torch.stack(found, 1)


def test_gradient_penalty_agrees_with_finite_differences():
    torch.manual_seed(1)
    critic = nn.Sequential(nn.Conv2d(1, 3, 3), nn.Tanh(), nn.Conv2d(3, 1, 2)).double()
    real, fake = torch.rand(2, 2, 1, 5, 5, dtype=torch.float64)
    mix = torch.tensor([0.3, 0.8]).double().view(2, 1, 1, 1)
    between = mix * real + (1 - mix) * fake
    slopes = pixel_slopes(lambda x: critic(x).flatten(1).sum(1), between)
    expected = (slopes.norm(dim=1) - 1).square().mean().item()
    penalty = gradient_penalty(critic, real, fake, mix)
    assert penalty.item() == pytest.approx(expected, rel=1e-7)
    penalty.backward()
    assert critic[0].weight.grad.abs().sum() > 0  # it trains the critic


def test_the_penalty_on_a_witness_agrees_with_finite_differences():
    """Of a picture, where the sets stay what they are."""
    torch.manual_seed(1)
    critic = nn.Sequential(nn.Conv2d(1, 3, 3), nn.Tanh(), nn.Conv2d(3, 2, 2)).double()
    real, fake = torch.rand(2, 2, 1, 5, 5, dtype=torch.float64)
    mix = torch.tensor([0.3, 0.8]).double().view(2, 1, 1, 1)
    between = mix * real + (1 - mix) * fake
    sets = [critic(of).movedim(1, -1).reshape(-1, 2).tolist() for of in (real, fake)]

    def score(images):
        more_real = [
            sum(
                avg(likeness(p, q) for q in sets[0]) - avg(likeness(p, q) for q in sets[1])
                for p in h
            )
            for h in critic(images).movedim(1, -1).reshape(2, -1, 2).tolist()
        ]
        return torch.tensor(more_real, dtype=torch.float64)

    expected = (pixel_slopes(score, between).norm(dim=1) - 1).square().mean().item()
    witness = OBJECTIVES["mmd"].witness(critic, real, fake)
    penalty = gradient_penalty(witness, real, fake, mix)
    assert penalty.item() == pytest.approx(expected, rel=1e-6)
    penalty.backward()
    assert critic[0].weight.grad.abs().sum() > 0


def test_zero_centered_penalty_agrees_with_finite_differences():
    """Of the mean over four patches, whose slopes are taken value by value."""
    torch.manual_seed(2)
    critic = nn.Sequential(nn.Conv2d(1, 3, 3), nn.Tanh(), nn.Conv2d(3, 1, 2)).double()
    images = torch.rand(2, 1, 5, 5, dtype=torch.float64)
    squares = pixel_slopes(lambda x: critic(x).flatten(1).mean(1), images).square().sum(1)
    penalty = zero_centered_penalty(critic, images)
    assert penalty.item() == pytest.approx(squares.mean().item() / 2, rel=1e-7)
    penalty.backward()
    assert critic[0].weight.grad.abs().sum() > 0


def test_penalties_are_in_full_precision_under_autocast():
    critic = nn.Conv2d(3, 1, 3)
    image = torch.rand(2, 3, 8, 8)
    whole = zero_centered_penalty(critic, image)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(zero_centered_penalty(critic, image), whole)
        mixed = gradient_penalty(critic, image, image.bfloat16(), torch.rand(2, 1, 1, 1))
    assert mixed.dtype == torch.float32
