"""StarGAN's label vectors: several data sets with a mask, and what a sample grid asks for."""

import pytest
import torch
import torch.nn.functional as F

from img2img.errors import UsageError
from img2img.methods import METHODS
from img2img.methods.stargan import StarGAN
from img2img.nets.discriminator import Scores
from img2img.training.plan import make_plan

HAIR = ("Black_Hair", "Blond_Hair", "Smiling")
MOODS = ("angry", "happy")


@pytest.fixture(scope="module")
def joint():
    """A method that learns hair and moods together: [3 attributes, 2 classes, 2 of mask]."""
    sets = [
        {"kind": "attributes", "domains": HAIR},
        {"kind": "classes", "domains": MOODS},
    ]
    sizes = {"size": 32, "width": 4, "d_width": 4, "d_layers": 3, "blocks": 1, "batch": 2}
    method = METHODS["stargan"]
    return method(method.Config(**sizes, d_steps=2, labels={"sets": sets}))


def test_the_mask_goes_to_the_generator_and_not_to_the_classifier(joint):
    assert joint.generators["any"].main[0].in_channels == 3 + 5 + 2
    assert joint.discriminators["all"].conv2.out_channels == 5


def test_only_the_known_part_of_a_label_counts(joint):
    logits = torch.tensor([[0.3, -1.0, 2.0, 0.5, -0.5], [1.0, 0.1, 0.2, -0.3, 0.7]])
    hair = torch.tensor([[1.0, 0, 1, 0, 0, 1, 0], [0, 1, 1, 0, 0, 1, 0]])
    moods = torch.tensor([[0.0, 0, 0, 0, 1, 0, 1], [0, 0, 0, 1, 0, 0, 1]])
    expected = F.binary_cross_entropy_with_logits(logits[:, :3], hair[:, :3], reduction="sum") / 2
    assert joint._class_loss(logits, hair).item() == pytest.approx(expected.item(), rel=1e-6)
    expected = F.cross_entropy(logits[:, 3:], torch.tensor([1, 0]))
    assert joint._class_loss(logits, moods).item() == pytest.approx(expected.item(), rel=1e-6)


def test_every_data_set_gets_its_generator_step(joint):
    turns = [joint.sides(step) for step in range(8)]
    only_critic, both = ("discriminators",), ("discriminators", "generators")
    assert turns == [only_critic, only_critic, both, both] * 2
    assert joint.turn == 4


def test_the_grid_switches_attributes_and_chooses_classes(joint):
    label = torch.tensor([[1.0, 0, 1, 0, 0, 1, 0], [0, 0, 0, 0, 1, 0, 1]])
    assert joint._towards(label, "Smiling").tolist() == [
        [1, 0, 0, 0, 0, 1, 0],
        [0, 0, 1, 0, 0, 1, 0],
    ]
    # One colour of hair at a time.
    assert joint._towards(label, "Blond_Hair")[0].tolist() == [0, 1, 1, 0, 0, 1, 0]
    assert joint._towards(label, "happy").tolist() == [[0, 0, 0, 0, 1, 0, 1]] * 2


@pytest.mark.parametrize(
    "discriminator",
    [
        {"name": "stargan", "width": 4, "layers": 2},
        {"name": "projected", "width": 4},
        {"name": "multiscale", "width": 4, "layers": 2, "scales": 2},
        {"name": "mixture", "parts": ["patch", "projected=0.5"], "norm": "none"},
    ],
    ids=lambda settings: settings["name"],
)
def test_each_domain_has_a_score_of_its_own(discriminator, make_config, quiet):
    settings = {"objective": "hinge", "domain_scores": True, "discriminator": discriminator}
    plan = make_plan(make_config("stargan", **settings), quiet)
    method = StarGAN(plan.config.method).eval()  # in training, spectral norm changes in each call
    image = torch.rand(2, 3, 32, 32)
    by_domain = [method._score(domain, image) for domain in plan.config.method.labels.names]
    assert not torch.allclose(*by_domain)
    whole = Scores.of(method.discriminators["all"](image)[0])
    mixed = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    chosen = method._of_labels(whole, mixed).flat()
    assert torch.allclose(chosen[0], by_domain[0][0])
    assert torch.allclose(chosen[1], by_domain[1][1])


def test_scores_of_domains_are_refused_where_they_do_not_work(make_config):
    with pytest.raises(UsageError, match="without gradient penalties; set objective=hinge"):
        make_config("stargan", domain_scores=True)
    unet = {"name": "unet", "width": 4}
    with pytest.raises(UsageError, match="unet has no scores for domains"):
        make_config("stargan", objective="hinge", domain_scores=True, discriminator=unet)
