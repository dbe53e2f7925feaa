"""Which file becomes which, decided for all of them before the first is translated."""

import fnmatch
import glob
import os
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Literal, NamedTuple

from img2img.errors import DataError, UsageError
from img2img.files import PassedOver, find_pictures, is_picture, no_pictures, walk
from img2img.images import WRITERS

Extension = Literal["keep", "png", "jpg", "webp", "avif"]
Names = Literal["plain", "full", "number"]


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
    passed_over: PassedOver | None = None,
    names: Names = "plain",
) -> list[Job]:
    """Files, folders and globs -> jobs in a fixed order; relative paths are kept below `out`, or
    below that folder in it. What lies in `out` is no input.

    shard "i/n": only every n-th job from the i-th on. unreadable: takes the folders that can't be
    listed; without it they raise OSError. passed_over: takes what is no picture, and what img2img
    wrote. names: "full" keeps the input's suffix before another one (a.gif.png); "number" tells
    outputs of one name apart (a.png, a-2.png).

    Raises DataError for an input that is missing or has no pictures, for a folder that is `out`
    itself, for two inputs that would become one file, and for an output that would be an input
    (both compared as file systems do that ignore case and Unicode's forms).
    """
    number, count = parse_shard(shard)
    jobs: list[Job] = []
    claimed: dict[int, int] = {}  # hash of the target's folded name -> its job
    numbers: dict[int, int] = {}  # the same -> the last number that was given to its name
    exact: set[int] = set()  # hashes of the sources' real paths
    alike: dict[int, int] = {}  # hash of the source's folded real path -> its job
    left = PassedOver() if passed_over is None else passed_over
    real = resolver()
    for source, relative, real_source in _expand(inputs, out, real, unreadable, left):
        target = os.path.join(out, folder, _renamed(relative, extension, names))
        key = hash(_folded(target))
        if key in claimed:
            claimant = jobs[claimed[key]].source
            if os.path.realpath(claimant) == os.path.realpath(source):
                continue  # named twice
            if names != "number":
                raise _clash(claimant, source, target)
            plain, (stem, suffix) = key, os.path.splitext(target)
            while key in claimed:
                numbers[plain] = numbers.get(plain, 1) + 1
                target = f"{stem}-{numbers[plain]}{suffix}"
                key = hash(_folded(target))
        claimed[key] = len(jobs)
        exact.add(hash(real_source))
        alike[hash(_folded(real_source))] = len(jobs)
        jobs.append(Job(source, target))
    for job in jobs:
        target = real(job.target)
        other = alike.get(hash(_folded(target)))
        if hash(target) in exact or (other is not None and _same(target, jobs[other].source)):
            whose = "its own" if _same(target, job.source) else "an"
            raise DataError(f"{job.target} would replace {whose} input. Choose another -o folder.")
    return jobs[number - 1 :: count]


def _clash(one: str, other: str, target: str) -> DataError:
    """The error for two inputs that would become one file, with what helps."""
    names = [os.path.basename(path) for path in (one, other)]
    stems = [os.path.splitext(name)[0] for name in names]
    advice = f"--names number tells them apart ({_numbered_example(target)})"
    if names[0] != names[1] and _folded(names[0]) == _folded(names[1]):
        advice = f"Some file systems take these names for one: {advice}"
    elif names[0] != names[1] and _folded(stems[0]) == _folded(stems[1]):
        suffix = os.path.splitext(target)[1]
        kept = next(name for name in names if not name.lower().endswith(suffix.lower()))
        advice = f"--names full keeps their suffixes ({kept}{suffix}), and {advice}"
    if unicodedata.normalize("NFC", one) == unicodedata.normalize("NFC", other):
        one, other = ascii(one), ascii(other)  # they look alike
    return DataError(f"{one} and {other} would both become {target}. {advice}.")


def _numbered_example(target: str) -> str:
    stem, suffix = os.path.splitext(os.path.basename(target))
    return f"{stem}{suffix}, {stem}-2{suffix}"


def _folded(path: str) -> str:
    """One name for what some file systems take for one file. APFS folds case in full: "ß" is "ss"
    there, and a ligature its letters.
    """
    if path.isascii():
        return path.lower()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", path).casefold())


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
    inputs: Sequence[str],
    out: Path,
    real: Callable[[str], str],
    unreadable: list[Path] | None,
    passed_over: PassedOver,
) -> Iterator[tuple[str, str, str]]:
    """(path, path relative to the input that named it, real path) for every picture, but for what
    was made in `out`.
    """
    out_real = os.path.realpath(out)

    @cache
    def is_made(folder: str) -> bool:
        return _same(folder, out_real) or _inside(folder, out_real)

    for name in inputs:
        left, before = PassedOver(), 0
        if os.path.isdir(name):
            base = str(Path(name))
            if _same(out_real, os.path.realpath(base)):
                raise DataError(
                    f"{name} is the output folder, too: what is made there would be taken for "
                    "inputs when this goes on. Choose another -o folder."
                )
            found: Iterator[str] = map(str, find_pictures(Path(name), unreadable, left))
        elif os.path.isfile(name):
            yield name, os.path.basename(name), real(name)
            continue
        elif glob.has_magic(name):
            base, patterns = _split_glob(name)
            found = _matches(base, patterns, unreadable, left)
        else:
            raise _missing(name)
        prefix = _prefix(base)
        below_out = is_made(os.path.realpath(base))
        for path in found:
            before += 1
            real_path = real(path)
            if not below_out and is_made(os.path.dirname(real_path)):
                continue  # what was made is not made again
            yield path, path[len(prefix) :], real_path
        passed_over.files.update(left.files)
        others = (path for path in left.outputs if not is_made(os.path.realpath(path)))
        passed_over.outputs.extend(others)
        if before or unreadable:
            continue
        if not (left.files or os.path.isdir(name)):
            raise DataError(f"There is no file or folder {name}, and no picture matches it.")
        raise no_pictures(name, left)


def _missing(name: str) -> DataError:
    try:
        os.stat(name)
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return DataError(f"There is no file or folder {name}.")
    except OSError as error:
        return DataError(f"{name} can't be read ({error.strerror}).")
    return DataError(f"{name} is neither a file nor a folder.")


def _matches(
    base: str, patterns: Sequence[str], unreadable: list[Path] | None, passed_over: PassedOver
) -> Iterator[str]:
    """The pictures below `base` that a glob names, by the same rules as those of a folder."""
    if not os.path.isdir(base):
        return
    prefix = _prefix(base)

    def relative(path: str) -> list[str]:
        return str(Path(path))[len(prefix) :].split(os.sep)

    def leads_to_matches(folder: str) -> bool:
        return _begins(relative(folder), patterns)

    for entry in walk(Path(base), unreadable, passed_over, leads_to_matches):
        if _fits(relative(entry.path), patterns) and is_picture(entry, passed_over):
            yield str(Path(entry.path))


def _prefix(base: str) -> str:
    """What comes before the relative path in the paths below a folder."""
    return "" if base == os.curdir else os.path.join(base, "")


def _fits(parts: Sequence[str], patterns: Sequence[str]) -> bool:
    """Whether a path is one that a glob names; what a part of the glob spells out is meant."""
    if not patterns:
        return not parts
    pattern, rest = patterns[0], patterns[1:]
    if pattern == "**" and _fits(parts, rest):
        return True
    if not parts:
        return False
    if pattern == "**":
        return _fits(parts[1:], patterns)
    return _names(pattern, parts[0]) and _fits(parts[1:], rest)


def _begins(parts: Sequence[str], patterns: Sequence[str]) -> bool:
    """Whether there may be something below a folder that a glob names."""
    for part, pattern in zip(parts, patterns, strict=False):
        if pattern == "**":
            return True
        if not _names(pattern, part):
            return False
    return len(parts) < len(patterns)


def _names(pattern: str, part: str) -> bool:
    return part == pattern or fnmatch.fnmatch(part, pattern)


def _split_glob(name: str) -> tuple[str, Sequence[str]]:
    """The folder in which a glob begins, and its patterns below that.

    Brackets are part of a name where there is a folder of that name.
    """
    parts = Path(name).parts
    fixed = 0
    while fixed < len(parts) - 1 and (
        not glob.has_magic(parts[fixed]) or os.path.isdir(os.path.join(*parts[: fixed + 1]))
    ):
        fixed += 1
    return str(Path(*parts[:fixed])), parts[fixed:]


def _renamed(relative: str, extension: Extension, names: Names) -> str:
    stem, suffix = os.path.splitext(relative)
    if extension == "keep" and suffix.lower() in WRITERS:
        return relative
    wanted = ".png" if extension == "keep" else f".{extension}"
    kept = relative if names == "full" and suffix.lower() != wanted else stem
    return kept + wanted
