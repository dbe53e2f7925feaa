"""The discriminator of energy-based GANs (Zhao et al. 2017, section 2)."""

from itertools import pairwise

import torch
from torch import Tensor, nn

from img2img.nets.norm import Norm, needs_bias, norm_layer


class AutoEncoder(nn.Module):
    """[N, C, H, W] in [-1, 1] -> minus the energy, [N, 1]: how badly it can be rebuilt, as the
    mean squared error. H and W are multiples of 2^layers.

    4x4 convolutions of stride 2 down, transposed ones up again.
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
