"""Layers that compare the pictures of a batch, against their formulas written out."""

import math

import pytest
import torch

from img2img.nets.minibatch import MinibatchDiscrimination, MinibatchStd


def test_the_deviation_of_a_batch_is_one_more_channel():
    seen = MinibatchStd()(torch.stack([torch.zeros(2, 3, 3), torch.full((2, 3, 3), 4.0)]))
    assert seen.shape == (2, 3, 3, 3)
    assert seen[:, 2].unique().tolist() == pytest.approx([2.0])


def test_likeness_to_the_others_is_the_papers_sum():
    """Salimans et al. 2016, section 3.2, at every place."""
    torch.manual_seed(0)
    layer, x = MinibatchDiscrimination(4), torch.randn(3, 4, 2, 2)
    seen = layer(x)
    assert seen.shape == (3, 4 + 16, 2, 2)
    assert torch.equal(seen[:, :4], x)
    weights = layer.project.weight.reshape(16, 5, 4)
    for picture in range(3):
        for number in range(16):
            matrices = [weights[number] @ x[other, :, 1, 0] for other in range(3)]
            expected = sum(
                math.exp(-(matrices[picture] - matrices[other]).abs().sum().item())
                for other in range(3)
                if other != picture
            )
            assert seen[picture, 4 + number, 1, 0].item() == pytest.approx(expected, abs=1e-5)


def test_a_collapsed_batch_is_as_like_as_can_be():
    layer, one = MinibatchDiscrimination(4), torch.randn(1, 4, 3, 3)
    assert layer(one.repeat(5, 1, 1, 1))[:, 4:].unique().tolist() == [4.0]
    assert layer(torch.randn(5, 4, 3, 3))[:, 4:].max() < 4
