"""A shallow residual generator: it halves the image once, and has few parameters."""

from typing import ClassVar

from pydantic import Field
from torch import Tensor, nn

from img2img.nets.generator import Generator, GeneratorConfig
from img2img.sizes import Size


class ShallowConfig(GeneratorConfig):
    """The settings of the shallow generator. Each field is an option: --width 32 --depth 2."""

    name: ClassVar[str] = "shallow"
    local: ClassVar[bool] = True  # convolutions alone: `translate --tile` can cut images up

    width: int = Field(32, ge=1, description="channels at full resolution")
    depth: int = Field(4, ge=1, description="residual blocks, at half the resolution")

    def size_multiple(self, size: Size) -> int:
        return Shallow.size_multiple

    def build(self, size: Size, in_channels: int, out_channels: int, domains: int = 0) -> Generator:
        return Shallow(in_channels, out_channels, self.width, self.depth)


class Shallow(Generator):
    """[N, in_channels, H, W] -> [N, out_channels, H, W] in [-1, 1]; H and W are even, 4 or more."""

    size_multiple, min_size = 2, 4

    def __init__(self, in_channels: int, out_channels: int, width: int, depth: int):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(in_channels, width, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(width, 2 * width, 4, stride=2, padding=1),
            nn.InstanceNorm2d(2 * width, affine=True),
            nn.ReLU(),
            *(Residual(2 * width) for _ in range(depth)),
            nn.ConvTranspose2d(2 * width, width, 4, stride=2, padding=1),
            nn.InstanceNorm2d(width, affine=True),
            nn.ReLU(),
            nn.Conv2d(width, out_channels, 3, padding=1),
            nn.Tanh(),
        )

    def forward(self, image: Tensor) -> Tensor:
        return self.layers(image)


class Residual(nn.Module):
    """[N, channels, H, W] -> the same shape: the input plus a learned change."""

    def __init__(self, channels: int):
        super().__init__()
        self.change = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.InstanceNorm2d(channels, affine=True),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.change(x)
