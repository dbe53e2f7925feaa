"""Looks at a run while it trains: distances on held-out pictures, and signs of failure modes.

A look does not affect training: it works on copies, and uses random numbers of its own.
"""

import copy
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from torch import Tensor

from img2img import images
from img2img.data.augment import Augment
from img2img.data.dataset import Dataset
from img2img.data.stream import fixed_batch
from img2img.errors import DataError, UsageError, install_command, needs_extra
from img2img.evaluate import diagnose, features
from img2img.evaluate.diagnose import LOG, Finding, read_findings
from img2img.evaluate.distances import Neighbours, kernel
from img2img.evaluate.features import Extractor, extract
from img2img.files import spread
from img2img.methods.base import Method
from img2img.methods.step import Batch
from img2img.nets.norm import image_statistics
from img2img.training.config import RunConfig
from img2img.training.gathered import DIAGNOSED, Gathered, flat
from img2img.training.runtime import Runtime
from img2img.training.trainer import Trainer
from img2img.writing import write_whole

CHUNK = 8
FEWEST = 20  # pictures in a set, below which the kernel distance is mostly noise
FEWEST_AROUND = 50  # the same for recall and coverage
FEWEST_HELD_OUT = 50  # pictures from which distances are measured by default
WATCHED = (
    "g/adversarial",
    "d/real",
    "d/fake",
    "d/relative",
    "d/discrepancy",
)  # oscillation shows in these losses
Stopping = Callable[[], bool]  # whether training is to stop
Result = tuple[list[Finding | None], dict[str, float]]  # findings, and columns of metrics.csv
History = Mapping[str, Sequence[float]]  # the columns of metrics.csv so far


class LookStopped(Exception):
    """A look was abandoned, because training is to stop."""


@dataclass(frozen=True)
class Look:
    """The result of a look: a row for metrics.csv, findings, and the score of the weights."""

    row: dict[str, float]
    findings: list[Finding]
    score: float | None  # the mean kernel distance of the directions; lower is better
    examples: dict[
        str, list[np.ndarray]
    ]  # by direction: real pictures of a kind that is missing in the outputs


def fit_extractor(config: RunConfig, training: Dataset, held_out: Dataset, console: Console) -> str:
    """Choose the extractor of a run's looks, or "none"; resuming the run doesn't change it.

    Raises UsageError if `extractor` can't be used, or if the run has `patience` but no distance can
    be measured.
    """
    name = _usable_extractor(config, training, held_out, console)
    if name == "none" and config.patience:
        raise UsageError(
            "--patience needs a held-out distance, and this run measures none. Hold out "
            f"{FEWEST_HELD_OUT} pictures, or {FEWEST} with --extractor, and run: "
            f"{install_command('eval')}"
        )
    judge = features.known_sha256(name)
    if set(judge.values()) & set(config.feature_networks.values()):
        console.print(f"{features.part_in_training(judge, config.feature_networks)}.")
    return name


def _usable_extractor(
    config: RunConfig, training: Dataset, held_out: Dataset, console: Console
) -> str:
    choice = config.measured_by or config.extractor
    if config.eval_every == 0 or choice == "none":
        return "none"
    count = 0 if held_out is training else min(held_out.distinct, config.eval_pictures)
    required = choice != "auto"
    if required and count < FEWEST:
        raise UsageError(
            f"--extractor needs at least {FEWEST} held-out pictures; there are {count}."
        )
    if count < FEWEST_HELD_OUT and not required:
        return "none"  # the distance of a few pictures is mostly noise
    try:
        if find_spec("sklearn") is None:
            raise needs_extra("eval", ImportError(name="scikit-learn"))
        trained = config.feature_networks.values()
        return features.extractor(choice, device=torch.device("cpu"), trained=trained).name
    except (UsageError, DataError) as error:
        if required:
            raise
        console.print(f"No distances are measured during training: {error}")
        return "none"


class Examiner:
    """Looks at a run on up to `count` held-out pictures; with `features` it measures distances."""

    def __init__(
        self,
        training: Dataset,
        held_out: Dataset,
        augment: Augment,
        batch: int,
        count: int,
        features: Extractor | None,
    ):
        """batch: of training. A discriminator with BatchNorm gets at most as many pictures at
        once.
        """
        self.training, self.held_out = training, held_out
        self.augment, self.features = augment, features
        self.chunk = min(batch, CHUNK)
        self.indices = spread(count, held_out.distinct)
        # If nothing is held out, memorized and new pictures can't be told apart.
        judged = 0 if held_out is training else min(DIAGNOSED, len(self.indices))
        self.train_indices = spread(judged, training.distinct)
        self.real_features: dict[str, np.ndarray] = {}
        self.stopping: Stopping = lambda: False

    def look(self, trainer: Trainer, history: History, stopping: Stopping = lambda: False) -> Look:
        """Look at the present weights. Raises LookStopped soon after `stopping` returns True."""
        runtime, method, self.stopping = trainer.runtime, trainer.method, stopping
        view = copy.deepcopy(method).requires_grad_(True)  # a copy: its running averages may move
        indices = spread(self.chunk, self.training.distinct)
        batch = fixed_batch(self.training, self.augment, indices)
        adversarial, others = gradient_norms(view, runtime, batch, trainer.progress)
        view.generators = image_statistics(trainer.best_generators())
        gathered, train_scores = self._gather(view, runtime), self._train_scores(view, runtime)
        ratio = adversarial / others if others else float(adversarial > 0)
        row = {"health/gradient": ratio}
        watched = [name for name in history if name.startswith(WATCHED)]
        findings = [
            diagnose.vanishing("generators", ratio),
            *(diagnose.oscillation(name, history[name]) for name in watched),
        ]
        scores, examples = [], {}
        for name, way in gathered.items():
            if not (way.output and way.real):
                continue
            distances = self._distances(name, way, history)
            results = [self._pictures(name, way), distances]
            if name in train_scores:
                scored = train_scores[name]
                results.append(self._judge(name, way, scored, method.objective.scores))
            for way_findings, values in results:
                findings += way_findings
                row |= values
            for finding in filter(None, distances[0]):
                if finding.pictures:
                    examples[name] = [way.small_real[i] for i in finding.pictures]
            if self._score_name(name) in row:
                scores.append(row[self._score_name(name)])
        score = float(np.mean(scores)) if scores else None
        return Look(row, [f for f in findings if f], score, examples)

    def _score_name(self, way: str) -> str:
        return f"held_out/{way}/{self.features.kernel}" if self.features else ""

    @torch.no_grad()
    def _gather(self, view: Method, runtime: Runtime) -> dict[str, Gathered]:
        """The held-out pictures and their translations, by direction."""
        by_way: dict[str, Gathered] = {}
        kinds = view.config.intensities
        side = self.features.side if self.features else None
        for number, batch in enumerate(self._chunks(self.held_out, self.indices)):
            for name, way in view.ways(runtime.place(batch)).items():
                if name not in by_way:
                    kind_in, kind_out = (kinds.get(each) for each in way.sides)
                    by_way[name] = Gathered(side, kind_in, kind_out)
                by_way[name].add(way, number)
        return by_way

    @torch.no_grad()
    def _train_scores(self, view: Method, runtime: Runtime) -> dict[str, np.ndarray]:
        """The discriminators' scores of real training pictures, by direction."""
        by_way: dict[str, list[np.ndarray]] = {}
        for batch in self._chunks(self.training, self.train_indices):
            for name, way in view.ways(runtime.place(batch)).items():
                if way.critic and len(way.real):
                    by_way.setdefault(name, []).append(flat(way.critic(way.real)))
        return {name: np.concatenate(scores) for name, scores in by_way.items()}

    def _chunks(self, dataset: Dataset, indices: list[int]) -> Iterator[Batch]:
        for start in range(0, len(indices), self.chunk):
            self._check_for_stop()
            yield fixed_batch(dataset, self.augment, indices[start : start + self.chunk])

    def _pictures(self, name: str, way: Gathered) -> Result:
        """The checks of the pictures themselves, and of the cycle."""
        source, output, real = (p[:DIAGNOSED] for p in (way.source, way.output, way.real))
        row = {f"health/{name}/diversity": diagnose.diversity(output)}
        findings = [
            diagnose.collapse(name, source, output, real),
            diagnose.colour_inversion(name, source, output, real, way.paired),
            diagnose.checkerboard(name, output, real),
        ]
        row |= {f"held_out/{name}/{metric}": value for metric, value in way.means().items()}
        if way.clean:
            clean, noisy = float(np.mean(way.clean)), float(np.mean(way.noisy))
            row[f"held_out/{name}/cycle_l1"] = clean
            row[f"health/{name}/cycle_l1_after_noise"] = noisy
            findings.append(diagnose.cheating(name, clean, noisy))
        return findings, row

    def _distances(self, name: str, way: Gathered, history: History) -> Result:
        """Distances between the outputs and real pictures, if there are enough of both."""
        count = min(len(way.small_output), len(way.small_real))
        if not self.features or count < FEWEST:
            return [], {}
        if name not in self.real_features:
            self.real_features[name] = self._activations(way.small_real)
        real = self.real_features[name]
        fake = self._activations(way.small_output)
        row = {self._score_name(name): kernel(real, fake)}
        if count < FEWEST_AROUND:
            return [], row
        weights = np.ones((1, len(real))), np.ones((1, len(fake)))  # without resampling
        neighborhood = {
            name: float(value[0]) for name, value in Neighbours(real, fake)(*weights).items()
        }
        findings = [diagnose.dropping(name, real, fake)]
        for metric in ("recall", "coverage"):
            column = f"held_out/{name}/{metric}"
            row[column] = neighborhood[metric]
            values = [*history.get(column, ()), row[column]]
            findings.append(diagnose.falling(name, metric, values))
        return findings, row

    def _activations(self, pictures: list[np.ndarray]) -> np.ndarray:
        self._check_for_stop()
        assert self.features  # only called to measure distances
        activations: np.ndarray = extract(self.features, pictures).features
        return activations

    def _check_for_stop(self) -> None:
        if self.stopping():
            raise LookStopped

    def _judge(self, name: str, way: Gathered, train: np.ndarray, scores: bool) -> Result:
        """The checks of the discriminator.

        train: its scores of real training pictures. scores: it is a critic, whose scores have no
        threshold: it is only checked for memorization.
        """
        held_out, fake = np.concatenate(way.real_scores), np.concatenate(way.fake_scores)
        accuracies = diagnose.accuracies(train, held_out, fake)
        sets = zip(("train", "held_out", "fake"), accuracies, strict=True)
        row = {f"health/{name}/d_right_{pictures}": value for pictures, value in sets}
        findings = []
        if len(self.indices) >= diagnose.ENOUGH:
            findings = [diagnose.memorising(name, *accuracies)]
            findings += [] if scores else [diagnose.overpowering(name, *accuracies)]
        return findings, row


class DiagnosisLog:
    """Writes diagnosis.jsonl, all findings of all looks. Those after the resumed step are
    dropped.
    """

    def __init__(self, run: Path, step: int):
        self.run = run
        rows = read_findings(run)
        self.rows = [row for row in rows if row["step"] <= step]
        if len(self.rows) < len(rows):
            self._write()
        last = max((row["step"] for row in self.rows), default=0)
        self.firing = {(row["check"], row["way"]) for row in self.rows if row["step"] == last}

    def add(self, step: int, look: Look) -> list[Finding]:
        """Write the findings of a look. Returns those that the previous look did not have."""
        for finding in look.findings:
            row = {"step": step, **asdict(finding), "pictures": ""}
            if finding.pictures:
                row["pictures"] = f"diagnosis/step-{step:07d}-{finding.way}.png"
                sheet = images.sheet_of(look.examples[finding.way])
                content = images.encode(images.Picture(sheet), ".png")
                write_whole(self.run / row["pictures"], content)
            self.rows.append(row)
        if look.findings:
            self._write()
        before = self.firing
        self.firing = {(finding.check, finding.way) for finding in look.findings}
        return [f for f in look.findings if (f.check, f.way) not in before]

    def _write(self) -> None:
        write_whole(self.run / LOG, "".join(json.dumps(row) + "\n" for row in self.rows))


def gradient_norms(
    method: Method, runtime: Runtime, batch: Batch, progress: Tensor
) -> tuple[float, float]:
    """Norms of the gradients of the generators' parameters: of the adversarial terms, and of the
    terms that don't depend on the discriminators.
    """
    batch = runtime.place(batch)
    draws = method.draws(batch, progress, penalty_scale=1.0)
    with runtime.autocast():
        terms = method.g_terms(batch, method.scene(batch, draws), draws)
    parameters = list(method.generators.parameters())

    def norm(chosen: list[Tensor]) -> float:
        if not chosen:
            return 0.0
        total = torch.stack(chosen).sum()
        gradients = torch.autograd.grad(total, parameters, retain_graph=True, allow_unused=True)
        return math.sqrt(sum(float(g.float().square().sum()) for g in gradients if g is not None))

    adversarial = [term for name, term in terms.items() if name.startswith("adversarial")]
    by_discriminators = ("adversarial", "feature_matching")
    others = [term for name, term in terms.items() if not name.startswith(by_discriminators)]
    return norm(adversarial), norm(others)
