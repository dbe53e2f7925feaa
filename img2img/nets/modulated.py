"""A ResNet whose convolutions are modulated by the domain, as those of StyleGAN2 are by the style
(Karras et al. 2020, section 2.2), for StarGAN in place of a domain in additional channels.
"""

import math
from typing import ClassVar

import torch
from torch import Tensor, nn

from img2img.nets.encoder_decoder import Padding
from img2img.nets.generator import Generator
from img2img.nets.padding import PaddedConv2d, PaddingMode
from img2img.nets.resample import SubpixelConvolution, Upsample, doubling, halving
from img2img.nets.residual import Output, Residual
from img2img.nets.stargan import StarGeneratorConfig
from img2img.sizes import Size

EPSILON = 1e-8  # added to the squared norm of modulated weights
SHRINK = math.sqrt(0.5)  # keeps the variance of a sum of two
NORM_EPSILON = 1e-5  # added to the mean square of features, as in torch's norms
GAIN = math.sqrt(2)  # keeps the variance behind LeakyReLU (Karras et al. 2019, appendix C)


class ModulatedConfig(StarGeneratorConfig):
    """The settings of the modulated ResNet: those of StarGAN's generator, and a padding."""

    name: ClassVar[str] = "modulated"

    padding: Padding = "zeros"

    def size_multiple(self, size: Size) -> int:
        return ModulatedResNet.size_multiple

    def build(self, size: Size, in_channels: int, out_channels: int, domains: int = 0) -> Generator:
        return ModulatedResNet(
            in_channels,
            out_channels,
            domains,
            self.width,
            self.blocks,
            self.upsample,
            self.antialias,
            self.padding,
            self.residual,
        )


class ModulatedResNet(Generator):
    """image [N, in_channels, H, W], domain [N, D] -> [N, out_channels, H, W] in [-1, 1]; H and W
    multiples of 4, and at least 8.

    The encoder does not see the domain, and normalizes each picture; the residual blocks and the
    decoder are modulated, and normalize each pixel. The decoder adds the encoder's features of the
    same size to its own, as a U-Net concatenates them (Ronneberger et al. 2015), so that fine
    changes need no way through the smallest features.
    """

    size_multiple, min_size = 4, 8  # a norm needs more than one value

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        domains: int,
        width: int = 64,
        blocks: int = 6,
        upsample: Upsample = "transposed",
        antialias: bool = False,
        padding: PaddingMode = "zeros",
        residual: Residual = "off",
    ):
        super().__init__()
        self.output = Output(residual, out_channels)

        def normed(*layers: nn.Module, outer: int) -> list[nn.Module]:
            return [*layers, nn.InstanceNorm2d(outer, affine=True), nn.LeakyReLU(0.2, inplace=True)]

        def down(inner: int) -> list[nn.Module]:
            convolution = PaddedConv2d(inner, 2 * inner, 4, 2, 1, False, padding)
            return normed(*halving(antialias, convolution), outer=2 * inner)

        def up(inner: int) -> nn.Module:
            layers = doubling(upsample, inner, inner // 2, False, 4, padding)
            return Modulated(domains, inner, inner // 2, *layers)

        first = PaddedConv2d(in_channels, width, 7, 1, 3, False, padding)
        stages = (normed(first, outer=width), down(width), down(2 * width))
        self.encoder = nn.ModuleList([nn.Sequential(*stage) for stage in stages])
        self.blocks = nn.ModuleList(
            [ModulatedBlock(domains, 4 * width, padding) for _ in range(blocks)]
        )
        self.ups = nn.ModuleList([up(4 * width), up(2 * width)])
        self.finest = ModulatedBlock(domains, width, padding)
        last = PaddedConv2d(width, self.output.maps, 3, 1, 1, mode=padding)
        self.last = nn.Sequential(PixelNorm(), *self.output.last(last))

    def forward(self, image: Tensor, domain: Tensor) -> Tensor:
        domain = domain.to(image.dtype)
        features = [image]
        for stage in self.encoder:
            features.append(stage(features[-1]))
        x = features.pop()
        for block in self.blocks:
            x = block(x, domain)
        for up in self.ups:
            x = (up(x, domain) + features.pop()) * SHRINK
        output: Tensor = self.output(self.last(self.finest(x, domain)), image)
        return output


class PixelNorm(nn.Module):
    """x [N, C, H, W] -> each pixel's features, divided by their root mean square (Karras et al.
    2018, section 4.2).

    Demodulation keeps the variance of features that do not correlate. Training makes them
    correlate: without this norm they grew three hundredfold in a few hundred steps, and the last
    convolution, which nothing follows, with them.
    """

    def forward(self, x: Tensor) -> Tensor:
        return x * ((x * x).mean(1, keepdim=True) + NORM_EPSILON).rsqrt()


class Modulated(nn.Module):
    """x [N, inner, H, W], domain [N, D] -> LeakyReLU of a modulated and demodulated convolution of
    the normalized features of each pixel.

    The weights are multiplied by a scale for each input channel, which is 1 plus an affine map of
    the domain, and divided by their norm for each output channel, which would give the output unit
    variance (Karras et al. 2020, equations 1 and 3). To need no kernel for each picture, the input
    is scaled, and the output of shared weights is divided by the norm, which is the same.

    layers: the last one has the weights, and no bias. Where they double the size, the norm is that
    of the weights that a pixel sees, averaged over the four pixels of a position.
    """

    energy: Tensor | None

    def __init__(self, domains: int, inner: int, outer: int, *layers: nn.Module):
        super().__init__()
        self.scale = nn.Linear(domains, inner)
        self.norm = PixelNorm()
        self.layers = nn.Sequential(*layers)
        self.bias = nn.Parameter(torch.zeros(outer))
        self.activation = nn.LeakyReLU(0.2)
        self.register_buffer("energy", None, persistent=False)

    def weight_energy(self) -> Tensor:
        """[inner, outer]: the sum of the squared weights between two channels."""
        layer = self.layers[-1]
        if isinstance(layer, SubpixelConvolution):
            squares = layer.convolution.weight.square().sum((2, 3))
            return squares.reshape(-1, 4, squares.shape[1]).mean(1).T
        assert isinstance(layer, nn.Conv2d | nn.ConvTranspose2d)
        squares = layer.weight.square().sum((2, 3))
        if isinstance(layer, nn.ConvTranspose2d):
            return squares / 4  # an output pixel sees one in four of the weights
        return squares.T

    def precompute(self) -> None:
        """Keep the energy of the weights, which no longer change."""
        self.energy = self.weight_energy().detach()

    def forward(self, x: Tensor, domain: Tensor) -> Tensor:
        scale = 1 + self.scale(domain)  # [N, inner]
        energy = self.weight_energy() if self.energy is None else self.energy
        factor = ((scale * scale) @ energy + EPSILON).rsqrt()  # [N, outer]
        y = self.layers(self.norm(x) * scale[:, :, None, None]) * factor[:, :, None, None]
        activated: Tensor = GAIN * self.activation(y + self.bias[:, None, None])
        return activated


class ModulatedBlock(nn.Module):
    """x [N, channels, H, W], domain [N, D] -> x plus a change, divided by sqrt(2) to keep the
    variance (Karras et al. 2020, section 4.1).
    """

    def __init__(self, domains: int, channels: int, padding: PaddingMode):
        super().__init__()

        def modulated() -> Modulated:
            convolution = PaddedConv2d(channels, channels, 3, 1, 1, False, padding)
            return Modulated(domains, channels, channels, convolution)

        self.first, self.second = modulated(), modulated()

    def forward(self, x: Tensor, domain: Tensor) -> Tensor:
        change: Tensor = self.second(self.first(x, domain), domain)
        return (x + change) * SHRINK
