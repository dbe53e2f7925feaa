"""The ResNet generator of CycleGAN (Zhu et al. 2017, appendix 7.2; Johnson et al. 2016)."""

from typing import ClassVar, Literal

from pydantic import Field
from torch import Tensor, nn

from img2img.nets.encoder_decoder import EncoderDecoderConfig
from img2img.nets.generator import Generator
from img2img.nets.norm import Norm, needs_bias, norm_layer
from img2img.nets.padding import PaddedConv2d, PaddingMode, pad
from img2img.nets.resample import BlurDownsample, Upsample, doubling
from img2img.nets.residual import Output, Residual
from img2img.sizes import Size

Padding = Literal["paper", "reflect", "zeros"]


class ResNetConfig(EncoderDecoderConfig):
    """The settings of the ResNet, with the resampling of CUT (Park et al. 2020) as options."""

    name: ClassVar[str] = "resnet"
    local: ClassVar[bool] = True
    encodes: ClassVar[bool] = True

    width: int = Field(64, ge=1, description="Channels of the generators' first layer.")
    blocks: int | None = Field(
        None, ge=1, description="Residual blocks; by default 6 up to size 128, else 9."
    )
    norm: Norm = Field(
        "instance",
        description="Normalization of all networks: batch, instance, instance_affine or none.",
    )
    dropout: bool = Field(False, description="Dropout in the residual blocks of the generators.")
    padding: Padding = Field(
        "paper",
        description="Padding of the generators' convolutions: reflect, zeros, or paper (zeros "
        "where the size is halved or doubled, else reflect).",
    )

    def size_multiple(self, size: Size) -> int:
        return ResNet.size_multiple

    @property
    def batch_norm(self) -> bool:
        return self.norm == "batch"

    def feature_channels(self, in_channels: int) -> list[int]:
        deep = 4 * self.width
        return [in_channels, 2 * self.width, deep, deep, *([] if self.blocks == 1 else [deep])]

    def feature_sizes(self, height: int, width: int) -> list[tuple[int, int]]:
        halved = 1 if self.antialias else 2  # with antialias, the blur after the convolution halves
        first = (height // halved, width // halved)
        second = (height // 2 // halved, width // 2 // halved)
        deep = (height // 4, width // 4)
        padded = (height + 6, width + 6)
        return [padded, first, second, deep, *([] if self.blocks == 1 else [deep])]

    def build(self, size: Size, in_channels: int, out_channels: int, domains: int = 0) -> Generator:
        return ResNet(
            in_channels,
            out_channels,
            self.width,
            self.blocks if self.blocks is not None else (6 if max(size) <= 128 else 9),
            self.norm,
            self.dropout,
            self.upsample,
            self.antialias,
            self.padding,
            self.residual,
        )


class ResNet(Generator):
    """[N, in_channels, H, W] -> [N, out_channels, H, W] in [-1, 1]. H and W are multiples of 4, and
    at least 8, since reflection padding at a quarter of the size needs two pixels.

    In the paper's notation, with w for width: c7s1-w, d2w, d4w, `blocks` residual blocks of 4w
    channels, u2w, uw, c7s1-out.

    Args:
        upsample: how u2w and uw double the size.
        antialias: d2w and d4w keep the size, and a blur after each halves it.
        padding: reflect or zeros in all convolutions but transposed ones; paper pads d2w, d4w, u2w
            and uw with zeros, and the others by reflection.
    """

    size_multiple, min_size = 4, 8

    def __init__(
        self,
        in_channels: int = 3,
        out_channels: int = 3,
        width: int = 64,
        blocks: int = 9,
        norm: Norm = "instance",
        dropout: bool = False,
        upsample: Upsample = "transposed",
        antialias: bool = False,
        padding: Padding = "paper",
        residual: Residual = "off",
    ):
        super().__init__()
        self.output = Output(residual, out_channels)
        bias, deep = needs_bias(norm), 4 * width
        in_place = (
            norm != "none"
        )  # without a norm it would overwrite features that `encode` returns

        mode: PaddingMode = "reflect" if padding == "reflect" else "zeros"  # of resampling

        def normed(convolution: nn.Module, channels: int) -> list[nn.Module]:
            return [convolution, norm_layer(norm, channels), nn.ReLU(inplace=in_place)]

        def down(channels: int) -> list[nn.Module]:
            stride, wider = 1 if antialias else 2, 2 * channels
            convolution = PaddedConv2d(channels, wider, 3, stride, 1, bias, mode)
            return [*normed(convolution, wider), *([BlurDownsample(wider)] if antialias else [])]

        def up(channels: int) -> list[nn.Module]:
            *before, convolution = doubling(upsample, channels, channels // 2, bias, padding=mode)
            return [*before, *normed(convolution, channels // 2)]

        before = [_pad(padding, 3), *normed(nn.Conv2d(in_channels, width, 7, bias=bias), width)]
        halve, halve_again = down(width), down(2 * width)
        first = len(before) + len(halve)
        block, last = first + len(halve_again), min(blocks, 5) - 1
        # Without duplicates: a single block is both the first and the last.
        self.feature_places = list(dict.fromkeys([0, len(before), first, block, block + last]))
        self.model = nn.Sequential(
            *before,
            *halve,
            *halve_again,
            *(ResidualBlock(deep, norm, dropout, padding) for _ in range(blocks)),
            *up(deep),
            *up(deep // 2),
            _pad(padding, 3),
            *self.output.last(nn.Conv2d(width, self.output.maps, 7)),
        )

    def forward(self, image: Tensor) -> Tensor:
        output: Tensor = self.output(self.model(image), image)
        return output

    def encode(self, image: Tensor) -> list[Tensor]:
        """The features that CUT compares (Park et al. 2020, appendix C.2): the padded image, the
        outputs of the two strided convolutions before their norm layers, and the outputs of the
        first and the fifth residual block (the last block, if there are fewer).
        """
        features, x = [], image
        for place, layer in enumerate(self.model):
            x = layer(x)
            if place in self.feature_places:
                features.append(x)
            if place == self.feature_places[-1]:
                break
        return features


class ResidualBlock(nn.Module):
    def __init__(self, channels: int, norm: Norm, dropout: bool, padding: Padding):
        super().__init__()
        bias = needs_bias(norm)
        self.conv_block = nn.Sequential(
            _pad(padding, 1),
            nn.Conv2d(channels, channels, 3, bias=bias),
            norm_layer(norm, channels),
            nn.ReLU(inplace=True),
            *([nn.Dropout(0.5)] if dropout else []),
            _pad(padding, 1),
            nn.Conv2d(channels, channels, 3, bias=bias),
            norm_layer(norm, channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        change: Tensor = self.conv_block(x)
        return x + change


def _pad(padding: Padding, pixels: int) -> nn.Module:
    return pad("reflect" if padding == "paper" else padding, pixels)
