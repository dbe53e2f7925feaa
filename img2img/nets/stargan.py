"""Generator and discriminator of StarGAN (Choi et al. 2018, appendix 7.2, tables 4 and 5)."""

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from img2img.nets.discriminator import Classifies, DiscriminatorConfig
from img2img.nets.encoder_decoder import EncoderDecoderConfig
from img2img.nets.generator import Generator
from img2img.nets.minibatch import Comparison, comparing
from img2img.nets.resample import Upsample, doubling, halving
from img2img.nets.residual import Output, Residual
from img2img.sizes import Size


class StarGeneratorConfig(EncoderDecoderConfig):
    """The settings of the generator, to which the target domain is given in additional channels."""

    name: ClassVar[str] = "stargan"
    local: ClassVar[bool] = True
    conditional: ClassVar[bool] = True

    width: int = Field(64, ge=1, description="Channels of the generator's first layer.")
    blocks: int = Field(6, ge=1, description="Residual blocks of the generator.")

    def size_multiple(self, size: Size) -> int:
        return StarGenerator.size_multiple

    def build(self, size: Size, in_channels: int, out_channels: int, domains: int = 0) -> Generator:
        if in_channels != out_channels:
            raise ValueError("StarGAN's generator needs in_channels equal to out_channels")
        resampling = (self.upsample, self.antialias, self.residual)
        return StarGenerator(in_channels, domains, self.width, self.blocks, *resampling)


class StarDiscriminatorConfig(DiscriminatorConfig):
    """The settings of the discriminator, a PatchGAN that also classifies the domain."""

    name: ClassVar[str] = "stargan"

    width: int = Field(64, ge=1, description="Channels of the discriminator's first layer.")
    layers: int = Field(6, ge=1, description="Strided layers of the discriminator.")
    minibatch: Comparison | None = Field(
        None,
        description="Layer that shows the discriminator how much the pictures of a batch differ: "
        "std (standard deviation) or discrimination.",
    )

    @property
    def classifies(self) -> Classifies:
        return "always"

    @property
    def scores_domains(self) -> bool:
        return True

    @property
    def compares(self) -> bool:
        return self.minibatch is not None

    def require_size(self, size: Size) -> None:
        if not size.divisible_by(2**self.layers):
            raise ValueError(
                f"size {size} must be a multiple of {2**self.layers} for {self.layers} "
                "discriminator layers; set d_layers lower"
            )

    def build(
        self, size: Size, channels: tuple[int, ...], answers: int = 1, domains: int = 0
    ) -> nn.Module:
        return StarDiscriminator(
            size, sum(channels), domains, self.width, self.layers, self.minibatch, answers
        )


class StarGenerator(Generator):
    """image [N, C, H, W], domain [N, D] -> [N, C, H, W] in [-1, 1]; H and W multiples of 4.

    All padding is by zeros: any other would keep the domain's channels constant, and the first norm
    layer would remove all that they give. The norm layers always use the statistics of each
    picture, as the authors never leave train mode.
    """

    size_multiple, min_size = 4, 4

    def __init__(
        self,
        channels: int,
        domains: int,
        width: int = 64,
        blocks: int = 6,
        upsample: Upsample = "transposed",
        antialias: bool = False,
        residual: Residual = "off",
    ):
        super().__init__()
        self.output = Output(residual, channels)

        def normed(outer: int, *convolution: nn.Module) -> list[nn.Module]:
            return [*convolution, _norm(outer), nn.ReLU(inplace=True)]

        def down(inner: int) -> list[nn.Module]:
            convolution = nn.Conv2d(inner, 2 * inner, 4, 2, 1, bias=False)
            return normed(2 * inner, *halving(antialias, convolution))

        def up(inner: int) -> list[nn.Module]:
            return normed(inner // 2, *doubling(upsample, inner, inner // 2, False, 4))

        self.main = nn.Sequential(
            *normed(width, nn.Conv2d(channels + domains, width, 7, 1, 3, bias=False)),
            *down(width),
            *down(2 * width),
            *(StarResidualBlock(4 * width) for _ in range(blocks)),
            *up(4 * width),
            *up(2 * width),
            *self.output.last(nn.Conv2d(width, self.output.maps, 7, 1, 3, bias=False)),
        )

    def forward(self, image: Tensor, domain: Tensor) -> Tensor:
        plane = domain[:, :, None, None].expand(-1, -1, image.shape[2], image.shape[3])
        maps = self.main(torch.cat([image, plane.to(image.dtype)], 1))
        output: Tensor = self.output(maps, image)
        return output


class StarResidualBlock(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.main = nn.Sequential(
            nn.Conv2d(channels, channels, 3, 1, 1, bias=False),
            _norm(channels),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels, channels, 3, 1, 1, bias=False),
            _norm(channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        change: Tensor = self.main(x)
        return x + change


class StarDiscriminator(nn.Module):
    """[N, C, H, W] of `size` in [-1, 1] -> (logits [N, answers, h, w], class logits [N, domains]).

    It has no norm layers. minibatch: shows the head of the logits how much the pictures of the
    batch differ. answers: number of logits for a patch.
    """

    def __init__(
        self,
        size: Size,
        channels: int,
        domains: int,
        width: int = 64,
        layers: int = 6,
        minibatch: Comparison | None = None,
        answers: int = 1,
    ):
        super().__init__()
        wide = width
        body: list[nn.Module] = [
            nn.Conv2d(channels, width, 4, 2, 1),
            nn.LeakyReLU(0.01, inplace=True),
        ]
        for _ in range(1, layers):
            body += [nn.Conv2d(wide, 2 * wide, 4, 2, 1), nn.LeakyReLU(0.01, inplace=True)]
            wide *= 2
        self.main = nn.Sequential(*body)
        self.compare, seen = comparing(minibatch, wide) if minibatch else (nn.Identity(), wide)
        self.conv1 = nn.Conv2d(seen, answers, 3, 1, 1, bias=False)
        whole = (size.height // 2**layers, size.width // 2**layers)  # of the last features
        self.conv2 = nn.Conv2d(wide, domains, whole, bias=False)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        features = self.main(image)
        return self.conv1(self.compare(features)), self.conv2(features).flatten(1)


def _norm(channels: int) -> nn.Module:
    return nn.InstanceNorm2d(channels, affine=True)
