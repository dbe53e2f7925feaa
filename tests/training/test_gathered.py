"""What is measured on held-out pictures, against values reckoned by hand."""

import numpy as np
import pytest
import torch

from img2img.false_colors import FalseColors
from img2img.intensity import Intensity
from img2img.methods.base import Way
from img2img.training.gathered import Gathered

FLOATS = Intensity(dtype="float32", bands=("1",), low=(0,), high=(100,))


def constant(*levels: float) -> torch.Tensor:
    """Pictures [N, 1, 16, 16] of one value each, in [-1, 1]."""
    return torch.tensor(levels).view(-1, 1, 1, 1).expand(-1, 1, 16, 16).clone()


def way(source, real, **more) -> Way:
    return Way(source, real, lambda image: image, None, **{"paired": True, **more})


def test_values_are_measured_in_their_units():
    gathered = Gathered(None, FLOATS, FLOATS)
    gathered.add(way(constant(0.0, 0.5), constant(0.1, 0.5)), 0)
    means = gathered.means()
    assert means["mae"] == pytest.approx((5 + 0) / 2, abs=1e-4)
    assert means["bias"] == pytest.approx(-5 / 2, abs=1e-4)
    assert means["psnr"] == pytest.approx((20 * np.log10(100 / 5) + 100) / 2, abs=1e-3)
    assert "l1" not in means


def test_pixels_that_the_input_or_the_truth_misses_are_not_measured():
    source, real = constant(0.0), constant(0.2)
    source[..., :4, :], real[..., 4:8, :] = 0.9, -0.9
    valid = torch.ones(2, 1, 16, 16)
    valid[0, :, :4], valid[1, :, 4:8] = 0, 0
    masks = {"source_valid": valid[:1], "real_valid": valid[1:]}
    gathered = Gathered(None, FLOATS, FLOATS)
    gathered.add(way(source, real, **masks), 0)
    assert gathered.means()["mae"] == pytest.approx(10, abs=1e-4)
    gathered.add(way(source, real, source_valid=0 * valid[:1], real_valid=valid[1:]), 1)
    assert gathered.means()["mae"] == pytest.approx(10, abs=1e-4)  # nothing is known of that one


def test_photographs_are_measured_by_l1():
    gathered = Gathered(None)
    gathered.add(way(constant(0.0), constant(0.2)), 0)
    assert gathered.means() == {"l1": pytest.approx(0.2, abs=0.01)}


def test_without_pairs_nothing_is_measured():
    gathered = Gathered(None, FLOATS, FLOATS)
    gathered.add(way(constant(0.0), constant(0.2), paired=False), 0)
    assert gathered.means() == {}


def test_feature_networks_and_checks_see_false_colors():
    colors = FalseColors(bands=(2, 1, 0), low=(0,) * 3, high=(50,) * 3, decibels=(False,) * 3)
    bands = {"bands": ("1", "2", "3", "4"), "low": (0,) * 4, "high": (100,) * 4}
    kind = FLOATS.model_copy(update={**bands, "show": colors})
    image = torch.tensor([-1.0, -0.6, 0.0, 1.0]).view(1, 4, 1, 1).expand(1, 4, 16, 16)
    gathered = Gathered(8, kind, kind)
    gathered.add(way(image, image), 0)
    for kept in (gathered.source, gathered.output, gathered.real):
        assert kept[0].shape == (16, 16, 3)
        assert kept[0][0, 0].tolist() == [255, 102, 0]
    assert gathered.small_output[0].shape == gathered.small_real[0].shape == (8, 8, 3)


def test_errors_after_a_cycle_are_those_of_known_pixels():
    source = constant(0.5)
    source[..., :8, :] = 0.0
    valid = torch.ones(1, 1, 16, 16)
    valid[..., :8, :] = 0
    gathered = Gathered(None, FLOATS, FLOATS)
    gathered.add(way(source, source, back=lambda image: 0 * image + 0.25, source_valid=valid), 0)
    assert gathered.clean == pytest.approx([0.25])
