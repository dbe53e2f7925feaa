"""Pictures of the networks as files have them, and as people and feature networks see them."""

import numpy as np
from torch import Tensor

from img2img.intensity import Intensity
from img2img.training.runtime import to_uint8


def stored_values(images: Tensor, intensity: Intensity, valid: Tensor | None) -> np.ndarray:
    """[N, C, H, W] in [-1, 1] -> stored values float64 [N, H, W, C], NaN where pixels are missing.

    valid: [N, 1, H, W], 0 at missing pixels; None if none can be.
    """
    x = images.detach().float().permute(0, 2, 3, 1).cpu().numpy()
    values = intensity.from_network(x).astype(np.float64)
    if valid is None:
        return values
    known = valid.permute(0, 2, 3, 1).cpu().numpy() > 0
    return np.where(known, values, np.nan)


def as_shown(images: Tensor, intensity: Intensity | None, valid: Tensor | None) -> np.ndarray:
    """[N, C, H, W] in [-1, 1] -> uint8 [N, H, W, C] of photographs, which have no intensity, or the
    false colors [N, H, W, 1 or 3] of values. valid: as of `stored_values`.
    """
    if intensity is None:
        return to_uint8(images)
    return intensity.shown(stored_values(images, intensity, valid))
