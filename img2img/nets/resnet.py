"""The ResNet generator of CycleGAN (Zhu et al. 2017, appendix 7.2; Johnson et al. 2016)."""

from typing import Literal

from torch import Tensor, nn

from img2img.nets.generator import Generator
from img2img.nets.norm import Norm, needs_bias, norm_layer
from img2img.nets.resample import BlurDownsample, Upsample, doubling

Padding = Literal["paper", "reflect", "zeros"]


class ResNet(Generator):
    """[N, in_channels, H, W] -> [N, out_channels, H, W] in [-1, 1]; H and W multiples of 4, at
    least 8: a reflection at a quarter of the size needs two pixels.

    c7s1-w, d2w, d4w, `blocks` residual blocks of 4w, u2w, uw, c7s1-out. padding: the paper
    reflects the border but for the convolutions that halve, which see zeros there; or all reflect
    it, or none. upsample: how u2w and uw double the size. antialias: d2w and d4w keep the size,
    and a blur halves it.
    """

    size_multiple, min_size, local = 4, 8, True

    def __init__(
        self,
        in_channels: int = 3,
        out_channels: int = 3,
        width: int = 64,
        blocks: int = 9,
        norm: Norm = "instance",
        dropout: bool = False,
        upsample: Upsample = "transposed",
        antialias: bool = False,
        padding: Padding = "paper",
    ):
        super().__init__()
        bias, deep = needs_bias(norm), 4 * width

        def normed(convolution: nn.Module) -> list[nn.Module]:
            return [convolution, norm_layer(norm, convolution.out_channels), nn.ReLU(inplace=True)]

        def down(channels: int) -> list[nn.Module]:
            stride, mode = 1 if antialias else 2, "reflect" if padding == "reflect" else "zeros"
            wider = 2 * channels
            convolution = nn.Conv2d(channels, wider, 3, stride, 1, bias=bias, padding_mode=mode)
            return [*normed(convolution), *([BlurDownsample(wider)] if antialias else [])]

        def up(channels: int) -> list[nn.Module]:
            *before, convolution = doubling(upsample, channels, channels // 2, bias)
            return [*before, *normed(convolution)]

        self.model = nn.Sequential(
            pad(padding, 3),
            *normed(nn.Conv2d(in_channels, width, 7, bias=bias)),
            *down(width),
            *down(2 * width),
            *(ResidualBlock(deep, norm, dropout, padding) for _ in range(blocks)),
            *up(deep),
            *up(deep // 2),
            pad(padding, 3),
            nn.Conv2d(width, out_channels, 7),
            nn.Tanh(),
        )

    def forward(self, image: Tensor) -> Tensor:
        return self.model(image)


class ResidualBlock(nn.Module):
    def __init__(self, channels: int, norm: Norm, dropout: bool, padding: Padding):
        super().__init__()
        bias = needs_bias(norm)
        self.conv_block = nn.Sequential(
            pad(padding, 1),
            nn.Conv2d(channels, channels, 3, bias=bias),
            norm_layer(norm, channels),
            nn.ReLU(inplace=True),
            *([nn.Dropout(0.5)] if dropout else []),
            pad(padding, 1),
            nn.Conv2d(channels, channels, 3, bias=bias),
            norm_layer(norm, channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv_block(x)


def pad(padding: Padding, pixels: int) -> nn.Module:
    return nn.ZeroPad2d(pixels) if padding == "zeros" else nn.ReflectionPad2d(pixels)
