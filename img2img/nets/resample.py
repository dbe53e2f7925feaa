"""Layers that halve or double the size of feature maps."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Upsample = Literal["transposed", "nearest", "bilinear"]


class BlurDownsample(nn.Module):
    """[N, channels, H, W] -> [N, channels, ceil(H / 2), ceil(W / 2)]: smooths with the filter
    (1, 2, 1) / 4 in both directions, and keeps every second pixel (Zhang 2019, section 3.2).

    The border is reflected. The filter is neither a parameter nor in the state dict.
    """

    kernel: Tensor

    def __init__(self, channels: int):
        super().__init__()
        row = torch.tensor([1.0, 2.0, 1.0]) / 4
        kernel = torch.outer(row, row).expand(channels, 1, 3, 3).contiguous()
        self.register_buffer("kernel", kernel, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        padded = F.pad(x, (1, 1, 1, 1), mode="reflect")
        return F.conv2d(padded, self.kernel, stride=2, groups=len(self.kernel))


def doubling(
    upsample: Upsample, inner: int, outer: int, bias: bool
) -> tuple[list[nn.Module], nn.Conv2d | nn.ConvTranspose2d]:
    """Layers that map [N, inner, H, W] to [N, outer, 2 H, 2 W].

    Returns the layers before the convolution, and the convolution. upsample: transposed is a
    transposed convolution; nearest and bilinear are interpolation and a convolution (Odena et al.
    2016). Bilinear interpolation, which repeats the border, equals Zhang's blur with four taps.
    """
    if upsample == "transposed":
        return [], nn.ConvTranspose2d(inner, outer, 3, 2, 1, output_padding=1, bias=bias)
    convolution = nn.Conv2d(inner, outer, 3, padding=1, bias=bias)
    return [nn.Upsample(scale_factor=2, mode=upsample)], convolution
