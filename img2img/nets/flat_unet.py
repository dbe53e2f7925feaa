"""U-Nets of pix2pix as other repositories rewrote them, level by level instead of nested."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from img2img.nets.generator import Generator
from img2img.nets.norm import Norm, needs_bias, norm_layer
from img2img.nets.padding import PaddedConv2d, PaddingMode, pad
from img2img.nets.resample import Upsample, doubling, halving
from img2img.nets.residual import Output, Residual

FlatForm = Literal["flat", "rectified", "pytorch-gan", "aladdinpersson"]
UNetForm = Literal["paper", FlatForm]


class FlatUNet(Generator):
    """[N, in_channels, H, W] -> [N, out_channels, H, W] in [-1, 1]; H, W multiples of 2**levels.

    Channels and kernels are the paper's. In concatenations, decoder features precede those of the
    skip connection. The values of form:

    flat: skip connections carry the output of LeakyReLU. No ReLU follows, neither on them nor on
        the innermost features.
    rectified: a ReLU follows on both, as in the paper.
    pytorch-gan: as flat, but with upsample=transposed the last layer is nearest-neighbor
        upsampling, padding on the left and at the top, and a convolution
        (eriklindernoren/PyTorch-GAN, implementations/pix2pix).
    aladdinpersson: as flat, but with reflection padding, except in the innermost convolution, which
        a ReLU follows (aladdinpersson/Machine-Learning-Collection, Pix2Pix).

    padding: what these repositories pad with zeros: zeros or replicate, as in `UNet`.
    """

    def __init__(
        self,
        form: FlatForm,
        in_channels: int = 3,
        out_channels: int = 3,
        width: int = 64,
        levels: int = 8,
        norm: Norm = "batch",
        dropout: bool = True,
        upsample: Upsample = "transposed",
        antialias: bool = False,
        padding: PaddingMode = "zeros",
        residual: Residual = "off",
    ):
        super().__init__()
        self.size_multiple = self.min_size = 2**levels
        self.output = Output(residual, out_channels)
        self.rectified = form == "rectified"
        bias = needs_bias(norm)
        mode: PaddingMode = "reflect" if form == "aladdinpersson" else padding
        channels = [width * min(2**level, 8) for level in range(levels)]
        *outer, innermost = channels

        def down(level: int) -> nn.Module:
            inner = channels[level]
            convolution = PaddedConv2d(channels[level - 1], inner, 4, 2, 1, bias, mode)
            layers = halving(antialias, convolution)
            return nn.Sequential(*layers, norm_layer(norm, inner), nn.LeakyReLU(0.2))

        def up(level: int) -> nn.Module:
            inner, wider = channels[level], channels[level - 1]
            skipped = 1 if level == levels - 1 else 2
            return nn.Sequential(
                *doubling(upsample, skipped * inner, wider, bias, 4, padding),
                norm_layer(norm, wider),
                nn.ReLU(),
                *([nn.Dropout(0.5)] if dropout and level >= 4 else []),  # as in the paper's
            )

        first = PaddedConv2d(in_channels, width, 4, 2, 1, mode=mode)
        self.downs = nn.ModuleList(
            [
                nn.Sequential(*halving(antialias, first), nn.LeakyReLU(0.2)),
                *(down(level) for level in range(1, levels - 1)),
                nn.Sequential(
                    *halving(
                        antialias,
                        PaddedConv2d(outer[-1], innermost, 4, 2, 1, mode=padding),
                    ),
                    nn.LeakyReLU(0.2) if form in ("flat", "pytorch-gan") else nn.ReLU(),
                ),
            ]
        )
        self.ups = nn.ModuleList([up(level) for level in range(levels - 1, 0, -1)])
        maps = self.output.maps
        last = (
            [
                nn.Upsample(scale_factor=2),
                pad(padding, (1, 0, 1, 0)),
                PaddedConv2d(2 * width, maps, 4, padding=1, mode=padding),
            ]
            if form == "pytorch-gan" and upsample == "transposed"
            else doubling(upsample, 2 * width, maps, True, 4, padding)
        )
        self.last = nn.Sequential(*self.output.last(*last))

    def forward(self, image: Tensor) -> Tensor:
        x, skips = image, []
        for down in self.downs:
            x = down(x)
            skips.append(x)
        skips.pop()  # the innermost features have no skip connection
        for up in self.ups:
            skip = skips.pop()
            x = torch.cat([up(x), F.relu(skip) if self.rectified else skip], 1)
        output: Tensor = self.output(self.last(x), image)
        return output
