"""Groups of files that are held out together, such as the slices of a patient (--group)."""

import hashlib
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self, TypeVar

from img2img.data.blocks import Blocks
from img2img.data.sources import Sources
from img2img.errors import DataError
from img2img.files import data_folders, split_suffix
from img2img.rasters.pages import split_name
from img2img.shards import is_shards, shards_of

HELD_OUT = 16  # samples that a run holds out by default
PARENT = "parent"  # the rule by which the folder of a file is its group
FILE = "file"  # the rule by which each file is a group, of its pages
T = TypeVar("T")


@dataclass(frozen=True)
class Groups:
    """The rule of --group, and the folders below which it reads the paths of files."""

    rule: str
    folders: tuple[Path, ...]

    @classmethod
    def of(cls, rule: str, *sources: Sources) -> Self:
        """By the folders of the sources. In a data set of domains, they are the domains' folders,
        so that a patient has one name in all domains.
        """
        folders: list[Path] = []
        for each in sources:
            for folder in each.folders():
                folders += shards_of(folder) if is_shards(folder) else (folder,)
            for folder in each.data[1:] if each.attributes else each.data:
                folders += data_folders(folder) if folder.is_dir() else ()
        return cls(rule, tuple(folders))

    def name(self, path: Path) -> str:
        """The group of a file, and of its pages. Raises DataError for a path that the regex does
        not match, and by `parent` for a file that is not in a sub-folder.
        """
        path, _ = split_name(path)
        above = [folder for folder in self.folders if path.is_relative_to(folder)]
        if not above:
            raise DataError(f"--group: {path} is in none of the folders of the data.")
        folder = max(above, key=lambda folder: len(folder.parts))
        # macOS writes names in NFD.
        relative = unicodedata.normalize("NFC", path.relative_to(folder).as_posix())
        if blocks := Blocks.of(self.rule):
            return blocks.name(relative)
        if self.rule == FILE:
            return split_suffix(relative)[0]
        if self.rule == PARENT:
            if "/" not in relative:
                raise DataError(
                    f"--group parent: {path} is in {folder} itself, and not in a sub-folder for "
                    "its group. Move it into one, or give a regex of the names."
                )
            return relative.rpartition("/")[0]
        match = re.search(self.rule, relative)
        name = match[1 if match.re.groups else 0] if match else None
        if not name:
            raise DataError(
                f"--group {self.rule}: {path} has no group, since the regex finds none in "
                f"{relative}. Change the regex, or move the file away."
            )
        return name

    def names(self, paths: Iterable[Path]) -> list[str]:
        """The groups of files, each once, sorted."""
        return sorted({self.name(path) for path in paths})

    def split(
        self, kind: str, items: Sequence[T], paths: Sequence[Path], held_out: int
    ) -> tuple[tuple[T, ...], tuple[T, ...]]:
        """Split items of one kind, whose groups are those of the paths, into the rest and those
        that are held out (see `held_out_groups`).
        """
        chosen = held_out_groups({kind: [self.name(path) for path in paths]}, held_out)
        return self.divided(items, paths, chosen)

    def divided(
        self,
        items: Sequence[T],
        paths: Sequence[Path],
        chosen: Collection[str],
        beside: Sequence[Path] = (),
    ) -> tuple[tuple[T, ...], tuple[T, ...]]:
        """The items of other groups than the chosen ones, and those of these. By blocks, the first
        are without the tiles that are near held-out ones (see `Blocks.near`).

        paths: of the items. beside: further held-out files. Raises DataError where all are near.
        """
        names = [self.name(path) for path in paths]
        rest, out = divided(items, names, chosen)
        blocks = Blocks.of(self.rule)
        if not blocks or not rest:
            return rest, out
        around, held = divided(paths, names, chosen)
        near = blocks.near(around, [*held, *beside])
        if all(near):
            raise DataError(
                f"--group {self.rule}: all tiles that are not held out are near held-out ones, so "
                "none is left to train on. Choose a smaller side, or hold out fewer (--held-out)."
            )
        return tuple(item for item, lost in zip(rest, near, strict=True) if not lost), out


def as_rule(text: str | None) -> str | None:
    """A rule of --group as it is. Raises ValueError for one that can't be read."""
    Blocks.of(text or "")
    try:
        re.compile(text or "")
    except re.error as error:
        raise ValueError(f"it is no regular expression ({error})") from None
    return text


def most_held_out(held_out: int, length: int) -> int:
    """How many of `length` samples are held out where `held_out` are wanted: a tenth at most, but
    at least one.
    """
    return min(held_out, max(length // 10, 1))


def held_out_groups(kinds: Mapping[str, Sequence[str]], held_out: int) -> frozenset[str]:
    """The groups to hold out, of which each kind of samples has some, and others are left.

    Groups are taken in an order that depends on their names alone, as long as they bring the number
    of held-out samples of a kind nearer to `held_out`, or to a tenth of them. If none does, the
    smallest is taken.

    Args:
        kinds: the groups of the samples of each kind, which is named in words ("pictures of a").
        held_out: the number of samples that are wanted of each kind, at least 1.

    Raises DataError for a kind of which no group can be held out.
    """
    counts = {kind: Counter(names) for kind, names in kinds.items() if names}
    chosen: set[str] = set()

    def leaves_some(name: str) -> bool:
        """Whether all kinds have samples to train on if the group is held out, too."""
        held = {*chosen, name}
        return all(sum(count[group] for group in held) < count.total() for count in counts.values())

    for kind, count in counts.items():
        left = most_held_out(held_out, count.total()) - sum(count[group] for group in chosen)
        others = sorted(count.keys() - chosen, key=_digest)
        for name in others:
            if left <= 0:
                break
            if count[name] < 2 * left and leaves_some(name):
                chosen.add(name)
                left -= count[name]
        if not chosen & count.keys():
            possible = [name for name in others if leaves_some(name)]
            if not possible:
                raise DataError(_all_in_few(kind, count))
            chosen.add(min(possible, key=lambda name: count[name]))
    return frozenset(chosen)


def divided(
    items: Sequence[T], names: Sequence[str], chosen: Collection[str]
) -> tuple[tuple[T, ...], tuple[T, ...]]:
    """The items of other groups than the chosen ones, and those of these. names: their groups."""
    rest = tuple(item for item, name in zip(items, names, strict=True) if name not in chosen)
    return rest, tuple(item for item, name in zip(items, names, strict=True) if name in chosen)


def _digest(name: str) -> bytes:
    """An order of groups that has nothing to do with the order of patients or scenes."""
    return hashlib.sha256(os.fsencode(name)).digest()


def _all_in_few(kind: str, count: Counter[str]) -> str:
    """The message about a kind of samples of which no group can be held out."""
    names = sorted(count)
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    which = f"group{'s' * (len(names) > 1)} ({', '.join(names[:5])}{more})"
    return (
        f"--group: the {count.total():,} {kind} are of {len(names):,} {which}, none of which can "
        "be held out so that others are left to train on. Give more of them, held-out folders "
        "(--test-...), or another --group; --held-out 0 holds nothing out."
    )
