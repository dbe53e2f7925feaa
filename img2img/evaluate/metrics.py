"""Distances between pictures of which the truth is known."""

from collections.abc import Sequence

import numpy as np


def l1(outputs: Sequence[np.ndarray], truths: Sequence[np.ndarray]) -> float:
    """Mean absolute difference in [-1, 1] units; uint8 [H, W, C], each pair of one size."""
    pairs = zip(outputs, truths, strict=True)
    return float(np.mean([np.abs(a.astype(np.float32) - b).mean() / 127.5 for a, b in pairs]))


def mean_picture(pictures: Sequence[np.ndarray]) -> np.ndarray:
    """The pixelwise mean, uint8 [H, W, C], of pictures of one size."""
    total = np.zeros(pictures[0].shape)
    for picture in pictures:
        total += picture
    return (total / len(pictures)).round().astype(np.uint8)
