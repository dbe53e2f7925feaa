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


class Ranged(nn.Module):
    """Has the middle of each band's range, and half of its width: [bands]."""

    radius: Tensor
    middle: Tensor

    def __init__(self, intensity: Intensity):
        super().__init__()
        low, high = np.array(intensity.low), np.array(intensity.high)
        self.register_buffer("radius", torch.tensor((high - low) / 2, dtype=torch.float32))
        self.register_buffer("middle", torch.tensor((high + low) / 2, dtype=torch.float32))
        self.intensity = intensity


class ToNetwork(Ranged):
    """Stored values [N, H, W, bands] -> float32 [N, bands, H, W] in [-1, 1], as
    Intensity.to_network maps them, and where they are missing, bool [N, H, W, 1]; None if none can
    be.
    """

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor | None]:
        values, missing = image.to(torch.float32), None
        if self.intensity.may_miss:
            missing = self._missing(image)
            values = torch.where(missing, torch.zeros_like(values), values)
        pieces = [
            _decibels(values[..., bands], part) if part.decibels else values[..., bands]
            for part, bands in self.intensity.slices
        ]
        values = torch.cat(pieces, 3) if self.intensity.parts else pieces[0]
        x = ((values - self.middle) / self.radius).clamp(-1, 1)
        if missing is not None:
            x = torch.where(missing, torch.zeros_like(x), x)
        return x.permute(0, 3, 1, 2), missing

    def _missing(self, image: Tensor) -> Tensor:
        """Where any band is missing, [N, H, W, 1]."""
        is_float = not self.intensity.is_of_integers
        stored = image if is_float else image.to(torch.int32)
        masks = [torch.isnan(stored)] if is_float else []
        for part, bands in self.intensity.slices:
            if part.nodata is not None:
                marker = int(part.nodata) if part.is_of_integers else part.nodata
                masks.append(stored[..., bands] == marker)
        return torch.cat(masks, 3).to(torch.float32).amax(3, keepdim=True) > 0


def _decibels(values: Tensor, intensity: Intensity) -> Tensor:
    """Powers in dB, of at least a tenth of the range's lower end; graphs have no log10."""
    return torch.log(values.clamp(min=intensity.least)) * (10 / math.log(10))


class FromNetwork(Ranged):
    """float32 [N, bands, H, W] in [-1, 1] -> stored values [N, H, W, bands], as
    Intensity.from_network maps them. missing, bool [N, H, W, 1]: pixels that get no value. Outputs
    have no parts.
    """

    beside_nodata: Tensor

    def __init__(self, intensity: Intensity):
        super().__init__(intensity)
        if intensity.is_of_integers and intensity.nodata is not None:
            beside = torch.from_numpy(intensity.beside_nodata).to(torch.int32)
            self.register_buffer("beside_nodata", beside)

    def forward(self, y: Tensor, missing: Tensor | None) -> Tensor:
        values = y.permute(0, 2, 3, 1) * self.radius + self.middle
        if self.intensity.decibels:
            values = torch.exp(values * (math.log(10) / 10))
        if self.intensity.is_of_integers:
            limits = np.iinfo(self.intensity.dtype)
            values = values.round().clamp(limits.min, min(limits.max, LARGEST)).to(torch.int32)
            if self.intensity.nodata is not None:
                marked = values == int(self.intensity.nodata)
                values = torch.where(marked, self.beside_nodata, values)
        if missing is not None:
            gap = self.intensity.missing_value
            gap = int(gap) if self.intensity.is_of_integers else gap  # exactly, in the graph, too
            values = torch.where(missing, torch.full_like(values, gap), values)
        return values.to(TYPES[self.intensity.dtype])
