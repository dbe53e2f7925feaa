"""Layers that halve or double the size of feature maps."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from img2img.nets.init import StartCondition
from img2img.nets.interpolation import BilinearDoubling
from img2img.nets.padding import BorderPad2d, PaddedConv2d, PaddingMode, padded

Upsample = Literal["transposed", "nearest", "bilinear", "subpixel"]


class Blur(nn.Module):
    """[N, channels, H, W] -> the same, smoothed with the filter (1, 2, 1) / 4 in both directions.

    Before a strided convolution it prevents aliasing, and is the same as Zhang's blur after that
    convolution with stride 1 (2019, section 3.2), at a fraction of the cost. The border is
    reflected. The filter is neither a parameter nor in the state dict.
    """

    kernel: Tensor
    stride = 1

    def __init__(self, channels: int):
        super().__init__()
        row = torch.tensor([1.0, 2.0, 1.0]) / 4
        kernel = torch.outer(row, row).expand(channels, 1, 3, 3).contiguous()
        self.register_buffer("kernel", kernel, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        x = padded(x, 1, "reflect")
        return F.conv2d(x, self.kernel, stride=self.stride, groups=len(self.kernel))


class BlurDownsample(Blur):
    """[N, channels, H, W] -> [N, channels, ceil(H / 2), ceil(W / 2)]: `Blur`, of which every second
    pixel is kept (Zhang 2019, section 3.2).
    """

    stride = 2


def halving(antialias: bool, convolution: nn.Conv2d) -> list[nn.Module]:
    """A strided convolution, after a blur if `antialias`."""
    return [*([Blur(convolution.in_channels)] if antialias else []), convolution]


class NearestConvolution(nn.Conv2d):
    """[N, inner, H, W] -> [N, outer, 2 H, 2 W]: nearest-neighbor interpolation and a convolution of
    size 3 (Odena et al. 2016), computed as one transposed convolution, in less than half the time.

    border: pixels of x on each side that the convolution sees, but that are not doubled, in place
    of zeros: [N, inner, H + 2 border, W + 2 border] -> [N, outer, 2 H, 2 W].
    """

    def __init__(self, inner: int, outer: int, bias: bool, border: int = 0):
        super().__init__(inner, outer, 3, padding=1, bias=bias)
        self.cropped = 1 + 2 * border  # padding of the transposed convolution

    def kernel(self) -> Tensor:
        """[inner, outer, 4, 4], of the transposed convolution of stride 2 and padding `cropped`: a
        pixel of the input is two by two pixels of the interpolated one, to each of which the 3x3
        kernel applies.
        """
        flipped = self.weight.transpose(0, 1).flip(2, 3)
        rows = F.pad(flipped, (0, 0, 1, 0)) + F.pad(flipped, (0, 0, 0, 1))
        return F.pad(rows, (1, 0)) + F.pad(rows, (0, 1))

    def forward(self, x: Tensor) -> Tensor:
        return F.conv_transpose2d(x, self.kernel(), self.bias, 2, self.cropped)


class SubpixelConvolution(StartCondition):
    """[N, inner, H, W] -> [N, outer, 2 H, 2 W]: a 3x3 convolution to four times the channels, whose
    values become the four pixels of each position (Shi et al. 2016, section 3.2).

    At the start of training the four are equal, as if nearest-neighbor interpolation followed the
    convolution, so that there is no checkerboard (ICNR: Aitken et al. 2017, section 3).
    """

    def __init__(self, inner: int, outer: int, bias: bool, padding: PaddingMode = "zeros"):
        super().__init__()
        self.convolution = PaddedConv2d(inner, 4 * outer, 3, 1, 1, bias, padding)
        self.impose()

    @torch.no_grad()
    def impose(self) -> None:
        for parameter in self.convolution.parameters():
            parameter.copy_(parameter[::4].repeat_interleave(4, 0))

    def forward(self, x: Tensor) -> Tensor:
        return F.pixel_shuffle(self.convolution(x), 2)


def doubling(
    upsample: Upsample,
    inner: int,
    outer: int,
    bias: bool,
    kernel: Literal[3, 4] = 3,
    padding: PaddingMode = "zeros",
) -> list[nn.Module]:
    """Layers that map [N, inner, H, W] to [N, outer, 2 H, 2 W]. The last one has the weights.

    upsample: transposed is a transposed convolution of size `kernel`; nearest and bilinear are
    interpolation and a 3x3 convolution; subpixel is `SubpixelConvolution`. Bilinear interpolation,
    which repeats the border, equals Zhang's blur with four taps.

    padding: of the 3x3 convolutions, by 1 pixel. A transposed convolution has none: where its
    kernel reaches beyond the border, fewer pixels contribute. Subpixel convolutions need 2 pixels
    for reflect.
    """
    if upsample == "transposed":
        beyond = 1 if kernel == 3 else 0
        return [nn.ConvTranspose2d(inner, outer, kernel, 2, 1, output_padding=beyond, bias=bias)]
    if upsample == "subpixel":
        return [SubpixelConvolution(inner, outer, bias, padding)]
    if upsample == "nearest":
        # Keys are those of networks of two layers, among them published ones.
        if padding == "zeros":
            return [nn.Identity(), NearestConvolution(inner, outer, bias)]
        # The outer two pixels of the interpolated maps are equal: to reflect is to repeat them.
        return [BorderPad2d(1, "replicate"), NearestConvolution(inner, outer, bias, border=1)]
    convolution = PaddedConv2d(inner, outer, 3, 1, 1, bias, padding)
    return [BilinearDoubling(), convolution]
