"""What all methods share."""

import pytest
import torch
from gradients import four_pictures, furthest, start

from img2img.data.paired import Pairs
from img2img.data.sources import Sources
from img2img.errors import UsageError
from img2img.features import FeatureNetwork
from img2img.methods import METHODS
from img2img.methods.base import in_one_call
from img2img.methods.cyclegan import CycleGAN, CycleGANConfig
from img2img.nets.patchgan import PatchGAN
from img2img.nets.resnet import ResNet
from img2img.training.ranks import Ranks


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
        assert torch.allclose(grid[column].images, scene[name], atol=1e-4)


PROJECTED = {"discriminator": "projected", "d_width": 4, "objective": "hinge"}
FEATURES = {  # calls of a frozen network in a step: of the critics, and of the perceptual loss
    "pix2pix": (3, 0),  # fake, real picture and input, which the perceptual loss uses, too
    "cyclegan": (4, 4),  # fakes and real pictures of both domains; cycles and their targets
    "cut": (2, 2),  # a fake and a real picture; the identity and its target
    "stargan": (2, 2),  # a fake and a real picture; the reconstruction and its target
}


@pytest.fixture
def looks(monkeypatch):
    """The number of pictures that frozen networks look at, call by call."""
    seen, forward = [], FeatureNetwork.forward

    def counted(self, image):
        seen.append(len(image))
        return forward(self, image)

    monkeypatch.setattr(FeatureNetwork, "forward", counted)
    return seen


def step(mode, times=1, **settings):
    """The terms of one step, with the trainer. times: by which the pictures are enlarged."""
    trainer = start(mode, PROJECTED | settings, Ranks())
    batch, draws = four_pictures(mode, torch.float32)
    batch = {
        name: value.repeat_interleave(times, 2).repeat_interleave(times, 3)
        if value.ndim == 4
        else value
        for name, value in batch.items()
    }
    return trainer.update(batch, draws), trainer


@pytest.mark.parametrize("mode", METHODS)
@pytest.mark.parametrize("perceptual", [0.0, 1.0])
def test_the_features_of_a_step_are_computed_once(mode, perceptual, looks):
    step(mode, perceptual=perceptual)
    of_critics, of_loss = FEATURES[mode]
    assert looks == [4] * (of_critics + (of_loss if perceptual else 0))


def test_another_network_of_the_perceptual_loss_looks_for_itself(looks):
    step("pix2pix", perceptual=1.0, perceptual_network="efficientnet-lite1")
    assert looks == [4] * (3 + 2)


def test_the_parts_of_a_mixture_share_features_with_the_perceptual_loss(looks):
    parts = {"discriminator": "mixture", "d_parts": "pixel,projected", "norm": "instance"}
    trainer = start("pix2pix", {"objective": "hinge", **parts, "perceptual": 1.0}, Ranks())
    trainer.update(*four_pictures("pix2pix", torch.float32))
    assert looks == [4] * 3


def test_a_mixture_without_frozen_networks_is_judged_like_any_other():
    parts = {"discriminator": "mixture", "d_parts": "pixel", "norm": "instance"}
    mixed, plain = (
        start("cyclegan", {"objective": "hinge", **settings, "augment": ("cutout",)}, Ranks())
        for settings in (parts, {"discriminator": "pixel", "norm": "instance"})
    )
    for name, judge in mixed.method.discriminators.items():
        judge.judges[0].load_state_dict(plain.method.discriminators[name].state_dict())
    first, second = (each.update(*four_pictures("cyclegan")) for each in (mixed, plain))
    assert {k: v.item() for k, v in first.items()} == {k: v.item() for k, v in second.items()}


def test_pictures_of_a_pool_are_looked_at_anew(looks):
    step("cyclegan", pool=3)
    # In each turn, a fake of each domain; real pictures in that of the discriminators.
    assert looks == [4] * (2 + 4)


@pytest.mark.parametrize("mode", METHODS)
def test_shared_features_give_the_losses_of_those_computed_anew(mode, monkeypatch):
    """With pictures of 64 px, which the discriminator does not resize for its network."""
    shared, trainer = step(mode, times=2, perceptual=1.0)
    monkeypatch.setattr(type(trainer.method), "looked_at", lambda self, scene, *_: scene)
    anew, other = step(mode, times=2, perceptual=1.0)
    assert shared.keys() == anew.keys()
    for name, term in shared.items():
        assert term.item() == pytest.approx(anew[name].item(), rel=1e-4, abs=1e-6), name
    found, expected = (
        {name: p.grad for name, p in each.method.generators.named_parameters()}
        for each in (trainer, other)
    )
    assert furthest(found, expected) < 1e-3


@pytest.mark.parametrize("mode", METHODS)
def test_no_checkpoint_holds_a_feature_network(mode):
    trainer = start(mode, PROJECTED | {"perceptual": 1.0}, Ranks())
    assert not [name for name in trainer.method.state_dict() if "network" in name or "eye" in name]
    moved = {name for name, _ in trainer.method.discriminators.named_parameters()}
    assert {name.split(".")[1] for name in moved} <= {"heads", "classify"}


def test_one_draw_of_augmentation_is_for_all_pictures_that_are_shown_together():
    trainer = start("pix2pix", PROJECTED | {"augment": ("cutout",)}, Ranks())
    method = trainer.method
    batch, draws = four_pictures("pix2pix", torch.float32)
    batch = {name: torch.ones_like(image) for name, image in batch.items()}
    scene = method.looked_at({"fake_b": torch.ones(4, 3, 32, 32)}, batch, draws)
    views = [scene[f"b/{name}/0"] for name in ("fake_b", "b", "a")]
    assert (views[0] == 0).any()
    assert torch.equal(views[0], views[1])
    assert torch.equal(views[0], views[2])


def test_no_gradient_is_kept_of_the_features_of_real_pictures():
    method = start("pix2pix", PROJECTED, Ranks()).method
    batch, draws = four_pictures("pix2pix", torch.float32)
    scene = method.looked_at(method.scene(batch, draws), batch, draws)
    assert all(scene[f"b/fake_b/{n}"].requires_grad for n in range(1, 5))
    assert not any(scene[f"b/{name}/{n}"].requires_grad for name in "ab" for n in range(1, 5))


@pytest.mark.parametrize("channels", [(1, 3), (4, 4), (3, 1)])
def test_gray_and_transparent_pictures_train_with_frozen_features(channels):
    given, made = channels
    trainer = start(
        "pix2pix",
        PROJECTED | {"in_channels": given, "out_channels": made, "augment": ("colour",)},
        Ranks(),
    )
    batch = {"a": torch.rand(4, given, 32, 32), "b": torch.rand(4, made, 32, 32)}
    assert all(term.isfinite() for term in trainer.update(batch).values())


def test_a_layout_that_reads_one_folder_of_several_is_refused(monkeypatch):
    """As that of another package may, which accepts any --a and --b."""
    monkeypatch.setattr(Pairs, "open", classmethod(lambda cls, *_: cls(items=())))
    with pytest.raises(UsageError, match="The layout pairs takes one --a"):
        METHODS["pix2pix"].open_data(Sources(a=["x", "y"], b="z"), (3, 3))
