"""What a look gathers of held-out pictures and their translations, in one direction."""

from dataclasses import dataclass, field
from importlib.util import find_spec

import numpy as np
import torch
from torch import Tensor

from img2img import images
from img2img.evaluate import diagnose, metrics
from img2img.evaluate.units import Units
from img2img.intensity import Intensity
from img2img.methods.base import Way
from img2img.training.colors import as_shown, stored_values
from img2img.training.runtime import to_uint8

DIAGNOSED = 64  # pictures of each direction that the checks use


@dataclass
class Gathered:
    """The held-out pictures and translations of one direction.

    Only DIAGNOSED of them are kept in full size. All are kept in the input size of the feature
    network, so that large pictures don't fill the memory. Values are kept in their false colors.
    """

    side: int | None  # px, of the feature network's input; None without one
    intensity_in: Intensity | None = None  # of the source, if it is not of photographs
    intensity_out: Intensity | None = None  # of the target
    paired: bool = True  # whether each picture in `real` is the ground truth of its source
    source: list[np.ndarray] = field(default_factory=list)  # uint8 [H, W, C]
    output: list[np.ndarray] = field(default_factory=list)
    real: list[np.ndarray] = field(default_factory=list)
    small_output: list[np.ndarray] = field(default_factory=list)  # uint8 [side, side, C]
    small_real: list[np.ndarray] = field(default_factory=list)
    # The metrics of each output against its ground truth, if there are any.
    measured: list[dict[str, float]] = field(default_factory=list)
    fake_scores: list[np.ndarray] = field(default_factory=list)
    real_scores: list[np.ndarray] = field(default_factory=list)
    clean: list[float] = field(default_factory=list)  # L1 after a cycle, of each picture
    noisy: list[float] = field(default_factory=list)  # the same with noise added between

    def add(self, way: Way, seed: int) -> None:
        """Translate a batch of the direction. seed: of the noise."""
        self.paired &= way.paired
        if way.critic and len(way.real) and len(self.real) < DIAGNOSED:
            self.real_scores.append(flat(way.critic(way.real)))
        real = list(as_shown(way.real, self.intensity_out, way.real_valid))
        shown: list[np.ndarray] = []
        if len(way.source):
            output = way.translate(way.source)
            shown = list(as_shown(output, self.intensity_out, way.source_valid))
            if len(self.output) < DIAGNOSED:
                self.output += shown
                self._diagnose(way, output, seed)
            if way.paired:
                self.measured += self._compared(way, output, shown, real)
        self.real += real if len(self.real) < DIAGNOSED else []
        if self.side:
            self.small_real += map(self._small, real)
            self.small_output += map(self._small, shown)

    def means(self) -> dict[str, float]:
        """The mean of each metric over the pictures that have a ground truth and the metric."""
        if not self.measured:
            return {}
        columns = {name: [row[name] for row in self.measured] for name in self.measured[0]}
        known = {name: np.array(column) for name, column in columns.items()}
        known = {name: column[np.isfinite(column)] for name, column in known.items()}
        return {name: float(column.mean()) for name, column in known.items() if len(column)}

    def _diagnose(self, way: Way, output: Tensor, seed: int) -> None:
        """Keep the sources, the discriminator's scores of the outputs, and the cycle errors."""
        self.source += list(as_shown(way.source, self.intensity_in, way.source_valid))
        if way.critic:
            self.fake_scores.append(flat(way.critic(output)))
        if way.back is None:
            return
        pixels = to_uint8(output)
        known = torch.ones_like(way.source) if way.source_valid is None else way.source_valid
        known = known.expand_as(way.source)
        for errors, intermediate in (
            (self.clean, pixels),
            (self.noisy, diagnose.noisy(pixels, seed)),
        ):
            levels = torch.from_numpy(intermediate).to(output.device).permute(0, 3, 1, 2)
            difference = (way.back(levels / 127.5 - 1) - way.source).abs() * known
            errors += (difference.sum((1, 2, 3)) / known.sum((1, 2, 3)).clamp(min=1)).tolist()

    def _compared(
        self, way: Way, output: Tensor, shown: list[np.ndarray], real: list[np.ndarray]
    ) -> list[dict[str, float]]:
        """The metrics of the outputs: L1 of photographs, and those of values in their units."""
        intensity = self.intensity_out
        if intensity is None:
            return [{"l1": metrics.l1(*pair)} for pair in zip(shown, real, strict=True)]
        outputs = stored_values(output, intensity, way.source_valid)
        truths = stored_values(way.real, intensity, way.real_valid)
        units, with_ssim = Units.of_model(intensity), find_spec("skimage") is not None
        pairs = zip(outputs, truths, strict=True)
        return [units.measure(*pair, with_ssim=with_ssim) for pair in pairs]

    def _small(self, picture: np.ndarray) -> np.ndarray:
        """The picture's colors without alpha, in the input size of the feature network."""
        assert self.side
        return images.resize(images.as_shown(picture), self.side, self.side)


def flat(scores: Tensor) -> np.ndarray:
    return scores.float().cpu().numpy().ravel()
