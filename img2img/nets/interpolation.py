"""Bilinear interpolation, with a deterministic gradient where runs are to be deterministic."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def bilinear(x: Tensor, size: tuple[int, int], antialias: bool = False) -> Tensor:
    """[N, C, H, W] -> [N, C, *size], as `F.interpolate` does it.

    On GPUs torch adds up its gradient by atomic operations, in an order that differs from run to
    run. With `torch.use_deterministic_algorithms` it is the product with a matrix for each axis
    instead, whose gradient is a product as well.

    antialias: where pictures become smaller, average all pixels instead of every n-th.
    """
    if not torch.are_deterministic_algorithms_enabled():
        return F.interpolate(x, size, mode="bilinear", antialias=antialias)
    with torch.autocast(x.device.type, enabled=False):  # in float32 at least, as torch does it
        result = x.to(torch.promote_types(x.dtype, torch.float32))
        if x.shape[2] != size[0]:
            result = F.linear(result.mT, _weights(x.shape[2], size[0], antialias, result)).mT
        if x.shape[3] != size[1]:
            result = F.linear(result, _weights(x.shape[3], size[1], antialias, result))
    return result.to(x.dtype)


class BilinearDoubling(nn.Upsample):
    """[N, C, H, W] -> [N, C, 2 H, 2 W] by `bilinear`."""

    def __init__(self) -> None:
        super().__init__(scale_factor=2, mode="bilinear")

    def forward(self, x: Tensor) -> Tensor:
        if not torch.are_deterministic_algorithms_enabled():
            return super().forward(x)  # by the factor, which an exported graph keeps
        return bilinear(x, (2 * x.shape[2], 2 * x.shape[3]))


def _weights(length: int, wanted: int, antialias: bool, like: Tensor) -> Tensor:
    """[wanted, length]: of each pixel of a line in each of the interpolated line."""
    lines = torch.eye(length, dtype=like.dtype, device=like.device)[None, None]
    weights = F.interpolate(lines, (wanted, length), mode="bilinear", antialias=antialias)
    return weights[0, 0]
