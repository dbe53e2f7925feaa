"""The base class of feature networks."""

import torch
from torch import Tensor, nn


class FeatureNetwork(nn.Module):
    """A frozen network: pictures [N, 3, H, W] in [-1, 1], of any H and W -> features of increasing
    depth, each [N, C, h, w] in float32, also under autocast.

    It has no parameters and is not saved in checkpoints; it is the same in training and in
    evaluation mode. Gradients flow to the picture alone.
    """

    name: str
    sha256: str  # of the file of the weights
    channels: list[int]  # of each of the features

    def forward(self, image: Tensor) -> list[Tensor]:
        with torch.autocast(image.device.type, enabled=False):
            return self.features(image.float())

    def features(self, image: Tensor) -> list[Tensor]:
        """[N, 3, H, W] in [-1, 1], float32 -> the features."""
        raise NotImplementedError
