"""pix2pix with inputs that have no partner: their fakes are judged, and nothing else."""

import pytest
import torch

from img2img.errors import UsageError
from img2img.methods.objectives import OBJECTIVES, zero_centered_penalty
from img2img.methods.pix2pix import Pix2Pix, Pix2PixConfig

SMALL = {"size": 32, "levels": 4, "width": 4, "d_width": 4, "d_layers": 2, "batch": 2}
STEADY = {"norm": "instance", "dropout": False}


def make(**settings):
    torch.manual_seed(0)
    return Pix2Pix(Pix2PixConfig(**{**SMALL, **STEADY, **settings})).double()


def step(method):
    """A batch, and the scene, d_terms and g_terms on it."""
    torch.manual_seed(1)
    batch = {n: torch.rand(2, 3, 32, 32, dtype=torch.float64) * 2 - 1 for n in ("a", "b", "extra")}
    draws = method.draws(batch, torch.tensor(0.0), 1.0)
    scene = method.scene(batch, draws)
    still = {name: image.detach() for name, image in scene.items()}
    return batch, scene, method.d_terms(batch, still, draws), method.g_terms(batch, scene, draws)


def scores(method, condition, image):
    return method.discriminators["b"](torch.cat([condition, image], 1))


SEPARATE = [  # objectives that judge each picture by itself, with a discriminator of patches
    name for name, row in OBJECTIVES.items() if not (row.compares or row.energy or row.interpolates)
]


@pytest.mark.parametrize("objective", SEPARATE)
def test_fakes_of_unpaired_inputs_are_half_of_the_fakes(objective):
    method = make(objective=objective, unpaired=True)
    batch, scene, d, g = step(method)
    real = scores(method, batch["a"], batch["b"])
    fakes = [
        scores(method, batch["a"], scene["fake_b"]),
        scores(method, batch["extra"], scene["extra"]),
    ]
    rule = OBJECTIVES[objective]
    halves = [rule.d_terms(real, fake) for fake in fakes]
    for name in halves[0]:
        expected = 0.5 * (halves[0][name] + halves[1][name]).item() / 2
        assert d[name].item() == pytest.approx(expected, rel=1e-6)
    adversarial = sum(rule.g_loss(fake).item() for fake in fakes) / 2
    assert g["adversarial"].item() == pytest.approx(adversarial, rel=1e-6)
    assert set(g) == {"adversarial", "l1"}
    l1 = 100 * (scene["fake_b"] - batch["b"]).abs().mean()
    assert g["l1"].item() == pytest.approx(l1.item(), rel=1e-6)


def test_a_relativistic_objective_compares_each_fake_with_a_real_picture():
    method = make(objective="rpgan", unpaired=True, r1=0, r2=0)
    batch, scene, d, g = step(method)
    real = scores(method, batch["a"], batch["b"])
    off = torch.cat(
        [
            real - scores(method, batch["a"], scene["fake_b"]),
            real - scores(method, batch["extra"], scene["extra"]),
        ]
    )
    softplus = torch.nn.functional.softplus
    assert d["relative"].item() == pytest.approx(0.5 * softplus(-off).mean().item(), rel=1e-6)
    assert g["adversarial"].item() == pytest.approx(softplus(off).mean().item(), rel=1e-6)


def test_r1_is_at_the_pairs_and_r2_at_all_fakes_beside_their_own_inputs():
    method = make(unpaired=True, r1=2.0, r2=3.0)
    batch, scene, d, _ = step(method)

    def at(condition, image):
        def critic(x):
            return scores(method, condition, x)

        return zero_centered_penalty(critic, image.detach()).item()

    r1 = at(batch["a"], batch["b"])
    r2 = (at(batch["a"], scene["fake_b"]) + at(batch["extra"], scene["extra"])) / 2
    assert d["r1"].item() == pytest.approx(0.5 * 2 * r1, rel=1e-6)
    assert d["r2"].item() == pytest.approx(0.5 * 3 * r2, rel=1e-6)


@pytest.mark.parametrize("settings", [{"d_norm": "batch"}, {"minibatch": "std"}])
def test_a_discriminator_that_compares_pictures_sees_as_many_fakes_as_real_ones(settings):
    method, calls = make(unpaired=True, **settings), []
    method.discriminators["b"].register_forward_pre_hook(lambda _, given: calls.append(len(*given)))
    step(method)
    assert set(calls) == {2}


def test_batch_norm_of_the_generator_sees_pairs_and_unpaired_inputs_apart():
    plain, method = make(norm="batch"), make(norm="batch", unpaired=True)
    _, first, *_ = step(plain)
    _, second, *_ = step(method)
    assert torch.equal(first["fake_b"], second["fake_b"])
    assert set(second) - set(first) == {"extra"}


def test_features_are_matched_with_truths_alone():
    settings = {"feature_matching": 5.0}
    _, _, _, plain = step(make(**settings))
    _, _, _, terms = step(make(unpaired=True, **settings))
    for name in ("l1", "feature_matching"):
        assert terms[name].item() == pytest.approx(plain[name].item(), rel=1e-9)
    assert terms["adversarial"].item() != plain["adversarial"].item()


@pytest.mark.parametrize("objective", ["wgan-gp", "mmd"])
def test_penalties_between_a_fake_and_its_truth_are_refused(objective, make_config):
    with pytest.raises(UsageError, match=f"{objective} needs a real picture for each translation"):
        make_config("pix2pix", objective=objective, norm="instance", unpaired=True)
