"""Evaluating a folder of translations, or a model on a folder, against real pictures."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.console import Console

from img2img.evaluate.features import Extractor
from img2img.evaluate.measure import Case, Evaluation, Maker, Measuring
from img2img.evaluate.segmentation import Segmenter
from img2img.files import by_name


def folder_cases(folder: Path, real: Path | None = None, to: str | None = None) -> list[Case]:
    """Every picture of the folder, with the real one of its relative path without suffix."""
    truths = by_name(real) if real else {}
    target = (to,) if to else None
    return [Case(name, path, truths.get(name), target) for name, path in by_name(folder).items()]


def evaluate(
    real: Path,
    folder: Path,
    maker: Maker,
    eye: Extractor,
    console: Console,
    to: str | None = None,
    wanted: Sequence[str] = (),
    seed: int = 0,
    times: int = 200,
    segmenter: Segmenter | None = None,
    known: dict[Path, np.ndarray] | None = None,
) -> Evaluation:
    """Compare translations of a folder (or a folder of them) with a folder of real pictures.

    Where every one has a real picture of its name, that is its truth, and the paired metrics are
    measured, too. wanted: names of metrics, by default all that there are enough pictures for.
    known: features of real folders, kept between calls. Raises DataError for folders without
    pictures and for metrics that so few pictures can't carry.
    """
    cases = folder_cases(folder, real, to)
    reals = list(by_name(real).values())
    measuring = Measuring(eye, console, wanted, seed, times, segmenter)
    measuring.require([(len(reals), len(cases))], bool(maker.back))
    known = {} if known is None else known
    if real not in known:
        known[real] = measuring.see(reals).features
    measuring.way("", maker, cases, reals, known[real])
    result = measuring.result
    result.protocol = {
        "real": f"{len(reals)} pictures of {real.name}",
        "fake": f"{len(cases)} pictures of {maker.describe(folder.name)}",
        **measuring.protocol(),
        "paired by": "relative path without suffix",
    }
    if segmenter:
        result.protocol["segmenter"] = segmenter.describe()
    return measuring.checked()
