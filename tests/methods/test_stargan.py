"""StarGAN's label vectors: several data sets with a mask, and what a sample grid asks for."""

import pytest
import torch
import torch.nn.functional as F

from img2img.methods import METHODS

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
