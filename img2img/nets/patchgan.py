"""Markovian discriminators of pix2pix (Isola et al. 2017, sections 3.3 and 6.1.2)."""

from torch import Tensor, nn

from img2img.nets.minibatch import Comparison, comparing
from img2img.nets.norm import Norm, needs_bias, norm_layer


class PatchGAN(nn.Module):
    """[N, C, H, W] -> logits [N, 1, h, w], one a patch; 3 layers see 70x70 pixels each.

    4x4 convolutions: `layers` of stride 2, one of stride 1, and the head of stride 1. minibatch:
    the head also sees how much the pictures of the batch differ. answers: a patch, in place of 1.
    """

    def __init__(
        self,
        in_channels: int,
        width: int = 64,
        layers: int = 3,
        norm: Norm = "batch",
        minibatch: Comparison | None = None,
        answers: int = 1,
    ):
        super().__init__()
        bias = needs_bias(norm)
        body: list[nn.Module] = [
            nn.Conv2d(in_channels, width, 4, 2, 1),
            nn.LeakyReLU(0.2, inplace=True),
        ]
        channels = width
        for layer in range(1, layers + 1):
            wider = width * min(2**layer, 8)
            stride = 2 if layer < layers else 1
            body += [
                nn.Conv2d(channels, wider, 4, stride, 1, bias=bias),
                norm_layer(norm, wider),
                nn.LeakyReLU(0.2, inplace=True),
            ]
            channels = wider
        if minibatch:
            layer, channels = comparing(minibatch, channels)
            body.append(layer)
        self.model = nn.Sequential(*body, nn.Conv2d(channels, answers, 4, 1, 1))

    def forward(self, image: Tensor) -> Tensor:
        return self.model(image)


class PixelGAN(nn.Module):
    """[N, C, H, W] -> logits [N, 1, H, W]: 1x1 convolutions, each pixel judged alone."""

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
        return self.net(image)
