"""The ResNet generator of CycleGAN (Zhu et al. 2017, appendix 7.2; Johnson et al. 2016)."""

from torch import Tensor, nn

from img2img.nets.generator import Generator
from img2img.nets.norm import Norm, needs_bias, norm_layer


class ResNet(Generator):
    """[N, in_channels, H, W] -> [N, out_channels, H, W] in [-1, 1]; H and W multiples of 4, at
    least 8: a reflection at a quarter of the size needs two pixels.

    c7s1-w, d2w, d4w, `blocks` residual blocks of 4w, u2w, uw, c7s1-out; reflection padding.
    """

    size_multiple, min_size, local = 4, 8, True

    def __init__(
        self,
        in_channels: int = 3,
        out_channels: int = 3,
        width: int = 64,
        blocks: int = 9,
        norm: Norm = "instance",
        dropout: bool = False,
    ):
        super().__init__()
        bias, deep = needs_bias(norm), 4 * width

        def normed(convolution: nn.Module) -> list[nn.Module]:
            return [convolution, norm_layer(norm, convolution.out_channels), nn.ReLU(inplace=True)]

        def up(channels: int) -> nn.Module:
            return nn.ConvTranspose2d(channels, channels // 2, 3, 2, 1, output_padding=1, bias=bias)

        self.model = nn.Sequential(
            nn.ReflectionPad2d(3),
            *normed(nn.Conv2d(in_channels, width, 7, bias=bias)),
            *normed(nn.Conv2d(width, 2 * width, 3, 2, 1, bias=bias)),
            *normed(nn.Conv2d(2 * width, deep, 3, 2, 1, bias=bias)),
            *(ResidualBlock(deep, norm, dropout) for _ in range(blocks)),
            *normed(up(deep)),
            *normed(up(deep // 2)),
            nn.ReflectionPad2d(3),
            nn.Conv2d(width, out_channels, 7),
            nn.Tanh(),
        )

    def forward(self, image: Tensor) -> Tensor:
        return self.model(image)


class ResidualBlock(nn.Module):
    def __init__(self, channels: int, norm: Norm, dropout: bool):
        super().__init__()
        bias = needs_bias(norm)
        self.conv_block = nn.Sequential(
            nn.ReflectionPad2d(1),
            nn.Conv2d(channels, channels, 3, bias=bias),
            norm_layer(norm, channels),
            nn.ReLU(inplace=True),
            *([nn.Dropout(0.5)] if dropout else []),
            nn.ReflectionPad2d(1),
            nn.Conv2d(channels, channels, 3, bias=bias),
            norm_layer(norm, channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv_block(x)
