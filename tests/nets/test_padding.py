"""Padding: F.pad's values, and a gradient that is the same in every run."""

import pytest
import torch
import torch.nn.functional as F
from calls import Calls
from torch import nn

from img2img.nets.padding import BorderPad2d, PaddedConv2d, padded

AMOUNTS = [1, 3, (1, 0, 1, 0), (2, 1, 0, 3)]
SIZES = [(8, 9), (4, 5), (5, 4)]  # 4: the reflected lines of both sides meet, and change places


def random(*shape: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(dtype)


def by_torch(x, pixels, mode):
    return F.pad(x, (pixels,) * 4 if isinstance(pixels, int) else pixels, mode)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("mode", ["reflect", "replicate"])
@pytest.mark.parametrize("pixels", AMOUNTS)
@pytest.mark.parametrize("size", SIZES)
def test_values_are_torchs_and_so_are_gradients_but_for_rounding(size, pixels, mode, dtype, layout):
    x = random(2, 3, *size, dtype=dtype).contiguous(memory_format=layout).requires_grad_()
    made, expected = padded(x, pixels, mode), by_torch(x, pixels, mode)
    assert torch.equal(made, expected)
    assert made.is_contiguous(memory_format=layout)
    with torch.no_grad():
        assert torch.equal(padded(x, pixels, mode), expected)
    # Whole numbers, so that their sums are exact in any order and format.
    slope = random(*made.shape).mul(4).round().to(dtype).contiguous(memory_format=layout)
    results = [torch.autograd.grad(each, x, slope)[0] for each in (made, expected)]
    assert torch.equal(*results)


@pytest.mark.parametrize("mode", ["reflect", "replicate"])
@pytest.mark.parametrize("pixels", AMOUNTS)
def test_first_and_second_gradients_are_right(pixels, mode):
    x = random(1, 2, 4, 5).requires_grad_()

    def curved(x):
        return padded(x, pixels, mode).pow(3)

    assert torch.autograd.gradcheck(curved, x)
    assert torch.autograd.gradgradcheck(curved, x)


def test_one_line_can_be_repeated_and_not_reflected():
    x = random(1, 1, 1, 1).requires_grad_()
    [slope] = torch.autograd.grad(padded(x, 2, "replicate").sum(), x)
    assert slope.item() == 25
    with pytest.raises(RuntimeError, match="Padding size"):
        padded(x, 1, "reflect")


@pytest.mark.parametrize("mode", ["reflect", "replicate"])
def test_no_gradient_calls_torchs_atomic_operations(mode):
    x = random(1, 2, 8, 8).requires_grad_()
    with Calls() as calls:
        first = torch.autograd.grad(padded(x, 1, mode).square().sum(), x, create_graph=True)[0]
        first.square().sum().backward()
    assert not {name for name in calls.names if "pad" in name and "backward" in name}
    with Calls() as calls:
        by_torch(x, 1, mode).sum().backward()
    assert [name for name in calls.names if "pad" in name and "backward" in name]  # it would see


@pytest.mark.parametrize("mode", ["reflect", "replicate"])
@pytest.mark.parametrize("stride", [1, 2])
def test_a_convolution_is_torchs(stride, mode):
    ours, theirs = (
        PaddedConv2d(3, 5, 4, stride, 1, mode=mode),
        nn.Conv2d(3, 5, 4, stride, 1, padding_mode=mode),
    )
    theirs.load_state_dict(ours.state_dict())  # the same names
    x = random(2, 3, 8, 8, dtype=torch.float32)
    assert torch.equal(ours(x), theirs(x))
    zeros = PaddedConv2d(3, 5, 4, stride, 1)
    assert torch.equal(zeros(x), F.conv2d(x, zeros.weight, zeros.bias, stride, 1))


def test_layers_are_compiled_as_one_graph():
    layers = nn.Sequential(
        BorderPad2d(3, "reflect"), PaddedConv2d(2, 2, 3, 1, 1, mode="replicate")
    ).double()
    x = random(1, 2, 8, 8).requires_grad_()
    compiled = torch.compile(layers, backend="aot_eager", fullgraph=True)
    slopes = [torch.autograd.grad(each(x).square().sum(), x)[0] for each in (layers, compiled)]
    torch.testing.assert_close(*slopes)


def test_under_autocast_the_gradient_has_the_format_of_the_input():
    x = random(1, 2, 8, 8, dtype=torch.float32).requires_grad_()
    convolution = PaddedConv2d(2, 2, 3, 1, 1, mode="reflect")
    with torch.autocast("cpu", torch.bfloat16):
        made = convolution(convolution(x))
    assert made.dtype == torch.bfloat16
    made.float().sum().backward()
    assert x.grad.dtype == convolution.weight.grad.dtype == torch.float32
