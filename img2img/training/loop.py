"""A whole run: from a config to a trained translator, interruptible at any step."""

import copy
import json
import math
import shlex
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from img2img import images
from img2img.data.cache import Cache
from img2img.data.stream import Stream, batches, fixed_batch
from img2img.errors import DataError, Img2ImgError, Interrupted, UsageError
from img2img.evaluate import features
from img2img.files import spread, write_whole
from img2img.methods import METHODS
from img2img.nets.norm import image_statistics
from img2img.training import checkpoint, folder
from img2img.training.examine import DiagnosisLog, Examiner, LookStopped
from img2img.training.log import Display, Means, MetricsLog, environment, model_card
from img2img.training.plan import Plan
from img2img.training.ranks import LostRank, Ranks
from img2img.training.runtime import Runtime, default_workers, seed_step, to_uint8
from img2img.training.stop import stop_signals
from img2img.training.trainer import Trainer

SAVE_AT_LEAST_EVERY = 600.0  # seconds, however slow the steps are
SAMPLE_ROWS = 8
LONG = 5000  # steps in which the minutes are made up for that compiling takes
INIT = 2**40  # the "step" whose seed draws the initial weights; no run gets there


class WorkerError(Img2ImgError):
    """A data worker died; the training itself is whole."""


def train(
    plan: Plan,
    run: Path,
    console: Console,
    max_minutes: float | None = None,
    ranks: Ranks = Ranks(),  # noqa: B008, it is immutable
) -> None:
    """Train until done, or go on from the run's checkpoint; the run folder gets everything.

    Returns when all steps are done or max_minutes are over. Raises Interrupted after SIGINT,
    SIGTERM or SIGHUP, Img2ImgError on a loss that is not finite; all leave a good checkpoint.
    """
    config, began = plan.config, time.monotonic()
    folder.require_checkpoint(run)
    begins = not folder.is_begun(run)
    if ranks.from_first(config.fingerprint) != config.fingerprint:
        raise DataError("The machines have different training pictures (names or sizes differ).")
    method = METHODS[config.mode]
    runtime = Runtime(config.device, config.precision, method.channels_last, ranks)
    seed_step(config.seed, INIT)
    networks = method(config.method)
    if config.pretrained and not (run / checkpoint.LAST).exists():
        checkpoint.begin_with(networks.generators, config.pretrained)
    trainer = Trainer(networks, runtime, config.seed, plan.schedule, ranks)
    deadline = began + max_minutes * 60 if max_minutes is not None else math.inf
    with stop_signals() as stop:
        session = _Session(plan, run, trainer, console, stop, begins)
        if session.is_complete():
            session.close()
            console.print(f"{run} is complete: all {plan.total:,} steps are done.")
            return
        state = f"from step {trainer.step:,} " if trainer.step else ""
        console.print(
            f"{config.mode} on {plan.training.describe()}; {plan.total:,} steps {state}"
            f"on {runtime.describe()}; run folder {run}"
        )
        left = plan.total - trainer.step
        if config.compile and runtime.miscompiles:
            console.print(
                "Not compiled: on CPUs torch's compiled bf16 code gives wrong gradients. "
                "--precision fp32 can be compiled."
            )
        elif config.compile or (config.compile is None and runtime.compiles and left >= LONG):
            trainer.compile()
            console.print("The networks are compiled: the first steps take a minute or more.")
        command = "img2img" if ranks.count == 1 else "torchrun (as before) -m img2img"
        how = f"Go on with: {command} train --resume {shlex.quote(str(run))}"
        try:
            session.train(deadline)
        except torch.OutOfMemoryError:
            raise Img2ImgError(
                "The GPU has too little memory for this. Use a smaller --batch or --size."
            ) from None
        except (DataError, WorkerError) as error:
            session.save()
            raise type(error)(f"{error} Saved at step {trainer.step:,}. {how}") from None
        except LostRank as error:
            raise LostRank(f"{error} {session.kept()} {how}") from None
        except (OSError, checkpoint.NotWritten) as error:
            raise Img2ImgError(f"{error} {session.kept()} Make room; {how}") from None
        finally:
            session.close()
    if session.stopped:
        raise Interrupted(f"Stopped and saved at step {trainer.step:,}. {how}")
    if trainer.step < plan.total:
        console.print(f"The time is over; saved at step {trainer.step:,}. {how}")
    else:
        console.print(f"Done. Next: img2img export {shlex.quote(str(run))}")


class _Session:
    """One process's part of a run: the counters, and when to log, sample and save.

    Of several, all do the same at the same steps, and the first alone writes and looks.
    """

    def __init__(
        self,
        plan: Plan,
        run: Path,
        trainer: Trainer,
        console: Console,
        stop: threading.Event,
        begins: bool,
    ):
        """begins: the run is a new one, whose folder must be its own."""
        self.plan, self.run, self.trainer, self.console = plan, run, trainer, console
        self.config, self.ranks, self.means = plan.config, trainer.ranks, Means()
        self.stop, self.stopped = stop, False  # asked for here; and agreed on by all
        self.cut_short = False  # a look
        self.checkpoint = run / checkpoint.LAST
        self.before = 0.0  # seconds of training in earlier sessions
        if self.checkpoint.exists():
            try:
                state = checkpoint.load(self.checkpoint)
            except DataError as error:
                raise DataError(f"{error} {folder.beginning_anew(run)}") from None
            try:
                self.before = state["seconds"]
                self._take_pools(state)
                trainer.load_state_dict(state["trainer"])
            except (RuntimeError, ValueError, KeyError, TypeError) as error:
                reason = str(error).splitlines()[0]
                raise DataError(
                    f"{self.checkpoint} does not fit {run / 'config.json'}: {reason}"
                ) from None
        self.cache: Cache | None = None
        if self.ranks.from_first(trainer.step) != trainer.step:
            raise DataError(
                f"Not all machines see the same {run}: it must lie on a disk that they share."
            )
        if self.ranks.first:
            self._describe_run(begins)
            self.metrics = MetricsLog(run, trainer.step)
            self.display = Display(console, plan.total, trainer.step)
        self.ranks.any(False)  # the folder is there, and cleared
        [missing] = self.ranks.any(not (run / "config.json").exists())
        if missing:
            raise DataError(f"Not all machines see {run}: it must lie on a disk that they share.")
        self.began = self.saved_at = self.logged_at = time.monotonic()
        self.logged_step = self.saved_step = self.first_step = trainer.step
        self.waited = self.longest = self.saving = 0.0  # seconds: for data; a step's; a save's
        self.row: dict[str, float] = {}
        # A row needs at least one generator step in its mean.
        turn = trainer.method.turn
        self.log_every = math.ceil(self.config.log_every / turn) * turn
        # By default about a hundred grids a run.
        self.sample_every = self.config.sample_every or max(500, plan.total // 100)
        chosen = spread(SAMPLE_ROWS, plan.held_out.distinct)
        self.samples = fixed_batch(plan.held_out, plan.augment(training=False), chosen)
        self._set_up_looks()

    def train(self, deadline: float) -> None:
        """All steps, or those before a stop or the deadline; then sample and save."""
        made, trainer, late, failure = self.batches(), self.trainer, False, None
        if self.ranks.first:
            self.display.start()
        if self.owes_look():
            self.look()
        while trainer.step < self.plan.total and not late:
            began = time.monotonic()
            try:
                batch = next(made)
            except (DataError, WorkerError) as error:
                failure = error
            now = time.monotonic()
            self.waited += now - began
            late = now + self.longest + self.saving > deadline and trainer.step > self.first_step
            slow = now - self.saved_at > SAVE_AT_LEAST_EVERY
            failed, self.stopped, late, slow = self.ranks.any(
                failure is not None, self.stop.is_set(), late, slow
            )
            if failed:
                raise failure or WorkerError("Another process of this run could not go on.")
            if self.stopped:
                break
            if not late:
                if slow:
                    self.save()
                self.step(batch)
                self.longest = max(self.longest, time.monotonic() - now)
        [cut_short] = self.ranks.any(self.cut_short)
        self.stopped |= cut_short  # the last look, so that going on makes up for it
        if not self.stopped:  # whoever sends a signal waits for the checkpoint
            self.sample()
        self.save()

    def batches(self) -> Iterator[dict[str, torch.Tensor]]:
        runtime, c = self.trainer.runtime, self.config
        # Hidden, and cleared away with what else a killed process leaves.
        name = f".img2img-cache-{self.ranks.rank}"
        self.cache = self.plan.new_cache(self.run / name) if c.cache else None
        augment, batch = self.plan.augment(training=True, cache=self.cache), c.method.batch
        ranks = self.ranks
        stream = Stream(self.plan.training, augment, c.seed, batch, ranks.rank, ranks.count)
        workers = default_workers(runtime.device, self.ranks) if c.workers is None else c.workers
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

    def step(self, batch: dict[str, torch.Tensor]) -> None:
        self.means.add(self.trainer.update(batch))
        if self.ranks.first:
            self.display.advance()
        done, config = self.trainer.step, self.config
        last = done == self.plan.total
        if self.look_every and (done % self.look_every == 0 or last):
            self.look()
        if done % self.log_every == 0 or last:
            self.log()
            if self.ranks.first:
                self.display.show(self.row)
        if done % self.sample_every == 0 and not last:
            self.sample()
        if done % config.save_every == 0 and not last:
            self.save()

    def log(self, looked: dict[str, float] | None = None) -> None:
        """Write the mean terms since the last row, and what a look found; raises where a term is
        not finite.
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
            "seconds": round(self.before + now - self.began, 3),
            "images_per_second": batch * done / seconds,
            "data_wait": self.waited / seconds,
            "peak_gib": self.trainer.runtime.peak_memory() / 2**30,
            "generator_lr": self.trainer.rate("generators"),
            "discriminator_lr": self.trainer.rate("discriminators"),
            **terms,
        }
        self.metrics.add({**self.row, **(looked or {})})
        self.logged_at, self.logged_step, self.waited = now, step, 0.0

    def sample(self) -> None:
        """A grid of held-out pictures, run as the exported model would run them."""
        trainer, method = self.trainer, self.trainer.method
        path = self.run / "samples" / f"step-{trainer.step:07d}.png"
        if path.exists() or not self.ranks.first:
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
        began = time.monotonic()
        self._require_finite()
        row, failure = {}, None
        if self.ranks.first:
            try:
                row = self._examine()
            except DataError as error:
                failure = error
        [failed] = self.ranks.any(failure is not None)
        if failed:
            raise failure or WorkerError("Another process of this run could not go on.")
        self.logged_at += time.monotonic() - began  # no part of the training's speed
        if self.trainer.step == self.first_step and row:
            self.metrics.complete(self.first_step, row)
        else:
            self.log(row)

    def _examine(self) -> dict[str, float]:
        """What a look finds, for metrics.csv; nothing where a signal ends it."""
        step = self.trainer.step
        try:
            look = self.examiner.look(self.trainer, self.metrics.history(step), self.stop.is_set)
        except LookStopped:
            self.cut_short = True
            return {}
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
        return look.row

    def is_complete(self) -> bool:
        """Whether there is nothing left to do; weights that were deleted are written again."""
        [missing] = self.ranks.any(not (self.run / checkpoint.WEIGHTS).exists())
        return self.trainer.step >= self.plan.total and not missing and not self.owes_look()

    def owes_look(self) -> bool:
        """Whether a signal ended the look that was due when this checkpoint was written."""
        step = self.trainer.step
        due = self.look_every and (step % self.look_every == 0 or step == self.plan.total)
        missing = bool(step and due) and self.ranks.first and not self.metrics.looked_at(step)
        [owed] = self.ranks.any(missing)
        return owed

    def save(self) -> None:
        """Checkpoint, travelling weights and card; never of a state that is not finite."""
        self.log()
        self._require_finite()
        trainer, now = self.trainer, time.monotonic()
        pools = self.ranks.gather(trainer.pool_images())
        if self.ranks.first:
            self._write(pools, now)
        self.saved_at, self.saved_step = now, trainer.step

    def kept(self) -> str:
        return f"The last checkpoint is of step {self.saved_step:,}."

    def _write(self, pools: list[Any], now: float) -> None:
        trainer = self.trainer
        described, row = self.plan.training.describe(), {**self.row, **self.looked}
        card = model_card(self.config, trainer.step, self.plan.total, described, row)
        state = {"trainer": trainer.state_dict(), "seconds": self.before + now - self.began}
        state["pools"] = pools[1:]
        # The first comes before the weights, which a run has only with a checkpoint; later ones
        # after, so that a complete checkpoint never stands beside older weights.
        first = not self.checkpoint.exists()
        if first:
            checkpoint.save(self.checkpoint, state)
        self._save_weights(self.run / checkpoint.WEIGHTS, {})
        write_whole(self.run / "README.md", card)
        if not first:
            checkpoint.save(self.checkpoint, state)
        self.saving = max(self.saving, time.monotonic() - now)

    def _take_pools(self, state: dict[str, Any]) -> None:
        """Choose this process's pools; raises UsageError where they are of another number."""
        others = state["pools"]
        before = len(others) + 1
        if before != self.ranks.count:
            raise UsageError(
                f"{self.run} is trained by {before} process(es), each with draws and past fakes of "
                f"its own; with {self.ranks.count} it could not go on as it began. Start as many "
                f"as before: torchrun --nproc-per-node {before} -m img2img train --resume ..."
            )
        if not self.ranks.first:
            state["trainer"]["pools"] = others[self.ranks.rank - 1]

    def close(self) -> None:
        if self.cache:
            self.cache.close()
        if self.ranks.first:
            self.display.close()
            self.metrics.close()

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
        if not (every and self.ranks.first):
            return
        eye = None
        if config.measured_by not in ("", "none"):
            eye = features.extractor(config.measured_by, device=trainer.runtime.device)
        augment, c = plan.augment(training=False), config.method
        self.examiner = Examiner(
            plan.training, plan.held_out, augment, c.batch, config.eval_pictures, eye
        )
        self.diagnosis = DiagnosisLog(self.run, trainer.step)
        self.best = self.run / checkpoint.BEST
        self.best_score = math.inf
        if eye and self.best.exists():
            # Even of a step that comes again: the run will get there with the same weights.
            _, said = checkpoint.load_weights(self.best)
            if said.get("metric") == eye.kernel:
                self.best_score = float(said["value"])

    def _describe_run(self, begins: bool) -> None:
        """Write what tells how the run was started; of a new one, make the folder."""
        if begins:
            folder.begin(self.run, self.config)
        else:
            folder.record(self.run, self.config)
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
