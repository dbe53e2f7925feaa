"""Gray pictures, and pictures with transparency, as frozen feature networks take them."""

from itertools import pairwise

import torch
from torch import Tensor


def three_channels(picture: Tensor, has_alpha: bool = True) -> Tensor:
    """[N, C, H, W] in [-1, 1] -> [N, 3, H, W] in [-1, 1]. Gray is repeated; RGBA is laid over gray
    (0). Of any other number of bands, each third of them is averaged, so that all are seen.

    has_alpha: four channels are RGBA, and not four bands.
    """
    count = picture.shape[1]
    if count == 4 and has_alpha:
        return picture[:, :3] * (picture[:, 3:] + 1) / 2
    if count not in (1, 3):
        edges = [round(third * count / 3) for third in range(4)]
        parts = [(min(low, count - 1), max(high, low + 1)) for low, high in pairwise(edges)]
        return torch.cat([picture[:, low:high].mean(1, keepdim=True) for low, high in parts], 1)
    return picture.expand(-1, 3, -1, -1)
