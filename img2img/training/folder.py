"""The folder of a run: how it is created, resumed, and what is saved in it."""

import json
import math
import platform
import shlex
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from img2img import __version__, locks
from img2img.errors import DataError, UsageError, told
from img2img.evaluate.features import known_sha256, part_in_training
from img2img.files import require_utf8
from img2img.methods import METHODS
from img2img.training import checkpoint
from img2img.training.checkpoint import BEST, DAMAGED, LAST, WEIGHTS
from img2img.training.config import RunConfig
from img2img.training.keep import Keep, kept_checkpoints, kept_path
from img2img.training.plan import Plan
from img2img.training.ranks import Ranks
from img2img.training.trainer import Trainer
from img2img.writing import clear_leftovers, sync_folder, write_whole

LOCK = ".lock"


def is_begun(run: Path) -> bool:
    """Whether the folder has a run, that is, a config.json."""
    return (run / "config.json").exists()


def is_vacant(run: Path) -> bool:
    """Whether a run can be created in the folder: it is missing, or has only the lock and temporary
    files of a process that was killed. Raises OSError if it can't be listed.
    """
    if not run.exists():
        return not run.is_symlink()
    return run.is_dir() and all(
        path.name == LOCK or path.name.startswith(".img2img-") for path in run.iterdir()
    )


@contextmanager
def locked(run: Path, ranks: Ranks) -> Iterator[None]:
    """A context in which no other process trains the run. Its folder is created, which all ranks
    call for. Raises UsageError, which names the other process, and for a name that is taken.
    """
    with ExitStack() as stack:
        message = ""
        if ranks.first:
            try:
                if not is_begun(run) and not is_vacant(run):
                    raise UsageError(f"{run} exists already. Choose another --name.")
                stack.enter_context(locks.held(run / LOCK, f"{run} is being trained"))
            except UsageError as error:
                message = str(error)
            except OSError as error:  # the other ranks wait for the message
                message = f"{error.filename or run} can't be written {told(error)}"
        if message := ranks.from_first(message):
            raise UsageError(message)
        yield


def new_folder(out: Path, name: str, numbered: bool) -> Path:
    """The folder below `out` for a new run. It is not created.

    numbered: append a number if the name is taken. Raises UsageError for a name that is taken or
    contains a folder, and DataError for one that is not UTF-8.
    """
    if Path(name).name != name or name in (".", ".."):
        raise UsageError(f"--name {name}: use a plain name without folders.")
    require_utf8(out / name)
    run, number = out / name, 2
    while not is_vacant(run):
        if not numbered:
            advice = "Choose another --name."
            if is_begun(run):
                advice = (
                    f"Continue it with --resume {shlex.quote(str(run))}, or choose another --name."
                )
            raise UsageError(f"{run} exists. {advice}")
        run, number = out / f"{name}-{number}", number + 1
    return run


def begin(run: Path, config: RunConfig) -> None:
    """Create a run: write config.json into a folder that is missing or vacant. The caller holds its
    lock.

    Raises UsageError where another process created the run before the lock was taken, and
    DataError, before anything is created, for a name that is not UTF-8.
    """
    content = config.to_json()
    if not is_vacant(run):
        raise UsageError(f"{run} exists already. Choose another --name.")
    write_whole(run / "config.json", content)
    sync_folder(run.parent)


def record(run: Path, config: RunConfig) -> None:
    """Update config.json of a run that is resumed with other settings. Without changes, the file is
    not written.
    """
    saved = RunConfig.load(run)
    changeable = {"method", "patience", "history"}
    if saved.model_dump(include=changeable) != config.model_dump(include=changeable):
        update = {"method": config.method, "patience": config.patience, "history": config.history}
        write_whole(run / "config.json", saved.model_copy(update=update).to_json())


def require_checkpoint(run: Path) -> None:
    """Raises DataError if a run has weights but no checkpoint: it would start again and overwrite
    them. A run that was stopped before its first save has neither.
    """
    if _weights(run) and not checkpoint.exists(run):
        raise DataError(f"{run} has weights, but no {LAST} to resume from. {beginning_anew(run)}")


def beginning_anew(run: Path) -> str:
    """What to do with a run that can't be resumed."""
    weights, config = _weights(run), shlex.quote(str(run / "config.json"))
    if not weights:
        return f"Start a new run with the same settings: img2img train --config {config}"
    source = shlex.quote(str(run if weights.parent == run else weights))
    return (
        f"Start a new run from these weights: img2img train --config {config} --pretrained {source}"
    )


def _weights(run: Path) -> Path | None:
    """The last weights, or else the best ones."""
    files = (run / WEIGHTS, run / BEST)
    return next((path for path in files if path.exists()), None)


class RunFolder:
    """Reads and writes the folder of a run. Only the first rank writes."""

    def __init__(self, path: Path, plan: Plan, trainer: Trainer):
        self.path, self.plan, self.trainer, self.ranks = path, plan, trainer, trainer.ranks
        self.checkpoint, self.weights, self.best = path / LAST, path / WEIGHTS, path / BEST
        self.keep = Keep.parse(plan.config.keep)
        self.saved_step = trainer.step
        self.longest_save = 0.0  # seconds

    def restore(self, warn: Callable[[str], None]) -> dict[str, Any]:
        """Load the trainer's state from the newest checkpoint that is not damaged, if there is one.

        warn: receives a sentence on a damaged one, which is moved to checkpoints/damaged.pt.
        Returns `seconds`, the time of training so far, and `scores`, those of all looks so far.
        Raises DataError for checkpoints that are all damaged, and for one that doesn't fit the
        settings, UsageError for one that another number of processes wrote.
        """
        state: dict[str, Any] = {"seconds": 0.0, "scores": []}
        path = self.checkpoint
        if checkpoint.exists(self.path):
            try:
                path, state = checkpoint.load_newest(self.path, warn)
            except DataError as error:
                raise DataError(f"{error} {beginning_anew(self.path)}") from None
            try:
                self._choose_pools(state)
                self.trainer.load_state_dict(state["trainer"])
                state = {name: state[name] for name in ("seconds", "scores")}
            except (RuntimeError, ValueError, KeyError, TypeError) as error:
                reason = str(error).splitlines()[0]
                raise DataError(
                    f"{path} doesn't fit {self.path / 'config.json'}: {reason}"
                ) from None
        self.saved_step = self.trainer.step
        if self.ranks.from_first(self.trainer.step) != self.trainer.step:
            raise DataError(
                f"Not all machines see the same {self.path}: put it on a disk that they share."
            )
        if self.ranks.first and path != self.checkpoint and self.checkpoint.exists():
            self.checkpoint.replace(self.path / DAMAGED)  # so that it never becomes the one before
        return state

    def prepare(self, begins: bool) -> None:
        """Write config.json and environment.json, and remove what killed processes left.

        begins: the run is new, and its folder is created. Raises DataError if the folder is not on
        a disk that all ranks share.
        """
        if self.ranks.first:
            if begins:
                begin(self.path, self.plan.config)
            else:
                record(self.path, self.plan.config)
            for name in ("", "checkpoints", "samples", "diagnosis", "export"):
                clear_leftovers(self.path / name)
            for cache in self.path.glob(".img2img-cache-*"):
                cache.unlink(missing_ok=True)
            write_whole(self.path / "environment.json", json.dumps(environment(), indent=2))
        self.ranks.any(False)  # wait for the first rank
        [missing] = self.ranks.any(not is_begun(self.path))
        if missing:
            raise DataError(f"Not all machines see {self.path}: put it on a disk that they share.")

    def lacks_weights(self) -> bool:
        """Whether the file of the last weights is missing: not saved yet, or deleted."""
        [missing] = self.ranks.any(not self.weights.exists())
        return missing

    def save(self, seconds: float, scores: list[float], row: dict[str, float]) -> None:
        """Write the checkpoint, the weights and the model card. The state must be finite.

        seconds: the time of training so far. scores: those of all looks so far. row: the latest
        metrics, for the card.
        """
        began, trainer = time.monotonic(), self.trainer
        pools = self.ranks.gather(trainer.pool_images())
        if self.ranks.first:
            state = {"trainer": trainer.state_dict(), "seconds": seconds, "scores": scores}
            state["pools"] = pools[1:]
            # The first checkpoint is written before the weights, because a run with weights must
            # have one; later ones after them, so that a complete checkpoint has no older weights.
            first = not checkpoint.exists(self.path)
            # Kept weights come before any: the run does not save at this step again.
            if self.keep.includes(trainer.step):
                self._write_weights(kept_path(self.path, trainer.step), {})
            if first:
                checkpoint.save_newest(self.path, state)
            self._write_weights(self.weights, {})
            data = self.plan.training.describe()
            card = model_card(self.plan.config, trainer.step, self.plan.total, data, row)
            write_whole(self.path / "README.md", card)
            if not first:
                checkpoint.save_newest(self.path, state)
            self._remove_kept()
        self.saved_step = trainer.step
        self.longest_save = max(self.longest_save, time.monotonic() - began)

    def save_best(self, metric: str, value: float) -> None:
        """Save the present weights as the best ones so far, with the value of the metric."""
        self._write_weights(self.best, {"metric": metric, "value": repr(value)})

    def best_value(self, metric: str, warn: Callable[[str], None]) -> float:
        """The value of the metric for the best weights; infinite if there are none.

        warn: receives a sentence on a damaged file, which the next look replaces.
        """
        if not self.best.exists():
            return math.inf
        # They may be of a step after the checkpoint: it will be repeated with the same weights.
        try:
            _, metadata = checkpoint.load_weights(self.best)
        except DataError as error:
            warn(f"{error} The weights of the next look take its place.")
            return math.inf
        return float(metadata["value"]) if metadata.get("metric") == metric else math.inf

    def sample_path(self) -> Path:
        """The file of the present step's sample grid."""
        return self.path / "samples" / f"step-{self.trainer.step:07d}.png"

    def last_checkpoint(self) -> str:
        """A sentence that tells from which step the run can be resumed."""
        return f"The last checkpoint was saved at step {self.saved_step:,}."

    def _remove_kept(self) -> None:
        """Delete the oldest kept weights beyond the limit of `keep`."""
        if self.keep.newest:
            for path in list(kept_checkpoints(self.path).values())[: -self.keep.newest]:
                path.unlink(missing_ok=True)

    def _write_weights(self, path: Path, metadata: dict[str, str]) -> None:
        kind = "ema" if self.trainer.ema else "plain"
        metadata = {"weights": kind, "step": str(self.trainer.step), **metadata}
        checkpoint.save_weights(path, self.trainer.best_generators(), metadata)

    def _choose_pools(self, state: dict[str, Any]) -> None:
        """Put the image pools of this process into the trainer's state. Raises UsageError if
        another number of processes wrote the checkpoint.
        """
        others = state["pools"]
        before = len(others) + 1
        if before != self.ranks.count:
            raise UsageError(
                f"{self.path} is trained by {before} process(es), each with its own random numbers "
                f"and image pool, so {self.ranks.count} can't continue it exactly. Start {before}: "
                f"torchrun --nproc-per-node {before} -m img2img train --resume ..."
            )
        if not self.ranks.first:
            state["trainer"]["pools"] = others[self.ranks.rank - 1]


def environment() -> dict[str, str]:
    """The versions and the hardware that a run uses, for environment.json."""
    packages = ("torch", "albumentations", "opencv-python-headless", "numpy", "pillow")
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
    return {
        "img2img": __version__,
        "python": platform.python_version(),
        **{package: version(package) for package in packages},
        "platform": platform.platform(),
        "gpu": gpu,
        "threads": str(torch.get_num_threads()),
        "command": " ".join(sys.argv),
    }


def model_card(config: RunConfig, step: int, total: int, data: str, row: dict[str, float]) -> str:
    """The model card, README.md of a run.

    data: a description of the training data. row: the latest metrics.
    """
    losses = "\n".join(f"| {name} | {value:.4g} |" for name, value in row.items())
    name, run = shlex.quote(config.name), shlex.quote(f"runs/{config.name}")
    shape = {"crop": ", cropped to that shape", "pad": ", padded to that shape"}
    size = f"at {config.method.size} px{shape.get(config.method.fit, '')}"
    remark = part_in_training(known_sha256(config.measured_by), config.feature_networks)
    remark = f"\n{remark}.\n" if remark else ""
    shown = "; ".join(
        f"{side} {intensity.describe_show()}"
        for side, intensity in config.method.intensities.items()
    )
    shown = f"Bands that are shown: {shown}.\n" if shown else ""
    towards = METHODS[config.mode].translate_hint
    return f"""# {config.name}

A {config.mode} translator trained with img2img {__version__}: {step:,} of {total:,} steps,
seed {config.seed}, on {data}, {size}. License of the weights: {config.licence or "not stated"}.
All settings: [config.json](config.json). Translations of held-out pictures: [samples](samples).
{shown}{remark}
    img2img export {run}
    img2img translate PHOTOS -o OUT -m {name}{towards}

| last row of metrics.csv | value |
|---|---|
{losses}
"""
