"""Histograms of pictures that are not photographs, and whether a range of values fits them."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from img2img.data.dataset import Dataset
from img2img.data.findings import Finding
from img2img.data.intensities import SEEN, fit_intensities, sampled
from img2img.files import spread, usable_cores
from img2img.intensity import Intensity
from img2img.ranges import ROUGHLY, percentiles

BINS = 32
MOST_CLIPPED = 0.005  # share of a band's values beyond the range, above which it is told
BOTH = "a and b"
USUAL = "0.1%:99.9%"  # the range that keeps 99.8 % of the values
NAMED = 5  # bands that a message names


@dataclass(frozen=True)
class Histogram:
    """Some values of a band, counted in bins of equal width over the range and the percentiles 0.1
    to 99.9. All are in the unit of the range, that is, in dB for decibels.
    """

    band: str
    low: float  # of the range, what becomes -1
    high: float  # and what becomes 1
    start: float  # the first value of the first bin
    width: float  # of a bin; integers have as many values in one
    counts: tuple[int, ...]
    below: int  # values below the first bin
    above: int  # values above the last bin
    least: float
    largest: float
    usual: tuple[float, float]  # between which 99.8 % of the values lie
    clipped: float  # share of the values beyond the range
    used: float  # the width of `usual` as a part of that of the range
    integers: bool  # the values are whole numbers

    @property
    def last(self) -> float:
        """The last value of the last bin."""
        return self.start + self.width * len(self.counts) - self.integers


@dataclass(frozen=True)
class SideValues:
    """Values of some files of a side, or of both if they are the same files."""

    side: str  # "a", "b", "a and b", or the name of one of several inputs
    kind: str  # what `train` prints: type, bands, range and the rule of the range
    files: int
    files_seen: int
    pixels_seen: int
    missing: float  # mean share of missing pixels in the files that were seen
    decibels: bool
    histograms: tuple[Histogram, ...]  # of each band

    def findings(self) -> list[Finding]:
        """Warnings about a range that clips values or wastes levels, and bands of one value."""
        beyond, wasted, constant = [], [], []
        for band in self.histograms:
            if band.least == band.largest:
                constant.append(f"{band.band} ({band.least:.9g})")
            elif band.clipped > MOST_CLIPPED:
                beyond.append(f"{100 * band.clipped:.1f} %{self._of(band)}")
            elif band.used < ROUGHLY:
                wasted.append(f"{100 * band.used:.1f} %{self._of(band)}")
        findings = []
        if beyond:
            what = (
                f"{self.side}: of the values, {_enumerated(beyond)} lie beyond the range and are "
                f"clipped to its ends. Unless that is intended, keep them: {self._advice()}."
            )
            findings.append(Finding("warning", what))
        if wasted:
            what = (
                f"{self.side}: 99.8 % of the values lie in a small part of the range "
                f"({_enumerated(wasted)}), which wastes the other levels. Use them: "
                f"{self._advice()}."
            )
            findings.append(Finding("warning", what))
        if constant:
            what = (
                f"{self.side}: there is nothing to learn from bands of one value, "
                f"{_enumerated(constant)}. Choose others with --bands."
            )
            findings.append(Finding("warning", what))
        return findings

    def _of(self, band: Histogram) -> str:
        """Which of several bands it is, for a message."""
        return f" in band {band.band}" if len(self.histograms) > 1 else ""

    def _advice(self) -> str:
        """The option with a range that keeps 99.8 % of the values."""
        usual = USUAL
        if self.decibels:
            first = min(band.usual[0] for band in self.histograms)
            last = max(band.usual[1] for band in self.histograms)
            usual = f"{np.floor(first):g}dB:{np.ceil(last):g}dB"
        return f"--range {usual}" if self.side == BOTH else f"--range {self.side}={usual}"


def values_of_sides(
    dataset: Dataset, ranges: Sequence[str], bands: Sequence[str], inputs: Sequence[str] = ()
) -> list[SideValues]:
    """The values of the sides whose pictures are not photographs, from up to 2**14 pixels of each
    of up to 64 files, with the ranges that training would choose.

    ranges and bands: the settings of these names. inputs: the names of the folders that are stacked
    as a, if there are several, each of which counts as a side. Errors are those of
    `fit_intensities`.
    """
    files = dataset.files_by_side()
    by_input = dataset.files_by_input(inputs) if inputs else {}
    kind = dataset.pages, dataset.neighbors
    intensities = fit_intensities(files, ranges, bands, by_input, (), *kind)
    sides = {side: side for side in intensities}
    if len(sides) == 2 and files["a"] == files["b"] and intensities["a"] == intensities["b"]:
        sides = {"a": BOTH}
    values = []
    for side, name in sides.items():
        for part in intensities[side].inputs:
            values.append(_values_of(part.name or name, by_input.get(part.name, files[side]), part))
    return values


def _values_of(side: str, paths: Sequence[Path], intensity: Intensity) -> SideValues:
    seen = [paths[index] for index in spread(SEEN, len(paths))]
    with ThreadPoolExecutor(usable_cores()) as pool:
        colors = intensity.file_bands if intensity.photographs else None
        kind = colors, intensity.pages, intensity.neighbors
        samples = list(pool.map(lambda path: sampled(path, *kind), seen))
    picked = list(intensity.picked) or slice(None)
    values = np.concatenate([sample.values[:, picked] for sample in samples])
    values = values[np.isfinite(values).all(1)]
    integers = intensity.is_of_integers and not intensity.decibels
    histograms = []
    for number, band in enumerate(intensity.bands):  # one by one, since float64 needs memory
        column = values[:, number, np.newaxis].astype(np.float64)
        if intensity.decibels:
            column = _decibels(column, intensity)
        limits = intensity.low[number], intensity.high[number]
        [first], [last] = percentiles(column, 0.1, 99.9)
        histograms.append(histogram(band, column[:, 0], limits, (first, last), integers))
    return SideValues(
        side=side,
        kind=intensity.described,
        files=len(paths),
        files_seen=len(seen),
        pixels_seen=len(values),
        missing=float(np.mean([sample.missing for sample in samples])),
        decibels=intensity.decibels,
        histograms=tuple(histograms),
    )


def _decibels(values: np.ndarray, intensity: Intensity) -> np.ndarray:
    """Powers in dB. 0, which has no logarithm, counts as one far below the range and the others."""
    positive = values[values > 0]
    least = np.percentile(positive, 0.1) if positive.size else intensity.least
    powers: np.ndarray = 10 * np.log10(np.maximum(values, min(least, intensity.least)))
    return powers


def histogram(
    band: str,
    values: np.ndarray,
    limits: tuple[float, float],
    usual: tuple[float, float],
    integers: bool,
) -> Histogram:
    """Count the values of a band, float64 [N]. limits: the range. usual: the percentiles 0.1 and
    99.9. integers: the values are whole numbers, so that each bin gets equally many of them.
    """
    low, high = limits
    start, end = min(low, usual[0]), max(high, usual[1])
    if integers:
        start, end = float(np.floor(start)), float(np.ceil(end))
        width = float(np.ceil((end - start + 1) / BINS))
        edges = start - 0.5 + width * np.arange(np.ceil((end - start + 1) / width) + 1)
    else:
        width = (end - start) / BINS
        edges = np.linspace(start, end, BINS + 1)
    counts, _ = np.histogram(values, edges)
    return Histogram(
        band=band,
        low=low,
        high=high,
        start=start,
        width=width,
        counts=tuple(counts.tolist()),
        below=int((values < edges[0]).sum()),
        above=int((values > edges[-1]).sum()),
        least=float(values.min()),
        largest=float(values.max()),
        usual=usual,
        clipped=float(((values < low) | (values > high)).mean()),
        used=(usual[1] - usual[0]) / (high - low),
        integers=integers,
    )


def _enumerated(parts: Sequence[str]) -> str:
    """The first parts, and how many others there are."""
    more = f" and {len(parts) - NAMED} more" if len(parts) > NAMED else ""
    return f"{', '.join(parts[:NAMED])}{more}"
