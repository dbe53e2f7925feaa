"""Evaluating a folder of translations, or a model on a folder, against real pictures."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.console import Console

from img2img.data.intensities import SEEN, is_raster
from img2img.errors import DataError
from img2img.evaluate.cases import Case, Translations
from img2img.evaluate.features import Extractor
from img2img.evaluate.measure import Evaluation, Evaluator
from img2img.evaluate.segmentation import Segmenter
from img2img.files import pictures, spread, stem


def folder_cases(folder: Path, real: Path | None = None, to: str | None = None) -> list[Case]:
    """A case for every picture of the folder.

    The real picture with the same relative path, whatever its suffix, is the ground truth.
    Raises DataError where there are two.
    """
    truths: dict[str, list[Path]] = {}
    if real:
        for path in pictures(real):
            truths.setdefault(stem(path, real), []).append(path)
    files = pictures(folder)
    counts = Counter(stem(path, folder) for path in files)
    cases = []
    for path in files:
        name = stem(path, folder)
        candidates = truths.get(name, [])
        if len(candidates) > 1:
            raise DataError(
                f"{candidates[0]} and {candidates[1]} differ only in their suffixes, so it is not "
                f"clear which of them is the ground truth of {path}. Remove one."
            )
        shown = name if counts[name] == 1 else path.relative_to(folder).as_posix()
        cases.append(Case(shown, path, candidates[0] if candidates else None, to))
    return cases


def evaluate(
    real: Path,
    folder: Path,
    translations: Translations,
    network: Extractor,
    console: Console,
    to: str | None = None,
    wanted: Sequence[str] = (),
    seed: int = 0,
    resamples: int = 200,
    segmenter: Segmenter | None = None,
    real_features: dict[tuple[Path, int], np.ndarray] | None = None,
) -> Evaluation:
    """Compare the translations of a folder's pictures with a folder of real pictures.

    Where every translation has a real picture of its name, that is its ground truth, and the paired
    metrics are measured, too. wanted: names of metrics, by default all for which there are enough
    pictures. real_features: a cache by folder and channels, which the caller keeps between calls.
    Raises DataError for folders without pictures and for wanted metrics that would need more.
    """
    cases = folder_cases(folder, real, to)
    reals = pictures(real)
    for files in (reals, [case.path for case in cases]):
        if values := [files[i] for i in spread(SEEN, len(files)) if is_raster(files[i])]:
            raise DataError(
                f"{values[0]} has values, and is not a photograph, as the others are. Both folders "
                "must be of one kind."
            )
    trained = translations.feature_networks
    evaluator = Evaluator(network, console, wanted, seed, resamples, segmenter, trained=trained)
    evaluator.require([(len(reals), len(cases))], bool(translations.back))
    real_features = {} if real_features is None else real_features
    key = (real, translations.channels)
    if key not in real_features:
        real_features[key] = evaluator.activations(reals, translations.channels).features
    evaluator.measure("", translations, cases, reals, real_features[key])
    result = evaluator.result
    result.protocol = {
        "real": f"{len(reals)} pictures of {real.name}",
        "fake": f"{len(cases)} pictures of {translations.describe(folder.name)}",
        **evaluator.protocol(),
        "paired by": "relative path without suffix",
    }
    if segmenter:
        result.protocol["segmenter"] = segmenter.describe()
    return evaluator.complete_result()
