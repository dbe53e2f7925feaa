"""Leaks: what is among the training pictures and held out, too, which makes results too good."""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TypeVar

import numpy as np

from img2img import images
from img2img.data.dataset import Dataset
from img2img.data.findings import SHOWN, Finding
from img2img.data.groups import Groups
from img2img.data.intensities import is_raster
from img2img.data.pages import each_picture
from img2img.errors import DataError
from img2img.rasters import MAX_PIXELS
from img2img.rasters.pages import Mode, Read, split_name

T = TypeVar("T")
NAMED = 5  # groups that a message names


def sha256(path: Path, read_page: Read) -> str:
    """The SHA-256 of a file's content, or of the values of a page (by its name), which is read by
    read_page.
    """
    if split_name(path)[1] is not None:
        values = read_page(path, "each", 0, MAX_PIXELS).values
        return hashlib.sha256(values.tobytes()).hexdigest()
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def leaked_files(
    training: Dataset, held_out: Dataset, digests: Mapping[Path, str] | None = None
) -> list[Finding]:
    """An error if files of the same content are in both data sets. digests: the SHA-256 of every
    file, for a caller that knows them.
    """
    same = same_files(training, held_out, digests)
    if not same:
        return []
    what = (
        f"{len(same):,} held-out file{'s are' if len(same) > 1 else ' is'} also in the training "
        "data, which makes held-out results too good. Remove them from one of the two."
    )
    return [Finding("error", what, [f"{held} = {trained}" for held, trained in same[:SHOWN]])]


def leaked_groups(training: Dataset, held_out: Dataset, groups: Groups) -> list[Finding]:
    """An error if files of the same group are in both data sets."""
    shared = same_groups(training, held_out, groups)
    if not shared:
        return []
    names = list(shared)
    more = f" and {len(names) - NAMED:,} more" if len(names) > NAMED else ""
    what = (
        f"{len(names):,} group{'s are' if len(names) > 1 else ' is'} both in the training data and "
        f"held out: {', '.join(names[:NAMED])}{more}. Move all files of a group to one of the two."
    )
    files = [f"{name}: {held} and {trained}" for name, (held, trained) in shared.items()]
    return [Finding("error", what, files[:SHOWN])]


def same_files(
    training: Dataset, held_out: Dataset, digests: Mapping[Path, str] | None = None
) -> list[tuple[Path, Path]]:
    """Each held-out file whose content a training file of the same side has, with that file.
    digests: the SHA-256 of every file, for a caller that knows them.

    Of several inputs, the first counts: the same mask or terrain may belong to several pictures.
    Pictures of one color or value, such as empty slices, are alike without being a leak. Only files
    of equal size are read, and all pages.
    """
    by_size: dict[tuple[tuple[str, ...], int], list[Path]] = defaultdict(list)
    for role, path in training.roles():
        by_size[training.sides(role), _size(path)].append(path)
    held = [((held_out.sides(role), _size(path)), path) for role, path in held_out.roles()]
    held = [(key, path) for key, path in held if key in by_size]
    keys = {key for key, _ in held}
    if digests is None:
        paths = {*(path for key in keys for path in by_size[key]), *(path for _, path in held)}
        digests = _of_each(paths, sha256)
    trained = {key: {digests[path]: path for path in reversed(by_size[key])} for key in keys}
    same = [
        (path, trained[key][digests[path]]) for key, path in held if digests[path] in trained[key]
    ]
    plain = _of_each(
        {path for path, _ in same},
        lambda path, read_page: _is_plain(path, held_out.pages, read_page),
    )
    return [(path, twin) for path, twin in same if not plain[path]]


def same_groups(
    training: Dataset, held_out: Dataset, groups: Groups
) -> dict[str, tuple[Path, Path]]:
    """The groups in both data sets by name, each with a held-out and a training file."""
    trained: dict[str, Path] = {}
    for path in training.deciding_files():
        trained.setdefault(groups.name(path), path)
    shared: dict[str, tuple[Path, Path]] = {}
    for path in held_out.deciding_files():
        name = groups.name(path)
        if name in trained:
            shared.setdefault(name, (path, trained[name]))
    return dict(sorted(shared.items()))


def _size(path: Path) -> int:
    """The bytes of a file; 0 for a page, which may be like one of a file of another size."""
    return 0 if split_name(path)[1] is not None else path.stat().st_size


def _of_each(paths: Iterable[Path], look: Callable[[Path, Read], T]) -> dict[Path, T]:
    """What a function gives for each file or page."""
    named = (("", path) for path in sorted(paths))
    each = each_picture(named, lambda _, path, read_page: look(path, read_page))
    return {path: result for _, path, result in each}


def _is_plain(path: Path, pages: Mode, read_page: Read) -> bool:
    """Whether all pixels of the pages that make up a picture are alike, or missing. A broken file
    is not: it is named elsewhere.
    """
    try:
        if not is_raster(path):
            pixels = images.read(path).pixels
        else:
            # Without the neighbors of a page, since `sha256` is of the page alone.
            raster = read_page(path, pages, 0, MAX_PIXELS)
            missing = raster.missing
            pixels = raster.values if missing is None else raster.values[~missing][:, None]
    except (DataError, OSError):
        return False
    return not pixels.size or bool(np.all(pixels == pixels[:1, :1]))
