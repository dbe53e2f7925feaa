"""CutMix: masks, the losses on mixed pictures, and what they go together with."""

from dataclasses import replace

import pytest
import torch
from gradients import CUTMIX, four_pictures, start
from torch.nn.functional import softplus

from img2img.errors import UsageError
from img2img.methods import METHODS
from img2img.methods.cutmix import mixed, random_masks, warm_up
from img2img.training.ranks import Ranks

UNET = {name: value for name, value in CUTMIX.items() if name != "d_cutmix"}


def test_masks_are_rectangles_of_any_size_real_or_fake_inside():
    torch.manual_seed(0)
    masks = random_masks(torch.rand(400, 3, 24, 40))
    assert masks.shape == (400, 1, 24, 40)
    assert set(masks.unique().tolist()) == {0.0, 1.0}
    fakes_inside, areas = 0, []
    for mask in masks[:, 0]:
        corners = mask[[0, 0, -1, -1], [0, -1, 0, -1]]
        if corners.unique().numel() == 2:  # the rectangle touches a corner
            continue
        inside = mask != corners[0]
        areas.append(float(inside.float().mean()))
        fakes_inside += int(bool(corners[0]))
        rows, columns = inside.any(1), inside.any(0)
        assert torch.equal(inside, rows[:, None] & columns[None])
        if inside.any():
            at = [line.nonzero().flatten() for line in (rows, columns)]
            assert all(len(each) == each[-1] - each[0] + 1 for each in at)
            assert len(at[1]) / 40 == pytest.approx(len(at[0]) / 24, abs=2 / 24)
    assert 0.35 < fakes_inside / len(areas) < 0.65
    assert max(areas) > 0.8
    shares = masks.mean((1, 2, 3))
    assert float(shares.mean()) == pytest.approx(0.5, abs=0.05)
    assert float(shares.std()) == pytest.approx(12**-0.5, abs=0.03)  # as uniform numbers have it


def test_a_mixed_picture_is_real_where_the_mask_is_1():
    real, fake = torch.rand(2, 2, 3, 4, 4)
    mask = torch.zeros(2, 1, 4, 4)
    mask[:, :, :2] = 1
    both = mixed(real, fake, mask)
    assert torch.equal(both[:, :, :2], real[:, :, :2])
    assert torch.equal(both[:, :, 2:], fake[:, :, 2:])


def test_the_weight_rises_over_the_first_half():
    factors = [warm_up(torch.tensor(each)).item() for each in (0.0, 0.25, 0.5, 1.0)]
    assert factors == [0, 0.5, 1, 1]


def terms_of(mode, progress=0.25, **settings):
    trainer = start(mode, UNET | settings, Ranks())
    batch, draws = four_pictures(mode)
    return trainer.update(batch, replace(draws, progress=torch.tensor(progress)))


MODES = {"pix2pix": 1, "cyclegan": 2, "cut": 1, "stargan": 1}  # discriminators


@pytest.mark.parametrize(("mode", "count"), MODES.items())
def test_every_method_has_the_terms_by_weight_and_progress(mode, count):
    values = []
    for progress, weight in ((0.25, 1.0), (0.25, 3.0), (0.75, 1.0)):
        terms = terms_of(mode, progress, d_cutmix=weight, discriminator_lr=1e-12)
        named = {n: v for n, v in terms.items() if "cutmix" in n or "consistency" in n}
        assert len(named) == 2 * count
        values.append(torch.stack(list(named.values())))
    assert (values[0] > 0).all()
    torch.testing.assert_close(values[1], 3 * values[0])
    torch.testing.assert_close(values[2], 2 * values[0])


@pytest.mark.parametrize("mode", MODES)
def test_without_a_weight_nothing_is_drawn_and_no_term_is_there(mode):
    assert not [n for n in terms_of(mode) if "cutmix" in n or "consistency" in n]
    batch, _ = four_pictures(mode)
    for settings, draws_masks in (({}, False), ({"d_cutmix": 1.0}, True)):
        method = start(mode, UNET | settings, Ranks()).method
        draws = method.draws(batch, torch.tensor(0.0), 1.0)
        assert (draws.mask is not None) == draws_masks


@pytest.mark.parametrize("extra", [0, 4])
def test_the_terms_are_those_of_the_paper(extra):
    """With the cross-entropy, against section 3.2. extra: fakes without a real picture."""
    method = start("pix2pix", UNET | {"objective": "bce", "d_cutmix": 2.0}, Ranks()).method
    batch, draws = four_pictures("pix2pix")
    judge = method.discriminators["b"]
    torch.manual_seed(0)
    real, mask = batch["b"], draws.mask
    fake = torch.rand(4 + extra, 3, 32, 32, dtype=real.dtype)

    def critic(image):
        condition = torch.cat([batch["a"]] * (len(image) // 4))
        return judge(torch.cat([condition, image], 1))

    scores = critic(real), critic(fake)
    terms = method.cutmix_terms(critic, real, fake, scores, draws)
    whole, pixels = critic(torch.where(mask == 1, real, fake[:4])).maps
    to_real, to_fake = softplus(-pixels), softplus(pixels)  # -log D and -log(1 - D)
    decoder = torch.where(mask == 1, to_real, to_fake).mean()
    # Both maps are averaged, so that each has the weight 1/2; the weight is 2, half of it by now.
    assert terms["cutmix"].item() == pytest.approx(
        2 / 2 * (softplus(whole).mean() + decoder).item() / 2
    )
    mix = torch.where(mask == 1, scores[0].maps[1], scores[1].maps[1][:4])
    assert terms["consistency"].item() == pytest.approx(
        2 / 2 * ((pixels - mix) ** 2).mean().item() / 2
    )


def test_a_discriminator_learns_to_tell_the_parts_of_mixed_pictures_apart():
    trainer = start("pix2pix", CUTMIX | {"discriminator_lr": 2e-3, "generator_lr": 1e-9}, Ranks())
    batch, draws = four_pictures("pix2pix")
    draws = replace(draws, progress=torch.tensor(1.0))
    seen = [trainer.update(batch, draws)["d/cutmix"].item() for _ in range(12)]
    assert seen[-1] < 0.9 * seen[0]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"objective": "rpgan"}, "rpgan compares real pictures with fakes"),
        ({"augment": "colour"}, "augment changes each of"),
        ({"discriminator": "patch"}, "the discriminator patch has no setting cutmix; unet has"),
    ],
)
@pytest.mark.parametrize("mode", METHODS)
def test_what_does_not_go_together_is_refused_by_name(mode, settings, message):
    with pytest.raises((ValueError, UsageError), match=message):
        METHODS[mode].Config(**{"size": 32, "discriminator": "unet", "d_cutmix": 1.0, **settings})


def test_a_mixture_refuses_a_part_with_cutmix():
    part = {"network": {"name": "unet", "cutmix": 1.0}}
    judge = {"name": "mixture", "parts": [part, "patch"]}
    with pytest.raises(ValueError, match="cutmix needs the pixels' scores of unet alone"):
        METHODS["pix2pix"].Config(size=64, discriminator=judge)
