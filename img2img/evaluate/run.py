"""Evaluating a folder of translations, or a model on a folder, against real pictures."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import track

from img2img.data.intensities import SEEN, fit_intensities, is_raster
from img2img.data.pages import pages_of
from img2img.data.parts import stacks
from img2img.data.sources import Sources
from img2img.errors import DataError, UsageError
from img2img.evaluate.cases import Case, Kinds, Translations
from img2img.evaluate.features import Extractor
from img2img.evaluate.measure import Evaluation, Evaluator
from img2img.evaluate.segmentation import Segmenter
from img2img.evaluate.units import Units
from img2img.files import PassedOver, pictures, spread, stem
from img2img.manifest import Manifest


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
    real_features: dict[tuple[Path, Kinds, int], np.ndarray] | None = None,
    further: Sequence[Path] = (),
) -> Evaluation:
    """Compare the translations of a folder's pictures with a folder of real pictures.

    Where every translation has a real picture of its name, that is its ground truth, and the paired
    metrics are measured, too: those of values in their units. Distances are those of photographs,
    or of the false colors of values. wanted: names of metrics, by default all for which there are
    enough pictures. real_features: a cache, which the caller keeps between calls. further: the
    folders of the model's further inputs, in their order.

    Files of values with several pages are compared page by page.

    Raises DataError for folders without pictures, for files with other numbers of pages than their
    ground truths, for wanted metrics that would need more, for
    files of another kind, for files that are not in all folders of inputs, and where a part of the
    files of values has no ground truth; UsageError for another number of folders than of inputs.
    """
    cases, reals = folder_cases(folder, real, to), pictures(real)
    if translations.translator:
        cases = with_further(cases, translations.translator.manifest, [folder, *further])
    _require_kinds(cases, reals, translations)
    if has_pages(translations):
        reals = tuple(page for pages in pages_of(reals, "each") for page in pages)
        cases = pages_of_cases(cases)
    units = _units(cases, translations, console) if translations.kinds.outputs else None
    evaluator = Evaluator(
        network,
        console,
        wanted,
        seed,
        resamples,
        segmenter,
        trained=translations.feature_networks,
        units=units,
    )
    evaluator.require([(len(reals), len(cases))], bool(translations.back))
    real_features = {} if real_features is None else real_features
    key = (real, translations.kinds, translations.channels)
    if key not in real_features:
        real_features[key] = evaluator.activations(reals, translations).features
    evaluator.measure("", translations, cases, reals, real_features[key])
    result = evaluator.result
    result.protocol = {
        "real": f"{len(reals)} pictures of {real.name}",
        "fake": f"{len(cases)} pictures of {translations.describe(folder.name)}",
        **evaluator.protocol(),
        "paired by": "relative path without suffix",
    }
    if units and translations.kinds.outputs:
        result.protocol["ranges"] = units.describe()
        result.protocol["shown"] = translations.kinds.outputs.describe_show()
    if segmenter:
        result.protocol["segmenter"] = segmenter.describe()
    return evaluator.complete_result()


def has_pages(translations: Translations) -> bool:
    """Whether each page of a file is a picture; not of photographs, and not for a model that takes
    or gives all pages, or the first one, as a picture.
    """
    inputs, outputs = translations.kinds
    if outputs is None or translations.translator is None:
        return outputs is not None
    parts = [outputs, *(inputs.inputs if inputs else ())]
    return all(part.pages == "each" for part in parts if not part.photographs)


def pages_of_cases(cases: Sequence[Case]) -> list[Case]:
    """Of each case itself, or one for each page of its files, by their names."""
    files = list(dict.fromkeys(file for case in cases for file in _files(case)))
    pages = dict(zip(files, pages_of(files, "each"), strict=True))
    return [page for case in cases for page in _pages_of_case(case, pages)]


def _files(case: Case) -> tuple[Path, ...]:
    return (case.path, *((case.truth,) if case.truth else ()), *case.further)


def _pages_of_case(case: Case, pages: Mapping[Path, Sequence[Path]]) -> list[Case]:
    """pages: of each file, by their names."""
    files = _files(case)
    each = [pages[file] for file in files]
    if len({len(pages) for pages in each}) > 1:
        raise DataError(
            f"{', '.join(map(str, files))} have different numbers of pages: "
            f"{', '.join(str(len(pages)) for pages in each)}. Give files with as many pages as "
            "each other."
        )
    if len(each[0]) == 1:
        return [case]
    cases = []
    for path, *others in zip(*each, strict=True):
        truth, further = (others[0], others[1:]) if case.truth else (None, others)
        name = f"{case.name}/{path.name}"
        cases.append(replace(case, name=name, path=path, truth=truth, further=tuple(further)))
    return cases


def with_further(cases: Sequence[Case], manifest: Manifest, folders: Sequence[Path]) -> list[Case]:
    """The cases of the first folder with the files of a model's further inputs. Raises DataError
    for files that are not in all folders, and UsageError for another number of them.
    """
    parts = manifest.intensity_in.parts if manifest.intensity_in else ()
    if len(folders) != max(len(parts), 1):
        names = ", ".join(part.name for part in parts)
        wanted = f"{len(parts)} folders of inputs, in this order: {names}" if parts else "one"
        raise UsageError(f"{manifest.name} takes {wanted}.")
    if not parts:
        return list(cases)
    _, inputs = stacks(Sources(a=folders[0], more_a=tuple(folders[1:])), PassedOver())
    if inputs.alone:
        raise DataError(
            f"{len(inputs.alone)} files are not in all folders of inputs (first: "
            f"{inputs.alone[0]}). Remove them, or add the others."
        )
    return [replace(case, further=inputs.further[case.path]) for case in cases]


def kinds_of_files(files: Sequence[Path], show: Sequence[str] = ()) -> Kinds:
    """What the values of translations mean that come without a model: the range is that which
    `auto` chooses for the files.

    show: the setting, in which they are b. Raises DataError for files that differ in type or bands,
    and UsageError for bands and stretches that can't be had.
    """
    pages = [page for of_file in pages_of(files, "each") for page in of_file]
    intensities = fit_intensities({"b": pages}, ("b=auto",), (), show=show, for_networks=False)
    return Kinds(outputs=intensities["b"])


def _require_kinds(
    cases: Sequence[Case], reals: Sequence[Path], translations: Translations
) -> None:
    """Raises DataError for values among files that are to be photographs."""
    kinds = translations.kinds
    of_cases = kinds.inputs if translations.translator else kinds.outputs
    for files, kind in ((reals, kinds.outputs), ([case.path for case in cases], of_cases)):
        some = [] if kind else [files[i] for i in spread(SEEN, len(files)) if is_raster(files[i])]
        if some:
            raise DataError(
                f"{some[0]} has values, and is not a photograph, as the others are. Both folders "
                "must be of one kind."
            )


def _units(cases: Sequence[Case], translations: Translations, console: Console) -> Units:
    """What values are measured by: the range of the model, or of all truths.

    Raises DataError where a part of the files has no ground truth.
    """
    kind = translations.kinds.outputs
    assert kind  # of values
    without = [case.name for case in cases if not case.truth]
    if 0 < len(without) < len(cases):
        raise DataError(
            f"{len(without)} of {len(cases)} files have no real one of the same name (first: "
            f"{without[0]}). Remove them, or add the others."
        )
    if translations.translator or without:
        return Units.of_model(kind)
    truths = track([case.truth for case in cases], "ranges", console=console, transient=True)
    return Units.of_truths(kind.bands, (translations.read(path) for path in truths if path))
