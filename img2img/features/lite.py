"""The stages of EfficientNet-Lite as frozen features."""

from functools import lru_cache
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from img2img.errors import UsageError
from img2img.features.base import FeatureNetwork
from img2img.features.efficientnet import (
    VARIANTS,
    Same,
    load,
    normalized,
    same_padding,
    scaled_stages,
)

STAGES = (1, 2, 4, 6)  # at 1/4, 1/8, 1/16 and 1/32 of the picture's sides


class Convolution(NamedTuple):
    """A convolution with the norm after it folded in."""

    weight: Tensor  # [C, C_in / groups, kernel, kernel]
    bias: Tensor  # [C]
    stride: int
    groups: int


class LiteFeatures(FeatureNetwork):
    """EfficientNet-Lite's stages, with each norm folded into the convolution before it."""

    def __init__(self, name: str, stages: tuple[int, ...]):
        super().__init__()
        variant = VARIANTS[name]
        layout = scaled_stages(variant.width, variant.depth)
        if not stages or list(stages) != sorted(set(stages) & set(range(len(layout)))):
            raise UsageError(
                f"{name} has no stages {', '.join(map(str, stages))}. Give different numbers from "
                f"0 to {len(layout) - 1} in increasing order."
            )
        self.name, self.sha256, self.stages = name, variant.sha256, stages
        self.channels = [layout[stage].channels for stage in stages]
        self.counts = [stage.blocks for stage in layout[: stages[-1] + 1]]
        stem, blocks = _folded(name)
        self.stem = FoldedConvolution(stem)
        self.blocks = nn.ModuleList(
            FoldedBlock(convolutions, adds) for convolutions, adds in blocks[: sum(self.counts)]
        )

    def features(self, image: Tensor) -> list[Tensor]:
        x = F.relu6(self.stem(normalized(image)), inplace=True)
        blocks, outputs = iter(self.blocks), []
        for number, count in enumerate(self.counts):
            for _ in range(count):
                x = next(blocks)(x)
            if number in self.stages:
                outputs.append(x)
        return outputs


class FoldedBlock(nn.Module):
    """An inverted residual block of folded convolutions."""

    def __init__(self, convolutions: list[Convolution], adds: bool):
        super().__init__()
        self.convolutions, self.adds = nn.ModuleList(map(FoldedConvolution, convolutions)), adds

    def forward(self, x: Tensor) -> Tensor:
        y, last = x, len(self.convolutions) - 1
        for number, convolution in enumerate(self.convolutions):
            y = convolution(y)
            if number < last:
                y = F.relu6(y, inplace=True)
        return x + y if self.adds else y


class FoldedConvolution(nn.Module):
    """A convolution with "SAME" padding. It is no nn.Conv2d and has no parameters, so that nothing
    initializes, normalizes, trains or saves its weights.
    """

    weight: Tensor
    bias: Tensor

    def __init__(self, convolution: Convolution):
        super().__init__()
        self.register_buffer("weight", convolution.weight, persistent=False)
        self.register_buffer("bias", convolution.bias, persistent=False)
        self.stride, self.groups = convolution.stride, convolution.groups

    def forward(self, x: Tensor) -> Tensor:
        kernel = self.weight.shape[-1]
        height, width = (same_padding(size, kernel, self.stride) for size in x.shape[2:])
        if height[0] == height[1] and width[0] == width[1]:
            padding = (height[0], width[0])
        else:
            x, padding = F.pad(x, (*width, *height)), (0, 0)
        return F.conv2d(x, self.weight, self.bias, self.stride, padding, groups=self.groups)


@lru_cache(maxsize=len(VARIANTS))
def _folded(name: str) -> tuple[Convolution, list[tuple[list[Convolution], bool]]]:
    """The stem; and of each block its convolutions, and whether its input is added. The tensors are
    on the CPU and shared by all networks there.
    """
    network = load(name)
    blocks = [
        ([_fold(*layer) for layer in block.layers()], block.adds) for block in network.blocks()
    ]
    return _fold(*network.stem), blocks


def _fold(convolution: Same, norm: nn.BatchNorm2d) -> Convolution:
    """In float64, so that only the result is rounded."""
    mean, variance = norm.running_mean, norm.running_var
    assert mean is not None
    assert variance is not None
    scale = norm.weight.double() / (variance.double() + norm.eps).sqrt()
    weight = convolution.weight.double() * scale[:, None, None, None]
    bias = norm.bias.double() - mean.double() * scale
    return Convolution(
        weight.detach().float().contiguous(memory_format=torch.channels_last),
        bias.detach().float(),
        convolution.stride[0],
        convolution.groups,
    )
