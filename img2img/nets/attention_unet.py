"""A U-Net of residual blocks with self-attention (Ho et al. 2020, appendix B; Dhariwal and Nichol
2021, section 3), as networks of diffusion models are, without the embedding of a time.
"""

import math
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from img2img.nets.encoder_decoder import EncoderDecoderConfig, Padding
from img2img.nets.generator import Generator
from img2img.nets.interpolation import bilinear
from img2img.nets.padding import PaddedConv2d, PaddingMode
from img2img.nets.resample import Upsample, doubling, halving
from img2img.nets.residual import Output, Residual
from img2img.sizes import Size

GROUPS = 32  # of GroupNorm, or fewer if they do not divide the channels
HEAD = 64  # channels of an attention head, if they divide the channels
SMALLEST = 8  # side of the innermost feature maps, px, by default


class AttentionUNetConfig(EncoderDecoderConfig):
    """The settings of the U-Net with attention."""

    name: ClassVar[str] = "attention-unet"
    local: ClassVar[bool] = False

    width: int = Field(64, ge=1, description="Channels of the generators' first layer.")
    blocks: int = Field(
        1, ge=1, description="Residual blocks at each level of the U-Net, on each side."
    )
    levels: int | None = Field(
        None,
        ge=1,
        description=f"Levels of the U-Net, each of which halves the size; by default down to "
        f"{SMALLEST} pixels.",
    )
    attention: tuple[Annotated[int, Field(ge=1)], ...] = Field(
        (16, 32),
        description="Sizes of feature maps that get self-attention, in pixels of the shorter side "
        "at the size of training, separated by commas.",
    )
    padding: Padding = "zeros"

    def depth(self, size: Size) -> int:
        """The number of levels. By default the size is halved while the shorter side stays at 8 px
        or more and both sides are even: 5 levels at 256.
        """
        if self.levels is not None:
            return self.levels
        common = math.gcd(*size)
        halvings = (common & -common).bit_length() - 1  # until a side is odd
        return max(1, min(halvings, (min(size) // SMALLEST).bit_length() - 1))

    def size_multiple(self, size: Size) -> int:
        multiple: int = 2 ** self.depth(size)
        return multiple

    def require_size(self, size: Size) -> None:
        super().require_size(size)
        if min(size) < 2 * self.size_multiple(size):
            raise ValueError(
                f"size {size} is too small for {self.depth(size)} levels of {self.name}; set "
                "levels lower"
            )

    def build(self, size: Size, in_channels: int, out_channels: int, domains: int = 0) -> Generator:
        return AttentionUNet(
            size,
            in_channels,
            out_channels,
            self.width,
            self.blocks,
            self.depth(size),
            self.attention,
            self.upsample,
            self.antialias,
            self.padding,
            self.residual,
        )


class AttentionUNet(Generator):
    """[N, in_channels, H, W] -> [N, out_channels, H, W] in [-1, 1]; H, W multiples of 2**levels,
    at least twice as large.

    size: of training, which decides the levels that have attention. Of other sizes, the same levels
    have it. The channels of the levels are width x (1, 2, 4, 4, ...). padding: of all convolutions
    but transposed ones.
    """

    def __init__(
        self,
        size: Size,
        in_channels: int = 3,
        out_channels: int = 3,
        width: int = 64,
        blocks: int = 1,
        levels: int = 5,
        attention: tuple[int, ...] = (16, 32),
        upsample: Upsample = "transposed",
        antialias: bool = False,
        padding: PaddingMode = "zeros",
        residual: Residual = "off",
    ):
        super().__init__()
        self.size_multiple = 2**levels
        self.min_size = 2 * self.size_multiple  # a norm needs more than one value
        self.output = Output(residual, out_channels)
        channels = [width * min(2**level, 4) for level in range(levels + 1)]
        sizes = [Size(size.width >> level, size.height >> level) for level in range(levels + 1)]
        innermost = channels[-1]

        def stage(level: int, inner: int) -> nn.Module:
            """The residual blocks of a level, for `inner` channels, each with attention or not."""
            outer = channels[level]
            layers: list[nn.Module] = []
            for number in range(blocks):
                layers.append(ResidualBlock(outer if number else inner, outer, padding))
                if min(sizes[level]) in attention:
                    layers.append(SelfAttention(outer, sizes[level]))
            return nn.Sequential(*layers)

        def down(level: int) -> nn.Module:
            outer, inner = channels[level], channels[level + 1]
            convolution = PaddedConv2d(outer, inner, 4, 2, 1, mode=padding)
            return nn.Sequential(*halving(antialias, convolution))

        def up(level: int) -> nn.Module:
            outer, inner = channels[level], channels[level + 1]
            return nn.Sequential(*doubling(upsample, inner, outer, True, 4, padding))

        outside = range(levels)
        self.first = PaddedConv2d(in_channels, width, 3, padding=1, mode=padding)
        self.encoders = nn.ModuleList([stage(level, channels[level]) for level in outside])
        self.downs = nn.ModuleList([down(level) for level in outside])
        self.middle = nn.Sequential(
            ResidualBlock(innermost, innermost, padding),
            *([SelfAttention(innermost, sizes[-1])] if attention else []),
            ResidualBlock(innermost, innermost, padding),
        )
        self.ups = nn.ModuleList([up(level) for level in reversed(outside)])
        decoders = [stage(level, 2 * channels[level]) for level in reversed(outside)]
        self.decoders = nn.ModuleList(decoders)
        last = PaddedConv2d(width, self.output.maps, 3, padding=1, mode=padding)
        self.last = nn.Sequential(_norm(width), nn.SiLU(), *self.output.last(last))

    def forward(self, image: Tensor) -> Tensor:
        x, skips = self.first(image), []
        for encoder, down in zip(self.encoders, self.downs, strict=True):
            x = encoder(x)
            skips.append(x)
            x = down(x)
        x = self.middle(x)
        for up, decoder in zip(self.ups, self.decoders, strict=True):
            x = decoder(torch.cat([up(x), skips.pop()], 1))
        output: Tensor = self.output(self.last(x), image)
        return output


class ResidualBlock(nn.Module):
    """[N, inner, H, W] -> [N, outer, H, W]; a 1x1 convolution matches the channels of the sum."""

    def __init__(self, inner: int, outer: int, padding: PaddingMode):
        super().__init__()
        self.skip = nn.Identity() if inner == outer else nn.Conv2d(inner, outer, 1)
        self.change = nn.Sequential(
            _norm(inner),
            nn.SiLU(),
            PaddedConv2d(inner, outer, 3, padding=1, mode=padding),
            _norm(outer),
            nn.SiLU(),
            PaddedConv2d(outer, outer, 3, padding=1, mode=padding),
        )

    def forward(self, x: Tensor) -> Tensor:
        total: Tensor = self.skip(x) + self.change(x)
        return total


class SelfAttention(nn.Module):
    """[N, channels, H, W] -> the same, plus what each position takes from all positions, weighted
    by the softmax of the products of queries and keys (Vaswani et al. 2017, section 3.2).

    size: of the feature maps in training. In maps of other sizes, keys and values are those of as
    many positions, by interpolation: so the memory grows with the number of pixels, not with its
    square, and the softmax is over as many positions as in training.
    """

    def __init__(self, channels: int, size: Size):
        super().__init__()
        self.size = size
        self.heads = channels // HEAD if channels % HEAD == 0 else 1
        self.norm = _norm(channels)
        self.query = nn.Conv2d(channels, channels, 1)
        self.key_value = nn.Conv2d(channels, 2 * channels, 1)
        self.merge = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        normed = self.norm(x)
        # Of the size of training, this changes nothing.
        reduced = bilinear(normed, self.size.shape)
        keys, values = self._by_head(self.key_value(reduced)).chunk(
            2, 2
        )  # [N, heads, d, positions]
        queries = self._by_head(self.query(normed)) / math.sqrt(keys.shape[2])
        weights = (queries.transpose(2, 3) @ keys).softmax(3)
        taken = (values @ weights.transpose(2, 3)).reshape(x.shape)
        result: Tensor = x + self.merge(taken)
        return result

    def _by_head(self, x: Tensor) -> Tensor:
        """[N, C, H, W] -> [N, heads, C / heads, H W]."""
        n, channels, height, width = x.shape
        return x.reshape(n, self.heads, channels // self.heads, height * width)


def _norm(channels: int) -> nn.Module:
    return nn.GroupNorm(math.gcd(GROUPS, channels), channels)
