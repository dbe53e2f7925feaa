"""Bilinear interpolation by matrices, in place of torch's, in deterministic runs."""

from contextlib import contextmanager

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from img2img.nets.interpolation import BilinearDoubling, bilinear

CASES = {  # from, to, and whether all pixels count where the picture becomes smaller
    "doubled": ((5, 7), (10, 14), False),
    "of another ratio": ((5, 7), (8, 7), False),
    "smaller": ((12, 16), (5, 9), False),
    "smaller, of all pixels": ((12, 16), (5, 9), True),
    "larger and smaller": ((6, 16), (9, 8), True),
    "unchanged": ((6, 4), (6, 4), False),
}


@contextmanager
def deterministic():
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize("case", CASES)
def test_values_and_gradients_are_torchs(case):
    before, after, antialias = CASES[case]
    x = torch.randn(2, 3, *before, dtype=torch.float64, requires_grad=True)
    slope = torch.randn(2, 3, *after, dtype=torch.float64)
    expected = F.interpolate(x, after, mode="bilinear", antialias=antialias)
    assert torch.equal(bilinear(x, after, antialias), expected)
    with deterministic():
        made = bilinear(x, after, antialias)
        gradients = [torch.autograd.grad(each, x, slope)[0] for each in (made, expected)]
    torch.testing.assert_close(made, expected)
    torch.testing.assert_close(*gradients)


def test_half_precision_is_computed_in_full():
    x = torch.randn(1, 2, 6, 6)
    with deterministic(), torch.autocast("cpu", torch.bfloat16):
        wide, narrow = bilinear(x, (9, 9)), bilinear(x.bfloat16(), (9, 9))
    assert (wide.dtype, narrow.dtype) == (torch.float32, torch.bfloat16)
    torch.testing.assert_close(wide, F.interpolate(x, (9, 9), mode="bilinear"))
    torch.testing.assert_close(narrow, F.interpolate(x.bfloat16(), (9, 9), mode="bilinear"))


def test_the_layer_that_doubles_is_torchs():
    x = torch.randn(1, 2, 4, 5)
    layer, expected = BilinearDoubling(), nn.Upsample(scale_factor=2, mode="bilinear")(x)
    assert torch.equal(layer(x), expected)
    with deterministic():
        torch.testing.assert_close(layer(x), expected)
