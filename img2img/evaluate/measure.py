"""Metrics of translations: what each needs, their intervals, and what is wrong in passing."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import track

from img2img import __version__, images
from img2img.errors import DataError, UsageError
from img2img.evaluate import diagnose, metrics
from img2img.evaluate.diagnose import Finding
from img2img.evaluate.distances import (
    NEIGHBOURS,
    Kernel,
    Neighbours,
    Statistic,
    bootstrap,
    frechet,
    inception_score,
    nearest,
)
from img2img.evaluate.features import Extractor, Seen, extract, perceptual
from img2img.evaluate.segmentation import Segmenter
from img2img.files import spread
from img2img.infer.translator import Translator

PAIRED: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "l1": metrics.l1,
    "psnr": metrics.psnr,
    "ssim": metrics.ssim,
    "lite0_perceptual": perceptual,
}
CYCLE = {f"cycle_{name}": measure for name, measure in PAIRED.items()}
AROUND = ("precision", "recall", "density", "coverage")
HIGHER_IS_BETTER = {"psnr", "ssim", "cycle_psnr", "cycle_ssim", "is", *AROUND, *Segmenter.METRICS}
FEWEST = 50  # pictures in each set, below which no distance between sets says anything
FEWEST_IS = 1000
DIAGNOSED = 64  # pictures that the checks look at
MIDDLE = 512  # pixels of them


@dataclass(frozen=True)
class Metric:
    """One number with its 95 % interval (None where no bootstrap was asked for)."""

    name: str
    value: float
    low: float | None
    high: float | None
    better: str  # "higher" or "lower"
    pictures: int  # how many fakes it is over


@dataclass(frozen=True)
class Case:
    """One translation that is measured: of which file, to what, and what it should look like."""

    name: str
    path: Path
    truth: Path | None = None
    to: str | np.ndarray | None = None  # domain or label vector, where the model has a choice
    was: np.ndarray | None = None  # the picture's own labels, to which the way back leads
    target: str = ""  # the domain's name, of one among several


@dataclass
class Evaluation:
    """All numbers, what was left out and why, and how they were made."""

    metrics: list[Metric] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    protocol: dict[str, object] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)  # signs of trouble in these pictures
    examples: dict[str, list[str]] = field(default_factory=dict)  # files, for findings, by way
    scored_by: str = ""
    scores: dict[str, float] = field(default_factory=dict)  # by case; less is better
    cases: dict[str, Case] = field(default_factory=dict)  # by name

    def as_dict(self) -> dict[str, object]:
        """For JSON: without the cases, which are for showing them."""
        return {name: value for name, value in asdict(self).items() if name != "cases"}


@dataclass(frozen=True)
class Maker:
    """Makes the translation of a case: by a model, or by reading it from its file."""

    translator: Translator | None = None
    back: Translator | None = None  # the way back of a cycle

    @property
    def channels(self) -> int:
        """Of the translations, and so of the real pictures that they are compared with."""
        return self.translator.manifest.out_channels if self.translator else 3

    def describe(self, folder: str) -> str:
        if self.translator is None:
            return folder
        made = self.translator
        where = f"on {made.provider} in {made.precision}"
        return f"{made.manifest.name} (sha256 {made.sha256[:16]}, {where}) of {folder}"

    def make(self, case: Case) -> tuple[np.ndarray, np.ndarray]:
        """The case's file, and the translation: uint8 [H, W, C]."""
        if self.translator is None:
            pixels = images.read(case.path).pixels
            return pixels, pixels
        pixels = images.read(case.path, self.translator.manifest.in_channels).pixels
        return pixels, self.translator([pixels], to=case.to)[0]

    def remake(self, case: Case, output: np.ndarray) -> np.ndarray | None:
        """What the cycle makes of the translation, where there is a way back."""
        if self.back is None or output.shape[-1] != self.back.manifest.in_channels:
            return None
        return self.back([output], to=case.was)[0]


class Measuring:
    """Gathers the metrics of one or several ways, with what every one of them needs."""

    def __init__(
        self,
        eye: Extractor,
        console: Console,
        wanted: Sequence[str] = (),
        seed: int = 0,
        times: int = 200,
        segmenter: Segmenter | None = None,
        more: Sequence[str] = (),
    ):
        """more: names of metrics that the caller adds. UsageError for one that nobody knows."""
        self.eye, self.console, self.wanted = eye, console, wanted
        self.seed, self.times, self.segmenter = seed, times, segmenter
        self.result = Evaluation()
        sets = [eye.kernel, *AROUND, eye.frechet, *(["is"] if eye.name == "inception" else [])]
        parts = Segmenter.METRICS if segmenter else ()
        known = [*sets, *PAIRED, *CYCLE, *parts, *more]
        if unknown := [name for name in wanted if name not in known]:
            there = ", ".join(known)
            raise UsageError(f"There is no metric {unknown[0]} with {eye.name}; there are {there}.")

    def wants(self, name: str) -> bool:
        return not self.wanted or name in self.wanted

    def protocol(self) -> dict[str, object]:
        eye = self.eye
        return {
            "features": f"{eye.name}, weights sha256 {eye.sha256[:16]}",
            "resize": f"Lanczos to {eye.side} px, of decoded pictures in both sets",
            "interval": f"95 %, basic bootstrap of {self.times}, seed {self.seed}; none of "
            f"{self.eye.frechet} and IS, which resampling shifts",
            "neighbours": NEIGHBOURS,
            "img2img": __version__,
        }

    def least(self, name: str) -> int:
        """The fewest pictures in a set that carry the metric."""
        # Below one picture a feature the Frechet distance's covariance is not known.
        return {self.eye.frechet: self.eye.dimensions, "is": FEWEST_IS}.get(name, FEWEST)

    def require(self, sizes: Sequence[tuple[int, int]], cycle: bool) -> None:
        """DataError, before any work, for a wanted metric that can't be had."""
        for name in self.wanted:
            if name in (self.eye.kernel, *AROUND, self.eye.frechet, "is"):
                for counts in sizes:
                    if min(counts) < self.least(name):
                        raise _misleading(name, self._too_few(name, counts))
            if name in CYCLE and not cycle:
                raise _misleading(name, "there is no way back (give --back)")

    def checked(self) -> Evaluation:
        """The result; DataError where a wanted metric is not among it."""
        have = {metric.name.rpartition("/")[2] for metric in self.result.metrics}
        for name in self.wanted:
            if name not in have:
                reasons = self.result.left_out.items()
                why = [reason for key, reason in reasons if key.rpartition("/")[2] == name]
                raise _misleading(name, (why or ["there is nothing to measure it on"])[0])
        return self.result

    def see(self, files: Sequence[Path], channels: int) -> Seen:
        """What the network sees in real pictures, read as translations of `channels` are."""
        shown = track(files, "real", console=self.console, transient=True)
        return extract(self.eye, (images.read(p, channels).pixels[..., :3] for p in shown))

    def way(
        self,
        prefix: str,
        maker: Maker,
        cases: Sequence[Case],
        reals: Sequence[Path],
        real: np.ndarray,
    ) -> Seen:
        """Translate and measure against the features of the real ones; names get the prefix."""
        passing = _Passing(self, maker, cases)
        title = f"translations {prefix}".rstrip(" /")
        shown = track(cases, title, console=self.console, transient=True)
        seen = extract(self.eye, (passing.output(case) for case in shown))
        fake = seen.features
        with self.console.status("measuring distances"):
            self._add_sets(prefix, real, fake, seen.logits)
        passing.add_metrics(prefix)
        by_truth = len(passing.paired["l1"]) == len(cases)
        scores = passing.paired["l1"] if by_truth else nearest(fake, real).tolist()
        by = f"distance to the nearest real picture, {self.eye.name} features"
        self.result.scored_by = "l1" if by_truth else by
        self.result.cases |= {case.name: case for case in cases}
        self.result.scores |= dict(zip((case.name for case in cases), scores, strict=True))
        self._diagnose(prefix.strip("/") or cases[0].path.parent.name, passing, reals, real, fake)
        return seen

    def add(
        self, name: str, statistic: Statistic, sizes: tuple[int, ...], interval: bool = True
    ) -> None:
        """The statistic's value over all pictures, with its interval; name: as `prefix/metric`."""
        better = "higher" if name.rpartition("/")[2] in HIGHER_IS_BETTER else "lower"
        if interval and self.times:
            found = bootstrap(statistic, sizes, self.seed, self.times)
            metric = Metric(name, found.value, found.low, found.high, better, sizes[-1])
        else:
            [value] = statistic(*(np.ones((1, size)) for size in sizes))
            metric = Metric(name, float(value), None, None, better, sizes[-1])
        self.result.metrics.append(metric)

    def add_mean(self, name: str, values: Sequence[float]) -> None:
        array = np.array(values)
        self.add(name, lambda weights: weights @ array / weights.sum(1), (len(array),))

    def _add_sets(
        self, prefix: str, real: np.ndarray, fake: np.ndarray, logits: np.ndarray
    ) -> None:
        """The distances between the two sets, the one that few pictures bias least first."""
        sizes = (len(real), len(fake))
        near = cache(lambda: Neighbours(real, fake))
        offered: dict[str, Callable[[], Statistic]] = {
            self.eye.kernel: lambda: Kernel(real, fake),
            **{name: lambda name=name: lambda a, b: near()(a, b)[name] for name in AROUND},
            self.eye.frechet: lambda: lambda *_: np.array([frechet(real, fake)]),
        }
        if self.eye.name == "inception":
            offered["is"] = lambda: lambda *_: np.array([inception_score(logits)])
        # A resample's doubles shift these by more than the spread: no interval would be true.
        shifted = (self.eye.frechet, "is")
        for name, statistic in offered.items():
            if min(sizes) < self.least(name):
                self.result.left_out[f"{prefix}{name}"] = self._too_few(name, sizes)
            elif self.wants(name):
                self.add(f"{prefix}{name}", statistic(), sizes, name not in shifted)

    def _too_few(self, name: str, sizes: tuple[int, int]) -> str:
        return f"{min(sizes):,} pictures in a set, {self.least(name):,} are the least"

    def _diagnose(
        self,
        way: str,
        passing: "_Passing",
        reals: Sequence[Path],
        real: np.ndarray,
        fake: np.ndarray,
    ) -> None:
        channels = passing.maker.channels
        chosen = (reals[index] for index in spread(DIAGNOSED, len(reals)))
        some = [_middle(images.read(path, channels).pixels) for path in chosen]
        source, output, truth = passing.sources, passing.outputs, passing.truths
        dropped = diagnose.dropping(way, real, fake, self.seed)
        found = [
            diagnose.collapse(way, source or some, output, some),
            diagnose.checkerboard(way, output, some),
            dropped,
        ]
        if source:
            paired = len(truth) == len(source)
            shown = truth if paired else some
            found.append(diagnose.colour_inversion(way, source, output, shown, paired))
        if passing.noisy:
            clean, noisy = float(np.mean(passing.clean)), float(np.mean(passing.noisy))
            found.append(diagnose.cheating(way, clean, noisy))
        if dropped:
            self.result.examples[way] = [str(reals[index]) for index in dropped.pictures]
        self.result.findings += [f for f in found if f]


class _Passing:
    """What is measured on each translation while it passes by on its way to the features."""

    def __init__(self, measuring: Measuring, maker: Maker, cases: Sequence[Case]):
        self.measuring, self.maker, self.cases = measuring, maker, cases
        wanted = {name: f for name, f in PAIRED.items() if name == "l1" or measuring.wants(name)}
        self.metrics = wanted
        self.paired: dict[str, list[float]] = {name: [] for name in wanted}
        self.cycle: dict[str, list[float]] = {n: [] for n in CYCLE if measuring.wants(n)}
        self.clean: list[float] = []  # L1 of the way back, of the pictures for the checks
        self.noisy: list[float] = []  # and after noise on the translation
        self.confusions: list[np.ndarray] = []
        self.chosen, self.count = set(spread(DIAGNOSED, len(cases))), 0
        # A few pictures for the checks; sources only where a model made the outputs.
        self.sources: list[np.ndarray] = []
        self.outputs: list[np.ndarray] = []
        self.truths: list[np.ndarray] = []

    def output(self, case: Case) -> np.ndarray:
        """The translation, uint8 [H, W, 1 or 3]: without alpha."""
        source, pixels = self.maker.make(case)
        kept = self.count in self.chosen
        self.count += 1
        if case.truth:
            truth = images.read(case.truth, pixels.shape[-1]).pixels
            if truth.shape != pixels.shape:
                truth = images.resize(truth, pixels.shape[1], pixels.shape[0])
            for name, measure in self.metrics.items():
                self.paired[name].append(measure(pixels, truth))
            if kept:
                self.truths.append(_middle(truth))
        if self.cycle:
            self._add_cycle(case, source, pixels, kept)
        if self.measuring.segmenter:
            self.confusions.append(self.measuring.segmenter.confusion(case.name, pixels))
        if kept:
            self.outputs.append(_middle(pixels))
            if self.maker.translator:
                self.sources.append(_middle(source))
        return pixels[..., :3]

    def add_metrics(self, prefix: str) -> None:
        measuring, result = self.measuring, self.measuring.result
        there, count = len(self.paired["l1"]), len(self.cases)
        if there == count:
            for name, values in self.paired.items():
                if measuring.wants(name):
                    measuring.add_mean(f"{prefix}{name}", values)
        elif not any(case.target for case in self.cases):  # in another domain nothing is the truth
            found = f"only {there} of {count} fakes have" if there else "no fake has"
            why = f"{found} a real picture of the same name"
            result.left_out |= dict.fromkeys(map(prefix.__add__, PAIRED), why)
        for name, values in self.cycle.items():
            if values:
                measuring.add_mean(f"{prefix}{name}", values)
        if self.confusions:
            whole = np.stack(self.confusions)
            for name, score in Segmenter.METRICS.items():
                if measuring.wants(name):
                    measuring.add(
                        f"{prefix}{name}",
                        lambda weights, score=score: np.array(
                            [score(np.tensordot(w, whole, 1)) for w in weights]
                        ),
                        (len(whole),),
                    )

    def _add_cycle(self, case: Case, source: np.ndarray, pixels: np.ndarray, kept: bool) -> None:
        again = self.maker.remake(case, pixels)
        if again is None or again.shape != source.shape:
            return
        for name, values in self.cycle.items():
            values.append(CYCLE[name](again, source))
        if kept:
            self.clean.append(metrics.l1(again, source))
            noisy = self.maker.remake(case, diagnose.noisy(pixels, self.count))
            self.noisy.append(metrics.l1(noisy, source))


def _middle(pixels: np.ndarray) -> np.ndarray:
    """At most 512 px of it in its own resolution: the checks keep dozens of pictures."""
    top, left = (max(side - MIDDLE, 0) // 2 for side in pixels.shape[:2])
    return pixels[top : top + MIDDLE, left : left + MIDDLE].copy()


def _misleading(name: str, why: str) -> DataError:
    return DataError(f"The metric {name} would mislead here: {why}.")
