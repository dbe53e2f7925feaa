"""Structural similarity as a loss: MS-SSIM (Wang et al. 2003; Zhao et al. 2017, section 3.3)."""

import torch
import torch.nn.functional as F
from torch import Tensor

from img2img.methods.objectives import wide

# The exponents of the scales, from fine to coarse (Wang et al. 2003, section 3.2).
WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
WINDOW, SIGMA = 11, 1.5  # of the Gaussian, in pixels
RANGE = 2.0  # of images in [-1, 1]
LEAST = 1e-6  # a smaller or negative similarity gets no gradient: that of a power is infinite at 0


def ms_ssim(a: Tensor, b: Tensor) -> Tensor:
    """The multi-scale structural similarity of images [N, C, H, W] in [-1, 1], a scalar, at most 1
    (for equal images).

    It has up to five scales, each half as large, as long as both sides have at least the 11 pixels
    of the window; the weights of the scales that are left are divided by their sum. In images with
    a shorter side than that, the window is smaller.
    """
    a, b = wide(a), wide(b)
    scales = 1
    while scales < len(WEIGHTS) and min(a.shape[2:]) >> scales >= WINDOW:
        scales += 1
    total, product = sum(WEIGHTS[:scales]), a.new_ones(())
    for scale in range(scales):
        similarity, structure = _similarities(a, b)
        last = scale == scales - 1
        factor = (similarity if last else structure).mean((2, 3)).clamp(min=LEAST)  # [N, C]
        product = product * factor ** (WEIGHTS[scale] / total)
        if not last:
            a, b = F.avg_pool2d(a, 2), F.avg_pool2d(b, 2)
    return product.mean()


def _similarities(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """SSIM (Wang et al. 2004, equation 13) at each position of the window, [N, C, h, w], and its
    factor for contrast and structure alone.
    """
    c1, c2 = (0.01 * RANGE) ** 2, (0.03 * RANGE) ** 2
    # As channels of one picture, [1, 5 N C, H, W], since this is much faster on CPUs than as
    # pictures of one channel.
    maps = torch.stack([a, b, a * a, b * b, a * b]).flatten(0, 2)[None]
    count = maps.shape[1]
    window = _window(min(WINDOW, *a.shape[2:]), a).expand(count, 1, -1)
    # Full precision, because small differences of large numbers follow.
    with torch.autocast(a.device.type, enabled=False):
        rows = F.conv2d(maps, window[:, :, None], groups=count)
        means = F.conv2d(rows, window[..., None], groups=count)
    mean_a, mean_b, aa, bb, ab = means.view(5, *a.shape[:2], *means.shape[2:])
    variances = aa - mean_a**2 + bb - mean_b**2
    structure = (2 * (ab - mean_a * mean_b) + c2) / (variances + c2)
    return structure * (2 * mean_a * mean_b + c1) / (mean_a**2 + mean_b**2 + c1), structure


def _window(length: int, like: Tensor) -> Tensor:
    """One dimension of the Gaussian window, [length], whose sum is 1."""
    at = torch.arange(length, dtype=like.dtype, device=like.device) - (length - 1) / 2
    weights = torch.exp(-((at / SIGMA) ** 2) / 2)
    normalized: Tensor = weights / weights.sum()
    return normalized
