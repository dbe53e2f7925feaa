"""Which file becomes which, decided for all of them before the first is translated."""

import glob
import os
import unicodedata
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Literal, NamedTuple

from img2img import rasters, remote
from img2img.errors import DataError, UsageError
from img2img.files import (
    SLIDE_SUFFIXES,
    VALUE_SUFFIXES,
    PassedOver,
    find_pictures,
    is_picture,
    no_pictures,
    split_suffix,
    walk,
)
from img2img.images import WRITERS
from img2img.infer import globs, remote_inputs
from img2img.infer.partners import Partners
from img2img.manifest import Manifest
from img2img.remote import Remote

Extension = Literal["keep", "png", "jpg", "webp", "avif"]
Names = Literal["plain", "full", "number"]


class Formats(NamedTuple):
    """The suffixes of inputs that outputs can have, too, and that of the outputs of others."""

    kept: Collection[str]
    otherwise: str


PHOTOGRAPHS = Formats(WRITERS, ".png")


def formats_of(manifest: Manifest) -> Formats:
    """The formats that hold what a model gives: values without loss, photographs in all formats of
    pictures, and, if their inputs are values, also in their formats.
    """
    if not manifest.has_values:
        return PHOTOGRAPHS
    dtype, bands = manifest.dtype_out, manifest.out_channels
    kept = [suffix for suffix in rasters.WRITES if rasters.holds(suffix, dtype, bands)]
    return Formats(kept, ".tif") if manifest.is_exact else Formats([*WRITERS, *kept], ".png")


class Job(NamedTuple):
    """One picture to translate; plain strings, because there may be a million."""

    source: str
    target: str
    further: tuple[str, ...] = ()  # the files of its further inputs, where a model has several
    remote: Remote | None = None  # what is known of the source, where that is a URL

    @property
    def files(self) -> tuple[str, ...]:
        """All files that are read."""
        return self.source, *self.further


def make_plan(
    inputs: Sequence[str],
    out: Path | str,
    extension: Extension,
    shard: str,
    folder: str = "",
    unreadable: list[Path] | None = None,
    passed_over: PassedOver | None = None,
    names: Names = "plain",
    formats: Formats = PHOTOGRAPHS,
    partners: Partners | None = None,
) -> list[Job]:
    """Turn files, folders and globs, or URLs of these, into jobs in a fixed order. Relative paths
    are kept below `out`, or below its sub-folder `folder`. Files in `out` are not inputs.

    Args:
        shard: "i/n" for every n-th job, starting with the i-th.
        unreadable: receives the folders that can't be listed; without it they raise OSError.
        passed_over: receives the files that are not pictures, and those that img2img wrote.
        formats: which suffixes `keep` keeps, and what the others become.
        names: "full" keeps the input's suffix before a new one (a.gif.png); "number" numbers
            outputs of the same name (a.png, a-2.png).
        partners: of a model with several inputs, of which `inputs` has the first; it gives each
            file its further ones, and receives those that have none.

    Raises DataError for an input that is missing or has no pictures, for an input folder that is
    `out` itself, for two inputs with the same output, and for an output that would replace an
    input. Paths are compared without regard to case and Unicode form, as some file systems do.
    """
    number, count = parse_shard(shard)
    jobs: list[Job] = []
    claimed: dict[int, int] = {}  # hash of the target's folded name -> its job
    numbers: dict[int, int] = {}  # the same hash -> the last number that was appended to it
    exact: set[int] = set()  # hashes of the sources' real paths
    alike: dict[int, int] = {}  # hash of the source's folded real path -> its job
    ignored = PassedOver() if passed_over is None else passed_over
    real, at_url = resolver(), isinstance(out, str)
    for source, relative, real_source, known in _expand(inputs, out, real, unreadable, ignored):
        further = partners.of(source, relative) if partners else ()
        if further is None:
            continue
        name = os.path.join(folder, _renamed(relative, extension, names, formats))
        target = f"{out}/{name}".replace(os.sep, "/") if at_url else os.path.join(out, name)
        key = hash(_folded(target))
        if key in claimed:
            claimant = jobs[claimed[key]].source
            if real(claimant) == real_source:
                continue  # the same file was given twice
            if names != "number":
                raise _clash(claimant, source, target)
            plain, (stem, suffix) = key, os.path.splitext(target)
            while key in claimed:
                numbers[plain] = numbers.get(plain, 1) + 1
                target = f"{stem}-{numbers[plain]}{suffix}"
                key = hash(_folded(target))
        claimed[key] = len(jobs)
        for path in (real_source, *map(real, further)):
            exact.add(hash(path))
            alike[hash(_folded(path))] = len(jobs)
        jobs.append(Job(source, target, further, known))
    for job in jobs:
        target = real(job.target)
        other = alike.get(hash(_folded(target)))
        replaced = jobs[other].files if other is not None else ()
        if hash(target) in exact or any(_same(target, file) for file in replaced):
            which = "its own" if any(_same(target, file) for file in job.files) else "an"
            raise DataError(
                f"{job.target} would replace {which} input. Choose another folder with -o."
            )
    return jobs[number - 1 :: count]


def _clash(one: str, other: str, target: str) -> DataError:
    """The error for two inputs with the same output, with the options that help."""
    names = [os.path.basename(path) for path in (one, other)]
    stems = [os.path.splitext(name)[0] for name in names]
    advice = f"--names number numbers the outputs ({_numbered_example(target)})"
    if names[0] != names[1] and _folded(names[0]) == _folded(names[1]):
        advice = f"Some file systems treat these names as the same: {advice}"
    elif names[0] != names[1] and _folded(stems[0]) == _folded(stems[1]):
        suffix = os.path.splitext(target)[1]
        kept = next(name for name in names if not name.lower().endswith(suffix.lower()))
        advice = f"--names full keeps their suffixes ({kept}{suffix}), and {advice}"
    if unicodedata.normalize("NFC", one) == unicodedata.normalize("NFC", other):
        one, other = ascii(one), ascii(other)  # they look the same otherwise
    return DataError(f"{one} and {other} would both be written to {target}. {advice}.")


def _numbered_example(target: str) -> str:
    stem, suffix = os.path.splitext(os.path.basename(target))
    return f"{stem}{suffix}, {stem}-2{suffix}"


def _folded(path: str) -> str:
    """The same name for all paths that some file system treats as one. APFS folds case completely:
    it treats "ß" as "ss", and a ligature as its letters.
    """
    if path.isascii():
        return path.lower()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", path).casefold())


def _same(path: str, other: str) -> bool:
    """Whether both paths are the same file or folder on their file system."""
    if path == other:
        return True
    both_exist = os.path.exists(path) and os.path.exists(other)
    return both_exist and os.path.samefile(path, other)


def _inside(path: str, folder: str) -> bool:
    """Whether a real path is below a real folder."""
    folder = folder.rstrip(os.sep)  # only the root ends with it
    parts, depth = path.split(os.sep), folder.count(os.sep) + 1
    head = os.sep.join(parts[:depth])
    return len(parts) > depth and _folded(head) == _folded(folder) and _same(head, folder)


def resolver() -> Callable[[str], str]:
    """A faster os.path.realpath for many files, which resolves each folder once, and keeps URLs."""
    folder = cache(os.path.realpath)

    def real(path: str) -> str:
        if remote.is_url(path):
            return path
        if os.path.islink(path):
            return os.path.realpath(path)
        head, name = os.path.split(path)
        return os.path.join(folder(head), name)

    return real


def parse_shard(shard: str) -> tuple[int, int]:
    """ "2/8" -> (2, 8)."""
    number, slash, count = shard.partition("/")
    if not (slash and number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count)):
        raise UsageError(f"--shard {shard} is not of the form 1/4, 2/4, 3/4 or 4/4.")
    return int(number), int(count)


def _expand(
    inputs: Sequence[str],
    out: Path | str,
    real: Callable[[str], str],
    unreadable: list[Path] | None,
    passed_over: PassedOver,
) -> Iterator[tuple[str, str, str, Remote | None]]:
    """(path, path relative to the input that it belongs to, real path, what is known of a remote
    one) for every picture, except the outputs in `out`.
    """
    out_url = out if isinstance(out, str) else None
    out_real = out_url or os.path.realpath(out)

    @cache
    def is_output(folder: str) -> bool:
        return _same(folder, out_real) or _inside(folder, out_real)

    for name in inputs:
        ignored, count = PassedOver(), 0
        if remote.is_url(name):
            for url, relative, known in remote_inputs.pictures(name, out_url, passed_over):
                yield url, relative, url, known
            continue
        if os.path.isdir(name):
            base = str(Path(name))
            if _same(out_real, os.path.realpath(base)):
                raise DataError(
                    f"{name} is also the output folder, so outputs would become inputs of the next "
                    "run. Choose another folder with -o."
                )
            paths: Iterator[str] = map(str, find_pictures(Path(name), unreadable, ignored))
        elif os.path.isfile(name):
            yield name, os.path.basename(name), real(name), None
            continue
        elif glob.has_magic(name):
            base, patterns = _split_glob(name)
            paths = _matches(base, patterns, unreadable, ignored)
        else:
            raise _missing(name)
        prefix = _prefix(base)
        below_out = is_output(os.path.realpath(base))
        for path in paths:
            count += 1
            real_path = real(path)
            if not below_out and is_output(os.path.dirname(real_path)):
                continue  # outputs are not translated again
            yield path, path[len(prefix) :], real_path, None
        passed_over.files.update(ignored.files)
        others = (path for path in ignored.outputs if not is_output(os.path.realpath(path)))
        passed_over.outputs.extend(others)
        if count or unreadable:
            continue
        if not (ignored.files or os.path.isdir(name)):
            raise DataError(f"There is no file or folder {name}, and no picture matches it.")
        raise no_pictures(name, ignored)


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
    """The pictures below `base` that match a glob, chosen by the same rules as in a folder."""
    if not os.path.isdir(base):
        return
    prefix = _prefix(base)

    def relative(path: str) -> list[str]:
        return str(Path(path))[len(prefix) :].split(os.sep)

    def leads_to_matches(folder: str) -> bool:
        return globs.may_lead_to_match(relative(folder), patterns)

    for entry in walk(Path(base), unreadable, passed_over, leads_to_matches):
        if not globs.matches(relative(entry.path), patterns):
            continue
        if patterns[-1].lower().endswith(tuple(VALUE_SUFFIXES)) or is_picture(entry, passed_over):
            yield str(Path(entry.path))


def _prefix(base: str) -> str:
    """The part of a path below a folder that precedes its relative path."""
    return "" if base == os.curdir else os.path.join(base, "")


def _split_glob(name: str) -> tuple[str, Sequence[str]]:
    """The folder in which a glob begins, and its patterns below that folder.

    Brackets are taken literally where a folder of that name exists.
    """
    parts = Path(name).parts
    fixed = 0
    while fixed < len(parts) - 1 and (
        not glob.has_magic(parts[fixed]) or os.path.isdir(os.path.join(*parts[: fixed + 1]))
    ):
        fixed += 1
    return str(Path(*parts[:fixed])), parts[fixed:]


def _renamed(relative: str, extension: Extension, names: Names, formats: Formats) -> str:
    stem, suffix = split_suffix(relative)
    if extension == "keep" and suffix.lower() in formats.kept:
        return relative
    wanted = formats.otherwise if extension == "keep" else f".{extension}"
    if extension == "keep" and suffix.lower() in SLIDE_SUFFIXES:
        wanted = ".tif"  # which holds pictures of this size
    kept = relative if names == "full" and suffix.lower() != wanted else stem
    return kept + wanted
