"""Translations of pictures that are not photographs against their ground truths, in their units."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import track

from img2img import __version__, rasters
from img2img.data.intensities import is_raster
from img2img.data.parts import stacks
from img2img.data.sources import Sources
from img2img.errors import DataError, UsageError
from img2img.evaluate.cases import Case
from img2img.evaluate.measure import Evaluation, Metric, mean_of, measured
from img2img.evaluate.metrics import similarity
from img2img.evaluate.run import folder_cases
from img2img.files import PassedOver
from img2img.infer.translator import Translator
from img2img.rasters import Raster
from img2img.rasters.pages import names
from img2img.rasters.pages import read as read_picture
from img2img.stored import read_stored

HIGHER_IS_BETTER = {"psnr", "ssim"}
OF_SEVERAL_BANDS = ("sam", "ergas")
NAMES = ("mae", "rmse", "bias", "psnr", "ssim", *OF_SEVERAL_BANDS)


@dataclass(frozen=True)
class Compared:
    """An output and its ground truth [H, W, bands], and where both are known, bool [H, W]."""

    output: np.ndarray
    truth: np.ndarray
    known: np.ndarray


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

    Files of several pages are compared page by page.

    Raises DataError where files have no ground truth, differ from it in size, bands or pages, or
    are not in all folders of inputs, UsageError for an unknown metric or another number of inputs.
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
    cases = [page for case in cases for page in _pages(case, translator)]
    bands, width = _bands_and_ranges(cases, translator, console)
    rows: list[dict[str, float]] = []
    for case in track(cases, "translations", console=console, transient=True):
        rows.append(_measured(_compared(case, translator), bands, width))
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
    _, inputs = stacks(Sources(a=folders[0], more_a=tuple(folders[1:])), PassedOver())
    if inputs.alone:
        raise DataError(
            f"{len(inputs.alone)} files are not in all folders of inputs (first: "
            f"{inputs.alone[0]}). Remove them, or add the others."
        )
    return [replace(case, further=inputs.further[case.path]) for case in cases]


def _pages(case: Case, translator: Translator | None) -> list[Case]:
    """The case, or one for each page of its files, by their names; not for a model that takes all
    pages of a file, or the first one, as a picture.
    """
    intensity = translator.manifest.intensity_in if translator else None
    assert case.truth  # of all cases
    files = case.path, case.truth, *case.further
    if (intensity and intensity.inputs[0].pages != "each") or not any(map(is_raster, files)):
        return [case]
    counts = [header.pages if (header := rasters.header(file)) else 1 for file in files]
    if len(set(counts)) > 1:
        raise DataError(
            f"{', '.join(map(str, files))} have different numbers of pages: "
            f"{', '.join(map(str, counts))}. Give files with as many pages as each other."
        )
    pages = zip(*(names(file, counts[0]) for file in files), strict=True)
    return [
        replace(
            case,
            name=case.name if counts[0] == 1 else f"{case.name}/{path.name}",
            path=path,
            truth=truth,
            further=tuple(further),
        )
        for path, truth, *further in pages
    ]


def _bands_and_ranges(
    cases: Sequence[Case], translator: Translator | None, console: Console
) -> tuple[tuple[str, ...], np.ndarray]:
    """The names of the bands, and the width of the range of each."""
    intensity = translator.manifest.intensity_out if translator else None
    if intensity:
        if intensity.decibels:  # compared as they are stored, in powers
            low, high = (10 ** (np.array(limit) / 10) for limit in (intensity.low, intensity.high))
            return intensity.bands, high - low
        return intensity.bands, np.array(intensity.high) - np.array(intensity.low)
    names: tuple[str, ...] = ()
    low, high = np.array(np.inf), np.array(-np.inf)
    for case in track(cases, "ranges", console=console, transient=True):
        assert case.truth  # of all cases
        raster = read_picture(case.truth)
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
        truth, made = read_picture(case.truth), read_picture(case.path)
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


def _measured(pair: Compared, bands: Sequence[str], width: np.ndarray) -> dict[str, float]:
    """All metrics of one picture; NaN where it has no known pixel."""
    error = (pair.output - pair.truth)[pair.known]
    if not len(error):
        names = NAMES if len(bands) > 1 else NAMES[: -len(OF_SEVERAL_BANDS)]
        each = [f"mae/{band}" for band in bands] if len(bands) > 1 else []
        return dict.fromkeys([*names, *each], float("nan"))
    relative = float(np.square(error / width).mean())
    row = {
        "mae": float(np.abs(error).mean()),
        "rmse": float(np.sqrt(np.square(error).mean())),
        "bias": float(error.mean()),
        "psnr": min(-10 * float(np.log10(relative)), 100.0) if relative else 100.0,
        "ssim": _ssim(pair, width),
    }
    if len(bands) > 1:
        truth = pair.truth[pair.known]
        row["sam"] = _angle(pair.output[pair.known], truth)
        mean = np.abs(truth.mean(0)).clip(min=1e-12)
        row["ergas"] = float(100 * np.sqrt((np.square(error).mean(0) / mean**2).mean()))
        row |= {
            f"mae/{band}": float(value)
            for band, value in zip(bands, np.abs(error).mean(0), strict=True)
        }
    return row


def _ssim(pair: Compared, width: np.ndarray) -> float:
    """The mean of the structural similarity's map (Wang et al. 2004) over known pixels and bands;
    missing pixels are equal in both.
    """
    if min(pair.known.shape) < 11:  # the window's size
        return float("nan")
    output, truth = (np.where(pair.known[..., None], x, 0) for x in (pair.output, pair.truth))
    _, each = similarity(output / width, truth / width, 1.0)
    return float(each[pair.known].mean())


def _angle(output: np.ndarray, truth: np.ndarray) -> float:
    """The mean angle between the spectra [N, bands], in degrees; of spectra that are not 0."""
    lengths = np.linalg.norm(output, axis=1) * np.linalg.norm(truth, axis=1)
    some = lengths > 0
    if not some.any():
        return 0.0
    cosine = (output[some] * truth[some]).sum(1) / lengths[some]
    return float(np.degrees(np.arccos(cosine.clip(-1, 1))).mean())


def _mean(name: str, values: np.ndarray, seed: int, resamples: int) -> Metric:
    short = name.partition("/")[0]
    better = "nearer 0" if short == "bias" else "higher" if short in HIGHER_IS_BETTER else "lower"
    if not len(values):
        return Metric(name, float("nan"), None, None, better, 0)
    return measured(name, mean_of(values), (len(values),), better, seed, resamples)
