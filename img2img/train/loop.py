"""A whole run: from a config to a trained translator, interruptible at any step."""

import copy
import json
import math
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.console import Console

from img2img import images
from img2img.data.augment import Augment
from img2img.data.check import fingerprint, verify
from img2img.data.folders import Dataset, Labelled
from img2img.data.stream import Stream, batches, fixed_batch
from img2img.errors import DataError, Img2ImgError, Interrupted, UsageError
from img2img.evaluate import features
from img2img.files import spread, write_whole
from img2img.methods import METHODS
from img2img.nets.norm import image_statistics
from img2img.train import checkpoint
from img2img.train.config import RunConfig
from img2img.train.examine import DiagnosisLog, Examiner, fit_extractor
from img2img.train.log import Display, Means, MetricsLog, environment, model_card
from img2img.train.runtime import Runtime, default_workers, seed_step, to_uint8
from img2img.train.schedule import steps_per_epoch, total_steps
from img2img.train.trainer import Trainer

SAVE_AT_LEAST_EVERY = 600.0  # seconds, however slow the steps are
SAMPLE_ROWS = 8
INIT = 2**40  # the "step" whose seed draws the initial weights; no run gets there


class WorkerError(Img2ImgError):
    """A data worker died; the training itself is whole."""


@dataclass(frozen=True)
class Plan:
    """A run that can start: its data were looked at and its config is complete."""

    config: RunConfig
    training: Dataset
    held_out: Dataset
    epoch_steps: int

    @property
    def total(self) -> int:
        return total_steps(self.config.method, self.epoch_steps)


def make_plan(config: RunConfig, console: Console, decode: bool = True) -> Plan:
    """Open and verify the data. Raises UsageError or DataError before anything is written."""
    method, c = METHODS[config.mode], config.method
    channels = (c.in_channels, c.out_channels)
    crop = c.centre_crop or (0 if c.load_size else c.size)  # what is taken from the file's pixels
    training = method.data.open(config.sources, channels)
    if training.left_out:
        names = ", ".join(map(str, training.left_out[:10]))
        more = f" and {len(training.left_out) - 10} more" if len(training.left_out) > 10 else ""
        console.print(f"{len(training.left_out)} without a partner, left out: {names}{more}")
    if config.test.given():
        held_out = method.data.open(config.held_out_sources, channels)
        verify(held_out, crop, decode, console)
        if isinstance(training, Labelled) and held_out.labels != training.labels:
            raise DataError(
                f"The held-out pictures have the domains {', '.join(held_out.labels.names)}, the "
                f"training pictures {', '.join(training.labels.names)}. They must be the same."
            )
    verify(training, crop, decode, console)
    if not config.test.given():
        rest, held_out = training.split(config.held_out)
        training, held_out = (rest, held_out) if len(held_out) else (training, training)
    found = fingerprint(training)
    if config.fingerprint not in ("", found):
        raise DataError(
            "The training pictures are not those that the run began with (names or sizes differ), "
            "so it can't go on exactly. Put them back, or start a new run."
        )
    fitted = method.fit_config(c, training)
    config = config.model_copy(
        update={
            "method": fitted,
            "measured_by": fit_extractor(config, training, held_out, console),
            "fingerprint": found,
            "sources": config.sources.absolute(),  # --resume works from any folder
            "test": config.test.absolute(),
        }
    )
    return Plan(config, training, held_out, steps_per_epoch(fitted, len(training)))


def train(plan: Plan, run: Path, console: Console, max_minutes: float | None = None) -> None:
    """Train until done, or go on from the run's checkpoint; the run folder gets everything.

    Returns when all steps are done or max_minutes are over. Raises Interrupted after SIGINT or
    SIGTERM, Img2ImgError on a loss that is not finite; both leave a good checkpoint.
    """
    config, began = plan.config, time.monotonic()
    runtime = Runtime(config.device, config.precision, METHODS[config.mode].channels_last)
    seed_step(config.seed, INIT)
    trainer = Trainer(METHODS[config.mode](config.method), runtime, config.seed, plan.epoch_steps)
    session = _Session(plan, run, trainer, console)
    if trainer.step >= plan.total:
        console.print(f"{run} is complete: all {plan.total:,} steps are done.")
        return
    state = f"from step {trainer.step:,} " if trainer.step else ""
    console.print(
        f"{config.mode} on {plan.training.describe()}; {plan.total:,} steps {state}"
        f"on {runtime.describe()}; run folder {run}"
    )
    deadline = began + max_minutes * 60 if max_minutes is not None else math.inf
    bar = Display(console, plan.total, trainer.step)
    with _stop_signals() as stop, bar as display, closing(session.metrics):
        how = f"Go on with: img2img train --resume {run}"
        try:
            for batch in session.batches():
                session.step(batch, display)
                if stop.is_set() or time.monotonic() > deadline:
                    break
        except torch.OutOfMemoryError:
            raise Img2ImgError(
                "The GPU has too little memory for this. Use a smaller --batch or --size."
            ) from None
        except (DataError, WorkerError) as error:
            session.save()
            raise type(error)(f"{error} Saved at step {trainer.step:,}. {how}") from None
        session.sample()
        session.save()
    if stop.is_set():
        raise Interrupted(f"Stopped and saved at step {trainer.step:,}. {how}")
    if trainer.step < plan.total:
        console.print(f"The time is over; saved at step {trainer.step:,}. {how}")
    else:
        console.print(f"Done. Next: img2img export {run}")


class _Session:
    """One process's part of a run: the counters, and when to log, sample and save."""

    def __init__(self, plan: Plan, run: Path, trainer: Trainer, console: Console):
        self.plan, self.run, self.trainer, self.console = plan, run, trainer, console
        self.config, self.means = plan.config, Means()
        self.checkpoint = run / "checkpoints" / "last.pt"
        self.before = 0.0  # seconds of training in earlier sessions
        if self.checkpoint.exists():
            state = checkpoint.load(self.checkpoint)
            try:
                self.before = state["seconds"]
                trainer.load_state_dict(state["trainer"])
            except (RuntimeError, ValueError, KeyError, TypeError) as error:
                reason = str(error).splitlines()[0]
                raise DataError(
                    f"{self.checkpoint} does not fit {run / 'config.json'}: {reason}"
                ) from None
        self._describe_run()
        self.metrics = MetricsLog(run, trainer.step)
        self.began = self.saved_at = self.logged_at = time.monotonic()
        self.logged_step = self.saved_step = trainer.step
        self.row: dict[str, float] = {}
        # A row needs at least one generator step in its mean.
        turn = trainer.method.turn
        self.log_every = math.ceil(self.config.log_every / turn) * turn
        # By default about a hundred grids a run.
        self.sample_every = self.config.sample_every or max(500, plan.total // 100)
        chosen = spread(SAMPLE_ROWS, len(plan.held_out))
        self.samples = fixed_batch(plan.held_out, _augment(plan, False), chosen)
        self._set_up_looks()

    def batches(self) -> Iterator[dict[str, torch.Tensor]]:
        runtime, c = self.trainer.runtime, self.config
        stream = Stream(self.plan.training, _augment(self.plan, True), c.seed, c.method.batch)
        workers = default_workers(runtime.device) if c.workers is None else c.workers
        pin = runtime.device.type == "cuda"
        loader = batches(stream, self.trainer.step, self.plan.total, workers, pin)
        made, failure = iter(loader), None
        while failure is None:
            try:
                batch = next(made)
            except StopIteration:
                return
            except DataError as error:  # a worker's comes with its traceback in the text
                reason = str(error).strip().splitlines()[-1]
                failure = DataError(reason.removeprefix("img2img.errors.DataError: "))
            except (RuntimeError, OSError):
                failure = WorkerError(
                    "A process that decodes pictures died, as when memory or /dev/shm is full; "
                    "--workers 0 does without."
                )
            else:
                yield runtime.place(batch)
        del made  # and its workers, outside the except: a traceback would keep them alive
        raise failure

    def step(self, batch: dict[str, torch.Tensor], display: Display) -> None:
        self.means.add(self.trainer.update(batch))
        display.advance()
        done, config = self.trainer.step, self.config
        last = done == self.plan.total
        if self.look_every and (done % self.look_every == 0 or last):
            self.look()
        if done % self.log_every == 0 or last:
            self.log()
            display.show(self.row)
        if done % self.sample_every == 0 and not last:
            self.sample()
        slow = time.monotonic() - self.saved_at > SAVE_AT_LEAST_EVERY
        if (done % config.save_every == 0 or slow) and not last:
            self.save()

    def log(self, looked: dict[str, float] | None = None) -> None:
        """Write the mean terms since the last row, and what a look found; raises where a term is
        not finite.
        """
        terms, now = self.means.take(), time.monotonic()
        step, batch = self.trainer.step, self.config.method.batch
        bad = [name for name, value in terms.items() if not math.isfinite(value)]
        if bad:
            raise self._diverged(", ".join(bad))
        if not terms:
            return
        self.row = {
            "step": step,
            "epoch": step / self.plan.epoch_steps,
            "seconds": round(self.before + now - self.began, 3),
            "images_per_second": batch * (step - self.logged_step) / (now - self.logged_at),
            "generator_lr": self.trainer.rate("generators"),
            "discriminator_lr": self.trainer.rate("discriminators"),
            **terms,
        }
        self.metrics.add({**self.row, **(looked or {})})
        self.logged_at, self.logged_step = now, step

    def sample(self) -> None:
        """A grid of held-out pictures, run as the exported model would run them."""
        trainer, method = self.trainer, self.trainer.method
        path = self.run / "samples" / f"step-{trainer.step:07d}.png"
        if path.exists():
            return
        shared = {id(part): part for part in (method.generators, method.discriminators)}
        view = copy.deepcopy(method, shared)
        view.generators = image_statistics(trainer.best_generators())
        with torch.no_grad():
            columns = view.grid(trainer.runtime.place(self.samples))
        sheet = images.contact_sheet({k: list(to_uint8(v)) for k, v in columns.items()})
        write_whole(path, images.encode(images.Picture(sheet), ".png"))

    def look(self) -> None:
        """Distances and diagnosis on held-out pictures; the best weights so far are kept."""
        began, step = time.monotonic(), self.trainer.step
        self._require_finite()
        look = self.examiner.look(self.trainer, self.metrics.history())
        self.looked = look.row
        for finding in self.diagnosis.add(step, look):
            self.console.print(f"step {step:,}: {finding}", style="yellow", markup=False)
        if look.score is not None:
            name = self.examiner.features.kernel
            said = f"step {step:,}: held-out {name} {look.score:.4f}"
            if look.score < self.best_score:
                self.best_score = look.score
                told = {"metric": name, "value": repr(look.score)}
                self._save_weights(self.best, told)
                said += ", the best so far"
            self.console.print(said)
        self.logged_at += time.monotonic() - began  # no part of the training's speed
        self.log(look.row)

    def save(self) -> None:
        """Checkpoint, travelling weights and card; never of a state that is not finite."""
        self.log()
        self._require_finite()
        trainer, now = self.trainer, time.monotonic()
        self._save_weights(self.run / "weights.safetensors", {})
        described, row = self.plan.training.describe(), {**self.row, **self.looked}
        card = model_card(self.config, trainer.step, self.plan.total, described, row)
        write_whole(self.run / "README.md", card)
        # Last, so that a complete checkpoint never stands beside older weights.
        state = {"trainer": trainer.state_dict(), "seconds": self.before + now - self.began}
        checkpoint.save(self.checkpoint, state)
        self.saved_at, self.saved_step = now, trainer.step

    def _require_finite(self) -> None:
        weights = self.trainer.method.parameters()
        sums = torch.stack([p.detach().float().sum() for p in weights])
        if not bool(sums.isfinite().all()):
            raise self._diverged("the weights")

    def _save_weights(self, path: Path, told: dict[str, str]) -> None:
        kind = "ema" if self.trainer.ema else "plain"
        said = {"weights": kind, "step": str(self.trainer.step), **told}
        checkpoint.save_weights(path, self.trainer.best_generators(), said)

    def _set_up_looks(self) -> None:
        plan, config, trainer = self.plan, self.config, self.trainer
        # By default about twenty looks a run.
        every = max(500, plan.total // 20) if config.eval_every is None else config.eval_every
        self.look_every, self.looked = every, {}
        if not every:
            return
        eye = None
        if config.measured_by not in ("", "none"):
            eye = features.extractor(config.measured_by, device=trainer.runtime.device)
        augment, c = _augment(plan, False), config.method
        self.examiner = Examiner(
            plan.training, plan.held_out, augment, c.batch, config.eval_pictures, eye
        )
        self.diagnosis = DiagnosisLog(self.run, trainer.step)
        self.best = self.run / "checkpoints" / "best.safetensors"
        self.best_score = math.inf
        if eye and self.best.exists():
            # Even of a step that comes again: the run will get there with the same weights.
            _, said = checkpoint.load_weights(self.best)
            if said.get("metric") == eye.kernel:
                self.best_score = float(said["value"])

    def _describe_run(self) -> None:
        """Make the folder of a new run, and what tells how it was started."""
        if not (self.run / "config.json").exists():
            try:
                self.run.mkdir(parents=True)
            except FileExistsError:
                raise UsageError(f"{self.run} exists already. Choose another --name.") from None
            write_whole(self.run / "config.json", self.config.model_dump_json(indent=2))
        for half in (*self.run.glob(".img2img-*"), *self.checkpoint.parent.glob(".img2img-*")):
            half.unlink(missing_ok=True)  # of a process that was killed while it wrote
        write_whole(self.run / "environment.json", json.dumps(environment(), indent=2))

    def _diverged(self, what: str) -> Img2ImgError:
        kept = (
            f"The last good checkpoint, step {self.saved_step:,}, is kept in {self.checkpoint}."
            if self.checkpoint.exists()
            else "There was no checkpoint yet."
        )
        return Img2ImgError(
            f"Training diverged at step {self.trainer.step:,}: {what} is not finite. {kept} "
            "A lower rate (--set generator_lr=1e-4) or --precision fp32 often helps."
        )


def _augment(plan: Plan, training: bool) -> Augment:
    c = plan.config.method
    return Augment(c.size, c.load_size, c.centre_crop, c.flip, training)


@contextmanager
def _stop_signals() -> Iterator[threading.Event]:
    """An event that SIGINT or SIGTERM sets; a later one acts as if nothing were installed.

    Supervisors send a process and its group the same signal at once: that counts as one.
    """
    stop, previous, first = threading.Event(), {}, math.inf

    def request(number: int, frame: object) -> None:
        nonlocal first
        first = min(first, time.monotonic())
        if stop.is_set() and time.monotonic() - first > 1:
            signal.signal(number, previous[number])
            signal.raise_signal(number)
        stop.set()

    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            previous[number] = signal.signal(number, request)
    try:
        yield stop
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
