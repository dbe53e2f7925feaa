"""Files that are whole or absent, the pictures in a folder; and how many cores may work on them."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from img2img.errors import DataError

PICTURE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif"})


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`; it takes `path`'s place only when the block succeeds.

    A reader sees the old file or the new one, never half of it, through crashes included.
    """
    # No picture by its name: after a kill it stays.
    temporary = path.parent / f".img2img-{secrets.token_hex(8)}.part"
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


def find_pictures(folder: Path, unreadable: list[Path] | None = None) -> Iterator[Path]:
    """Picture files below `folder` by suffix, sub-folders included, in a fixed order.

    Hidden files and folders are passed over; links are followed for files, not for folders.
    unreadable: takes the folders that can't be listed; without it they raise OSError.
    """
    try:
        with os.scandir(folder) as entries:
            shown = (e for e in entries if not e.name.startswith("."))
            ordered = sorted(shown, key=lambda e: e.name)
    except OSError:
        if unreadable is None:
            raise
        unreadable.append(folder)
        return
    for entry in ordered:
        if entry.is_dir(follow_symlinks=False):
            yield from find_pictures(Path(entry.path), unreadable)
        elif os.path.splitext(entry.name)[1].lower() in PICTURE_SUFFIXES and _is_file(entry):
            yield Path(entry.path)


def pictures(folder: Path) -> tuple[Path, ...]:
    """Every picture below the folder; DataError where it is missing or has none."""
    require_folder(folder)
    found = tuple(find_pictures(folder))
    if not found:
        raise DataError(f"{folder} has no pictures (jpg, png, webp, bmp, tiff, gif).")
    return found


def by_name(folder: Path) -> dict[str, Path]:
    """The folder's pictures by `stem`; DataError where two share one, or there are none."""
    found: dict[str, Path] = {}
    for path in pictures(folder):
        name = stem(path, folder)
        if name in found:
            raise DataError(
                f"{found[name]} and {path} have the same name without suffix, so it is not clear "
                "which of them pairs up. Remove one."
            )
        found[name] = path
    return found


def stem(path: Path, folder: Path) -> str:
    """The relative path without suffix, by which pictures of two folders belong together."""
    return path.relative_to(folder).with_suffix("").as_posix()


def spread(count: int, length: int) -> list[int]:
    """Which of a folder's `length` pictures to look at: `count`, or all, evenly over them."""
    count = min(count, length)
    return [i * length // count for i in range(count)]


def cache_folder() -> Path:
    """Where lies what is downloaded or built once."""
    return Path.home() / ".cache" / "img2img"


def require_folder(folder: Path) -> None:
    if not folder.is_dir():
        raise DataError(f"There is no folder {folder}.")


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
