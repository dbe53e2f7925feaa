"""The perceptual loss: a distance of frozen features that methods add, once for each picture."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from gradients import four_pictures, start
from PIL import Image
from safetensors.torch import save_file

from img2img.features import FeatureNetwork, feature_network
from img2img.methods.perceptual import LearnedDistance, feature_distance
from img2img.methods.pix2pix import Pix2Pix
from img2img.training.ranks import Ranks
from img2img.training.runtime import Runtime
from img2img.training.schedule import Schedule
from img2img.training.trainer import Trainer

LITE = "efficientnet-lite0"


@pytest.fixture(scope="module")
def pictures(emoji):
    """Two emoji, [2, 3, 64, 64]."""
    images = []
    for path in sorted((emoji / "3d").iterdir())[:2]:
        with Image.open(path) as file:
            pixels = torch.tensor(list(file.convert("RGB").resize((64, 64)).getdata()))
        images.append(pixels.view(64, 64, 3).permute(2, 0, 1) / 127.5 - 1)
    return torch.stack(images)


def distance(a, b):
    network = feature_network(LITE)
    return feature_distance(network(a), network(b))


def blurred(image, times):
    for _ in range(times):
        image = F.avg_pool2d(F.pad(image, (1, 1, 1, 1), mode="replicate"), 3, 1)
    return image


def test_it_is_0_for_equal_pictures_and_rises_with_blur(pictures):
    values = [distance(blurred(pictures, times), pictures).item() for times in (0, 1, 3, 9)]
    assert values[0] == 0
    assert values == sorted(values)
    assert values[1] > 0.02


def test_it_sees_what_is_shown_more_than_how_bright_it_is(pictures):
    darker = distance(pictures - 0.1, pictures)
    assert 0 < 2 * darker < distance(pictures.flip(0), pictures)


def test_its_gradient_leads_back_to_the_target(pictures):
    image = blurred(pictures, 3).requires_grad_()
    before = distance(image, pictures)
    (slope,) = torch.autograd.grad(before, image)
    assert distance(image - 0.01 * slope / slope.abs().max(), pictures) < before


def test_every_depth_counts_the_same_whatever_its_scale():
    torch.manual_seed(0)
    a, b = ([torch.randn(1, 8, 4, 4), torch.randn(1, 32, 2, 2)] for _ in range(2))
    louder = [a[0], 100 * a[1]], [b[0], 100 * b[1]]
    assert feature_distance(*louder).item() == pytest.approx(
        feature_distance(a, b).item(), rel=1e-3
    )
    halves = [feature_distance(a[n : n + 1], b[n : n + 1]).item() for n in (0, 1)]
    assert feature_distance(a, b).item() == pytest.approx(sum(halves) / 2, rel=1e-5)


def begin(mode, **settings):
    trainer = start(mode, settings, Ranks())
    batch, draws = four_pictures(mode)
    trainer.method.float()  # as it trains; the features are float32
    batch = {name: value.float() for name, value in batch.items()}
    tensors = {n: x for n, x in vars(draws).items() if torch.is_tensor(x) and x.ndim}
    return trainer, batch, replace(draws, **{name: x.float() for name, x in tensors.items()})


@pytest.fixture
def calls(monkeypatch):
    """The number of pictures in each call of a feature network, and whether it has a gradient."""
    seen, forward = [], FeatureNetwork.forward

    def counted(self, image):
        seen.append((self.name, len(image), torch.is_grad_enabled() and image.requires_grad))
        return forward(self, image)

    monkeypatch.setattr(FeatureNetwork, "forward", counted)
    return seen


MODES = {"pix2pix": 1, "cyclegan": 2, "cut": 1, "stargan": 1}  # terms


@pytest.mark.parametrize(("mode", "count"), MODES.items())
def test_every_method_has_the_term_by_its_weight(mode, count, calls):
    values = []
    for weight in (1.0, 3.0):
        trainer, batch, draws = begin(mode, perceptual=weight, generator_lr=1e-9)
        terms = trainer.update(batch, draws)
        named = [term for name, term in terms.items() if name.startswith("g/perceptual")]
        assert len(named) == count
        values.append(torch.stack(named).sum().item())
        assert calls == [(LITE, 4, True), (LITE, 4, False)][::-1] * count
        calls.clear()
        assert all(p.grad.isfinite().all() for p in trainer.method.generators.parameters())
    assert values[0] > 0.05
    assert values[1] == pytest.approx(3 * values[0], rel=1e-4)


@pytest.mark.parametrize("mode", MODES)
def test_without_a_weight_nothing_is_computed(mode, calls):
    trainer, batch, draws = begin(mode)
    terms = trainer.update(batch, draws)
    assert not [name for name in terms if "perceptual" in name]
    assert calls == []
    assert trainer.method.eye is None


def test_training_on_it_alone_brings_outputs_nearer_to_their_targets():
    trainer, batch, draws = begin("pix2pix", perceptual=20.0, l1=0.0, generator_lr=2e-3)
    seen = [trainer.update(batch, draws)["g/perceptual"].item() for _ in range(15)]
    assert seen[-1] < 0.9 * seen[0]


def projected(**settings):
    """A trainer of pix2pix with a critic on frozen features, and a batch."""
    judge = {"name": "projected", "width": 4}
    small = {"size": 64, "levels": 4, "width": 4, "batch": 4, "norm": "instance", "dropout": False}
    lasting = {"epochs": None, "steps": 10, "objective": "hinge"}
    config = Pix2Pix.Config(**small, **lasting, discriminator=judge, **settings)
    torch.manual_seed(0)
    trainer = Trainer(Pix2Pix(config), Runtime("cpu", "fp32"), 0, Schedule.of(config, 10))
    return trainer, {name: torch.rand(4, 3, 64, 64) * 2 - 1 for name in "ab"}


@pytest.mark.parametrize(("network", "more"), [(LITE, 0), ("efficientnet-lite1", 2)])
def test_only_a_critic_on_the_same_network_shares_its_features(network, more, calls):
    trainer, batch = projected(perceptual=1.0, perceptual_network=network)
    assert trainer.update(batch)["g/perceptual"] > 0
    assert len(calls) == 3 + more  # the critic's: the input, the target and the output
    assert sum(gradient for *_, gradient in calls) == 1 + more / 2


def test_shared_features_give_the_same_loss():
    values = []
    for apart in (False, True):
        trainer, batch = projected(perceptual=1.0)
        if apart:
            trainer.method.shared_features = lambda *_: None
        values.append(trainer.update(batch)["g/perceptual"].item())
    assert values[0] == pytest.approx(values[1], rel=1e-5)


def weights_of(channels):
    generator = torch.Generator().manual_seed(5)
    return [torch.rand(count, generator=generator) for count in channels]


def lpips(output, target, weights):
    """Equation 1 of Zhang et al. 2018, one position after another; weights: their w, squared."""
    pictures = []
    for number in range(len(output[0])):
        total = 0.0
        for a, b, weight in zip(output, target, weights, strict=True):
            _, height, width = a[number].shape
            for row in range(height):
                for column in range(width):
                    x, y = a[number, :, row, column], b[number, :, row, column]
                    off = weight.sqrt() * (x / x.norm() - y / y.norm())
                    total += float(off.norm()) ** 2 / (height * width)
        pictures.append(total)
    return sum(pictures) / len(pictures)


def test_with_weights_it_is_lpips(pictures):
    network = feature_network(LITE)
    output, target = network(blurred(pictures, 3)), network(pictures)
    weights = weights_of(network.channels)
    found = LearnedDistance(weights)(output, target).item()
    assert found == pytest.approx(lpips(output, target, weights), rel=1e-4)
    assert found > 0


def test_learned_weights_are_neither_trained_nor_saved():
    learned = LearnedDistance(weights_of([3, 5]))
    assert not list(learned.parameters())
    assert not learned.state_dict()
    assert len(list(learned.double().buffers())) == 2  # they follow the method to its device


@pytest.mark.parametrize(("mode", "count"), MODES.items())
def test_every_method_takes_learned_weights_from_a_file(mode, count, tmp_path):
    weights = weights_of(feature_network(LITE).channels)
    zeros = [torch.zeros_like(weight) for weight in weights]
    for name, each in (("some", weights), ("thrice", [3 * w for w in weights]), ("none", zeros)):
        lins = {f"lin{n}.model.1.weight": w[None, :, None, None] for n, w in enumerate(each)}
        save_file(lins, tmp_path / f"{name}.safetensors")
    values = []
    for name in ("some", "thrice", "none"):
        path = tmp_path / f"{name}.safetensors"
        trainer, batch, draws = begin(
            mode, perceptual=1.0, perceptual_weights=path, generator_lr=1e-9
        )
        terms = trainer.update(batch, draws)
        named = [term for name, term in terms.items() if name.startswith("g/perceptual")]
        assert len(named) == count
        values.append(torch.stack(named).sum().item())
    assert values[0] > 0
    assert values[1:] == [pytest.approx(3 * values[0], rel=1e-4), 0]
    assert not [name for name in trainer.state_dict()["method"] if "distance" in name]
