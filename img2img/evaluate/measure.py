"""The metrics of translations against real pictures, with their intervals and protocol."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import track

from img2img import __version__
from img2img.errors import DataError, UsageError
from img2img.evaluate import diagnose, metrics
from img2img.evaluate.cases import Case, Translations
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
from img2img.evaluate.features import (
    Activations,
    Extractor,
    extract,
    part_in_training,
    perceptual,
)
from img2img.evaluate.gather import (
    CHECKED_PICTURES,
    PAIRED,
    Gathered,
    Gatherer,
    Measure,
    Samples,
    crop_sample,
)
from img2img.evaluate.segmentation import Segmenter
from img2img.evaluate.units import NAMES, Units
from img2img.files import spread

NEIGHBOURHOOD = ("precision", "recall", "density", "coverage")
HIGHER_IS_BETTER = {
    *("psnr", "ssim", "cycle_psnr", "cycle_ssim", "is"),
    *NEIGHBOURHOOD,
    *Segmenter.METRICS,
}
FEWEST = 50  # pictures in each set; below, no distance between sets means anything
FEWEST_IS = 1000


@dataclass(frozen=True)
class Metric:
    """One number with its 95 % interval (None where no bootstrap was asked for)."""

    name: str
    value: float
    low: float | None
    high: float | None
    better: str  # "higher", "lower" or "nearer 0"
    pictures: int  # how many translations it is computed over


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
        """For JSON: everything but the cases, which only the report's pictures need."""
        return {name: value for name, value in asdict(self).items() if name != "cases"}


class Evaluator:
    """Turns translations, and real pictures' features, into the metrics of one Evaluation."""

    def __init__(
        self,
        network: Extractor,
        console: Console,
        wanted: Sequence[str] = (),
        seed: int = 0,
        resamples: int = 200,
        segmenter: Segmenter | None = None,
        additional: Sequence[str] = (),
        trained: Mapping[str, str] | None = None,
        units: Units | None = None,
    ):
        """wanted: names of metrics, all by default; additional: names of metrics that the caller
        adds by itself; trained: SHA-256 of the feature networks that took part in training the
        model, by name; units: of values, which are measured against their ground truths in these.
        Raises UsageError for an unknown name.
        """
        self.network, self.console, self.wanted = network, console, wanted
        self.seed, self.resamples, self.segmenter = seed, resamples, segmenter
        self.result, self.trained, self.units = Evaluation(), trained or {}, units
        self.judges = {network.name: network.sha256}
        self.paired: dict[str, Measure] = {}  # of photographs
        if not units:
            distance = perceptual(network, self.trained.values())
            self.paired = {**PAIRED, distance.name: distance}
            self.judges[distance.lite.name] = distance.lite.sha256
        self.cycle = {f"cycle_{name}": measure for name, measure in self.paired.items()}
        sets = [network.kernel, *NEIGHBOURHOOD, network.frechet]
        sets += ["is"] if network.name == "inception" else []
        segmentation = Segmenter.METRICS if segmenter else ()
        paired = NAMES if units else (*self.paired, *self.cycle, *segmentation)
        available = [*sets, *paired, *additional]
        if unknown := [name for name in wanted if not self._names(name) & {*available}]:
            kind = " of values" if units else ""
            raise UsageError(
                f"There is no metric {unknown[0]}{kind} with {network.name}. Available metrics: "
                f"{', '.join(available)}."
            )

    def wants(self, name: str) -> bool:
        """Whether the metric is to be measured: by its name, or mae/BAND by mae."""
        return not self.wanted or bool(self._names(name) & {*self.wanted})

    def _names(self, name: str) -> set[str]:
        """The names by which a metric can be wanted: mae/BAND of values also by mae."""
        return {name, name.partition("/")[0]} if self.units else {name}

    def protocol(self) -> dict[str, object]:
        """How the numbers are made, as far as it is the same for every evaluation."""
        network = self.network
        part = part_in_training(self.judges, self.trained)
        return {
            "features": f"{network.name}, weights sha256 {network.sha256[:16]}",
            **({"feature networks": part} if part else {}),
            "resize": f"Lanczos to {network.side} px, of decoded pictures in both sets",
            "interval": f"95 %, basic bootstrap of {self.resamples}, seed {self.seed}; none of "
            f"{network.frechet} and IS, which resampling shifts",
            "neighbours": NEIGHBOURS,
            "img2img": __version__,
        }

    def require(self, sizes: Sequence[tuple[int, int]], cycle: bool) -> None:
        """Raises DataError, before any work, for a wanted metric that can't be measured.

        sizes: pictures in the real and in the translated set, of each direction or domain; cycle:
        whether there is a model of the opposite direction.
        """
        for name in self.wanted:
            if name in (self.network.kernel, *NEIGHBOURHOOD, self.network.frechet, "is"):
                for counts in sizes:
                    if min(counts) < self._fewest(name):
                        raise _misleading(name, self._too_few(name, counts))
            if name in self.cycle and not cycle:
                raise _misleading(name, "there is no model of the opposite direction (give --back)")

    def complete_result(self) -> Evaluation:
        """The result. Raises DataError where a wanted metric is missing from it."""
        measured = {metric.name.rpartition("/")[2] for metric in self.result.metrics}
        measured |= {metric.name for metric in self.result.metrics}
        for name in self.wanted:
            if name not in measured:
                reasons = [
                    reason
                    for key, reason in self.result.left_out.items()
                    if key.rpartition("/")[2] == name
                ]
                raise _misleading(name, (reasons or ["there is nothing to measure it on"])[0])
        return self.result

    def activations(
        self, files: Sequence[Path], translations: Translations
    ) -> Activations[np.ndarray]:
        """What the network computes from real pictures, read as the translations' targets."""
        paths = track(files, "real", console=self.console, transient=True)
        seen = (translations.look(translations.read(path)) for path in paths)
        return extract(self.network, (picture[..., :3] for picture in seen))

    def measure(
        self,
        prefix: str,
        translations: Translations,
        cases: Sequence[Case],
        reals: Sequence[Path],
        real: np.ndarray,
    ) -> Activations[np.ndarray]:
        """Translate the cases and measure them; the metrics' names get the prefix.

        reals: the real pictures of the target domain; real: their features, float32 [N, D].
        Returns what the network computes from the translations.
        """
        cycle = {name: measure for name, measure in self.cycle.items() if self.wants(name)}
        gatherer = Gatherer(translations, len(cases), self._compared, cycle, self.segmenter)
        title = f"translations {prefix}".rstrip(" /")
        shown = track(cases, title, console=self.console, transient=True)
        activations = extract(self.network, (gatherer.add(case) for case in shown))
        fake, gathered = activations.features, gatherer.gathered
        with self.console.status("measuring distances"):
            self._add_distances(prefix, real, fake, activations.logits)
        self._add_gathered(prefix, gathered, cases)
        self._add_scores(cases, gathered.paired, real, fake)
        direction = prefix.strip("/") or cases[0].path.parent.name
        self._add_findings(direction, gathered.samples, reals, translations, real=real, fake=fake)
        return activations

    def add(
        self, name: str, statistic: Statistic, sizes: tuple[int, ...], interval: bool = True
    ) -> None:
        """The statistic's value over all pictures, with its interval; name: as `prefix/metric`."""
        short = name.rpartition("/")[2]
        better = "higher" if short in HIGHER_IS_BETTER else "lower"
        better = "nearer 0" if short == "bias" and self.units else better
        resamples = self.resamples if interval else 0
        metric = measured(name, statistic, sizes, better, self.seed, resamples)
        self.result.metrics.append(metric)

    def add_mean(self, name: str, values: Sequence[float] | np.ndarray) -> None:
        """The mean of one value a picture, [N]."""
        self.add(name, mean_of(np.array(values)), (len(values),))

    def _compared(self, output: np.ndarray, truth: np.ndarray) -> dict[str, float]:
        """The metrics of a translation against its ground truth. L1 of photographs and MAE of
        values are always among them, because they rank the pictures.
        """
        if self.units:
            return self.units.measure(output, truth)
        measures = {name: each for name, each in self.paired.items() if self.wants(name)}
        return {name: each(output, truth) for name, each in ({"l1": metrics.l1} | measures).items()}

    def _fewest(self, name: str) -> int:
        """The fewest pictures in a set with which the metric can be trusted."""
        # With fewer pictures than features, the Frechet distance's covariance is singular.
        return {self.network.frechet: self.network.dimensions, "is": FEWEST_IS}.get(name, FEWEST)

    def _too_few(self, name: str, sizes: tuple[int, int]) -> str:
        return f"{min(sizes):,} pictures in a set, at least {self._fewest(name):,} are needed"

    def _add_distances(
        self, prefix: str, real: np.ndarray, fake: np.ndarray, logits: np.ndarray
    ) -> None:
        """The distances between the two sets, the one that few pictures bias least first."""
        sizes = (len(real), len(fake))
        neighbours = cache(lambda: Neighbours(real, fake))

        def neighbourhood(name: str) -> Callable[[], Statistic]:
            return lambda: lambda a, b: neighbours()(a, b)[name]

        statistics: dict[str, Callable[[], Statistic]] = {
            self.network.kernel: lambda: Kernel(real, fake),
            **{name: neighbourhood(name) for name in NEIGHBOURHOOD},
            self.network.frechet: lambda: lambda *_: np.array([frechet(real, fake)]),
        }
        if self.network.name == "inception":
            statistics["is"] = lambda: lambda *_: np.array([inception_score(logits)])
        # Duplicates in a resample shift these by more than their spread: no interval is right.
        without_interval = (self.network.frechet, "is")
        for name, statistic in statistics.items():
            if min(sizes) < self._fewest(name):
                self.result.left_out[f"{prefix}{name}"] = self._too_few(name, sizes)
            elif self.wants(name):
                self.add(f"{prefix}{name}", statistic(), sizes, name not in without_interval)

    def _add_gathered(self, prefix: str, gathered: Gathered, cases: Sequence[Case]) -> None:
        """The means of what was measured on each picture by itself."""
        with_truth = max(map(len, gathered.paired.values()), default=0)
        if with_truth == len(cases):
            for name, values in gathered.paired.items():
                if self.wants(name):
                    self._add_mean_of_known(f"{prefix}{name}", np.array(values))
        elif not any(case.target for case in cases):  # another domain has no ground truth
            have = f"only {with_truth} of {len(cases)} fakes have" if with_truth else "no fake has"
            reason = f"{have} a real picture of the same name"
            names = NAMES if self.units else tuple(self.paired)
            self.result.left_out |= dict.fromkeys(map(prefix.__add__, names), reason)
        for name, values in gathered.cycle.items():
            if values:
                self.add_mean(f"{prefix}{name}", values)
        if gathered.confusions:
            confusions = np.stack(gathered.confusions)
            for name, score in Segmenter.METRICS.items():
                if self.wants(name):
                    statistic = _of_confusions(score, confusions)
                    self.add(f"{prefix}{name}", statistic, (len(confusions),))

    def _add_mean_of_known(self, name: str, values: np.ndarray) -> None:
        """The mean of the values that are numbers, [N]: a picture may have none, such as SSIM of
        one that is smaller than its window.
        """
        known = values[np.isfinite(values)]
        if len(known):
            self.add_mean(name, known)
        else:
            self.result.left_out[name] = "no picture has a pixel to measure it on"

    def _add_scores(
        self,
        cases: Sequence[Case],
        paired: Mapping[str, Sequence[float]],
        real: np.ndarray,
        fake: np.ndarray,
    ) -> None:
        """Rank the cases by L1, or MAE, where all of them have a ground truth, else by their
        features.
        """
        name = "mae" if self.units else "l1"
        scores = paired.get(name, ())
        if len(scores) == len(cases):
            self.result.scored_by = name
        else:
            name = self.network.name
            self.result.scored_by = f"distance to the nearest real picture, {name} features"
            scores = nearest(fake, real).tolist()
        self.result.cases |= {case.name: case for case in cases}
        self.result.scores |= dict(zip((case.name for case in cases), scores, strict=True))

    def _add_findings(
        self,
        direction: str,
        samples: Samples,
        reals: Sequence[Path],
        translations: Translations,
        *,
        real: np.ndarray,
        fake: np.ndarray,
    ) -> None:
        chosen = (reals[index] for index in spread(CHECKED_PICTURES, len(reals)))
        seen = (translations.look(translations.read(path)) for path in chosen)
        real_pictures = [crop_sample(picture) for picture in seen]
        sources, outputs, truths = samples.sources, samples.outputs, samples.truths
        dropping = diagnose.dropping(direction, real, fake, self.seed)
        findings = [
            diagnose.collapse(direction, sources or real_pictures, outputs, real_pictures),
            diagnose.checkerboard(direction, outputs, real_pictures),
            dropping,
        ]
        if sources:
            paired = len(truths) == len(sources)
            targets = truths if paired else real_pictures
            findings.append(diagnose.colour_inversion(direction, sources, outputs, targets, paired))
        if samples.noisy:
            clean, noisy = float(np.mean(samples.clean)), float(np.mean(samples.noisy))
            findings.append(diagnose.cheating(direction, clean, noisy))
        if dropping:
            self.result.examples[direction] = [str(reals[i]) for i in dropping.pictures]
        self.result.findings += [finding for finding in findings if finding]


def measured(
    name: str,
    statistic: Statistic,
    sizes: tuple[int, ...],
    better: str,
    seed: int,
    resamples: int,
) -> Metric:
    """The statistic's value over all pictures, with its interval if there are resamples."""
    if resamples:
        estimate = bootstrap(statistic, sizes, seed, resamples)
        return Metric(name, estimate.value, estimate.low, estimate.high, better, sizes[-1])
    [value] = statistic(*(np.ones((1, size)) for size in sizes))
    return Metric(name, float(value), None, None, better, sizes[-1])


def mean_of(values: np.ndarray) -> Statistic:
    """The mean of one value a picture, [N]."""
    return lambda weights: weights @ values / weights.sum(1)


def _of_confusions(score: Callable[[np.ndarray], float], confusions: np.ndarray) -> Statistic:
    """The score of confusion matrices [N, K, K + 1], summed with the weights of each resample."""
    return lambda weights: np.array([score(np.tensordot(w, confusions, 1)) for w in weights])


def _misleading(name: str, why: str) -> DataError:
    return DataError(f"The metric {name} would mislead here: {why}.")
