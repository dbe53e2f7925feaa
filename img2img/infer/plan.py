"""Which file becomes which, decided for all of them before the first is translated."""

import glob
import os
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Literal, NamedTuple

from img2img.errors import DataError, UsageError
from img2img.files import PICTURE_SUFFIXES, find_pictures
from img2img.images import WRITERS

Extension = Literal["keep", "png", "jpg", "webp"]


class Job(NamedTuple):
    """One picture to translate; plain strings, because there may be a million."""

    source: str
    target: str


def make_plan(
    inputs: Sequence[str],
    out: Path,
    extension: Extension,
    shard: str,
    folder: str = "",
    unreadable: list[Path] | None = None,
) -> list[Job]:
    """Files, folders and globs -> jobs in a fixed order; relative paths are kept below `out`, or
    below that folder in it. What lies in `out` is no input.

    shard "i/n": only every n-th job from the i-th on. unreadable: takes the folders that can't be
    listed; without it they raise OSError. Raises DataError for an input that is
    missing or has no pictures, for a folder that is `out` itself, for two inputs that would become
    one file, and for an output that would be an input (both compared without case and in one
    Unicode form, as some file systems do).
    """
    number, count = parse_shard(shard)
    jobs: list[Job] = []
    claimed: dict[int, int] = {}  # hash of the target's folded name -> its job
    out_real = os.path.realpath(out)
    for source, relative in _expand(inputs, out_real, unreadable):
        target = os.path.join(out, folder, _renamed(relative, extension))
        key = hash(_folded(target))
        if key in claimed:
            other = jobs[claimed[key]].source
            if os.path.realpath(other) == os.path.realpath(source):
                continue  # named twice
            raise DataError(
                f"{other} and {source} would both become {target}. "
                "Use --ext keep, or translate them into different folders."
            )
        claimed[key] = len(jobs)
        jobs.append(Job(source, target))
    real = resolver()
    exact: set[int] = set()
    alike: dict[int, int] = {}  # hash of the source's folded name -> its job
    for index, job in enumerate(jobs):
        source = real(job.source)
        exact.add(hash(source))
        alike[hash(_folded(source))] = index
    for job in jobs:
        target = real(job.target)
        other = alike.get(hash(_folded(target)))
        if hash(target) in exact or (other is not None and _same(target, jobs[other].source)):
            whose = "its own" if _same(target, job.source) else "an"
            raise DataError(f"{job.target} would replace {whose} input. Choose another -o folder.")
    return jobs[number - 1 :: count]


def _folded(path: str) -> str:
    """One name for what some file systems take for one file."""
    return unicodedata.normalize("NFC", path).casefold()


def _same(path: str, other: str) -> bool:
    """Whether both are one file or folder on the disk that they are on."""
    if path == other:
        return True
    there = os.path.exists(path) and os.path.exists(other)
    return there and os.path.samefile(path, other)


def _inside(path: str, folder: str) -> bool:
    """Whether a real path leads into a real folder."""
    folder = folder.rstrip(os.sep)  # which only the root has
    parts, depth = path.split(os.sep), folder.count(os.sep) + 1
    head = os.sep.join(parts[:depth])
    return len(parts) > depth and _folded(head) == _folded(folder) and _same(head, folder)


def resolver() -> Callable[[str], str]:
    """os.path.realpath for files, which looks up each folder once: there may be a million files."""
    folder = cache(os.path.realpath)

    def real(path: str) -> str:
        if os.path.islink(path):
            return os.path.realpath(path)
        head, name = os.path.split(path)
        return os.path.join(folder(head), name)

    return real


def parse_shard(shard: str) -> tuple[int, int]:
    """ "2/8" -> (2, 8)."""
    number, slash, count = shard.partition("/")
    if not (slash and number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count)):
        raise UsageError(f"--shard {shard}: write it as 1/4, 2/4, 3/4 or 4/4.")
    return int(number), int(count)


def _expand(
    inputs: Sequence[str], out_real: str, unreadable: list[Path] | None
) -> Iterator[tuple[str, str]]:
    """(path, path relative to the input that named it) for every picture, outputs left out."""
    for name in inputs:
        before, is_folder = 0, os.path.isdir(name)
        if is_folder:
            base = str(Path(name))
            found: Iterator[str] = map(str, find_pictures(Path(name), unreadable))
        elif os.path.isfile(name):
            found, base = iter([name]), os.path.dirname(name)
        elif glob.has_magic(name):
            base = _fixed_part(name)
            found = (p for p in sorted(glob.glob(name, recursive=True)) if _is_match(p, base))
        else:
            raise DataError(f"There is no file or folder {name}.")
        base_real, prefix = os.path.realpath(base or "."), os.path.join(base, "")
        within = not os.path.isfile(name) and _inside(out_real, base_real)
        if is_folder and _same(out_real, base_real):
            raise DataError(
                f"{name} is the output folder, too: what is made there would be taken for inputs "
                "when this goes on. Choose another -o folder."
            )
        for path in found:
            before += 1
            if within and _inside(os.path.realpath(path), out_real):
                continue  # OUT lies inside the input: what was made is not made again
            if is_folder and path.startswith(prefix):  # a million calls of relpath take seconds
                relative = path[len(prefix) :]
            else:
                relative = os.path.relpath(path, base or ".")
            if relative.split(os.sep)[0] == os.pardir:
                raise UsageError(f"{name} leads out of {base}: name that folder instead.")
            yield path, relative
        if not before and not unreadable:
            raise DataError(f"{name} has no pictures (jpg, png, webp, bmp, tiff, gif).")


def _is_match(path: str, base: str) -> bool:
    """A picture file, reached through no linked folder below the pattern's fixed part."""
    if os.path.splitext(path)[1].lower() not in PICTURE_SUFFIXES or not os.path.isfile(path):
        return False
    folder = os.path.dirname(path)
    while len(folder) > len(base):
        if os.path.islink(folder):
            return False
        folder = os.path.dirname(folder)
    return True


def _fixed_part(pattern: str) -> str:
    """The folders of a glob before its first wildcard."""
    parts = Path(pattern).parts
    fixed = next((i for i, part in enumerate(parts) if glob.has_magic(part)), len(parts))
    return str(Path(*parts[:fixed])) if fixed else "."


def _renamed(relative: str, extension: Extension) -> str:
    stem, suffix = os.path.splitext(relative)
    if extension != "keep":
        return f"{stem}.{extension}"
    return relative if suffix.lower() in WRITERS else f"{stem}.png"
