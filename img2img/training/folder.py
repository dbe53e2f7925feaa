"""The folder of a run: begun once, and gone on with only from its checkpoint."""

import os
import secrets
import shlex
from pathlib import Path

from img2img.errors import DataError, UsageError
from img2img.files import require_utf8, write_whole
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
    """Replace config.json of a run that goes on with other settings, which are in the config's
    history; without any the file stays as it is.
    """
    saved = RunConfig.load(run)
    if (saved.method, saved.history) != (config.method, config.history):
        settings = {"method": config.method, "history": config.history}
        write_whole(run / "config.json", saved.model_copy(update=settings).to_json())


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
