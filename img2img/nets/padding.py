"""Padding by reflection, or by repetition of the border, with a fast and deterministic gradient."""

from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Border = Literal["reflect", "replicate"]
PaddingMode = Literal["zeros", "reflect", "replicate"]  # as nn.Conv2d has it
Amounts = tuple[int, int, int, int]  # pixels on the left, on the right, above and below


def padded(x: Tensor, pixels: int | Amounts, mode: Border) -> Tensor:
    """[N, C, H, W] -> [N, C, above + H + below, left + W + right], as `F.pad` in the memory layout
    of x.

    pixels: on all sides, or on each. Raises RuntimeError if reflection needs more lines than x has.

    The gradient is that of `F.pad` but for rounding: a copy of the inner pixels, to which the
    border is added line by line. On GPUs torch instead adds all pixels by atomic operations, which
    are slow, and whose order differs from run to run. On CPUs it is slower, too.
    """
    amounts = (pixels,) * 4 if isinstance(pixels, int) else pixels
    if not torch.is_grad_enabled():  # such as while a graph is exported, which has plain Pads
        return F.pad(x, amounts, mode)
    result: Tensor = _Padded.apply(x, amounts, mode)
    return result


class BorderPad2d(nn.Module):
    """`padded` as a layer."""

    def __init__(self, pixels: int | Amounts, mode: Border):
        super().__init__()
        self.pixels: int | Amounts = pixels
        self.mode: Border = mode

    def forward(self, x: Tensor) -> Tensor:
        return padded(x, self.pixels, self.mode)


def pad(mode: PaddingMode, pixels: int | Amounts) -> nn.Module:
    """The layer that pads by zeros or by the border, which has no parameters."""
    return nn.ZeroPad2d(pixels) if mode == "zeros" else BorderPad2d(pixels, mode)


class PaddedConv2d(nn.Conv2d):
    """nn.Conv2d with the gradient of `padded` in all modes of padding. Kernels are square."""

    def __init__(
        self,
        inner: int,
        outer: int,
        kernel: int,
        stride: int = 1,
        padding: int = 0,
        bias: bool = True,
        mode: PaddingMode = "zeros",
    ):
        super().__init__(inner, outer, kernel, stride, padding, bias=bias, padding_mode=mode)
        self.pixels = padding
        self.mode: PaddingMode = mode

    def forward(self, x: Tensor) -> Tensor:
        if self.mode == "zeros":
            return super().forward(x)
        x = padded(x, self.pixels, self.mode)
        return F.conv2d(x, self.weight, self.bias, self.stride)


class _Padded(torch.autograd.Function):
    """The padded picture; its gradient is `_Folded`, whose gradient is this one again."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, amounts: Amounts, mode: Border) -> Tensor:
        ctx.amounts, ctx.mode = amounts, mode
        result = F.pad(x, amounts, mode)
        channels_last = x.is_contiguous(memory_format=torch.channels_last)
        if channels_last and not x.is_contiguous():  # which on GPUs F.pad does not keep
            return result.contiguous(memory_format=torch.channels_last)
        return result

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        folded: Tensor = _Folded.apply(gradient, ctx.amounts, ctx.mode)
        return folded, None, None


class _Folded(torch.autograd.Function):
    """[N, C, above + H + below, left + W + right] -> [N, C, H, W]: the border is added to the
    pixels of which padding makes it.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, amounts: Amounts, mode: Border) -> Tensor:
        ctx.amounts, ctx.mode = amounts, mode
        left, right, above, below = amounts
        columns = x.narrow(3, left, x.shape[3] - left - right).clone()
        _add_border(columns, 0, x, 3, (left, right), mode)
        _add_border(columns, above, columns, 2, (above, below), mode)
        # A view, which spares a second copy: what comes next reads it once.
        return columns.narrow(2, above, x.shape[2] - above - below)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        back: Tensor = _Padded.apply(gradient, ctx.amounts, ctx.mode)
        return back, None, None


def _add_border(
    target: Tensor, start: int, source: Tensor, axis: int, ends: tuple[int, int], mode: Border
) -> None:
    """Add the lines at both ends of an axis of `source` to those of which they are copies.

    start: the position in `target` of the first line that was padded. ends: lines before and after
    those.
    """
    before, after = ends
    size = source.shape[axis] - before - after
    for distance in range(1, max(ends) + 1):
        inward = distance if mode == "reflect" else 0
        first, last = start + inward, start + size - 1 - inward
        near, far = before - distance, before + size - 1 + distance
        if distance <= min(ends) and first < last:  # both at once, since each call takes time
            _two_lines(target, axis, first, last).add_(_two_lines(source, axis, near, far))
            continue
        if distance <= before:
            target.narrow(axis, first, 1).add_(source.narrow(axis, near, 1))
        if distance <= after:
            target.narrow(axis, last, 1).add_(source.narrow(axis, far, 1))


def _two_lines(x: Tensor, axis: int, first: int, last: int) -> Tensor:
    """A view of two lines across an axis."""
    both = slice(first, last + 1, last - first)
    return x[:, :, both] if axis == 2 else x[:, :, :, both]
