"""Translations of pictures that are not photographs against their ground truths, in their units."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import track

from img2img import __version__, rasters
from img2img.data.parts import stacks
from img2img.errors import DataError, UsageError
from img2img.evaluate.cases import Case
from img2img.evaluate.measure import Evaluation, Metric, mean_of, measured
from img2img.evaluate.run import folder_cases
from img2img.evaluate.units import HIGHER_IS_BETTER, NAMES, Compared, in_units, widths_of
from img2img.files import PassedOver
from img2img.infer.translator import Translator
from img2img.rasters import Raster
from img2img.stored import read_stored


def evaluate_values(
    real: Path,
    folder: Path,
    translator: Translator | None,
    console: Console,
    to: str | None = None,
    wanted: Sequence[str] = (),
    seed: int = 0,
    resamples: int = 200,
    further: Sequence[Path] = (),
) -> Evaluation:
    """Compare every file of the folder, or its translation by a model, with the real file of the
    same relative path. further: the folders of the model's further inputs, in their order.

    Metrics are means over the pictures, of pixels that are missing in neither: mae, rmse and bias
    (output minus truth) in the files' units; psnr in dB and ssim by the range of each band, which
    is the model's, or that of all truths; with several bands also the spectral angle sam in degrees
    (Kruse et al. 1993), ergas (Wald 2000, for pictures of one resolution), and mae/BAND.

    Raises DataError where files have no ground truth, differ from it in size or bands, or are not
    in all folders of inputs, UsageError for an unknown metric or another number of inputs.
    """
    if unknown := [name for name in wanted if name.partition("/")[0] not in NAMES]:
        raise UsageError(
            f"There is no metric {unknown[0]} of values. Available metrics: {', '.join(NAMES)}."
        )
    cases = folder_cases(folder, real, to)
    if translator:
        cases = _with_further(cases, translator, [folder, *further])
    if without := [case.name for case in cases if not case.truth]:
        raise DataError(
            f"{len(without)} of {len(cases)} files have no real one of the same name (first: "
            f"{without[0]}), without which values can't be compared."
        )
    bands, width = _bands_and_ranges(cases, translator, console)
    rows: list[dict[str, float]] = []
    for case in track(cases, "translations", console=console, transient=True):
        rows.append(in_units(_compared(case, translator), bands, width))
    result = Evaluation(scored_by="mae")
    for name in rows[0]:
        if not wanted or name in wanted or name.partition("/")[0] in wanted:
            values = np.array([row[name] for row in rows])
            result.metrics.append(_mean(name, values[np.isfinite(values)], seed, resamples))
    result.scores = {case.name: row["mae"] for case, row in zip(cases, rows, strict=True)}
    result.cases = {case.name: case for case in cases}
    ranges = ", ".join(f"{name} {size:g}" for name, size in zip(bands, width, strict=True))
    result.protocol = {
        "real": f"{len(cases)} files of {real.name}",
        "fake": f"{folder.name}" + (f" by {translator.manifest.name}" if translator else ""),
        "ranges": f"{ranges} ({'the model' if translator else 'all truths'})",
        "interval": f"95 %, basic bootstrap of {resamples}, seed {seed}",
        "img2img": __version__,
    }
    return result


def _with_further(
    cases: Sequence[Case], translator: Translator, folders: Sequence[Path]
) -> list[Case]:
    """The cases with the files of the model's further inputs."""
    intensity = translator.manifest.intensity_in
    parts = intensity.parts if intensity else ()
    if len(folders) != max(len(parts), 1):
        names = ", ".join(part.name for part in parts)
        wanted = f"{len(parts)} --a, in this order: {names}" if parts else "one --a"
        raise UsageError(f"{translator.manifest.name} takes {wanted}.")
    if not parts:
        return list(cases)
    _, inputs = stacks(folders, PassedOver())
    if inputs.alone:
        raise DataError(
            f"{len(inputs.alone)} files are not in all folders of inputs (first: "
            f"{inputs.alone[0]}). Remove them, or add the others."
        )
    return [replace(case, further=inputs.further[case.path]) for case in cases]


def _bands_and_ranges(
    cases: Sequence[Case], translator: Translator | None, console: Console
) -> tuple[tuple[str, ...], np.ndarray]:
    """The names of the bands, and the width of the range of each."""
    intensity = translator.manifest.intensity_out if translator else None
    if intensity:
        return intensity.bands, widths_of(intensity)
    names: tuple[str, ...] = ()
    low, high = np.array(np.inf), np.array(-np.inf)
    for case in track(cases, "ranges", console=console, transient=True):
        assert case.truth  # of all cases
        raster = rasters.read(case.truth)
        known = raster.values[_known(raster)].astype(np.float64)
        if len(known):
            low, high = np.minimum(low, known.min(0)), np.maximum(high, known.max(0))
        names = raster.bands or tuple(str(n + 1) for n in range(raster.values.shape[2]))
    width = high - low
    if not np.isfinite(width).all():
        raise DataError("The real files have no value that is not missing.")
    return names, np.where(width > 0, width, 1)


def _compared(case: Case, translator: Translator | None) -> Compared:
    assert case.truth  # of all cases
    intensity = translator.manifest.intensity_out if translator else None
    if translator and intensity:
        truth = Raster(read_stored(case.truth, intensity).values, nodata=intensity.nodata)
        if case.further:
            [output] = translator([(case.path, *case.further)], to=case.to)
        else:
            output = translator(case.path, to=case.to)
        made = Raster(output, nodata=intensity.nodata)
    else:
        truth, made = rasters.read(case.truth), rasters.read(case.path)
    if made.values.shape != truth.values.shape:
        sizes = [
            f"{raster.values.shape[1]}x{raster.values.shape[0]} of {raster.values.shape[2]} bands"
            for raster in (made, truth)
        ]
        raise DataError(f"{case.path} is {sizes[0]}, and {case.truth} {sizes[1]}.")
    known = _known(made) & _known(truth)
    return Compared(made.values.astype(np.float64), truth.values.astype(np.float64), known)


def _known(raster: Raster) -> np.ndarray:
    """bool [H, W]: where no band is missing."""
    missing = raster.missing
    return np.ones(raster.values.shape[:2], bool) if missing is None else ~missing


def _mean(name: str, values: np.ndarray, seed: int, resamples: int) -> Metric:
    short = name.partition("/")[0]
    better = "nearer 0" if short == "bias" else "higher" if short in HIGHER_IS_BETTER else "lower"
    if not len(values):
        return Metric(name, float("nan"), None, None, better, 0)
    return measured(name, mean_of(values), (len(values),), better, seed, resamples)
