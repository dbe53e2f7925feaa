"""Label maps in a network: the class of a pixel is the color of a palette that it is nearest to."""

import torch
import torch.nn.functional as F
from torch import Tensor

from img2img.manifest import Palette
from img2img.nets.generator import Generator


def scaled(palette: Palette) -> Tensor:
    """The colors of a palette, [K, C] in [-1, 1]."""
    return torch.tensor(palette, dtype=torch.float32) / 127.5 - 1


def nearest(image: Tensor, colors: Tensor) -> Tensor:
    """The index of the nearest color to each pixel: [N, C, H, W], [K, C] -> int64 [N, H, W].

    Computed in full precision and, other than a product of matrices, under autocast, too:
    neighboring grey levels are 1/127.5 apart.
    """
    image, colors = image.float(), colors.float()
    # The squared distance without the square of the pixel, which is the same for all colors.
    scores = -colors.square().sum(1)[None, :, None, None] / 2
    for channel in range(colors.shape[1]):
        scores = scores + image[:, channel, None] * colors[None, :, channel, None, None]
    return scores.argmax(1)


class OneHotInput(Generator):
    """A generator whose input is a label map in the colors of a palette, [N, C, H, W] in [-1, 1].

    The network that it wraps sees a channel for each color: 1 where a pixel has it, else -1. No
    gradient reaches the input.
    """

    network: Generator
    colors: Tensor

    def __init__(self, network: Generator, palette: Palette):
        super().__init__()
        self.network = network
        self.size_multiple, self.min_size = network.size_multiple, network.min_size
        self.register_buffer("colors", scaled(palette), persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        """[N, C, H, W] -> what the network makes of it, in [-1, 1]."""
        classes = nearest(image, self.colors)
        channels = F.one_hot(classes, len(self.colors)).permute(0, 3, 1, 2)
        translated: Tensor = self.network(2 * channels.to(image.dtype) - 1)
        return translated

    def encode(self, image: Tensor) -> list[Tensor]:
        raise NotImplementedError("A label map has no features to contrast (labels_in=one-hot)")
