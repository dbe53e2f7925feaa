"""Pictures of the networks as files have them, and as they are seen."""

import numpy as np
import torch

from img2img.false_colors import MISSING, FalseColors
from img2img.intensity import Intensity
from img2img.training.colors import as_shown, stored_values

NETWORK = torch.tensor([-1.0, 0.0, 1.0, 0.5]).view(1, 1, 2, 2)
VALID = torch.tensor([1.0, 1.0, 1.0, 0.0]).view(1, 1, 2, 2)


def intensity(**more) -> Intensity:
    return Intensity(dtype="uint16", bands=("1",), low=(0,), high=(1000,), **more)


def test_values_are_those_that_an_exported_model_writes_and_nan_where_they_are_missing():
    stored = stored_values(NETWORK, intensity(), VALID)
    assert stored.shape == (1, 2, 2, 1)
    assert np.array_equal(stored.ravel(), [0, 500, 1000, np.nan], equal_nan=True)
    assert stored_values(NETWORK, intensity(), None).ravel().tolist() == [0, 500, 1000, 750]


def test_values_are_seen_in_their_false_colors():
    colors = FalseColors(bands=(0,), low=(0,), high=(500,), decibels=(False,))
    shown = as_shown(NETWORK, intensity(show=colors), VALID)
    assert shown.ravel().tolist() == [0, 255, 255, MISSING]
    assert as_shown(NETWORK, intensity(), VALID).ravel().tolist() == [0, 128, 255, MISSING]


def test_photographs_are_seen_as_they_are():
    assert as_shown(NETWORK, None, None).ravel().tolist() == [0, 128, 255, 191]
