"""A place for the files of the cases, in memory where the system has one."""

import os
import tempfile
from functools import cache
from pathlib import Path

MEMORY = Path("/dev/shm")


def place() -> Path | None:
    """Where temporary folders are made; None for the usual place, or the one that is asked for."""
    return MEMORY if MEMORY.is_dir() and "TMPDIR" not in os.environ else None


@cache
def folder() -> Path:
    """Deleted when the process ends."""
    kept = tempfile.TemporaryDirectory(dir=place())
    _KEPT.append(kept)
    return Path(kept.name)


def written(name: str, content: bytes) -> Path:
    """A file with this content; the next one of this name replaces it."""
    path = folder() / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


_KEPT: list[tempfile.TemporaryDirectory] = []
