"""Evaluating a folder of translations, or a model on a folder, against real pictures."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.console import Console

from img2img.errors import DataError
from img2img.evaluate.features import Extractor
from img2img.evaluate.measure import Case, Evaluation, Maker, Measuring
from img2img.evaluate.segmentation import Segmenter
from img2img.files import pictures, stem


def folder_cases(folder: Path, real: Path | None = None, to: str | None = None) -> list[Case]:
    """Every picture of the folder, with the real one of its relative path without suffix."""
    truths: dict[str, list[Path]] = {}
    for path in pictures(real) if real else ():
        truths.setdefault(stem(path, real), []).append(path)
    files = pictures(folder)
    counts = Counter(stem(path, folder) for path in files)
    cases = []
    for path in files:
        name = stem(path, folder)
        found = truths.get(name, [])
        if len(found) > 1:
            raise DataError(
                f"{found[0]} and {found[1]} have the same name without suffix, so it is not clear "
                f"which of them is the truth of {path}. Remove one."
            )
        shown = name if counts[name] == 1 else path.relative_to(folder).as_posix()
        cases.append(Case(shown, path, found[0] if found else None, to))
    return cases


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
    known: dict[tuple[Path, int], np.ndarray] | None = None,
) -> Evaluation:
    """Compare translations of a folder (or a folder of them) with a folder of real pictures.

    Where every one has a real picture of its name, that is its truth, and the paired metrics are
    measured, too. wanted: names of metrics, by default all that there are enough pictures for.
    known: features of real folders, kept between calls. Raises DataError for folders without
    pictures and for metrics that so few pictures can't carry.
    """
    cases = folder_cases(folder, real, to)
    reals = pictures(real)
    measuring = Measuring(eye, console, wanted, seed, times, segmenter)
    measuring.require([(len(reals), len(cases))], bool(maker.back))
    known = {} if known is None else known
    key = (real, maker.channels)
    if key not in known:
        known[key] = measuring.see(reals, maker.channels).features
    measuring.way("", maker, cases, reals, known[key])
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
