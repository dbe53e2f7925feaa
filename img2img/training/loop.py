"""The training loop of a run, which can be interrupted at any step."""

import copy
import math
import shlex
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from rich.console import Console
from torch import Tensor

from img2img import images, memory
from img2img.data.stream import fixed_batch
from img2img.errors import DataError, Img2ImgError, Interrupted, OutOfMemory, told
from img2img.files import spread
from img2img.methods import METHODS
from img2img.nets.norm import image_statistics
from img2img.training import checkpoint
from img2img.training.accumulate import BatchTooLarge, in_more_parts
from img2img.training.callbacks import LOGGERS, Callback
from img2img.training.colors import as_shown
from img2img.training.config import RunConfig
from img2img.training.feed import Feed, WorkerError
from img2img.training.folder import RunFolder, is_begun, locked, require_checkpoint
from img2img.training.log import Display, Means, MetricsLog
from img2img.training.looks import Looks, OtherRankFailed
from img2img.training.plan import Plan
from img2img.training.precision import settled
from img2img.training.ranks import LostRank, Ranks
from img2img.training.runtime import Runtime, seed_step
from img2img.training.stop import stop_signals
from img2img.training.trainer import Trainer
from img2img.writing import write_whole

SAVE_AT_LEAST_EVERY = 600.0  # seconds, even if fewer steps than save_every are done
SAMPLE_ROWS = 8
LOOK_TOO_LARGE = (
    "The memory is not sufficient for a look at held-out pictures, or a grid of samples. Start a "
    "new run with a smaller --size or --width, or with --eval-every 0."
)
INIT = 2**40  # the seed of the initial weights is that of this step, which no run reaches


def train(
    plan: Plan,
    run: Path,
    console: Console,
    max_minutes: float | None = None,
    ranks: Ranks = Ranks(),  # noqa: B008, it is immutable
    callbacks: Sequence[Callback] = (),
) -> None:
    """Train a run from its start or its checkpoint. All results are written to its folder.

    callbacks: in addition to the loggers of the config. Returns when all steps are done, when the
    held-out distance has not improved for `patience` looks, or after max_minutes. Where the memory
    is not sufficient for a step, training goes on from the last checkpoint with each batch in more
    parts, if that is the same, and config.json has their number; callbacks begin again. Raises
    OutOfMemory if it would not be the same, Interrupted after SIGINT, SIGTERM or SIGHUP, and
    Img2ImgError if a loss is not finite. In each case the run has a valid checkpoint. Raises
    UsageError while another process trains the run.
    """
    config, started = plan.config, time.monotonic()
    require_checkpoint(run)
    begins = not is_begun(run)
    if ranks.from_first(config.fingerprint) != config.fingerprint:
        raise DataError("The processes have different training pictures (names or sizes differ).")
    if begins:
        plan = replace(plan, config=settled(plan.config, ranks))
        plan.config.to_json()  # raises the error of a name that it can't hold, without a folder yet
    used = _callbacks(
        config, callbacks, ranks
    )  # one that is not installed: before there is a folder
    trainer = _new_trainer(plan, run, ranks)
    deadline = started + max_minutes * 60 if max_minutes is not None else math.inf
    with locked(run, ranks), stop_signals() as stop:
        while True:
            with trainer.runtime.algorithms():
                loop = Loop(plan, run, trainer, console, stop, begins, used)
                parts = _session(loop, console, deadline)
            if not parts:
                return
            del loop, trainer  # whose memory the next one needs
            torch.cuda.empty_cache()
            plan, begins = replace(plan, config=plan.config.with_method(accumulate=parts)), False
            used = _callbacks(config, callbacks, ranks)
            trainer = _new_trainer(plan, run, ranks)


def _callbacks(config: RunConfig, further: Sequence[Callback], ranks: Ranks) -> list[Callback]:
    """New loggers of the config, and the other callbacks, all in the first process alone."""
    return [*(LOGGERS[name]() for name in config.loggers), *further] if ranks.first else []


def _session(loop: "Loop", console: Console, deadline: float) -> int:
    """Train to the end, the deadline or a signal, and say how it ended. Returns 0; where the memory
    is not sufficient for a step, the number of parts of a batch with which to go on.
    """
    plan, run, trainer, ranks = loop.plan, loop.run, loop.trainer, loop.ranks
    config = plan.config
    if loop.is_complete():
        console.print(_complete(plan, run, trainer, loop.looks))
        return 0
    state = f"from step {trainer.step:,} " if trainer.step else ""
    console.print(
        f"{config.mode} on {plan.training.describe()}; {plan.total:,} steps {state}"
        f"on {trainer.runtime.describe()}; run folder {run}"
    )
    trainer.compile_if_it_pays(config.compile, plan.total - trainer.step, console.print)
    if config.graph and trainer.runtime.device.type == "cuda":
        trainer.record(console.print)
    command = "img2img" if ranks.count == 1 else "torchrun (as before) -m img2img"
    advice = f"Continue with: {command} train --resume {shlex.quote(str(run))}"
    try:
        _run_to_the_end(loop, deadline, advice)
    except BatchTooLarge:
        parts = in_more_parts(config.method, ranks.count)
        console.print(
            f"The memory is not sufficient for a step. From step {loop.folder.saved_step:,} on, "
            f"batches are computed in {parts} parts (accumulate); all else is as it was."
        )
        return parts
    if loop.stopped:
        raise Interrupted(f"Stopped and saved at step {trainer.step:,}. {advice}")
    if loop.looks.out_of_patience:
        console.print(_stopped_early(plan, run, trainer, loop.looks))
    elif trainer.step < plan.total:
        console.print(f"The time is up; saved at step {trainer.step:,}. {advice}")
        return 0
    console.print(f"Done. Next: img2img export {shlex.quote(str(run))}")
    return 0


def _new_trainer(plan: Plan, run: Path, ranks: Ranks) -> Trainer:
    """The trainer of a run, in the state before the first step."""
    config = plan.config
    runtime = Runtime.of(config, ranks)
    seed_step(config.seed, INIT)
    networks = METHODS[config.mode](config.method)
    if config.pretrained and not checkpoint.exists(run):
        checkpoint.begin_with(networks.generators, config.pretrained)
    return Trainer(networks, runtime, config.seed, plan.schedule, ranks)


def _run_to_the_end(loop: "Loop", deadline: float, advice: str) -> None:
    """Train. Errors get messages that say what was saved, and the advice how to continue."""
    try:
        loop.train(deadline)
    except (RuntimeError, MemoryError) as error:
        if not memory.is_exhausted(error):
            raise
        raise OutOfMemory(f"{LOOK_TOO_LARGE} {loop.folder.last_checkpoint()}") from None
    except (DataError, WorkerError, OtherRankFailed) as error:
        loop.save()
        step = loop.trainer.step
        raise type(error)(f"{error} Saved at step {step:,}. {advice}") from None
    except LostRank as error:
        raise LostRank(f"{error} {loop.folder.last_checkpoint()} {advice}") from None
    except (OSError, checkpoint.NotWritten) as error:
        reason = str(error)
        if isinstance(error, OSError):
            reason = f"{error.filename or loop.run} can't be read or written {told(error)}"
        raise Img2ImgError(f"{reason} {loop.folder.last_checkpoint()} {advice}") from None
    finally:
        loop.close()


def _complete(plan: Plan, run: Path, trainer: Trainer, looks: Looks) -> str:
    if looks.out_of_patience and trainer.step < plan.total:
        return _stopped_early(plan, run, trainer, looks)
    return f"{run} is complete: all {plan.total:,} steps are done."


def _stopped_early(plan: Plan, run: Path, trainer: Trainer, looks: Looks) -> str:
    patience = plan.config.patience
    return (
        f"{run} stopped early, at step {trainer.step:,} of {plan.total:,}: the held-out distance "
        f"has not improved for {patience} looks. To train it longer: img2img train --resume "
        f"{shlex.quote(str(run))} --patience {2 * (patience or 1)}"
    )


class Loop:
    """A run in progress, in one of its processes."""

    def __init__(
        self,
        plan: Plan,
        run: Path,
        trainer: Trainer,
        console: Console,
        stop: threading.Event,
        begins: bool,
        callbacks: Sequence[Callback],
    ):
        """begins: the run is new, and its folder must not exist yet."""
        self.plan, self.run, self.trainer = plan, run, trainer
        self.config, self.ranks, self.callbacks = plan.config, trainer.ranks, callbacks
        self.stop, self.stopped = stop, False  # a signal in this process; in any process
        self.folder, self.means = RunFolder(run, plan, trainer), Means()
        state = self.folder.restore(lambda text: console.print(text, style="yellow", markup=False))
        self.earlier_seconds: float = state["seconds"]  # of training before this session
        self.folder.prepare(begins)
        self.looks = Looks(plan, trainer, state["scores"])
        if self.ranks.first:
            self.metrics = MetricsLog(run, trainer.step)
            self.display = Display(console, plan.total, trainer.step)
            self.looks.open(self.folder, self.metrics, console, callbacks)
        self.feed = Feed(plan, run, trainer.runtime, trainer.ranks, console)
        self.started = self.saved_at = self.logged_at = time.monotonic()
        self.logged_step = self.first_step = trainer.step
        self.waited = 0.0  # seconds for data since the last row
        self.longest_step = 0.0  # seconds
        self.row: dict[str, float] = {}
        # The means in a row need at least one step of the generators.
        turn = trainer.method.turn
        self.log_every = math.ceil(self.config.log_every / turn) * turn
        # By default about a hundred grids in a run.
        self.sample_every = self.config.sample_every or max(500, plan.total // 100)
        chosen = spread(SAMPLE_ROWS, plan.held_out.distinct)
        self.samples = fixed_batch(plan.held_out, plan.augment(training=False), chosen)

    def is_complete(self) -> bool:
        """Whether nothing is left to do. Weights that were deleted must be written again."""
        done = self.trainer.step >= self.plan.total or self.looks.out_of_patience
        return not self.folder.lacks_weights() and done and not self.looks.is_owed()

    def train(self, deadline: float) -> None:
        """Do all steps, or those until a signal or the deadline; then write samples and save."""
        if self.ranks.first:
            self.display.start()
        for callback in self.callbacks:
            callback.on_begin(self.run, self.config, self.trainer.step)
        if self.looks.is_owed():
            self.look()
        self._steps(deadline)
        [cut_short] = self.ranks.any(self.looks.cut_short)
        self.stopped |= cut_short  # the last look: it is made up for when the run is resumed
        if not self.stopped:  # after a signal, the checkpoint must not wait for samples
            self.sample()
        self.save()

    def _steps(self, deadline: float) -> None:
        trainer, late = self.trainer, False
        prepared = self.feed.batches(trainer.step)
        failure: Img2ImgError | None = None
        while trainer.step < self.plan.total and not late and not self.looks.out_of_patience:
            asked_at = time.monotonic()
            try:
                batch = next(prepared)
            except (DataError, WorkerError) as error:
                failure = error
            now = time.monotonic()
            self.waited += now - asked_at
            needed = self.longest_step + self.folder.longest_save
            late = now + needed > deadline and trainer.step > self.first_step
            slow = now - self.saved_at > SAVE_AT_LEAST_EVERY
            failed, self.stopped, late, slow = self.ranks.any(
                failure is not None, self.stop.is_set(), late, slow
            )
            if failed:
                raise failure or OtherRankFailed()
            if self.stopped:
                break
            if not late:
                if slow:
                    self.save()
                self.step(batch)
                self.longest_step = max(self.longest_step, time.monotonic() - now)

    def step(self, batch: dict[str, Tensor]) -> None:
        """Do a step, and then what is due: look, log, sample and save."""
        try:
            terms = self.trainer.update(batch)
        except (RuntimeError, MemoryError) as error:
            if memory.is_exhausted(error):
                raise BatchTooLarge from None
            raise
        self.means.add(terms)
        if self.ranks.first:
            self.display.advance()
        done, config = self.trainer.step, self.config
        for callback in self.callbacks:
            callback.on_step(done, terms)
        if self.looks.is_due():
            self.look()
        last = done == self.plan.total or self.looks.out_of_patience
        if done % self.log_every == 0 or last:
            self.log()
            if self.ranks.first:
                self.display.show(self.row)
        if done % self.sample_every == 0 and not last:
            self.sample()
        due = done % config.save_every == 0 or self.folder.keep.calls_for_save(done)
        if due and not last:
            self.save()

    def log(self, results: dict[str, float] | None = None) -> None:
        """Write a row of metrics.csv: the mean loss terms since the last row.

        results: those of a look. Raises Img2ImgError if a term is not finite.
        """
        terms, now = self.means.take(self.ranks), time.monotonic()
        step, batch = self.trainer.step, self.config.method.batch
        bad = [name for name, value in terms.items() if not math.isfinite(value)]
        if bad:
            raise self._diverged(", ".join(bad))
        if not self.ranks.first or not terms:
            return
        done, seconds = step - self.logged_step, now - self.logged_at
        self.row = {
            "step": step,
            "epoch": step / self.plan.schedule.epoch_steps,
            "seconds": round(self._seconds(), 3),
            "images_per_second": batch * done / seconds,
            "data_wait": self.waited / seconds,
            "peak_gib": self.trainer.runtime.peak_memory() / 2**30,
            "generator_lr": self.trainer.rate("generators"),
            "discriminator_lr": self.trainer.rate("discriminators"),
            **terms,
        }
        row = {**self.row, **(results or {})}
        self.metrics.add(row)
        for callback in self.callbacks:
            callback.on_row(row)
        self.logged_at, self.logged_step, self.waited = now, step, 0.0

    def sample(self) -> None:
        """Write a grid of held-out pictures, translated as the exported model does it."""
        trainer, method = self.trainer, self.trainer.method
        path = self.folder.sample_path()
        if path.exists() or not self.ranks.first:
            return
        shared = {id(part): part for part in (method.generators, method.discriminators)}
        view = copy.deepcopy(method, shared)
        view.generators = image_statistics(trainer.best_generators())
        with torch.no_grad():
            columns = view.grid(trainer.runtime.place(self.samples))
        kinds = self.config.method.intensities
        pictures = {
            name: list(as_shown(column.images, kinds.get(column.side), column.valid))
            for name, column in columns.items()
        }
        sheet = images.contact_sheet(pictures)
        write_whole(path, images.encode(images.Picture(sheet), ".png"))
        for callback in self.callbacks:
            callback.on_sample(trainer.step, path)

    def look(self) -> None:
        """Look at the run, and write the results to metrics.csv."""
        started, step = time.monotonic(), self.trainer.step
        self._require_finite()
        row = self.looks.look(self.stop.is_set)
        self.logged_at += time.monotonic() - started  # does not count for the speed of training
        if step == self.first_step and row:  # its row was written in an earlier session
            self.metrics.complete(step, row)
            for callback in self.callbacks:
                callback.on_row({"step": step, **row})
        else:
            self.log(row)

    def save(self) -> None:
        """Write the checkpoint, the weights and the card, unless the state is not finite."""
        self.log()
        self._require_finite()
        self.saved_at = time.monotonic()
        if self.ranks.first:
            self.metrics.sync()
        self.folder.save(self._seconds(), self.looks.scores, {**self.row, **self.looks.latest})
        for callback in self.callbacks:
            callback.on_save(self.trainer.step, self.folder.weights)

    def close(self) -> None:
        """Close files and the display."""
        self.feed.close()
        if self.ranks.first:
            self.display.close()
        for callback in self.callbacks:
            callback.on_end()

    def _seconds(self) -> float:
        """Time of training, including earlier sessions."""
        return self.earlier_seconds + time.monotonic() - self.started

    def _require_finite(self) -> None:
        weights = self.trainer.method.parameters()
        sums = torch.stack([p.detach().float().sum() for p in weights])
        if not bool(sums.isfinite().all()):
            raise self._diverged("the weights")

    def _diverged(self, what: str) -> Img2ImgError:
        folder = self.folder
        last = (
            f"The last good checkpoint, of step {folder.saved_step:,}, is {folder.checkpoint}."
            if folder.checkpoint.exists()
            else "There is no checkpoint yet."
        )
        return Img2ImgError(
            f"Training diverged at step {self.trainer.step:,}: {what} is not finite. {last} "
            "A lower learning rate (--set generator_lr=1e-4) or --precision fp32 often helps."
        )
