"""Looking at a run while it trains: distances on held-out pictures, and signs of disease.

A look changes nothing: it works on copies, and its draws are not the training's.
"""

import copy
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
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
from img2img.errors import DataError, UsageError, needs_extra
from img2img.evaluate import diagnose, features, metrics
from img2img.evaluate.diagnose import LOG, Finding, read_findings
from img2img.evaluate.distances import Neighbours, kernel
from img2img.evaluate.features import Extractor, extract
from img2img.files import spread, write_whole
from img2img.methods.base import Batch, Method, Way
from img2img.nets.norm import image_statistics
from img2img.training.config import RunConfig
from img2img.training.runtime import Runtime, to_uint8
from img2img.training.trainer import Trainer

DIAGNOSED = 64  # pictures of a way that the checks look at
CHUNK = 8
FEWEST = 20  # pictures on either side, below which the kernel distance is mostly noise
FEWEST_AROUND = 50  # and coverage means something else
FEWEST_HELD_OUT = 50  # from which on distances are measured by default
WATCHED = (
    "g/adversarial",
    "d/real",
    "d/fake",
    "d/relative",
    "d/discrepancy",
)  # oscillation shows in these losses
Stopping = Callable[[], bool]
Found = tuple[list[Finding | None], dict[str, float]]  # and the numbers behind them
History = Mapping[str, Sequence[float]]  # the columns of metrics.csv so far


class LookStopped(Exception):
    """A look was ended before it found anything: whoever trains was told to stop."""


@dataclass
class Gathered:
    """One way on the held-out pictures, collected chunk by chunk: DIAGNOSED of them as they are,
    all of them only as the feature network takes them, so that large pictures don't pile up.
    """

    paired: bool = False  # whether every picture of `real` is the truth of its source
    source: list[np.ndarray] = field(default_factory=list)  # uint8 [H, W, C]
    output: list[np.ndarray] = field(default_factory=list)
    real: list[np.ndarray] = field(default_factory=list)
    small_output: list[np.ndarray] = field(default_factory=list)  # uint8 [side, side, C]
    small_real: list[np.ndarray] = field(default_factory=list)
    l1: list[float] = field(default_factory=list)  # from the truths, where there are
    fake_scores: list[np.ndarray] = field(default_factory=list)
    real_scores: list[np.ndarray] = field(default_factory=list)
    clean: list[float] = field(default_factory=list)  # L1 of the way back, a picture
    noisy: list[float] = field(default_factory=list)  # and after noise


@dataclass(frozen=True)
class Look:
    """What one look found: a row for metrics.csv, findings, and the distance to choose by."""

    row: dict[str, float]
    findings: list[Finding]
    score: float | None  # the mean kernel distance over the ways; less is better
    examples: dict[str, list[np.ndarray]]  # by way: real pictures of a kind that it never makes


def fit_extractor(config: RunConfig, training: Dataset, held_out: Dataset, console: Console) -> str:
    """The extractor that the run's looks measure with, or "none"; whatever happens, it stays.
    Raises UsageError where the run has patience for a distance that can't be measured.
    """
    fitting = _fitting_extractor(config, training, held_out, console)
    if fitting == "none" and config.patience:
        raise UsageError(
            "--patience needs a held-out distance, and none is measured here: hold out "
            f"{FEWEST_HELD_OUT} pictures, or {FEWEST} with --extractor, and install img2img[eval]."
        )
    return fitting


def _fitting_extractor(
    config: RunConfig, training: Dataset, held_out: Dataset, console: Console
) -> str:
    wanted = config.measured_by or config.extractor
    if config.eval_every == 0 or wanted == "none":
        return "none"
    count = 0 if held_out is training else min(held_out.distinct, config.eval_pictures)
    chosen = wanted != "auto"
    if chosen and count < FEWEST:
        raise UsageError(
            f"--extractor needs at least {FEWEST} held-out pictures; here are {count}."
        )
    if count < FEWEST_HELD_OUT and not chosen:
        return "none"  # a few pictures kept from training tell no distance
    try:
        if find_spec("sklearn") is None:
            raise needs_extra("eval", ImportError(name="scikit-learn"))
        return features.extractor(wanted, device=torch.device("cpu")).name
    except (UsageError, DataError) as error:
        if chosen:
            raise
        console.print(f"No distances will be measured while it trains: {error}")
        return "none"


class Examiner:
    """Looks at up to `count` held-out pictures; with features it measures distances, too."""

    def __init__(
        self,
        training: Dataset,
        held_out: Dataset,
        augment: Augment,
        batch: int,
        count: int,
        features: Extractor | None,
    ):
        """batch: of the training; a discriminator with BatchNorm judges as many at once."""
        self.training, self.held_out = training, held_out
        self.augment, self.features = augment, features
        self.chunk = min(batch, CHUNK)
        self.indices = spread(count, held_out.distinct)
        # Where nothing is held out, to know the training pictures is no sign of anything.
        own = 0 if held_out is training else min(DIAGNOSED, len(self.indices))
        self.train_indices = spread(own, training.distinct)
        self.real_features: dict[str, np.ndarray] = {}
        self.stopping: Stopping = lambda: False

    def look(self, trainer: Trainer, history: History, stopping: Stopping = lambda: False) -> Look:
        """Raises LookStopped soon after `stopping` says so."""
        runtime, method, self.stopping = trainer.runtime, trainer.method, stopping
        view = copy.deepcopy(method).requires_grad_(True)  # whose running averages may move
        several = spread(self.chunk, self.training.distinct)
        example = fixed_batch(self.training, self.augment, several)
        adversarial, others = gradient_norms(view, runtime, example, trainer.progress)
        view.generators = image_statistics(trainer.best_generators())
        seen, known = self._collect(view, runtime), self._train_scores(view, runtime)
        ratio = adversarial / others if others else float(adversarial > 0)
        row = {"health/gradient": ratio}
        watched = [name for name in history if name.startswith(WATCHED)]
        findings = [
            diagnose.vanishing("generators", ratio),
            *(diagnose.oscillation(name, history[name]) for name in watched),
        ]
        scores, examples = [], {}
        for name, way in seen.items():
            if not (way.output and way.real):
                continue
            parts = [self._pictures(name, way), self._distances(name, way, history)]
            if name in known:
                parts.append(self._judge(name, way, known[name], method.objective.scores))
            for found, values in parts:
                findings += found
                row |= values
            for finding in filter(None, parts[1][0]):
                if finding.pictures:
                    examples[name] = [way.small_real[i] for i in finding.pictures]
            if self._score_name(name) in row:
                scores.append(row[self._score_name(name)])
        score = float(np.mean(scores)) if scores else None
        return Look(row, [f for f in findings if f], score, examples)

    def _score_name(self, way: str) -> str:
        return f"held_out/{way}/{self.features.kernel}" if self.features else ""

    @torch.no_grad()
    def _collect(self, view: Method, runtime: Runtime) -> dict[str, Gathered]:
        found: dict[str, Gathered] = {}
        for number, some in enumerate(self._chunks(self.held_out, self.indices)):
            for name, way in view.ways(runtime.place(some)).items():
                seen = found.setdefault(name, Gathered(way.paired))
                seen.paired &= way.paired
                if way.critic and len(way.real) and len(seen.real) < DIAGNOSED:
                    seen.real_scores.append(_flat(way.critic(way.real)))
                real, output = list(to_uint8(way.real)), []
                if len(way.source):
                    output = _translate(way, seen, number)
                seen.l1 += map(metrics.l1, output, real) if way.paired else ()
                seen.real += real if len(seen.real) < DIAGNOSED else []
                if self.features:
                    seen.small_real += map(self._small, real)
                    seen.small_output += map(self._small, output)
        return found

    @torch.no_grad()
    def _train_scores(self, view: Method, runtime: Runtime) -> dict[str, np.ndarray]:
        """The discriminators' scores of real training pictures, by way."""
        found: dict[str, list[np.ndarray]] = {}
        for some in self._chunks(self.training, self.train_indices):
            for name, way in view.ways(runtime.place(some)).items():
                if way.critic and len(way.real):
                    found.setdefault(name, []).append(_flat(way.critic(way.real)))
        return {name: np.concatenate(scores) for name, scores in found.items()}

    def _chunks(self, dataset: Dataset, indices: list[int]) -> Iterator[Batch]:
        for start in range(0, len(indices), self.chunk):
            self._go_on()
            yield fixed_batch(dataset, self.augment, indices[start : start + self.chunk])

    def _pictures(self, name: str, way: Gathered) -> Found:
        """What the pictures alone tell, and the cycle."""
        source, output, real = (p[:DIAGNOSED] for p in (way.source, way.output, way.real))
        row = {f"health/{name}/diversity": diagnose.diversity(output)}
        findings = [
            diagnose.collapse(name, source, output, real),
            diagnose.colour_inversion(name, source, output, real, way.paired),
            diagnose.checkerboard(name, output, real),
        ]
        if way.l1:
            row[f"held_out/{name}/l1"] = float(np.mean(way.l1))
        if way.clean:
            clean, noisy = float(np.mean(way.clean)), float(np.mean(way.noisy))
            row[f"held_out/{name}/cycle_l1"] = clean
            row[f"health/{name}/cycle_l1_after_noise"] = noisy
            findings.append(diagnose.cheating(name, clean, noisy))
        return findings, row

    def _distances(self, name: str, way: Gathered, history: History) -> Found:
        """Between the outputs and real pictures, where there are enough of them."""
        count = min(len(way.small_output), len(way.small_real))
        if not self.features or count < FEWEST:
            return [], {}
        if name not in self.real_features:
            self.real_features[name] = self._seen(way.small_real)
        real = self.real_features[name]
        fake = self._seen(way.small_output)
        row = {self._score_name(name): kernel(real, fake)}
        if count < FEWEST_AROUND:
            return [], row
        whole = Neighbours(real, fake)(np.ones((1, len(real))), np.ones((1, len(fake))))
        around = {what: float(value[0]) for what, value in whole.items()}
        findings = [diagnose.dropping(name, real, fake)]
        for what in ("recall", "coverage"):
            column = f"held_out/{name}/{what}"
            row[column] = around[what]
            findings.append(diagnose.falling(name, what, [*history.get(column, ()), around[what]]))
        return findings, row

    def _seen(self, pictures: list[np.ndarray]) -> np.ndarray:
        self._go_on()
        assert self.features  # who calls this measures distances
        seen: np.ndarray = extract(self.features, pictures).features
        return seen

    def _go_on(self) -> None:
        if self.stopping():
            raise LookStopped

    def _small(self, picture: np.ndarray) -> np.ndarray:
        """Without alpha, in the size in which the feature network looks at it."""
        assert self.features
        return images.resize(picture[..., :3], self.features.side, self.features.side)

    def _judge(self, name: str, way: Gathered, known: np.ndarray, scores: bool) -> Found:
        """What the discriminator knows; of a critic only whether it memorises."""
        held_out, fake = np.concatenate(way.real_scores), np.concatenate(way.fake_scores)
        right = diagnose.accuracies(known, held_out, fake)
        named = zip(("train", "held_out", "fake"), right, strict=True)
        row = {f"health/{name}/d_right_{part}": value for part, value in named}
        findings = []
        if len(self.indices) >= diagnose.ENOUGH:
            findings = [diagnose.memorising(name, *right)]
            findings += [] if scores else [diagnose.overpowering(name, *right)]
        return findings, row


class DiagnosisLog:
    """diagnosis.jsonl: every finding of every look; those after the resumed step are dropped."""

    def __init__(self, run: Path, step: int):
        self.run = run
        found = read_findings(run)
        self.rows = [row for row in found if row["step"] <= step]
        if len(self.rows) < len(found):
            self._write()
        last = max((row["step"] for row in self.rows), default=0)
        self.firing = {(row["check"], row["way"]) for row in self.rows if row["step"] == last}

    def add(self, step: int, look: Look) -> list[Finding]:
        """Write the look's findings down; gives those that did not fire in the look before."""
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
    """Norms of the gradient in the generators' parameters, from the adversarial terms and from
    those that know nothing of the discriminators.
    """
    batch = runtime.place(batch)
    draws = method.draws(batch, progress, penalty_scale=1.0)
    with runtime.autocast():
        terms = method.g_terms(batch, method.scene(batch, draws), draws)
    parameters = list(method.generators.parameters())

    def norm(parts: list[Tensor]) -> float:
        if not parts:
            return 0.0
        total = torch.stack(parts).sum()
        found = torch.autograd.grad(total, parameters, retain_graph=True, allow_unused=True)
        return math.sqrt(sum(float(g.float().square().sum()) for g in found if g is not None))

    adversarial = [term for name, term in terms.items() if name.startswith("adversarial")]
    learned = ("adversarial", "feature_matching")
    others = [term for name, term in terms.items() if not name.startswith(learned)]
    return norm(adversarial), norm(others)


def _translate(way: Way, seen: Gathered, seed: int) -> list[np.ndarray]:
    """The translations, uint8; a part of them is judged and kept."""
    output = way.translate(way.source)
    pixels = to_uint8(output)
    if len(seen.output) < DIAGNOSED:
        seen.source += list(to_uint8(way.source))
        seen.output += list(pixels)
        if way.critic:
            seen.fake_scores.append(_flat(way.critic(output)))
        if way.back is not None:
            for errors, shown in (
                (seen.clean, pixels),
                (seen.noisy, diagnose.noisy(pixels, seed)),
            ):
                levels = torch.from_numpy(shown).to(output.device).permute(0, 3, 1, 2)
                off = (way.back(levels / 127.5 - 1) - way.source).abs()
                errors += off.mean((1, 2, 3)).tolist()
    return list(pixels)


def _flat(scores: Tensor) -> np.ndarray:
    return scores.float().cpu().numpy().ravel()
