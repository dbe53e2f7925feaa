"""The folder of a run: begun once, resumed from its checkpoint, and all that is saved in it."""

import json
import math
import os
import platform
import secrets
import shlex
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from img2img import __version__
from img2img.errors import DataError, UsageError
from img2img.files import require_utf8, write_whole
from img2img.methods import METHODS
from img2img.training import checkpoint
from img2img.training.checkpoint import BEST, LAST, WEIGHTS
from img2img.training.config import RunConfig
from img2img.training.keep import Keep, kept_checkpoints, kept_path
from img2img.training.plan import Plan
from img2img.training.trainer import Trainer


def is_begun(run: Path) -> bool:
    return (run / "config.json").exists()


def is_vacant(run: Path) -> bool:
    """Whether no run was begun in the folder: it is missing, or a process that was killed made it.
    Raises OSError where it can't be listed.
    """
    if not run.exists():
        return not run.is_symlink()
    return run.is_dir() and all(path.name.startswith(".img2img-") for path in run.iterdir())


def new_folder(out: Path, name: str, numbered: bool) -> Path:
    """A folder below `out` in which no run was begun yet; it is not created.

    numbered: where the name is taken, a number is appended to it. Raises UsageError for a name that
    is taken or is no plain name, DataError for one that is not UTF-8.
    """
    if Path(name).name != name or name in (".", ".."):
        raise UsageError(f"--name {name}: a plain name, without folders.")
    require_utf8(out / name)
    run, number = out / name, 2
    while not is_vacant(run):
        if not numbered:
            advice = "Choose another --name."
            if is_begun(run):
                advice = f"Go on with --resume {shlex.quote(str(run))}, or choose another --name."
            raise UsageError(f"{run} exists. {advice}")
        run, number = out / f"{name}-{number}", number + 1
    return run


def begin(run: Path, config: RunConfig) -> None:
    """Write config.json into a folder that is missing or vacant; of two processes that do so at
    once, one gets a UsageError. DataError where a name can't be written, before anything is made.
    """
    content, path = config.to_json(), run / "config.json"
    taken = UsageError(f"{run} exists already. Choose another --name.")
    if not is_vacant(run):
        raise taken
    draft = run / f".img2img-{secrets.token_hex(8)}.part"
    write_whole(draft, content)
    try:
        os.link(draft, path)  # unlike a move, never over another one
    except OSError:
        if path.exists():
            raise taken from None
        draft.replace(path)  # a disk without links
    finally:
        draft.unlink(missing_ok=True)


def record(run: Path, config: RunConfig) -> None:
    """Replace config.json of a run that goes on with other settings, whose history the config has;
    without any the file stays as it is.
    """
    saved = RunConfig.load(run)
    changeable = {"method", "patience", "history"}
    if saved.model_dump(include=changeable) != config.model_dump(include=changeable):
        update = {"method": config.method, "patience": config.patience, "history": config.history}
        write_whole(run / "config.json", saved.model_copy(update=update).to_json())


def require_checkpoint(run: Path) -> None:
    """DataError where a run has weights and no checkpoint to go on from: it would begin again and
    write over them. A run that was stopped before its first save has neither.
    """
    if _weights(run) and not (run / LAST).exists():
        raise DataError(f"{run} has weights, but no {LAST} to go on from. {beginning_anew(run)}")


def beginning_anew(run: Path) -> str:
    """What to do with a run that can't be gone on with."""
    weights, config = _weights(run), shlex.quote(str(run / "config.json"))
    if not weights:
        return f"Begin a new run like it: img2img train --config {config}"
    source = shlex.quote(str(run if weights.parent == run else weights))
    return (
        f"Begin a new run with these weights: img2img train --config {config} --pretrained {source}"
    )


def _weights(run: Path) -> Path | None:
    """The last ones, else the best."""
    kept = (run / WEIGHTS, run / BEST)
    return next((path for path in kept if path.exists()), None)


class RunFolder:
    """What the processes of a run read and write in its folder; the first rank alone writes."""

    def __init__(self, path: Path, plan: Plan, trainer: Trainer):
        self.path, self.plan, self.trainer, self.ranks = path, plan, trainer, trainer.ranks
        self.checkpoint, self.weights, self.best = path / LAST, path / WEIGHTS, path / BEST
        self.keep = Keep.parse(plan.config.keep)
        self.saved_step = trainer.step
        self.longest_save = 0.0  # seconds

    def restore(self) -> dict[str, Any]:
        """Load the trainer's state from the checkpoint. Returns what else it holds: `seconds` of
        training before it and the `scores` of its looks; without a checkpoint, those of a new run.

        Raises DataError for a checkpoint that is damaged or of other settings, UsageError for one
        of another number of processes.
        """
        state: dict[str, Any] = {"seconds": 0.0, "scores": []}
        if self.checkpoint.exists():
            try:
                state = checkpoint.load(self.checkpoint)
            except DataError as error:
                raise DataError(f"{error} {beginning_anew(self.path)}") from None
            try:
                self._choose_pools(state)
                self.trainer.load_state_dict(state["trainer"])
                state = {name: state[name] for name in ("seconds", "scores")}
            except (RuntimeError, ValueError, KeyError, TypeError) as error:
                reason = str(error).splitlines()[0]
                raise DataError(
                    f"{self.checkpoint} does not fit {self.path / 'config.json'}: {reason}"
                ) from None
        self.saved_step = self.trainer.step
        if self.ranks.from_first(self.trainer.step) != self.trainer.step:
            raise DataError(
                f"Not all machines see the same {self.path}: it must lie on a disk that they share."
            )
        return state

    def prepare(self, begins: bool) -> None:
        """Write what tells how the run was started, and remove what killed processes left.

        begins: the run is new: make its folder, which must be its own. Raises DataError where the
        folder is not on a disk that all ranks share.
        """
        if self.ranks.first:
            if begins:
                begin(self.path, self.plan.config)
            else:
                record(self.path, self.plan.config)
            for folder in (self.path, self.checkpoint.parent):
                for half_written in folder.glob(".img2img-*"):
                    half_written.unlink(missing_ok=True)
            write_whole(self.path / "environment.json", json.dumps(environment(), indent=2))
        self.ranks.any(False)  # the folder is there, and cleared
        [missing] = self.ranks.any(not is_begun(self.path))
        if missing:
            raise DataError(
                f"Not all machines see {self.path}: it must lie on a disk that they share."
            )

    def lacks_weights(self) -> bool:
        """Whether the weights that travel are gone, as where somebody moved them."""
        [missing] = self.ranks.any(not self.weights.exists())
        return missing

    def save(self, seconds: float, scores: list[float], row: dict[str, float]) -> None:
        """Write the checkpoint, the weights and the card. The state must be finite.

        seconds: of training so far; scores: of all looks; row: newest values for the card.
        """
        began, trainer = time.monotonic(), self.trainer
        pools = self.ranks.gather(trainer.pool_images())
        if self.ranks.first:
            state = {"trainer": trainer.state_dict(), "seconds": seconds, "scores": scores}
            state["pools"] = pools[1:]
            # The first comes before the weights, which a run has only with a checkpoint; later ones
            # after, so that a complete checkpoint never stands beside older weights.
            first = not self.checkpoint.exists()
            # Kept weights come before any: the run does not save at this step again.
            if self.keep.includes(trainer.step):
                self._write_weights(kept_path(self.path, trainer.step), {})
            if first:
                checkpoint.save(self.checkpoint, state)
            self._write_weights(self.weights, {})
            data = self.plan.training.describe()
            card = model_card(self.plan.config, trainer.step, self.plan.total, data, row)
            write_whole(self.path / "README.md", card)
            if not first:
                checkpoint.save(self.checkpoint, state)
            self._remove_kept()
        self.saved_step = trainer.step
        self.longest_save = max(self.longest_save, time.monotonic() - began)

    def save_best(self, metric: str, value: float) -> None:
        """Keep the present weights as the best, by the value of the metric."""
        self._write_weights(self.best, {"metric": metric, "value": repr(value)})

    def best_value(self, metric: str) -> float:
        """The metric's value of the best weights, infinite where there are none."""
        if not self.best.exists():
            return math.inf
        # Even of a step that comes again: the run will get there with the same weights.
        _, about = checkpoint.load_weights(self.best)
        return float(about["value"]) if about.get("metric") == metric else math.inf

    def sample_path(self) -> Path:
        """Where the sample grid of the present step goes."""
        return self.path / "samples" / f"step-{self.trainer.step:07d}.png"

    def last_checkpoint(self) -> str:
        """A sentence on the step that the run would go on from."""
        return f"The last checkpoint is of step {self.saved_step:,}."

    def _remove_kept(self) -> None:
        """Of the kept weights, leave as many as the config says."""
        if self.keep.newest:
            for path in list(kept_checkpoints(self.path).values())[: -self.keep.newest]:
                path.unlink(missing_ok=True)

    def _write_weights(self, path: Path, about: dict[str, str]) -> None:
        kind = "ema" if self.trainer.ema else "plain"
        about = {"weights": kind, "step": str(self.trainer.step), **about}
        checkpoint.save_weights(path, self.trainer.best_generators(), about)

    def _choose_pools(self, state: dict[str, Any]) -> None:
        """Put this process's image pools into the trainer's state; UsageError where the checkpoint
        is of another number of processes.
        """
        others = state["pools"]
        before = len(others) + 1
        if before != self.ranks.count:
            raise UsageError(
                f"{self.path} is trained by {before} process(es), each with draws and past fakes "
                f"of its own; with {self.ranks.count} it could not go on as it began. Start as "
                f"many as before: torchrun --nproc-per-node {before} -m img2img train --resume ..."
            )
        if not self.ranks.first:
            state["trainer"]["pools"] = others[self.ranks.rank - 1]


def environment() -> dict[str, str]:
    """What a run ran on, for environment.json."""
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
    """README.md of a run, which is the card of its weights.

    data: what it was trained on, in words; row: newest values of the metrics.
    """
    losses = "\n".join(f"| {name} | {value:.4g} |" for name, value in row.items())
    name, run = shlex.quote(config.name), shlex.quote(f"runs/{config.name}")
    shape = {"crop": ", cropped to that shape", "pad": ", padded to that shape"}
    size = f"at {config.method.size} px{shape.get(config.method.fit, '')}"
    towards = METHODS[config.mode].translate_hint
    return f"""# {config.name}

A {config.mode} translator trained with img2img {__version__}: {step:,} of {total:,} steps,
seed {config.seed}, on {data}, {size}. Licence of the weights: {config.licence or "not stated"}.
All settings: [config.json](config.json). Held-out pictures as it saw them: [samples](samples).

    img2img export {run}
    img2img translate PHOTOS -o OUT -m {name}{towards}

| last row of metrics.csv | value |
|---|---|
{losses}
"""
