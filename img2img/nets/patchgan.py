"""Markovian discriminators of pix2pix (Isola et al. 2017, sections 3.3 and 6.1.2)."""

from typing import ClassVar

from pydantic import Field
from torch import Tensor, nn

from img2img.nets.discriminator import DiscriminatorConfig
from img2img.nets.minibatch import Comparison, comparing
from img2img.nets.norm import Norm, needs_bias, norm_layer
from img2img.nets.resample import BlurDownsample
from img2img.sizes import Size


class PatchConfig(DiscriminatorConfig):
    """The settings of the PatchGAN, which classifies overlapping patches."""

    name: ClassVar[str] = "patch"

    width: int = Field(64, ge=1, description="Channels of the discriminators' first layer.")
    layers: int = Field(
        3, ge=1, description="Strided layers of the PatchGAN; with 3, a patch is 70x70 pixels."
    )
    norm: Norm = Field(
        "batch",
        description="Normalization of the discriminators: batch, instance, instance_affine or "
        "none.",
    )
    minibatch: Comparison | None = Field(
        None,
        description="Layer that shows the discriminators how much the pictures of a batch differ: "
        "std (standard deviation) or discrimination.",
    )
    antialias: bool = Field(
        False,
        description="The discriminators downsample with a blur, to avoid aliasing (Zhang 2019).",
    )

    @property
    def batch_norm(self) -> bool:
        return self.norm == "batch"

    @property
    def scores_domains(self) -> bool:
        return True

    @property
    def compares(self) -> bool:
        return self.minibatch is not None

    def require_size(self, size: Size) -> None:
        if min(size) < 3 * 2**self.layers:
            raise ValueError(
                f"size {size} is too small for {self.layers} PatchGAN layers; set d_layers lower"
            )

    def build(
        self, size: Size, channels: tuple[int, ...], answers: int = 1, domains: int = 0
    ) -> nn.Module:
        return PatchGAN(
            sum(channels),
            self.width,
            self.layers,
            self.norm,
            self.minibatch,
            answers,
            self.antialias,
        )


class PixelConfig(DiscriminatorConfig):
    """The settings of the PixelGAN, which classifies each pixel on its own."""

    name: ClassVar[str] = "pixel"
    most_answers: ClassVar[int | None] = 1

    width: int = Field(64, ge=1, description="Channels of the discriminators' first layer.")
    norm: Norm = Field(
        "batch",
        description="Normalization of the discriminators: batch, instance, instance_affine or "
        "none.",
    )

    @property
    def batch_norm(self) -> bool:
        return self.norm == "batch"

    def build(
        self, size: Size, channels: tuple[int, ...], answers: int = 1, domains: int = 0
    ) -> nn.Module:
        return PixelGAN(sum(channels), self.width, self.norm)


class PatchGAN(nn.Module):
    """[N, C, H, W] in [-1, 1] -> logits [N, answers, h, w], one position for each patch.

    It has 4x4 convolutions: `layers` of stride 2, one of stride 1, and a head of stride 1. With 3
    layers, a patch is 70x70 pixels.

    Args:
        minibatch: shows the head how much the pictures of the batch differ.
        answers: number of logits for a patch.
        antialias: convolutions of stride 1, activation and a blur of stride 2 replace those of
            stride 2 (Zhang 2019), as in CUT's published code.
    """

    def __init__(
        self,
        in_channels: int,
        width: int = 64,
        layers: int = 3,
        norm: Norm = "batch",
        minibatch: Comparison | None = None,
        answers: int = 1,
        antialias: bool = False,
    ):
        super().__init__()
        bias, halving = needs_bias(norm), 1 if antialias else 2

        def blur(channels: int) -> list[nn.Module]:
            return [BlurDownsample(channels)] if antialias else []

        body: list[nn.Module] = [
            nn.Conv2d(in_channels, width, 4, halving, 1),
            nn.LeakyReLU(0.2, inplace=True),
            *blur(width),
        ]
        channels = width
        for layer in range(1, layers + 1):
            wider = width * min(2**layer, 8)
            halves = layer < layers
            body += [
                nn.Conv2d(channels, wider, 4, halving if halves else 1, 1, bias=bias),
                norm_layer(norm, wider),
                nn.LeakyReLU(0.2, inplace=True),
                *(blur(wider) if halves else []),
            ]
            channels = wider
        if minibatch:
            compare, channels = comparing(minibatch, channels)
            body.append(compare)
        self.model = nn.Sequential(*body, nn.Conv2d(channels, answers, 4, 1, 1))

    def forward(self, image: Tensor) -> Tensor:
        output: Tensor = self.model(image)
        return output


class PixelGAN(nn.Module):
    """[N, C, H, W] in [-1, 1] -> logits [N, 1, H, W], by 1x1 convolutions."""

    def __init__(self, in_channels: int, width: int = 64, norm: Norm = "batch"):
        super().__init__()
        bias = needs_bias(norm)
        self.net = nn.Sequential(
            nn.Conv2d(in_channels, width, 1),
            nn.LeakyReLU(0.2, inplace=True),
            nn.Conv2d(width, 2 * width, 1, bias=bias),
            norm_layer(norm, 2 * width),
            nn.LeakyReLU(0.2, inplace=True),
            nn.Conv2d(2 * width, 1, 1, bias=bias),
        )

    def forward(self, image: Tensor) -> Tensor:
        output: Tensor = self.net(image)
        return output
