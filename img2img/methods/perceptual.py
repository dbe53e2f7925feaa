"""The perceptual loss: a distance of frozen features (Johnson et al. 2016, section 3.2)."""

import torch
import torch.nn.functional as F
from torch import Tensor

from img2img.methods.objectives import wide


def feature_distance(output: list[Tensor], target: list[Tensor]) -> Tensor:
    """The distance of two lists of features [N, C, h, w], one for each depth, a scalar.

    The channels at each position are scaled to length 1, so that all depths count equally, as in
    LPIPS (Zhang et al. 2018, section 3). It is the mean absolute difference times the square root
    of C, averaged over the depths.
    """
    distances = []
    for ours, theirs in zip(output, target, strict=True):
        a, b = (F.normalize(wide(x), dim=1, eps=1e-3) for x in (ours, theirs))
        distances.append((a - b).abs().mean() * a.shape[1] ** 0.5)
    return torch.stack(distances).mean()
