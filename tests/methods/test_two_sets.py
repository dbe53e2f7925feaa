"""L1 to the truths of those pictures that have a partner: as its formula, and 0 without any."""

import pytest
import torch

from img2img.methods.cut import CUT, CUTConfig, CUTDraws
from img2img.methods.cyclegan import CycleGAN, CycleGANConfig

SMALL = {"size": 32, "width": 4, "blocks": 1, "d_width": 4, "d_layers": 2, "batch": 4}
CUT_SMALL = {**SMALL, "blocks": 2, "nce_patches": 16, "nce_width": 8, "nce_identity": False}


def cyclegan(**settings):
    torch.manual_seed(0)
    return CycleGAN(CycleGANConfig(**SMALL, **settings)).double()


def batch_of(*flags: float):
    torch.manual_seed(1)
    images = {n: torch.rand(len(flags), 3, 32, 32, dtype=torch.float64) * 2 - 1 for n in "ab"}
    return images | {"paired": torch.tensor(flags, dtype=torch.float32)}


def terms_of(method, batch, draws=None):
    draws = draws or method.draws(batch, torch.tensor(0.0), 1.0)
    scene = method.scene(batch, draws)
    return scene, method.g_terms(batch, scene, draws)


def test_it_is_the_mean_over_the_pictures_that_have_a_partner():
    method, batch = cyclegan(paired=7.0), batch_of(1, 0, 1, 0)
    scene, terms = terms_of(method, batch)
    for name, fake, truth in (("ab", "fake_b", "b"), ("ba", "fake_a", "a")):
        expected = 7 * (scene[fake][[0, 2]] - batch[truth][[0, 2]]).abs().mean()
        assert terms[f"paired_{name}"].item() == pytest.approx(expected.item(), rel=1e-6)


def test_other_pictures_are_not_drawn_to_what_is_beside_them():
    method, batch = cyclegan(paired=1.0), batch_of(0, 1)
    _, terms = terms_of(method, batch)
    batch["b"][0] = -batch["b"][0]
    _, others = terms_of(method, batch)
    assert terms["paired_ab"].item() == others["paired_ab"].item()


def test_without_partners_in_a_batch_it_is_0():
    method = cyclegan(paired=1.0)
    _, terms = terms_of(method, batch_of(0, 0))
    assert terms["paired_ab"].item() == terms["paired_ba"].item() == 0
    torch.stack(list(terms.values())).sum().backward()
    assert all(p.grad.isfinite().all() for p in method.generators.parameters())


def test_the_other_terms_are_those_without_it():
    batch = batch_of(1, 0)
    _, plain = terms_of(cyclegan(), {name: batch[name] for name in "ab"})
    _, terms = terms_of(cyclegan(paired=1.0), batch)
    assert set(terms) - set(plain) == {"paired_ab", "paired_ba"}
    assert all(terms[name].item() == plain[name].item() for name in plain)


def test_parts_of_a_batch_add_up_to_it():
    """As accumulate takes them: pairs are not spread evenly over the parts."""
    method, batch = cyclegan(paired=3.0, accumulate=2), batch_of(1, 1, 1, 0)
    draws = method.draws(batch, torch.tensor(0.0), 1.0)
    _, whole = terms_of(method, batch, draws)
    halves = [{name: value.chunk(2)[i] for name, value in batch.items()} for i in (0, 1)]
    parts = [terms_of(method, *half)[1] for half in zip(halves, draws.split(2), strict=True)]
    for name in ("paired_ab", "paired_ba"):
        mean = sum(part[name].item() for part in parts) / 2
        assert mean == pytest.approx(whole[name].item(), rel=1e-9)


@pytest.mark.parametrize(("flags", "paired"), [((1, 1), True), ((1, 0), False), ((0, 0), False)])
def test_ways_have_truths_where_all_pictures_have_partners(flags, paired):
    ways = cyclegan(paired=1.0).ways(batch_of(*flags))
    assert {name: way.paired for name, way in ways.items()} == {"ab": paired, "ba": paired}
    plain = {name: image for name, image in batch_of(*flags).items() if name != "paired"}
    assert not any(way.paired for way in cyclegan().ways(plain).values())


@pytest.mark.parametrize("flipped", [False, True])
def test_cut_compares_a_mirrored_translation_with_the_mirrored_truth(flipped):
    torch.manual_seed(0)
    method = CUT(CUTConfig(**CUT_SMALL, paired=2.0, flip_equivariance=True)).double()
    batch = batch_of(0, 1, 1)
    draws = method.draws(batch, torch.tensor(0.0), 1.0)
    draws = CUTDraws(**{**vars(draws), "flipped": torch.tensor(flipped)})
    scene, terms = terms_of(method, batch, draws)
    truth = batch["b"].flip(3) if flipped else batch["b"]
    expected = 2 * (scene["fake_b"][1:] - truth[1:]).abs().mean()
    assert terms["paired"].item() == pytest.approx(expected.item(), rel=1e-6)
