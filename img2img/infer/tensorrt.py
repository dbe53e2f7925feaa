"""TensorRT as a provider: one engine for a range of sizes, built once per model and GPU."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from img2img.manifest import Manifest

if TYPE_CHECKING:
    from img2img.infer.session import Session

MOST_PICTURES = 8  # of a batch
MOST_PIXELS = 512  # of a side; memory for the largest batch is reserved, so it is not more


def options(folder: Path, half: bool, manifest: Manifest | None) -> dict[str, str]:
    """Options of onnxruntime's provider. folder: of the model's engines. manifest: of a bundle,
    whose engine is for all sizes up to the largest; None for another graph, which gets one for the
    sizes that it has run with, built anew when a new one comes.
    """
    cached = {
        "trt_engine_cache_enable": "1",
        "trt_engine_cache_path": str(folder),
        "trt_timing_cache_enable": "1",
        "trt_timing_cache_path": str(folder),
        "trt_fp16_enable": "1" if half else "0",  # TensorRT converts the graph itself
    }
    if manifest is None:
        return cached
    height, width = manifest.trained_size.shape
    side = largest_side(manifest)
    return cached | {
        "trt_profile_min_shapes": _shapes(manifest, 1, 1, 1),
        "trt_profile_opt_shapes": _shapes(manifest, MOST_PICTURES, height, width),  # fastest there
        "trt_profile_max_shapes": _shapes(manifest, MOST_PICTURES, side, side),
    }


def largest_side(manifest: Manifest) -> int:
    """The side, px, of the largest pictures that an engine takes."""
    return max(MOST_PIXELS, *manifest.trained_size.shape)


def _shapes(manifest: Manifest, pictures: int, height: int, width: int) -> str:
    """The shapes of all inputs in the provider's notation."""
    shapes = [f"image:{pictures}x{height}x{width}x{manifest.in_channels}"]
    if manifest.labels.sets:
        shapes.append(f"domain:{pictures}x{manifest.labels.width}")
    return ",".join(shapes)


class RangedSession:
    """A session of an engine, and another for the pictures that are too large for it."""

    def __init__(self, engine: "Session", side: int, open_other: Callable[[], "Session"]):
        """side: of the largest pictures that the engine takes, px. open_other: opens the other
        session, when the first larger picture comes.
        """
        self._engine, self._side, self._open_other = engine, side, open_other
        self._other: Session | None = None
        self._opening = threading.Lock()

    def run(self, outputs: None, feed: dict[str, np.ndarray]) -> list[np.ndarray]:
        """All outputs, in the graph's order."""
        pictures, height, width = feed["image"].shape[:3]
        if pictures <= MOST_PICTURES and max(height, width) <= self._side:
            return self._engine.run(outputs, feed)
        with self._opening:
            if self._other is None:
                self._other = self._open_other()
        return self._other.run(outputs, feed)
