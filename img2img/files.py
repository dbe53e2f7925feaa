"""Files that are whole or absent, the pictures in a folder; and how many cores may work on them."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PICTURE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif"})


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`; it takes `path`'s place only when the block succeeds.

    A reader sees the old file or the new one, never half of it, through crashes included.
    """
    temporary = path.parent / f".img2img-{secrets.token_hex(8)}{path.suffix}"
    temporary.open("xb").close()
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_whole(path: Path, content: bytes | str) -> None:
    """Write the file so that it is whole or absent; folders above it are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as temporary:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)


def find_pictures(folder: Path) -> Iterator[Path]:
    """Picture files below `folder` by suffix, sub-folders included, in a fixed order.

    Hidden files and folders are passed over; links are followed for files, not for folders.
    """
    with os.scandir(folder) as entries:
        ordered = sorted((e for e in entries if not e.name.startswith(".")), key=lambda e: e.name)
    for entry in ordered:
        if entry.is_dir(follow_symlinks=False):
            yield from find_pictures(Path(entry.path))
        elif os.path.splitext(entry.name)[1].lower() in PICTURE_SUFFIXES and _is_file(entry):
            yield Path(entry.path)


def _is_file(entry: os.DirEntry) -> bool:
    try:
        return entry.is_file()
    except OSError:  # a link to itself
        return False


def usable_cores() -> int:
    """The cores this process may use: in a container fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
