"""Generators that change their input instead of drawing a picture from nothing."""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx

from img2img.nets.init import ZeroStart

Residual = Literal["off", "plain", "gated"]


class Output(nn.Module):
    """What the last convolution of a generator gives, and the generator's input -> its output, in
    [-1, 1].

    off: tanh of the maps. plain: the input plus the maps, as in residual learning of restoration
    (Zhang et al. 2017, section III-A). gated: g times the input, plus the maps, where the gate g in
    [0, 1] of each pixel is 1 plus the last map (similar to the mask of Pumarola et al. 2018,
    equation 2, but open at the start). Values are held in their ranges by `within`; with maps of 0,
    the output is the input.
    """

    def __init__(self, residual: Residual, out_channels: int):
        super().__init__()
        self.residual = residual
        self.maps = out_channels + 1 if residual == "gated" else out_channels

    def last(self, *layers: nn.Module) -> list[nn.Module]:
        """The generator's last layers, which give `maps` channels; with zero weights at the start
        of training if their result is added to the input.
        """
        return list(layers) if self.residual == "off" else [ZeroStart(*layers)]

    def forward(self, maps: Tensor, image: Tensor) -> Tensor:
        """Maps [N, self.maps, H, W], image [N, C, H, W] -> [N, C, H, W]."""
        if self.residual == "off":
            return torch.tanh(maps)
        maps = maps.to(image.dtype)  # under autocast, bf16 would round the image
        if self.residual == "plain":
            return within(image + maps, -1, 1)
        change, closing = maps[:, :-1], maps[:, -1:]
        return within(within(1 + closing, 0, 1) * image + change, -1, 1)


def within(x: Tensor, low: float, high: float) -> Tensor:
    """x clamped to [low, high], with a gradient that can always lead back into the range.

    At and beyond the ends of the range, the gradient is 0 where descent along it would lead further
    out, and passes unchanged where it would lead back. The gradient of a plain clamp is 0 on both
    sides of the range, so that a value outside would stay there; with all gradients passed, values
    run away from the range.
    """
    # Exported graphs have no gradients, and no autograd.Function.
    if torch.compiler.is_exporting() or not torch.is_grad_enabled():
        return x.clamp(low, high)
    held: Tensor = _Within.apply(x, low, high)
    return held


class _Within(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor, low: float, high: float) -> Tensor:
        ctx.save_for_backward(x)
        ctx.range = (low, high)  # type: ignore[attr-defined]  # attributes are free to choose
        return x.clamp(low, high)

    @staticmethod
    def backward(ctx: FunctionCtx, gradient: Tensor) -> tuple[Tensor, None, None]:
        [x] = ctx.saved_tensors  # type: ignore[attr-defined]
        low, high = ctx.range  # type: ignore[attr-defined]
        outward = ((x >= high) & (gradient < 0)) | ((x <= low) & (gradient > 0))
        return gradient.masked_fill(outward, 0), None, None
