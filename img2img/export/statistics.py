"""Whether a BatchNorm should be exported with the statistics of each picture, or with its running
averages.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch

from img2img.data.dataset import Dataset
from img2img.data.stream import fixed_batch
from img2img.errors import DataError
from img2img.export.graph import Pixels
from img2img.export.parity import levels, psnr
from img2img.files import spread
from img2img.intensity import Intensity
from img2img.methods.base import ExportSpec
from img2img.methods.config import MethodConfig
from img2img.training.plan import augmentation

MOST = 16  # pairs that are compared


@dataclass(frozen=True)
class Comparison:
    """Distances of translations from the ground truths of held-out pairs: PSNR in dB, and L1 in
    grey levels.
    """

    pairs: int
    image: tuple[float, float]  # with the statistics of each picture
    running: tuple[float, float]  # with the running averages of training

    def advice(self, batch: int, running: bool) -> str:
        """Advice for an export. batch: of training; running: whether running averages are
        exported.
        """

        def figures(measured: tuple[float, float]) -> str:
            return f"{measured[0]:.1f} dB, L1 {measured[1]:.1f} grey levels"

        better = self.running[0] > self.image[0]
        if better == running:
            action = "the exported ones are better"
        else:
            action = f"export again {'with' if better else 'without'} --running-stats"
        return (
            f"Trained with BatchNorm at batch {batch}. On {self.pairs} held-out pairs: "
            f"{figures(self.image)} with the statistics of each picture, {figures(self.running)} "
            f"with the running averages: {action}."
        )


def compare(spec: ExportSpec, config: MethodConfig, held_out: Dataset) -> Comparison:
    """Compare both kinds of statistics on up to 16 pairs, at the training size.

    held_out: a paired data set.
    """
    augment = augmentation(config, training=False)
    chosen = spread(MOST, len(held_out))
    batch = fixed_batch(held_out, augment, chosen)
    image, running = (
        _distances(replace(spec, statistics=statistics), batch)
        for statistics in ("image", "running")
    )
    return Comparison(len(chosen), image, running)


@torch.no_grad()
def _distances(spec: ExportSpec, batch: dict[str, torch.Tensor]) -> tuple[float, float]:
    """The mean PSNR in dB and the mean L1 in grey levels of the translated pairs."""
    pixels = Pixels(spec).eval()
    inputs = _stored(batch["a"], spec.intensity_in)
    truths = _stored(batch["b"], spec.intensity_out)
    known = [batch[name] for name in ("a_valid", "b_valid") if name in batch]
    valid = torch.stack(known).amin(0) if known else torch.ones(*truths.shape[:3], 1)
    differences = []
    for a, b, where in zip(inputs, truths, valid, strict=True):
        difference = levels(spec, pixels(a[None])[0].numpy(), b.numpy())
        inside = difference[where[..., 0].numpy() > 0]  # missing pixels have no truth
        if inside.size:
            differences.append(inside)
    if not differences:
        raise DataError("The held-out pairs have no pixel with a value.")
    mean_psnr = float(np.mean([psnr(difference) for difference in differences]))
    return mean_psnr, float(np.mean([np.abs(difference).mean() for difference in differences]))


def _stored(pictures: torch.Tensor, intensity: Intensity | None) -> torch.Tensor:
    """A batch of samples [N, H, W, C] as stored values."""
    if intensity is None:
        return pictures
    return torch.from_numpy(intensity.from_network(pictures.numpy()))
