"""Metrics of pictures that are not photographs against their ground truths, in their units."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from img2img.errors import DataError
from img2img.evaluate.metrics import similarity
from img2img.intensity import Intensity

HIGHER_IS_BETTER = {"psnr", "ssim"}
OF_SEVERAL_BANDS = ("sam", "ergas")
NAMES = ("mae", "rmse", "bias", "psnr", "ssim", *OF_SEVERAL_BANDS)


@dataclass(frozen=True)
class Units:
    """What outputs of values are measured by: the names of the bands, and the width of the range of
    each, in the units of stored values.
    """

    bands: tuple[str, ...]
    widths: np.ndarray
    source: str  # of the ranges, in words

    @classmethod
    def of_model(cls, intensity: Intensity) -> Self:
        """By the model's range. Decibels are compared as they are stored, in powers."""
        low, high = np.array(intensity.low), np.array(intensity.high)
        if intensity.decibels:
            low, high = (10 ** (limit / 10) for limit in (low, high))
        return cls(intensity.bands, high - low, "the model")

    @classmethod
    def of_truths(cls, bands: tuple[str, ...], truths: Iterable[np.ndarray]) -> Self:
        """By the least and the largest value of all truths [H, W, bands], of which NaN are
        missing. Raises DataError where all are.
        """
        low, high = np.full(len(bands), np.inf), np.full(len(bands), -np.inf)
        for truth in truths:
            known = truth[~np.isnan(truth).any(-1)]
            if len(known):
                low, high = np.minimum(low, known.min(0)), np.maximum(high, known.max(0))
        widths = high - low
        if not np.isfinite(widths).all():
            raise DataError("The real files have no value that is not missing.")
        return cls(bands, np.where(widths > 0, widths, 1), "all truths")

    def describe(self) -> str:
        """The ranges, in words."""
        each = zip(self.bands, self.widths, strict=True)
        return f"{', '.join(f'{band} {width:g}' for band, width in each)} ({self.source})"

    def measure(
        self, output: np.ndarray, truth: np.ndarray, with_ssim: bool = True
    ) -> dict[str, float]:
        """All metrics of an output against its truth, float64 [H, W, bands], NaN where they are
        missing; of a picture without a pixel that both have, they are NaN.

        mae, rmse and bias (output minus truth) are in units; psnr in dB, and ssim, are by the range
        of each band; with several bands also the spectral angle sam in degrees (Kruse et al. 1993),
        ergas (Wald 2000, for pictures of one resolution), and mae/BAND. with_ssim: whether SSIM,
        which needs the extra eval, is among them.
        """
        return _measured(Compared.of(output, truth), self.bands, self.widths, with_ssim)


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


def _measured(
    pair: Compared, bands: Sequence[str], width: np.ndarray, with_ssim: bool
) -> dict[str, float]:
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
