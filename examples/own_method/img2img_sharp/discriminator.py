"""A patch discriminator that is shown the edges of an image beside the image."""

from typing import ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from img2img.nets.discriminator import DiscriminatorConfig
from img2img.sizes import Size


class EdgesConfig(DiscriminatorConfig):
    """The settings of the discriminator. On the command line they begin with d: --d-width 32."""

    name: ClassVar[str] = "edges"

    width: int = Field(32, ge=1, description="channels of the first layer")
    layers: int = Field(3, ge=1, description="layers that halve the resolution")

    def require_size(self, size: Size) -> None:
        if min(size) < 2**self.layers:
            raise ValueError(
                f"size {size} is too small for {self.layers} layers; set d_layers lower"
            )

    def build(
        self, size: Size, channels: tuple[int, ...], answers: int = 1, domains: int = 0
    ) -> nn.Module:
        return Edges(sum(channels), self.width, self.layers, answers)


class Edges(nn.Module):
    """[N, channels, H, W] in [-1, 1] -> logits [N, answers, h, w], one for each patch.

    Without norm layers, so that the logits of an image do not depend on the others of its batch.
    """

    def __init__(self, channels: int, width: int, layers: int, answers: int):
        super().__init__()
        body: list[nn.Module] = []
        wide = 3 * channels  # the image, and its differences to the right and downwards
        for layer in range(layers):
            wider = width * min(2**layer, 8)
            body += [nn.Conv2d(wide, wider, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
            wide = wider
        self.layers = nn.Sequential(*body, nn.Conv2d(wide, answers, 1))

    def forward(self, image: Tensor) -> Tensor:
        right = F.pad(image[..., 1:] - image[..., :-1], (0, 1))
        down = F.pad(image[..., 1:, :] - image[..., :-1, :], (0, 0, 0, 1))
        return self.layers(torch.cat([image, right, down], 1))
