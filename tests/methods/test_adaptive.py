"""Adaptive augmentation: its probability follows the discriminators' answers to real pictures."""

import copy

import pytest
import torch
from gradients import four_pictures, start
from states import assert_bitwise

from img2img.errors import UsageError
from img2img.methods import METHODS
from img2img.methods.adaptive import WINDOW, AdaptiveAugmentation
from img2img.methods.disturb import augmented
from img2img.methods.objectives import OBJECTIVES
from img2img.training.ranks import Ranks

ALL = ("colour", "translation", "cutout")


def tensor(value: float) -> torch.Tensor:
    return torch.tensor(value)


def test_it_moves_by_a_fixed_amount_towards_the_target():
    adaptive, seen = AdaptiveAugmentation(0.6, 1000), []
    for sign in [1.0] * 4 + [0.0] * 4:
        adaptive.update(tensor(sign), WINDOW)  # so many that earlier signs are forgotten
        seen.append(adaptive.probability.item())
    step = WINDOW / 1000
    up, down = ([step, 2 * step, 3 * step, 1.0], [1 - step, 1 - 2 * step, 1 - 3 * step, 0.0])
    assert seen == pytest.approx(up + down, abs=1e-6)


def test_signs_are_averaged_over_about_a_window_of_pictures():
    adaptive = AdaptiveAugmentation(0.6, 10**6)
    for _ in range(WINDOW):
        adaptive.update(tensor(1.0), 1)
    assert adaptive.overfitting.item() == pytest.approx(1 - (1 - 1 / WINDOW) ** WINDOW, rel=1e-4)


@pytest.mark.parametrize("target", [0.3, 0.6])
def test_it_settles_where_overfitting_is_the_target(target):
    """As if augmentation took away what the discriminator recognizes, but for a tenth."""
    adaptive = AdaptiveAugmentation(target, 20_000)
    for _ in range(20_000):
        adaptive.update(0.9 * (1 - adaptive.probability), 4)
    assert adaptive.probability.item() == pytest.approx(1 - target / 0.9, abs=0.02)


@pytest.mark.parametrize("change", ALL)
def test_each_change_is_made_to_a_share_of_the_pictures(change):
    torch.manual_seed(0)
    image = torch.rand(400, 3, 16, 16) * 2 - 1
    for probability in (0.0, 0.3, 1.0):
        torch.manual_seed(1)
        every = augmented(image, (change,), (3,))
        torch.manual_seed(1)
        seen = augmented(image, (change,), (3,), tensor(probability))
        changed = (seen != image).flatten(1).any(1)
        assert torch.equal(seen[changed], every[changed])
        share = (every != image).flatten(1).any(1).float().mean().item()  # a shift may be 0
        assert changed.float().mean().item() == pytest.approx(probability * share, abs=0.07)


def test_changes_are_made_independently_of_each_other():
    torch.manual_seed(0)
    image = torch.rand(2000, 3, 8, 8) * 2 - 1
    seen = augmented(image, ("colour", "cutout"), (3,), tensor(0.5))
    holes = (seen == 0).all(1).flatten(1).any(1)
    colored = ((seen != image) & (seen != 0)).flatten(1).any(1)
    assert (holes & colored).float().mean().item() == pytest.approx(0.25, abs=0.04)


def test_gradients_reach_changed_and_unchanged_pictures():
    image = torch.rand(50, 3, 8, 8, requires_grad=True)
    (slope,) = torch.autograd.grad(augmented(image, ALL, (3,), tensor(0.5)).sum(), image)
    assert (slope.flatten(1) != 0).any(1).float().mean() > 0.9


@pytest.mark.parametrize(
    ("objective", "answers", "sign"),
    [
        ("bce", [1.0, 2.0, -1.0, 3.0], 0.5),
        ("hinge", [0.2, 0.3, 0.1, 0.4], 1.0),
        ("lsgan", [0.6, 0.4, 0.9, 0.2], 0.0),  # halfway between 0 and 1
        ("rpgan", [-1.0, -2.0, 0.0, -4.0], 0.5),  # above the fakes' -3
    ],
)
def test_signs_are_those_of_the_side_on_which_real_pictures_are(objective, answers, sign):
    fakes = torch.full((4, 1), -3.0)
    margins = OBJECTIVES[objective].margins(torch.tensor(answers)[:, None], fakes)
    assert margins.sign().mean().item() == pytest.approx(sign)


def begin(mode, **settings):
    adaptive = {"augment": ALL, "augment_target": 0.01, "augment_ramp": 16, "objective": "hinge"}
    trainer = start(mode, adaptive | settings, Ranks())
    return trainer, *four_pictures(mode)


def shifted(trainer, shift):
    """Adds to the logits of all discriminators."""

    def add(module, arguments, output):
        return (output[0] + shift, output[1]) if isinstance(output, tuple) else output + shift

    for judge in trainer.method.discriminators.values():
        judge.register_forward_hook(add)


@pytest.mark.parametrize(("shift", "probabilities"), [(9, [0.25, 0.5]), (-9, [0, 0])])
@pytest.mark.parametrize("mode", METHODS)
def test_every_method_adapts_to_how_real_its_discriminators_find_pictures(
    mode, shift, probabilities
):
    trainer, batch, draws = begin(mode)  # which moves by 4 of 16 pictures a step
    shifted(trainer, shift)
    seen = [trainer.update(batch, draws)["d/augment"].item() for _ in range(2)]
    assert seen == probabilities


@pytest.mark.parametrize("mode", METHODS)
def test_at_probability_0_a_step_is_that_without_augmentation(mode):
    """So signs are no loss: the discriminators' weights are the same to the last bit."""
    trainer, batch, draws = begin(mode, augment_target=0.99)
    plain = start(mode, {"objective": "hinge"}, Ranks())
    first, second = trainer.update(batch, draws), plain.update(batch, draws)
    assert first["d/augment"] == 0
    extra = {name for name in first if name.startswith("d/sign")} | {"d/augment"}
    assert len(extra) == 1 + len(trainer.method.discriminators)
    assert first.keys() - second.keys() == extra
    for name, parameter in plain.method.named_parameters():
        assert torch.equal(parameter, trainer.method.get_parameter(name)), name


@pytest.mark.parametrize("mode", METHODS)
def test_the_state_goes_on_where_it_was(mode):
    trainer, batch, draws = begin(mode, augment_ramp=100)
    for _ in range(2):
        trainer.update(batch, draws)
    state = copy.deepcopy(trainer.state_dict())
    again, *_ = begin(mode, augment_ramp=100)
    again.load_state_dict(state)
    terms = [each.update(batch, draws) for each in (trainer, again)]
    assert_bitwise(*terms)
    assert_bitwise(trainer.state_dict(), again.state_dict())
    assert "adaptive.probability" in state["method"]


def test_looking_ahead_does_not_count():
    """The steps that the generators imagine are no answers of the discriminators."""
    signs = []
    for unroll in (0, 3):
        trainer, batch, draws = begin("pix2pix", unroll=unroll)
        trainer.update(batch, draws)
        signs.append(trainer.method.adaptive.overfitting.item())
    assert signs[0] == signs[1] != 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"objective": "wgan-gp", "augment": "cutout"}, "have no boundary between real"),
        ({"objective": "mmd", "augment": "cutout"}, "have no boundary between real"),
        ({}, "--augment-target would change nothing: no augmentations are chosen"),
    ],
)
def test_what_can_not_adapt_is_refused(settings, message, make_config):
    with pytest.raises(UsageError, match=message):
        make_config("cyclegan", augment_target=0.6, **settings)


def test_a_ramp_without_a_target_is_refused(make_config):
    with pytest.raises(UsageError, match="--augment-ramp would change nothing"):
        make_config("cyclegan", augment="cutout", augment_ramp=5)
