"""Several runs side by side on one page: the same inputs, the metrics, the losses, the settings."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.console import Console

from img2img.errors import DataError, UsageError
from img2img.evaluate import report
from img2img.evaluate.cases import Case, Kinds, Translations
from img2img.evaluate.diagnose import LOG
from img2img.evaluate.features import extractor
from img2img.evaluate.measure import Evaluation
from img2img.evaluate.run import (
    evaluate,
    folder_cases,
    has_pages,
    pages_of_cases,
    with_further,
)
from img2img.infer.translator import Translator


def compare(
    runs: list[Path],
    inputs: Sequence[Path],
    real: Path | None,
    console: Console,
    direction: str | None = None,
    to: str | None = None,
    resamples: int = 200,
    show: Sequence[str] = (),
) -> str:
    """The page, as HTML. Each run is represented by its exported model.

    inputs: folder of pictures that all models translate, or one for each of their inputs; real:
    folder of real pictures, to measure the translations against; show: the setting, in place of the
    first run's, by which the values of all runs are shown. Raises DataError for runs that are not
    exported, UsageError for two runs of the same name, for runs of photographs beside others of
    values, and for bands that can't be shown.
    """
    names = [run.resolve().name for run in runs]
    if len(set(names)) < len(names):
        raise UsageError("Two of the runs have the same name. Rename one of the folders.")
    translators = {
        name: Translator(run, "auto", direction) for name, run in zip(names, runs, strict=True)
    }
    shown = Kinds.of(translators[names[0]].manifest, show)
    models = {
        name: Translations(translator, given=Kinds.of(translator.manifest).shown_as(shown))
        for name, translator in translators.items()
    }
    if len({bool(each.kinds.outputs) for each in models.values()}) > 1:
        raise UsageError("Some runs give photographs, and others values, which can't be compared.")
    results: dict[str, Evaluation] = {}
    if real:
        trained = [t.feature_networks.values() for t in models.values()]
        network = extractor(trained={sha256 for each in trained for sha256 in each})
        real_features: dict[tuple[Path, Kinds, int], np.ndarray] = {}
        for name, translations in models.items():
            console.print(f"measuring {name}")
            results[name] = evaluate(
                real,
                inputs[0],
                translations,
                network,
                console,
                to,
                resamples=resamples,
                real_features=real_features,
                further=inputs[1:],
            )
    cases = folder_cases(inputs[0], real, to)
    for translations in models.values():
        assert translations.translator
        cases = with_further(cases, translations.translator.manifest, inputs)
    cases = _by_page(cases, list(models.values()))
    sections = [report.heading("The same inputs"), _pictures(models, cases)]
    if told := shown.describe():
        sections.append(report.paragraph(f"Bands that are shown: {told}."))
    if results:
        sections += [report.heading("Numbers"), report.metrics_table(results)]
    losses = {name: report.read_curves(run) for name, run in zip(names, runs, strict=True)}
    if any((run / LOG).exists() for run in runs):
        sections.append(report.heading("Signs of trouble during training"))
        for name, run in zip(names, runs, strict=True):
            sections += [report.paragraph(name), report.diagnosis(run)]
    terms = dict.fromkeys(term for curves in losses.values() for term in curves)
    if terms:
        sections += [report.heading("Losses and held-out distances"), report.legend(names)]
        sections += [
            report.curves(term, {name: curves.get(term) for name, curves in losses.items()})
            for term in terms
        ]
    sections += [report.heading("Settings that differ"), _settings(names, runs)]
    return report.page(" / ".join(names), *sections)


def _by_page(cases: list[Case], models: Sequence[Translations]) -> list[Case]:
    """The cases, or one for each page, where each page is a picture for the models. Raises
    UsageError for files of several pages that are one picture for some of the models.
    """
    each = [has_pages(translations) for translations in models]
    if not any(each):
        return cases
    pages = pages_of_cases(cases)
    if not all(each) and len(pages) > len(cases):
        raise UsageError(
            "Some of the runs take each page of a file as a picture, and others all pages or the "
            "first one, so they can't be compared on files of several pages. Give --inputs with "
            "files of one page."
        )
    return pages


def _pictures(models: dict[str, Translations], cases: list[Case]) -> str:
    rows, truths = [], any(case.truth for case in cases)
    for case in report.sample_of(cases):
        translated = [translations.pictures(case) for translations in models.values()]
        row: list[object] = [case.name, translated[0][0], *(output for _, output in translated)]
        if truths:
            [first, *_] = models.values()
            row.append(first.look(first.read(case.truth)) if case.truth else "-")
        rows.append(row)
    return report.table(["name", "input", *models, *(["truth"] if truths else [])], rows)


def _settings(names: list[str], runs: list[Path]) -> str:
    """A table of the settings in config.json that differ between runs, without paths."""
    configs = []
    for run in runs:
        try:
            config = json.loads((run / "config.json").read_text())
        except (OSError, ValueError):
            raise DataError(f"{run} is not a training run: it has no config.json.") from None
        shared = {k: v for k, v in config.items() if k not in ("method", "sources", "test", "name")}
        configs.append(shared | config.get("method", {}))
    keys = dict.fromkeys(key for config in configs for key in config)
    rows = [
        [key, *(json.dumps(config.get(key, "-")) for config in configs)]
        for key in keys
        if len({json.dumps(config.get(key, "-")) for config in configs}) > 1
    ]
    return report.table(["setting", *names], rows) if rows else report.paragraph("None.")
