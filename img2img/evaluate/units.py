"""Metrics of one picture that is not a photograph against its ground truth, in its units."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from img2img.evaluate.metrics import similarity
from img2img.intensity import Intensity

HIGHER_IS_BETTER = {"psnr", "ssim"}
OF_SEVERAL_BANDS = ("sam", "ergas")
NAMES = ("mae", "rmse", "bias", "psnr", "ssim", *OF_SEVERAL_BANDS)


@dataclass(frozen=True)
class Compared:
    """An output and its ground truth [H, W, bands], and where both are known, bool [H, W]."""

    output: np.ndarray
    truth: np.ndarray
    known: np.ndarray

    @classmethod
    def of(cls, output: np.ndarray, truth: np.ndarray) -> Self:
        """Values that are NaN where they are not known."""
        return cls(output, truth, ~(np.isnan(output) | np.isnan(truth)).any(-1))


def widths_of(intensity: Intensity) -> np.ndarray:
    """The width of each band's range, in the units of stored values."""
    low, high = np.array(intensity.low), np.array(intensity.high)
    if intensity.decibels:  # compared as they are stored, in powers
        low, high = (10 ** (limit / 10) for limit in (low, high))
    widths: np.ndarray = high - low
    return widths


def in_units(
    pair: Compared, bands: Sequence[str], width: np.ndarray, with_ssim: bool = True
) -> dict[str, float]:
    """All metrics of one picture; NaN where it has no known pixel.

    bands: their names. width: of the range of each. with_ssim: whether SSIM, which needs the extra
    eval, is among them.
    """
    error = (pair.output - pair.truth)[pair.known]
    if not len(error):
        names = NAMES if len(bands) > 1 else NAMES[: -len(OF_SEVERAL_BANDS)]
        names = tuple(name for name in names if with_ssim or name != "ssim")
        each = [f"mae/{band}" for band in bands] if len(bands) > 1 else []
        return dict.fromkeys([*names, *each], float("nan"))
    relative = float(np.square(error / width).mean())
    row = {
        "mae": float(np.abs(error).mean()),
        "rmse": float(np.sqrt(np.square(error).mean())),
        "bias": float(error.mean()),
        "psnr": min(-10 * float(np.log10(relative)), 100.0) if relative else 100.0,
    }
    if with_ssim:
        row["ssim"] = _ssim(pair, width)
    if len(bands) > 1:
        truth = pair.truth[pair.known]
        row["sam"] = _angle(pair.output[pair.known], truth)
        mean = np.abs(truth.mean(0)).clip(min=1e-12)
        row["ergas"] = float(100 * np.sqrt((np.square(error).mean(0) / mean**2).mean()))
        row |= {
            f"mae/{band}": float(value)
            for band, value in zip(bands, np.abs(error).mean(0), strict=True)
        }
    return row


def _ssim(pair: Compared, width: np.ndarray) -> float:
    """The mean of the structural similarity's map (Wang et al. 2004) over known pixels and bands;
    missing pixels are equal in both.
    """
    if min(pair.known.shape) < 11:  # the window's size
        return float("nan")
    output, truth = (np.where(pair.known[..., None], x, 0) for x in (pair.output, pair.truth))
    _, each = similarity(output / width, truth / width, 1.0)
    return float(each[pair.known].mean())


def _angle(output: np.ndarray, truth: np.ndarray) -> float:
    """The mean angle between the spectra [N, bands], in degrees; of spectra that are not 0."""
    lengths = np.linalg.norm(output, axis=1) * np.linalg.norm(truth, axis=1)
    some = lengths > 0
    if not some.any():
        return 0.0
    cosine = (output[some] * truth[some]).sum(1) / lengths[some]
    return float(np.degrees(np.arccos(cosine.clip(-1, 1))).mean())
