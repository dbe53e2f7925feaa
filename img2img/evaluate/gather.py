"""What is measured on each translation by itself, while the pictures pass through memory once."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from img2img import images
from img2img.evaluate import diagnose, metrics
from img2img.evaluate.cases import Case, Translations
from img2img.evaluate.segmentation import Segmenter
from img2img.files import spread

Measure = Callable[[np.ndarray, np.ndarray], float]  # of two pictures, uint8 [H, W, C] of one size
# Beside them, a perceptual distance is measured, whose network is a choice.
PAIRED: dict[str, Measure] = {"l1": metrics.l1, "psnr": metrics.psnr, "ssim": metrics.ssim}
CHECKED_PICTURES = 64  # kept for the checks
CHECKED_SIDE = 512  # pixels: larger pictures are cropped


@dataclass
class Samples:
    """A few pictures for the checks of img2img.evaluate.diagnose, uint8 [H, W, C]."""

    sources: list[np.ndarray] = field(default_factory=list)  # empty where no model ran
    outputs: list[np.ndarray] = field(default_factory=list)
    truths: list[np.ndarray] = field(default_factory=list)
    clean: list[float] = field(default_factory=list)  # L1 of the reconstructions
    noisy: list[float] = field(default_factory=list)  # L1 after noise on the translations


@dataclass
class Gathered:
    """The values of all translations of one direction or domain, a list entry per picture."""

    paired: dict[str, list[float]] = field(default_factory=dict)
    cycle: dict[str, list[float]] = field(default_factory=dict)
    confusions: list[np.ndarray] = field(default_factory=list)  # int [K, K + 1] each
    samples: Samples = field(default_factory=Samples)


class Gatherer:
    """Translates the cases one by one and gathers what is measured on each of them."""

    def __init__(
        self,
        translations: Translations,
        count: int,
        paired: Mapping[str, Measure],
        cycle: Mapping[str, Measure],
        segmenter: Segmenter | None = None,
    ):
        """count: cases that will be added; paired, cycle: what to measure against the ground truth
        and after a cycle, by the names of metrics. L1 is always measured, because it ranks the
        pictures.
        """
        self.translations, self.segmenter = translations, segmenter
        self._paired, self._cycle = {"l1": metrics.l1, **paired}, cycle
        self.gathered = Gathered(
            paired={name: [] for name in self._paired}, cycle={name: [] for name in cycle}
        )
        self._sampled = set(spread(CHECKED_PICTURES, count))
        self._count = 0

    def add(self, case: Case) -> np.ndarray:
        """Measure the case; returns its translation without alpha, uint8 [H, W, 1 or 3]."""
        source, output = self.translations.translate(case)
        samples = self.gathered.samples if self._count in self._sampled else None
        self._count += 1
        if case.truth:
            truth = images.read(case.truth, output.shape[-1]).pixels
            if truth.shape != output.shape:
                truth = images.resize(truth, output.shape[1], output.shape[0])
            for name, values in self.gathered.paired.items():
                values.append(self._paired[name](output, truth))
            if samples:
                samples.truths.append(crop_sample(truth))
        if self.gathered.cycle:
            self._add_cycle(case, source, output, samples)
        if self.segmenter:
            self.gathered.confusions.append(self.segmenter.confusion(case.name, output))
        if samples:
            samples.outputs.append(crop_sample(output))
            if self.translations.translator:
                samples.sources.append(crop_sample(source))
        return output[..., :3]

    def _add_cycle(
        self, case: Case, source: np.ndarray, output: np.ndarray, samples: Samples | None
    ) -> None:
        reconstructed = self.translations.reconstruct(case, output)
        if reconstructed is None or reconstructed.shape != source.shape:
            return
        for name, values in self.gathered.cycle.items():
            values.append(self._cycle[name](reconstructed, source))
        if samples:
            samples.clean.append(metrics.l1(reconstructed, source))
            noisy = self.translations.reconstruct(case, diagnose.noisy(output, self._count))
            if noisy is not None:
                samples.noisy.append(metrics.l1(noisy, source))


def crop_sample(pixels: np.ndarray) -> np.ndarray:
    """The middle of the picture, at most 512 px a side: uint8 [H, W, C].

    Cropped, not resized, because the checks look at the finest detail; copied, because a view would
    keep the whole picture in memory.
    """
    top, left = (max(side - CHECKED_SIDE, 0) // 2 for side in pixels.shape[:2])
    return pixels[top : top + CHECKED_SIDE, left : left + CHECKED_SIDE].copy()
