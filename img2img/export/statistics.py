"""Which statistics a BatchNorm had better go by, the picture's or the running averages."""

from dataclasses import dataclass, replace

import numpy as np
import torch

from img2img.data.dataset import Dataset
from img2img.data.stream import fixed_batch
from img2img.export.graph import Pixels
from img2img.export.parity import psnr
from img2img.files import spread
from img2img.methods.base import ExportSpec
from img2img.methods.config import MethodConfig
from img2img.training.plan import augmentation

MOST = 16  # pairs that are looked at


@dataclass(frozen=True)
class Comparison:
    """How near translations come to the truths of held-out pairs: PSNR in dB, L1 in grey levels."""

    pairs: int
    image: tuple[float, float]  # by each picture's own statistics
    running: tuple[float, float]  # by the averages of training

    def advice(self, batch: int, running: bool) -> str:
        """A line for someone who exports; batch: of the training; running: what is exported now."""

        def figures(measured: tuple[float, float]) -> str:
            return f"{measured[0]:.1f} dB, L1 {measured[1]:.1f} grey levels"

        better = self.running[0] > self.image[0]
        if better == running:
            what = "what is exported is the better"
        else:
            what = f"export again {'with' if better else 'without'} --running-stats"
        return (
            f"Trained with BatchNorm at batch {batch}. Against the truths of {self.pairs} held-out "
            f"pairs: {figures(self.image)} by each picture's own statistics, "
            f"{figures(self.running)} by the running averages: {what}."
        )


def compare(spec: ExportSpec, config: MethodConfig, held_out: Dataset) -> Comparison:
    """Both kinds of statistics on up to 16 of the pairs, at the size of the training.

    held_out: of a paired layout.
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
    pixels = Pixels(spec).eval()
    apart = [
        pixels(a[None])[0].numpy().astype(int) - b.numpy()
        for a, b in zip(batch["a"], batch["b"], strict=True)
    ]
    return float(np.mean([psnr(d) for d in apart])), float(
        np.mean([np.abs(d).mean() for d in apart])
    )
