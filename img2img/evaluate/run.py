"""Evaluating folders or a model: pictures in, metrics with their protocol out."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import track

from img2img import __version__, images
from img2img.errors import DataError, UsageError
from img2img.evaluate import metrics
from img2img.evaluate.distances import (
    NEIGHBOURS,
    Kernel,
    Neighbours,
    bootstrap,
    distances,
    frechet,
    inception_score,
)
from img2img.evaluate.features import Extractor, extract, extractor
from img2img.files import find_pictures
from img2img.infer.translator import Translator

Pictures = Iterable[tuple[str, np.ndarray]]  # name without suffix, uint8 [H, W, C]
PAIRED: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "l1": metrics.l1,
    "psnr": metrics.psnr,
    "ssim": metrics.ssim,
}
AROUND = ("precision", "recall", "density", "coverage")
HIGHER_IS_BETTER = {"psnr", "ssim", "is", *AROUND}
Statistic = Callable[..., float]  # of weights [N], one array a set
FEWEST = 50  # pictures in each set, below which no distance between sets says anything
FEWEST_IS = 1000


@dataclass(frozen=True)
class Metric:
    """One number with its 95 % interval (None where no bootstrap was asked for)."""

    name: str
    value: float
    low: float | None
    high: float | None
    better: str  # "higher" or "lower"
    pictures: int  # how many fakes it is over


@dataclass
class Evaluation:
    """All numbers, what was left out and why, and how they were made."""

    metrics: list[Metric] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    protocol: dict[str, object] = field(default_factory=dict)
    scored_by: str = ""
    scores: dict[str, float] = field(default_factory=dict)  # by picture; less is better

    def as_dict(self) -> dict[str, object]:
        return asdict(self)


@dataclass(frozen=True)
class Fakes:
    """A folder of translations; or of inputs, with the model that translates them."""

    folder: Path
    translator: Translator | None = None
    to: str | None = None

    def describe(self) -> str:
        if self.translator is None:
            return self.folder.name
        name, sha256 = self.translator.manifest.name, self.translator.sha256
        return f"{name} (sha256 {sha256[:16]}) of {self.folder.name}"

    def made_from(self, path: Path) -> tuple[np.ndarray, np.ndarray]:
        """A file of the folder, and the translation: uint8 [H, W, C]."""
        if self.translator is None:
            pixels = images.read(path).pixels
            return pixels, pixels
        pixels = images.read(path, self.translator.manifest.in_channels).pixels
        return pixels, self.translator([pixels], to=self.to)[0]


def evaluate(
    real: Path,
    fakes: Fakes,
    console: Console,
    network: str = "auto",
    weights: Path | None = None,
    wanted: Sequence[str] = (),
    seed: int = 0,
    times: int = 200,
) -> Evaluation:
    """Compare fakes with a folder of real pictures.

    Where every fake has a real picture of its name (its relative path without suffix), that is its
    truth, and the paired metrics are measured, too. wanted: names of metrics, by default all that
    there are enough pictures for. Raises DataError for folders without pictures and for metrics
    that so few pictures can't carry.
    """
    truths, files = by_name(real), by_name(fakes.folder)
    eye = extractor(network, weights)
    known = [
        eye.kernel,
        *AROUND,
        eye.frechet,
        *(["is"] if eye.name == "inception" else []),
        *PAIRED,
    ]
    if unknown := [name for name in wanted if name not in known]:
        there = ", ".join(known)
        raise UsageError(f"There is no metric {unknown[0]} with {eye.name}; there are {there}.")
    kept: list[str] = []
    paired: dict[str, list[float]] = {name: [] for name in PAIRED}

    def outputs() -> Iterator[np.ndarray]:
        """Each fake once: the paired metrics are measured in passing."""
        for name, path in track(files.items(), "fakes", console=console, transient=True):
            _, pixels = fakes.made_from(path)
            if name in truths:
                truth = images.read(truths[name], pixels.shape[-1]).pixels
                if truth.shape != pixels.shape:
                    truth = images.resize(truth, pixels.shape[1], pixels.shape[0])
                kept.append(name)
                for metric, measure in PAIRED.items():
                    paired[metric].append(measure(pixels, truth))
            yield pixels[..., :3]  # without alpha; grey is repeated there

    fake_features, fake_logits = extract(eye, outputs())
    shown = track(truths.values(), "real", console=console, transient=True)
    real_features, _ = extract(eye, (images.read(path).pixels for path in shown))
    result = Evaluation(
        protocol={
            "real": f"{len(real_features)} pictures of {real.name}",
            "fake": f"{len(fake_features)} pictures of {fakes.describe()}",
            "features": f"{eye.name}, weights sha256 {eye.sha256[:16]}",
            "resize": f"Lanczos to {eye.side} px, of decoded pictures in both sets",
            "interval": f"95 %, basic bootstrap of {times}, seed {seed}",
            "neighbours": NEIGHBOURS,
            "paired by": "relative path without suffix",
            "img2img": __version__,
        }
    )
    with console.status("measuring distances"):
        _add_sets(result, eye, real_features, fake_features, fake_logits, seed, times, wanted)
    if len(kept) == len(files):
        for name, values in paired.items():
            if not wanted or name in wanted:
                _add(result, name, _mean(np.array(values)), (len(values),), seed, times)
    elif kept:
        found = f"only {len(kept)} of {len(files)} fakes have a real picture of their name"
        result.left_out |= dict.fromkeys(PAIRED, found)
    else:
        result.left_out |= dict.fromkeys(PAIRED, "no fake has a real picture of its name")
    if len(kept) == len(files):
        result.scored_by, scores = "l1", paired["l1"]
    else:
        result.scored_by = f"distance to the nearest real picture, {eye.name} features"
        scores = distances(real_features, fake_features).min(0).tolist()
    result.scores = dict(zip(files, scores, strict=True))
    for name in wanted:
        if name in result.left_out:
            raise DataError(f"The metric {name} would mislead here: {result.left_out[name]}.")
    return result


def _add_sets(
    result: Evaluation,
    eye: Extractor,
    real: np.ndarray,
    fake: np.ndarray,
    logits: np.ndarray,
    seed: int,
    times: int,
    wanted: Sequence[str],
) -> None:
    """The distances between the two sets, the one that few pictures bias least first."""
    near, sizes = None, (len(real), len(fake))

    def around(name: str) -> Statistic:
        nonlocal near
        near = near or Neighbours(real, fake)
        return lambda a, b: near(a, b)[name]

    def fitted(a: np.ndarray, b: np.ndarray) -> float:
        return frechet(real.repeat(a.astype(int), 0), fake.repeat(b.astype(int), 0))

    def score(_: np.ndarray, b: np.ndarray) -> float:
        return inception_score(logits.repeat(b.astype(int), 0))

    # name: (the least number of pictures in a set, the statistic, bootstrap resamples)
    offered: dict[str, tuple[int, Callable[[], Statistic], int]] = {
        eye.kernel: (FEWEST, lambda: Kernel(real, fake), times),
        **{name: (FEWEST, lambda name=name: around(name), times) for name in AROUND},
        # Below one picture a feature the covariance is not known; and each resample is slow.
        eye.frechet: (eye.dimensions, lambda: fitted, min(times, 20)),
    }
    if eye.name == "inception":
        offered["is"] = (FEWEST_IS, lambda: score, min(times, 20))
    for name, (least, statistic, resamples) in offered.items():
        if min(sizes) < least:
            result.left_out[name] = f"{min(sizes):,} pictures in a set, {least:,} are the least"
        elif not wanted or name in wanted:
            _add(result, name, statistic(), sizes, seed, resamples)


def _add(
    result: Evaluation,
    name: str,
    statistic: Statistic,
    sizes: tuple[int, ...],
    seed: int,
    times: int,
) -> None:
    better = "higher" if name in HIGHER_IS_BETTER else "lower"
    if times:
        found = bootstrap(statistic, sizes, seed, times)
        metric = Metric(name, found.value, found.low, found.high, better, sizes[-1])
    else:
        value = statistic(*(np.ones(size) for size in sizes))
        metric = Metric(name, value, None, None, better, sizes[-1])
    result.metrics.append(metric)


def _mean(values: np.ndarray) -> Callable[[np.ndarray], float]:
    return lambda weights: float(weights @ values / weights.sum())


def by_name(folder: Path) -> dict[str, Path]:
    """The folder's pictures by relative path without suffix; DataError where there are none."""
    if not folder.is_dir():
        raise DataError(f"There is no folder {folder}.")
    found = {p.relative_to(folder).with_suffix("").as_posix(): p for p in find_pictures(folder)}
    if not found:
        raise DataError(f"{folder} has no pictures.")
    return found
