"""Label maps in a network: the class of a pixel is the nearest color of a palette."""

import torch
import torch.nn.functional as F
from torch import Tensor

from img2img.manifest import Palette
from img2img.nets.generator import Generator


def scaled(palette: Palette) -> Tensor:
    """The colors of a palette, [K, C] in [-1, 1]."""
    return torch.tensor(palette, dtype=torch.float32) / 127.5 - 1


def nearest(image: Tensor, colors: Tensor) -> Tensor:
    """The index of the color nearest to each pixel: [N, C, H, W], [K, C] -> int64 [N, H, W].

    It is computed in full precision under autocast, too, as a matrix product would not be: adjacent
    gray levels differ by 1/127.5.
    """
    image, colors = image.float(), colors.float()
    # The squared distance without the square of the pixel, which is the same for all colors.
    scores = -colors.square().sum(1)[None, :, None, None] / 2
    for channel in range(colors.shape[1]):
        scores = scores + image[:, channel, None] * colors[None, :, channel, None, None]
    return scores.argmax(1)


class OneHotInput(Generator):
    """A generator whose input is a label map in the colors of a palette, [N, C, H, W] in [-1, 1].

    The wrapped network sees one channel for each color: 1 where a pixel has the color, else -1. The
    input gets no gradient.
    """

    network: Generator
    colors: Tensor

    def __init__(self, network: Generator, palette: Palette):
        super().__init__()
        self.network = network
        self.size_multiple, self.min_size = network.size_multiple, network.min_size
        self.register_buffer("colors", scaled(palette), persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        """Label map [N, C, H, W] -> the output of the wrapped network, in [-1, 1]."""
        classes = nearest(image, self.colors)
        channels = F.one_hot(classes, len(self.colors)).permute(0, 3, 1, 2)
        translated: Tensor = self.network(2 * channels.to(image.dtype) - 1)
        return translated

    def encode(self, image: Tensor) -> list[Tensor]:
        raise NotImplementedError("One-hot label maps provide no features (labels_in=one-hot)")
