"""The folder of a run: begun once, and gone on with only from its checkpoint."""

import os
import secrets
import shlex
from pathlib import Path

from img2img.errors import DataError, UsageError
from img2img.files import write_whole
from img2img.training.checkpoint import BEST, LAST, WEIGHTS
from img2img.training.config import RunConfig


def is_begun(run: Path) -> bool:
    return (run / "config.json").exists()


def is_vacant(run: Path) -> bool:
    """Whether no run was begun in the folder: it is missing, or a process that was killed made it.
    Raises OSError where it can't be listed.
    """
    if not run.exists():
        return not run.is_symlink()
    return run.is_dir() and all(path.name.startswith(".img2img-") for path in run.iterdir())


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
