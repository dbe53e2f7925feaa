"""The perceptual loss: a distance of frozen features (Johnson et al. 2016, section 3.2)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from img2img.methods.objectives import wide


def feature_distance(output: list[Tensor], target: list[Tensor]) -> Tensor:
    """The distance of two lists of features [N, C, h, w], one for each depth, a scalar.

    The channels at each position are scaled to length 1, so that all depths count equally, as in
    LPIPS (Zhang et al. 2018, section 3). It is the mean absolute difference times the square root
    of C, averaged over the depths.
    """
    distances = []
    for ours, theirs in zip(output, target, strict=True):
        a, b = _unit(ours), _unit(theirs)
        distances.append((a - b).abs().mean() * a.shape[1] ** 0.5)
    return torch.stack(distances).mean()


class LearnedDistance(nn.Module):
    """LPIPS (Zhang et al. 2018, equation 1): the distance of two lists of features [N, C, h, w],
    one for each depth, a scalar.

    The channels at each position are scaled to length 1. It is the squared difference times the
    channels' weights, summed over channels, averaged over positions and pictures, and summed over
    the depths. The equation has the weights inside the square; published weights are already
    squared.
    """

    def __init__(self, weights: list[Tensor]):
        """weights: of the channels of each depth, [C]. They are neither trained nor saved."""
        super().__init__()
        for number, weight in enumerate(weights):
            self.register_buffer(f"weight{number}", weight, persistent=False)

    def forward(self, output: list[Tensor], target: list[Tensor]) -> Tensor:
        distances = []
        for number, (ours, theirs) in enumerate(zip(output, target, strict=True)):
            weight = self.get_buffer(f"weight{number}")
            squares = (_unit(ours) - _unit(theirs)).square()
            distances.append((squares * weight[:, None, None]).sum(1).mean())
        return torch.stack(distances).sum()


def _unit(features: Tensor) -> Tensor:
    """[N, C, h, w] with the channels at each position scaled to length 1, in full precision.
    Lengths below 1e-3 count as 1e-3, which bounds the gradient.
    """
    return F.normalize(wide(features), dim=1, eps=1e-3)
