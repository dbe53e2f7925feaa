"""The discriminator of energy-based GANs (Zhao et al. 2017, section 2)."""

from itertools import pairwise
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from img2img.nets.discriminator import DiscriminatorConfig
from img2img.nets.norm import Norm, needs_bias, norm_layer
from img2img.sizes import Size


class AutoEncoderConfig(DiscriminatorConfig):
    """The settings of the autoencoder, which energy-based objectives (ebgan) choose by default."""

    name: ClassVar[str] = "autoencoder"
    energy: ClassVar[bool] = True
    most_answers: ClassVar[int | None] = 1

    width: int = Field(64, ge=1, description="Channels of the discriminators' first layer.")
    layers: int = Field(3, ge=1, description="Layers of the autoencoder that halve the size.")
    norm: Norm = Field(
        "batch",
        description="Normalization of the discriminators: batch, instance, instance_affine or "
        "none.",
    )

    @property
    def batch_norm(self) -> bool:
        return self.norm == "batch"

    def require_size(self, size: Size) -> None:
        if not size.divisible_by(2**self.layers):
            raise ValueError(
                f"size {size} must be a multiple of {2**self.layers} for {self.layers} autoencoder "
                "layers; set d_layers lower"
            )

    def build(
        self, size: Size, channels: tuple[int, ...], answers: int = 1, domains: int = 0
    ) -> nn.Module:
        return AutoEncoder(sum(channels), self.width, self.layers, self.norm)


class AutoEncoder(nn.Module):
    """[N, C, H, W] in [-1, 1] -> the negative energy [N, 1]. H and W are multiples of 2^layers.

    The energy is the mean squared error of the reconstruction. The encoder has 4x4 convolutions of
    stride 2, the decoder transposed ones.
    """

    def __init__(self, channels: int, width: int = 64, layers: int = 3, norm: Norm = "batch"):
        super().__init__()
        bias = needs_bias(norm)
        widths = [width * min(2**layer, 8) for layer in range(layers)]
        down: list[nn.Module] = [nn.Conv2d(channels, width, 4, 2, 1), nn.LeakyReLU(0.2, True)]
        up: list[nn.Module] = []
        for narrow, wide in pairwise(widths):
            down += [nn.Conv2d(narrow, wide, 4, 2, 1, bias=bias), norm_layer(norm, wide)]
            down.append(nn.LeakyReLU(0.2, True))
            step = [nn.ConvTranspose2d(wide, narrow, 4, 2, 1, bias=bias), norm_layer(norm, narrow)]
            up = [*step, nn.LeakyReLU(0.2, True), *up]
        self.encoder = nn.Sequential(*down)
        self.decoder = nn.Sequential(*up, nn.ConvTranspose2d(width, channels, 4, 2, 1), nn.Tanh())

    def forward(self, image: Tensor) -> Tensor:
        rebuilt = self.decoder(self.encoder(image))
        return -torch.square(rebuilt - image).mean((1, 2, 3))[:, None]
