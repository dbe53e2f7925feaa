import pytest
import torch

from img2img.manifest import Labels
from img2img.methods.domain_scores import DomainScores
from img2img.nets.discriminator import Scores

CLASSES = {"kind": "classes", "domains": ["flat", "noto"]}
FACES = {"kind": "attributes", "domains": ["Male", "Young"]}
BOTH = Labels(sets=[CLASSES, FACES])


@pytest.fixture
def scores() -> Scores:
    """Two maps of two pictures; answer k of the first is k + 1, of the second ten times that."""
    answers = torch.arange(1.0, 7).view(1, 6, 1, 1)
    return Scores((answers.expand(2, 6, 3, 3), 10 * answers.expand(2, 6, 1, 1)), (0.5, 0.5))


@pytest.mark.parametrize(
    ("sets", "answers"),
    [([CLASSES], 2), ([FACES], 4), ([CLASSES, FACES], 6), ([FACES, CLASSES], 6)],
)
def test_a_class_has_one_score_and_an_attribute_two(sets, answers):
    assert DomainScores(Labels(sets=sets)).answers == answers


def test_a_picture_counts_by_its_class_or_by_the_mean_of_its_attributes(scores):
    label = torch.from_numpy(BOTH.vector(0, {"noto"})), torch.from_numpy(BOTH.vector(1, {"Young"}))
    first, second = DomainScores(BOTH).of_labels(scores, torch.stack(label)).maps
    # Of the attributes, the score with Young (4) and that without Male (5).
    assert first.shape == (2, 1, 3, 3)
    assert first[:, 0, 0, 0].tolist() == [2, 4.5]
    assert second.flatten().tolist() == [20, 45]


@pytest.mark.parametrize(("name", "place"), [("flat", 0), ("noto", 1), ("Male", 2), ("Young", 3)])
def test_the_scores_of_one_domain_are_its_own(scores, name, place):
    first, second = DomainScores(BOTH).of_domain(scores, name).maps
    assert torch.equal(first, scores.maps[0][:, place, None])
    assert torch.equal(second, scores.maps[1][:, place, None])


def test_attributes_in_front_shift_the_classes_by_two_scores_each(scores):
    domains = DomainScores(Labels(sets=[FACES, CLASSES]))
    assert torch.equal(domains.of_domain(scores, "noto").maps[0], scores.maps[0][:, 5, None])
