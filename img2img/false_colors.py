"""False colors: which bands of values are shown, and which values are black and white."""

from collections.abc import Sequence
from typing import Self

import numpy as np
from pydantic import BaseModel, ConfigDict, model_validator

MISSING = 128  # the gray of missing pixels


class FalseColors(BaseModel):
    """How values are shown: one band as gray, or three as red, green and blue.

    A value of `low` or less is black, one of `high` or more is white, and the levels between are
    linear. With decibels, 10 log10 of the value is shown, and low and high are in dB.
    """

    model_config = ConfigDict(frozen=True)

    bands: tuple[int, ...]  # indices among the bands that are used
    low: tuple[float, ...]  # of each of them
    high: tuple[float, ...]
    decibels: tuple[bool, ...]

    @model_validator(mode="after")
    def _has_one_or_three_bands(self) -> Self:
        if len(self.bands) not in (1, 3) or min(self.bands) < 0:
            raise ValueError("bands must be one or three indices")
        if not len(self.bands) == len(self.low) == len(self.high) == len(self.decibels):
            raise ValueError("low, high and decibels must have one entry for each band")
        ends = zip(self.low, self.high, strict=True)
        if not all(np.isfinite((low, high)).all() and low < high for low, high in ends):
            raise ValueError("low must be less than high, and both finite")
        return self

    def of(self, values: np.ndarray, missing: np.ndarray) -> np.ndarray:
        """Values [..., bands] -> uint8 [..., 1] or [..., 3], MISSING where pixels are missing.

        missing: bool [...], wherever one of the shown bands is NaN, at least.
        """
        shown = np.empty((*missing.shape, len(self.bands)), np.uint8)
        each = zip(self.bands, self.low, self.high, self.decibels, strict=True)
        for channel, (band, low, high, decibels) in enumerate(each):
            x = values[..., band].astype(np.float64)
            if decibels:
                x = 10 * np.log10(np.maximum(x, 10 ** (low / 10 - 1)))  # 0 has no logarithm
            levels = np.rint((x - low) * (255 / (high - low))).clip(0, 255)
            shown[..., channel] = np.where(missing, MISSING, levels)
        return shown

    def describe(self, names: Sequence[str], unit: str = "") -> str:
        """In words: "4, 3, 2 as red, green, blue (0:3000)". names: of all bands. unit: of the
        values.
        """
        colors = "red, green, blue" if len(self.bands) == 3 else "gray"
        each = zip(self.low, self.high, self.decibels, strict=True)
        stretches = [
            f"{low:.9g}:{high:.9g}{' dB' if decibels else f' {unit}' if unit else ''}"
            for low, high, decibels in each
        ]
        bands = [names[band] for band in self.bands]
        if len(set(stretches)) == 1:
            return f"{', '.join(bands)} as {colors} ({stretches[0]})"
        both = zip(bands, stretches, strict=True)
        return f"{', '.join(f'{band} ({stretch})' for band, stretch in both)} as {colors}"
