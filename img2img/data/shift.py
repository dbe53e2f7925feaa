"""Alignment of the two pictures of a pair."""

from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
from rich.console import Console
from rich.progress import track

from img2img.data.findings import SHOWN, Finding
from img2img.errors import DataError

SIDE = 256  # pixels at which the shift is measured
PAIRS_MEASURED = 200
SHIFTED, CLEAR = 0.03, 0.4  # fraction of the side; correlation peak, about 0.7 for aligned edges


def shift_of(a: np.ndarray, b: np.ndarray) -> tuple[float, float]:
    """The shift between a and b, uint8 [H, W, 3], as a fraction of the side, and its confidence (0
    to 1), by phase correlation of their edges, which pictures of two styles have in common.
    """

    def edges(pixels: np.ndarray) -> np.ndarray:
        small = cv2.resize(pixels, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
        gray = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)
        wide = cv2.GaussianBlur(gray, (0, 0), 2).astype(np.float32)
        across, down = cv2.Sobel(wide, cv2.CV_32F, 1, 0), cv2.Sobel(wide, cv2.CV_32F, 0, 1)
        return cv2.magnitude(across, down)

    window = cv2.createHanningWindow((SIDE, SIDE), cv2.CV_32F)
    (x, y), clear = cv2.phaseCorrelate(edges(a), edges(b), window)
    return float(np.hypot(x, y)) / SIDE, float(clear)


def shifted_pairs(
    files: Sequence[Path],
    read_pair: Callable[[int], tuple[np.ndarray, np.ndarray]],
    console: Console,
) -> list[Finding]:
    """A finding if some of at most 200 pairs are shifted. read_pair: the pair (RGB) at an index of
    `files`, which name the pairs.
    """
    chosen = range(0, len(files), max(1, len(files) // PAIRS_MEASURED))
    far, clear = [], 0
    for index in track(chosen, "pairs", console=console, transient=True):
        try:
            a, b = read_pair(index)
        except DataError:
            continue  # the survey of the files reports it
        shift, certainty = shift_of(np.ascontiguousarray(a), np.ascontiguousarray(b))
        if certainty > CLEAR:
            clear += 1
            if shift > SHIFTED:
                far.append(f"{files[index]} by {100 * shift:.0f} % of the side")
    if not far:
        return []
    what = f"{len(far)} of the {clear} pairs whose shift is measurable are misaligned."
    return [Finding("warning" if 4 * len(far) > clear else "note", what, far[:SHOWN])]
