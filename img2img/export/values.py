"""The parts of exported graphs that map stored values to [-1, 1] and back, where pictures are no
photographs.
"""

import math

import numpy as np
import torch
from torch import Tensor, nn

from img2img.intensity import Intensity

TYPES: dict[str, torch.dtype] = {
    "uint8": torch.uint8,
    "uint16": torch.uint16,
    "int16": torch.int16,
    "int32": torch.int32,
    "float32": torch.float32,
}
LARGEST = 2**31 - 128  # float32 has no number between this and one that int32 can't hold


class ToNetwork(nn.Module):
    """Stored values [N, H, W, bands] -> float32 [N, bands, H, W] in [-1, 1], as
    Intensity.to_network maps them, and where they are missing, bool [N, H, W, 1]; None if none can
    be.
    """

    scale: Tensor
    offset: Tensor

    def __init__(self, intensity: Intensity):
        super().__init__()
        scale, offset = intensity.scale_and_offset()
        self.register_buffer("scale", torch.from_numpy(scale))
        self.register_buffer("offset", torch.from_numpy(offset))
        self.intensity = intensity

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor | None]:
        values, missing = image.to(torch.float32), None
        if self.intensity.may_miss:
            missing = self._missing(values)
            values = torch.where(missing, torch.zeros_like(values), values)
        if self.intensity.decibels:  # graphs have no log10
            values = torch.log(values.clamp(min=self.intensity.least)) * (10 / math.log(10))
        x = (values * self.scale + self.offset).clamp(-1, 1)
        if missing is not None:
            x = torch.where(missing, torch.zeros_like(x), x)
        return x.permute(0, 3, 1, 2), missing

    def _missing(self, values: Tensor) -> Tensor:
        """Where any band is missing, [N, H, W, 1]."""
        each = torch.isnan(values)
        if self.intensity.nodata is not None:
            each = each | (values == self.intensity.nodata)
        return each.to(torch.float32).amax(3, keepdim=True) > 0


class FromNetwork(nn.Module):
    """float32 [N, bands, H, W] in [-1, 1] -> stored values [N, H, W, bands], as
    Intensity.from_network maps them. missing, bool [N, H, W, 1]: pixels that get no value.
    """

    radius: Tensor
    middle: Tensor

    def __init__(self, intensity: Intensity):
        super().__init__()
        low, high = np.array(intensity.low), np.array(intensity.high)
        self.register_buffer("radius", torch.tensor((high - low) / 2, dtype=torch.float32))
        self.register_buffer("middle", torch.tensor((high + low) / 2, dtype=torch.float32))
        self.intensity = intensity

    def forward(self, y: Tensor, missing: Tensor | None) -> Tensor:
        values = y.permute(0, 2, 3, 1) * self.radius + self.middle
        if self.intensity.decibels:
            values = torch.exp(values * (math.log(10) / 10))
        if self.intensity.is_of_integers:
            limits = np.iinfo(self.intensity.dtype)
            values = values.round().clamp(limits.min, min(limits.max, LARGEST))
        if missing is not None:
            gap = torch.full_like(values, self.intensity.missing_value)
            values = torch.where(missing, gap, values)
        return values.to(TYPES[self.intensity.dtype])
