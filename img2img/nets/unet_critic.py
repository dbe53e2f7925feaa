"""The U-Net discriminator (Schönfeld et al. 2020, section 3.1)."""

import math
from itertools import pairwise
from typing import ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from img2img.nets.discriminator import Classifies, DiscriminatorConfig, Scores
from img2img.sizes import Size

SLOPE = 0.2


class UNetCriticConfig(DiscriminatorConfig):
    """The settings of the U-Net discriminator, which judges the picture as a whole and each of its
    pixels.
    """

    name: ClassVar[str] = "unet"
    most_answers: ClassVar[int | None] = 1

    width: int = Field(64, ge=1, description="Channels of the discriminators' first layer.")
    levels: int | None = Field(
        None,
        ge=1,
        description="Levels of the discriminators, each of which halves the size; by default down "
        "to 4 pixels, at most 6.",
    )
    spectral: bool = Field(
        True, description="Spectral normalization of the discriminators' convolutions."
    )
    cutmix: float = Field(
        0.0,
        ge=0,
        description="Weight of the losses on pictures that are mixed of a real and a generated one "
        "(CutMix), and of the consistency of their scores; it rises from 0 over the first half of "
        "training. 1 is the paper's weight of the consistency.",
    )

    @property
    def cutmix_weight(self) -> float:
        return self.cutmix

    @property
    def classifies(self) -> Classifies:
        return "if asked"

    def depth(self, size: Size) -> int:
        """The number of levels. By default the shorter side is halved down to 4 to 7 pixels, as
        long as both sides are even, at most 6 times.
        """
        if self.levels is not None:
            return self.levels
        common = math.gcd(*size)
        halvings = (common & -common).bit_length() - 1  # until a side is odd
        return max(min(halvings, min(size).bit_length() - 3, 6), 1)

    def require_size(self, size: Size) -> None:
        multiple = 2 ** self.depth(size)
        if not size.divisible_by(multiple):
            raise ValueError(
                f"size {size} must be a multiple of {multiple} for {self.depth(size)} levels of "
                "the discriminator; set d_levels lower"
            )

    def build(
        self, size: Size, channels: tuple[int, ...], answers: int = 1, domains: int = 0
    ) -> nn.Module:
        return UNetCritic(sum(channels), self.width, self.depth(size), domains)


class UNetCritic(nn.Module):
    """[N, C, H, W] in [-1, 1] -> scores of two maps, the picture's [N, 1] and its pixels'
    [N, 1, H, W], or (scores, class logits [N, domains]). H and W are multiples of 2**levels.

    An encoder and a decoder of residual blocks without norm layers; the channels of the levels are
    width x (1, 2, 4, 8, 8, ...). The logit of the picture, and the class logits, are linear in the
    deepest features, summed over positions.

    Differences from the paper and its published code: the losses of both maps are averaged, not
    summed (equations 2 and 3); there is no self-attention, and no more than 8 times the width; and
    CutMix (section 3.2; `img2img.methods.critics.Critics.cutmix_terms`) is off by default. The
    classification is an addition, for methods with domains.
    """

    def __init__(self, channels: int, width: int, levels: int, domains: int = 0):
        super().__init__()
        widths = [width * min(2**level, 8) for level in range(levels)]
        self.encoder = nn.ModuleList(
            Halving(few, wide, bool(level))
            for level, (few, wide) in enumerate(pairwise([channels, *widths]))
        )
        outs = [*widths[-2::-1], width]  # of the decoder's blocks, from the deepest
        skipped = [0, *widths[-2::-1]]  # channels that are concatenated to each block's input
        ins = [before + skip for before, skip in zip([widths[-1], *outs], skipped, strict=False)]
        self.decoder = nn.ModuleList(Doubling(*each) for each in zip(ins, outs, strict=True))
        self.act = nn.LeakyReLU(SLOPE)
        self.whole = nn.Conv2d(widths[-1], 1, 1)
        self.pixels = nn.Conv2d(width, 1, 1)
        # Not a convolution, whose weights spectral normalization would bound.
        self.classify = nn.Linear(widths[-1], domains) if domains else None

    def forward(self, image: Tensor) -> Scores | tuple[Scores, Tensor]:
        x, skips = image, []
        for block in self.encoder:
            x = block(x)
            skips.append(x)
        summed = self.act(skips.pop()).sum((2, 3), keepdim=True)
        for number, block in enumerate(self.decoder):
            x = block(torch.cat([x, skips.pop()], 1) if number else x)
        scores = Scores.mean([self.whole(summed).flatten(1), self.pixels(x)])
        if self.classify is None:
            return scores
        return scores, self.classify(summed.flatten(1))


class Halving(nn.Module):
    """A residual block to half the size, by average pooling.

    activated: the input passes a LeakyReLU before the first convolution; a picture does not.
    """

    def __init__(self, channels: int, out: int, activated: bool):
        super().__init__()
        self.main = nn.Sequential(
            nn.LeakyReLU(SLOPE) if activated else nn.Identity(),
            nn.Conv2d(channels, out, 3, padding=1),
            nn.LeakyReLU(SLOPE),
            nn.Conv2d(out, out, 3, padding=1),
        )
        self.shortcut = nn.Conv2d(channels, out, 1)

    def forward(self, x: Tensor) -> Tensor:
        return F.avg_pool2d(self.main(x) + self.shortcut(x), 2)


class Doubling(nn.Module):
    """A residual block to twice the size, by nearest-neighbor interpolation."""

    def __init__(self, channels: int, out: int):
        super().__init__()
        self.main = nn.Sequential(
            nn.LeakyReLU(SLOPE),
            nn.Upsample(scale_factor=2),
            nn.Conv2d(channels, out, 3, padding=1),
            nn.LeakyReLU(SLOPE),
            nn.Conv2d(out, out, 3, padding=1),
        )
        self.shortcut = nn.Conv2d(channels, out, 1)

    def forward(self, x: Tensor) -> Tensor:
        change: Tensor = self.main(x)
        return change + F.interpolate(self.shortcut(x), scale_factor=2.0)
