"""What is measured on each translation by itself, while the pictures pass through memory once."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from img2img import images
from img2img.errors import DataError
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
        compared: Callable[[np.ndarray, np.ndarray], dict[str, float]],
        cycle: Mapping[str, Measure],
        segmenter: Segmenter | None = None,
    ):
        """count: cases that will be added; compared: measures a translation against its ground
        truth; cycle: what to measure after a cycle, by the names of metrics.
        """
        self.translations, self.segmenter = translations, segmenter
        self._compared, self._cycle = compared, cycle
        self.gathered = Gathered(cycle={name: [] for name in cycle})
        self._sampled = set(spread(CHECKED_PICTURES, count))
        self._count = 0

    def add(self, case: Case) -> np.ndarray:
        """Measure the case; returns its translation as it is seen, without alpha, uint8
        [H, W, 1 or 3]. Raises DataError for values of another size than their ground truth.
        """
        source, output = self.translations.translate(case)
        seen = self.translations.look(output)
        samples = self.gathered.samples if self._count in self._sampled else None
        self._count += 1
        if case.truth:
            truth = self._truth(case.path, case.truth, output)
            for name, value in self._compared(output, truth).items():
                self.gathered.paired.setdefault(name, []).append(value)
            if samples:
                samples.truths.append(crop_sample(self.translations.look(truth)))
        if self.gathered.cycle:
            self._add_cycle(case, source, output, samples)
        if self.segmenter:
            self.gathered.confusions.append(self.segmenter.confusion(case.name, output))
        if samples:
            samples.outputs.append(crop_sample(seen))
            if self.translations.translator:
                samples.sources.append(crop_sample(source))
        return seen[..., :3]

    def _truth(self, path: Path, truth: Path, output: np.ndarray) -> np.ndarray:
        """The ground truth in the size of the output, to which photographs are resized."""
        expected = self.translations.read(truth)
        if expected.shape == output.shape:
            return expected
        if self.translations.kinds.outputs:
            sizes = [f"{x.shape[1]}x{x.shape[0]} of {x.shape[2]} bands" for x in (output, expected)]
            raise DataError(f"{path} is {sizes[0]}, and {truth} {sizes[1]}.")
        return images.resize(expected, output.shape[1], output.shape[0])

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
