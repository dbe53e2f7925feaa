"""The U-Net of pix2pix (Isola et al. 2017, sections 3.2 and 6.1)."""

import math
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from img2img.nets.encoder_decoder import EncoderDecoderConfig, Padding
from img2img.nets.flat_unet import FlatUNet, UNetForm
from img2img.nets.generator import Generator
from img2img.nets.norm import Norm, needs_bias, norm_layer
from img2img.nets.padding import PaddedConv2d, PaddingMode
from img2img.nets.resample import Upsample, doubling, halving
from img2img.nets.residual import Output, Residual
from img2img.sizes import Size


class UNetConfig(EncoderDecoderConfig):
    """The settings of the U-Net, in the authors' variant or in those of other repositories."""

    name: ClassVar[str] = "unet"
    local: ClassVar[bool] = False

    width: int = Field(64, ge=1, description="Channels of the generators' first layer.")
    levels: int | None = Field(
        None,
        ge=4,
        description="Levels of the U-Net, each of which halves the size; by default down to 1 "
        "pixel.",
    )
    form: UNetForm = Field(
        "paper",
        description="Variant of the U-Net: paper (the authors'), or one of other repositories: "
        "flat, rectified, pytorch-gan or aladdinpersson.",
    )
    norm: Norm = Field(
        "batch",
        description="Normalization of all networks: batch, instance, instance_affine or none.",
    )
    dropout: bool = Field(True, description="Dropout in the inner decoder layers of the U-Net.")
    padding: Padding = "zeros"

    def depth(self, size: Size) -> int:
        """The number of levels. By default the size is halved until a side is odd, at most 9 times:
        8 levels at 256, down to 1 pixel.
        """
        if self.levels is not None:
            return self.levels
        common = math.gcd(*size)
        halvings = (common & -common).bit_length() - 1  # until a side is odd
        return min(halvings, 9)

    def size_multiple(self, size: Size) -> int:
        multiple: int = 2 ** max(self.depth(size), 4)
        return multiple

    @property
    def batch_norm(self) -> bool:
        return self.norm == "batch"

    def build(self, size: Size, in_channels: int, out_channels: int, domains: int = 0) -> Generator:
        channels, depth = (in_channels, out_channels), self.depth(size)
        shared = (*channels, self.width, depth, self.norm, self.dropout)
        if self.form == "paper":
            return UNet(*shared, self.upsample, self.antialias, self.padding, self.residual)
        return FlatUNet(
            self.form, *shared, self.upsample, self.antialias, self.padding, self.residual
        )


class UNet(Generator):
    """[N, in_channels, H, W] -> [N, out_channels, H, W] in [-1, 1]; H, W multiples of 2**levels.

    Each of the `levels` halves the size; their channels are width x (1, 2, 4, 8, 8, ...).

    padding: of all convolutions but transposed ones: zeros, as in the paper, or replicate. Not
    reflect: the innermost features of the smallest pictures are 1x1.
    """

    def __init__(
        self,
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
        channels = [width * min(2**level, 8) for level in range(levels)]
        block: Innermost | Between = Innermost(
            channels[-2], channels[-1], norm, upsample, antialias, padding
        )
        for level in range(levels - 2, 0, -1):
            # In the published code, the three decoder blocks of full width next to the innermost
            # have dropout.
            drop = dropout and level >= 4
            outer, inner = channels[level - 1], channels[level]
            block = Between(outer, inner, block, norm, drop, upsample, antialias, padding)
        self.model = Outermost(in_channels, width, block, self.output, upsample, antialias, padding)

    def forward(self, image: Tensor) -> Tensor:
        output: Tensor = self.output(self.model(image), image)
        return output


class Outermost(nn.Module):
    def __init__(
        self,
        in_channels: int,
        width: int,
        block: "Innermost | Between",
        output: Output,
        upsample: Upsample,
        antialias: bool,
        padding: PaddingMode,
    ):
        super().__init__()
        first = PaddedConv2d(in_channels, width, 4, 2, 1, block.bias, padding)
        self.model = nn.Sequential(
            *halving(antialias, first),
            block,
            nn.ReLU(inplace=True),
            *output.last(*doubling(upsample, 2 * width, output.maps, True, 4, padding)),
        )

    def forward(self, x: Tensor) -> Tensor:
        maps: Tensor = self.model(x)
        return maps


class Skipping(nn.Module):
    """Runs its layers and concatenates their input, after the first activation, to the result.

    The published encoder activates in place, so the skip carries the activated features.
    """

    model: nn.Sequential

    def forward(self, x: Tensor) -> Tensor:
        activate, *layers = self.model
        x = y = activate(x)
        for layer in layers:
            y = layer(y)
        return torch.cat([x, y], 1)


class Between(Skipping):
    def __init__(
        self,
        outer: int,
        inner: int,
        block: nn.Module,
        norm: Norm,
        dropout: bool,
        upsample: Upsample,
        antialias: bool,
        padding: PaddingMode,
    ):
        super().__init__()
        self.bias = needs_bias(norm)
        down = PaddedConv2d(outer, inner, 4, 2, 1, self.bias, padding)
        self.model = nn.Sequential(
            nn.LeakyReLU(0.2, inplace=True),
            *halving(antialias, down),
            norm_layer(norm, inner),
            block,
            nn.ReLU(inplace=True),
            *doubling(upsample, 2 * inner, outer, self.bias, 4, padding),
            norm_layer(norm, outer),
            *([nn.Dropout(0.5)] if dropout else []),
        )


class Innermost(Skipping):
    def __init__(
        self,
        outer: int,
        inner: int,
        norm: Norm,
        upsample: Upsample,
        antialias: bool,
        padding: PaddingMode,
    ):
        super().__init__()
        self.bias = needs_bias(norm)
        down = PaddedConv2d(outer, inner, 4, 2, 1, self.bias, padding)
        self.model = nn.Sequential(
            nn.LeakyReLU(0.2, inplace=True),
            *halving(antialias, down),
            nn.ReLU(inplace=True),
            *doubling(upsample, inner, outer, self.bias, 4, padding),
            norm_layer(norm, outer),
        )
