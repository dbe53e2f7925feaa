"""The discriminator of Projected GANs (Sauer et al. 2021), on frozen features of pictures."""

from typing import ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from img2img.features import FeatureNetwork, NetworkName, feature_network, three_channels
from img2img.nets.discriminator import Classifies, DiscriminatorConfig, Looking, Scores
from img2img.nets.interpolation import bilinear
from img2img.sizes import Size

SLOPE = 0.2


class ProjectedConfig(DiscriminatorConfig):
    """The settings of the projected discriminator."""

    name: ClassVar[str] = "projected"
    most_answers: ClassVar[int | None] = 1

    network: NetworkName = Field(
        "efficientnet-lite0",
        description="Frozen network whose features the discriminators judge: efficientnet-lite0, "
        "-lite1 or -lite2, or an ONNX or TorchScript file.",
    )
    side: int | None = Field(
        None,
        ge=64,
        description="Length in pixels to which the shorter side of pictures is resized before the "
        "features are computed. By default that of the training crops, at least 64.",
    )
    width: int = Field(
        32,
        ge=1,
        description="Channels of the finest scale's mixed features; coarser ones are "
        "1, 1.5, 2 and 3 times as wide.",
    )
    spectral: bool = Field(
        True, description="Spectral normalization of the discriminators' convolutions."
    )

    @property
    def classifies(self) -> Classifies:
        return "if asked"

    @property
    def scores_domains(self) -> bool:
        return True

    @property
    def separate_calls(self) -> bool:
        """Always, since the features of a batch are computed once, for all that look at it."""
        return True

    def feature_networks(self) -> tuple[str, ...]:
        return (self.network,)

    def build(
        self, size: Size, channels: tuple[int, ...], answers: int = 1, domains: int = 0
    ) -> nn.Module:
        side = self.side or max(min(size), 64)  # the deepest features have a 32nd of the side
        return Projected(
            feature_network(self.network), channels, self.width, side, answers, domains
        )


class Projected(Looking):
    """[N, sum(channels), H, W] in [-1, 1] -> scores, a map for each depth of the frozen network,
    or (scores, class logits [N, domains]).

    Features are mixed by frozen random convolutions: 1x1 across the channels of each depth (CCM),
    then from the deepest to the finest, with bilinear upsampling (CSM), both as in section 3.2. A
    small discriminator judges the result at each depth. If there are several pictures, those before
    the last are the condition: their mixed features are concatenated. Two linear layers classify
    the domain of the last picture by the mean and the standard deviation of each frozen channel
    over its positions, which describe a style (Huang and Belongie 2017, section 5).

    Differences from the paper and its published code, where pictures are generated from noise:
    - Features are scaled to a root mean square of 1 for each picture, and random weights keep the
      variance, so that any frozen network fits the same learning rates.
    - The discriminators judge patches: one strided convolution and two of stride 1 at each depth,
      without BatchNorm. The published ones halve finer features more often, to the same 5x5 logits
      at each depth.
    - The discriminator of the deepest features sees them unmixed across scales, as in the paper,
      but not upsampled as in the published code.
    - Pictures are resized to `side`, not always to 224, which would be slow on a CPU.
    - The condition and the domains are additions.

    Args:
        width: channels of the finest mixed features.
        side: to which the shorter side of a picture is resized.
    """

    def __init__(
        self,
        network: FeatureNetwork,
        channels: tuple[int, ...],
        width: int,
        side: int,
        answers: int = 1,
        domains: int = 0,
    ):
        super().__init__()
        self.network, self.channels, self.side = network, channels, side
        depths = len(network.channels)
        growth = (1.0, 1.5, 2.0, 3.0)  # of the deepest four
        widths = [int(width * growth[max(depth + 4 - depths, 0)]) for depth in range(depths)]
        self.mixing = Mixing(network.channels, widths)
        self.heads = nn.ModuleList(_head(len(channels) * wide, wide, answers) for wide in widths)
        self.classify = _classifier(2 * sum(network.channels), domains) if domains else None

    @property
    def networks(self) -> list[FeatureNetwork]:
        return [self.network]

    def look(self, picture: Tensor) -> list[Tensor]:
        image = three_channels(picture, self.has_alpha)
        scale = self.side / min(image.shape[2:])
        if scale != 1:
            height, width = (round(length * scale) for length in image.shape[2:])
            image = bilinear(image, (height, width), antialias=scale < 1)
        features: list[Tensor] = self.network(image)
        return features

    def score(self, image: Tensor, features: list[list[Tensor]]) -> Scores | tuple[Scores, Tensor]:
        mixed = [self.mixing(each) for each in features]
        depths = [torch.cat(depth, 1) for depth in zip(*mixed, strict=True)]
        scores = Scores.mean([h(depth) for h, depth in zip(self.heads, depths, strict=True)])
        if self.classify is None:
            return scores
        moments = [moment for depth in features[-1] for moment in _moments(_unit(depth))]
        return scores, self.classify(torch.cat(moments, 1))


class Mixing(nn.Module):
    """Frozen random projections of features, across channels and from coarse to fine scales.

    Weights are buffers, so that they are saved with the run, and neither trained nor initialized
    anew.
    """

    def __init__(self, channels: list[int], widths: list[int]):
        super().__init__()
        coarser = list(zip(widths[1:], widths[:-1], strict=True))
        self.across = _frozen([(wide, few, 1) for few, wide in zip(channels, widths, strict=True)])
        self.down = _frozen([(fine, coarse, 1) for coarse, fine in coarser])
        self.smooth = _frozen([(fine, fine, 3) for _, fine in coarser])

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        mixed = [layer(_unit(x)) for layer, x in zip(self.across, features, strict=True)]
        scales = [mixed.pop()]
        for fine, down, smooth in zip(
            reversed(mixed), reversed(self.down), reversed(self.smooth), strict=True
        ):
            coarse = bilinear(down(scales[0]), (fine.shape[2], fine.shape[3]))
            scales.insert(0, smooth((fine + coarse) * 0.5**0.5))  # of the variance of each
        return scales


class FrozenConvolution(nn.Module):
    """A convolution that keeps size and variance, with random weights that are not trained."""

    weight: Tensor

    def __init__(self, out_channels: int, in_channels: int, kernel: int):
        super().__init__()
        fan = in_channels * kernel**2
        weight = torch.randn(out_channels, in_channels, kernel, kernel) * fan**-0.5
        self.register_buffer("weight", weight)

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight, padding=self.weight.shape[-1] // 2)


def _frozen(shapes: list[tuple[int, int, int]]) -> nn.ModuleList:
    return nn.ModuleList(FrozenConvolution(*shape) for shape in shapes)


def _head(channels: int, width: int, answers: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(channels, width, 4, 2, 1),
        nn.LeakyReLU(SLOPE),
        nn.Conv2d(width, width, 3, 1, 1),
        nn.LeakyReLU(SLOPE),
        nn.Conv2d(width, answers, 3, 1, 1),
    )


def _classifier(inputs: int, domains: int) -> nn.Module:
    """Not convolutions, whose weights spectral normalization would bound; and ReLU, since feature
    matching compares what follows a LeakyReLU at every position.
    """
    return nn.Sequential(nn.Linear(inputs, 128), nn.ReLU(), nn.Linear(128, domains))


def _moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each channel over its positions, [N, C]."""
    return x.mean((2, 3)), (x.var((2, 3), unbiased=False) + 1e-6).sqrt()


def _unit(x: Tensor) -> Tensor:
    """Features of each picture, scaled to a root mean square of 1."""
    x = x.float()
    return x * (x.square().mean((1, 2, 3), keepdim=True) + 1e-6).rsqrt()
