"""The folders of sources, and their parts (train, val, test)."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Literal

from img2img.data.pages import named_pictures, require_as_many_pages
from img2img.data.sources import Sources
from img2img.errors import DataError, UsageError
from img2img.files import (
    PassedOver,
    beside,
    data_folders,
    find_pictures,
    is_picture_name,
    require_folder,
)

Part = Literal["train", "val", "test"]
Side = Literal["a", "b"]
SPELLINGS: dict[str, Part] = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev", "eval"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
SIDES: dict[str, Side] = {"a": "a", "b": "b"}
SIDED = re.compile(rf"({'|'.join(SPELLINGS)})[ _-]?([ab])", re.IGNORECASE)  # trainA, test_b
PARTS: tuple[Part, ...] = ("train", "val", "test")


@dataclass(frozen=True)
class Folder:
    """A folder of the sources with its parts. A folder without parts is its own training part."""

    root: Path
    field: Literal["a", "more_a", "b", "pairs", "data"]
    parts: dict[Part, Path]

    @property
    def published(self) -> bool:
        """Whether it has parts, as published data sets do."""
        return self.parts["train"] != self.root

    def name(self, part: Part) -> str:
        """The path of a part, relative to the folder."""
        return self.parts[part].relative_to(self.root).as_posix()


@dataclass(frozen=True)
class Located:
    """The folders of the sources with their parts, and the sources. Their `swap` is cleared if it
    is already applied by exchanging two sets.
    """

    folders: tuple[Folder, ...]
    sources: Sources


def two_sets(root: Path) -> dict[Side, dict[Part, Path]] | None:
    """The parts of sets a and b of a folder that holds two sets; None for another folder.

    Raises DataError if the training part of one of them is missing.
    """
    sided = _sided(root)
    if sided:
        sides = {
            side: {p: path for (p, s), path in sided.items() if s == side}
            for side in SIDES.values()
        }
        if not all("train" in parts for parts in sides.values()):
            names = in_words(path.name for path in sided.values())
            raise DataError(
                f"{root} has {names}, but not both trainA and trainB. Rename the folders, or give "
                "them one by one: --a DIR --b DIR, --test-a DIR --test-b DIR."
            )
        return _common(sides)
    by_part = {part: _sides(folder) for part, folder in named_parts(root).items()}
    if len(by_part.get("train", ())) == 2:
        pairs = {part: both for part, both in by_part.items() if len(both) == 2}
        return _common({s: {part: both[s] for part, both in pairs.items()} for s in SIDES.values()})
    single = _sides(root)
    if len(single) == 2:
        return _common({side: _whole_or_parts(folder) for side, folder in single.items()})
    return None


def has_two_sets(root: Path) -> bool:
    """Whether the folder, which may be missing, holds two sets (see `two_sets`)."""
    return root.is_dir() and two_sets(root) is not None


def has_domains(folder: Path) -> bool:
    """Whether at least two sub-folders hold most of the folder's pictures."""
    if not folder.is_dir() or sum(has_pictures(path) for path in data_folders(folder)) < 2:
        return False
    # Lists only as many pictures as the comparison needs.
    return any(True for _ in islice(find_pictures(folder), 2 * pictures_beside(folder), None))


def main_part(root: Path) -> Path:
    """The training part of a folder, or the folder itself if it has no parts."""
    return _parts(root).get("train", root)


def two_folders(sources: Sources, exchange: bool) -> Located | None:
    """The folders of a and b, or those of both sets in --data; None for other sources.

    exchange: whether --direction ba makes the second of two sets in --data a. Otherwise `swap`
    stays set, for the layout to refuse.
    """
    if (sources.a or sources.b) and not sources.data:
        return _named(sources)
    root = _single_data(sources)
    sets = two_sets(root) if root else None
    if root is None or sets is None:
        return None
    first: Side = "b" if sources.swap and exchange else "a"
    second: Side = "a" if first == "b" else "b"
    folders = Folder(root, first, sets["a"]), Folder(root, second, sets["b"])
    return Located(folders, sources.model_copy(update={"swap": sources.swap and first == "a"}))


def two_sources(folders: Sequence[Path]) -> Sources | None:
    """Sources for two folders (a and b), or for one that holds two sets; None for others."""
    if len(folders) == 2:
        return Sources(a=folders[0], b=folders[1])
    if len(folders) == 1 and has_two_sets(folders[0]):
        return Sources(data=(folders[0],))
    return None


@dataclass(frozen=True)
class Stacks:
    """Which files make up the pictures of a, where these have files in several folders."""

    # By the file in the first folder: those of the same name in the further folders, in order.
    further: Mapping[Path, tuple[Path, ...]] = field(default_factory=dict)
    alone: tuple[Path, ...] = ()  # files without one of the same name in each other folder


def stacks(sources: Sources, passed_over: PassedOver) -> tuple[dict[str, Path], Stacks]:
    """The pictures of a by relative path without suffix: the files of its first folder that have
    one of the same name in each further folder; and these.

    passed_over: receives everything else. Raises DataError for two files of one name in a folder,
    for folders without pictures, where no name is in all of them, and for files of one name with
    different numbers of pages.
    """
    folders = sources.inputs
    first, *further = (named_pictures(folder, sources.pages, passed_over) for folder in folders)
    if not further:
        return first, Stacks()
    for files in further:
        require_as_many_pages(first, files)
    whole = [name for name in first if all(name in files for files in further)]
    if not whole:
        raise DataError(
            f"No picture in {folders[0]} has one of the same name in each of "
            f"{in_words(map(str, folders[1:]))} (for example {next(iter(first.values())).name}). "
            "The files of several inputs are matched by relative path without suffix."
        )
    kept = set(whole)
    alone = [files[name] for files in (first, *further) for name in files if name not in kept]
    partners = {first[name]: tuple(files[name] for files in further) for name in whole}
    return {name: first[name] for name in whole}, Stacks(partners, tuple(alone))


def match(
    left: Mapping[str, Path], right: Mapping[str, Path]
) -> tuple[tuple[tuple[Path, Path], ...], tuple[Path, ...], tuple[Path, ...]]:
    """The pairs of pictures that have the same name in left and right, and the pictures of each
    that have no partner, in the order of their names: relative paths without suffix.

    Raises DataError for files of one name with different numbers of pages.
    """
    require_as_many_pages(left, right)
    pairs = tuple((left[name], right[name]) for name in left if name in right)
    alone_a = tuple(left[name] for name in left if name not in right)
    return pairs, alone_a, tuple(right[name] for name in right if name not in left)


def side_by_side(sources: Sources) -> Located | None:
    """The folder of --pairs, or of --data with pictures in it or in its parts; None for others."""
    if sources.pairs and not sources.data:
        return _named(sources)
    root = _single_data(sources)
    if root is None:
        return None
    parts = _whole_or_parts(root)
    if not pictures_beside(parts["train"]):
        return None
    return Located((Folder(root, "pairs", parts),), sources)


def domain_folders(sources: Sources) -> Located:
    """The folders of --data with their parts. Parts hold sub-folders of domains, or, with an
    attribute list, pictures.
    """
    listed = sources.data[:1] if sources.attributes else ()
    folders = []
    for root in sources.data:
        require_folder(root)
        _refuse_two_sets(root)
        parts = _parts(root) if root in listed else _domain_parts(root)
        folders.append(Folder(root, "data", parts or {"train": root}))
    return Located(tuple(folders), sources)


def _named(sources: Sources) -> Located:
    """The folders of --a, --b and --pairs."""
    fields: tuple[tuple[Literal["a", "more_a", "b", "pairs"], tuple[Path | None, ...]], ...] = (
        ("a", (sources.a,)),
        ("more_a", sources.more_a),
        ("b", (sources.b,)),
        ("pairs", (sources.pairs,)),
    )
    for root in sources.folders():
        _refuse_two_sets(root)
    folders = [
        Folder(root, field, _whole_or_parts(root))
        for field, roots in fields
        for root in roots
        if root
    ]
    return Located(tuple(folders), sources)


def _single_data(sources: Sources) -> Path | None:
    """The folder of --data, if there are no other folders; UsageError for several."""
    if not sources.data or sources.folders() != sources.data:
        return None
    if len(sources.data) > 1:
        raise UsageError("Only methods with domains, such as stargan, take several --data.")
    require_folder(sources.data[0])
    return sources.data[0]


def entered(root: Path) -> Path:
    """The only sub-folder, if it is a published data set (as archives unpack), else the folder."""
    inside = data_folders(root) if root.is_dir() else []
    if len(inside) != 1 or any(is_picture_name(p.name, bytes) for p in root.iterdir()):
        return root
    return inside[0] if _parts(inside[0]) or _sided(inside[0]) else root


def _parts(root: Path) -> dict[Part, Path]:
    """The training part, and other parts that have pictures; empty for folders without parts."""
    named = named_parts(root)
    if "train" not in named or len(named) == 1:
        return {}
    return {p: path for p, path in named.items() if p == "train" or has_pictures(path)}


def _whole_or_parts(root: Path) -> dict[Part, Path]:
    """The parts of a folder; without parts, the whole folder is the training part."""
    return _parts(root) or {"train": root}


def _domain_parts(root: Path) -> dict[Part, Path]:
    """The parts that have sub-folders of domains. Those without any are domains themselves."""
    parts = {
        part: folder
        for part, folder in _parts(root).items()
        if any(has_pictures(path) for path in data_folders(folder))
    }
    return parts if "train" in parts else {}


def named_parts(root: Path) -> dict[Part, Path]:
    """Sub-folders that are named like parts (in any spelling), training first."""
    named: dict[Part, list[Path]] = {"train": [], "val": [], "test": []}
    for path in data_folders(root) if root.is_dir() else ():
        if part := SPELLINGS.get(path.name.lower()):
            named[part].append(path)
    if named["train"]:
        _require_one_each(root, named.values())
    return {part: paths[0] for part, paths in named.items() if paths}


def _sided(root: Path) -> dict[tuple[Part, Side], Path]:
    """Sub-folders that are named like trainA and test_B."""
    sided: dict[tuple[Part, Side], list[Path]] = {}
    for path in data_folders(root) if root.is_dir() else ():
        if match := SIDED.fullmatch(path.name):
            key = SPELLINGS[match[1].lower()], SIDES[match[2].lower()]
            sided.setdefault(key, []).append(path)
    _require_one_each(root, sided.values())
    return {key: paths[0] for key, paths in sided.items()}


def _sides(root: Path) -> dict[Side, Path]:
    """Sub-folders that are named A and B."""
    sides: dict[Side, list[Path]] = {"a": [], "b": []}
    for path in data_folders(root):
        if side := SIDES.get(path.name.lower()):
            sides[side].append(path)
    _require_one_each(root, sides.values())
    return {side: paths[0] for side, paths in sides.items() if paths}


def _common(sides: dict[Side, dict[Part, Path]]) -> dict[Side, dict[Part, Path]]:
    """The training parts of both sets, and other parts that have pictures of both."""
    both = [
        part
        for part in PARTS
        if all(part in parts for parts in sides.values())
        and (part == "train" or all(has_pictures(parts[part]) for parts in sides.values()))
    ]
    return {side: {part: parts[part] for part in both} for side, parts in sides.items()}


def _require_one_each(root: Path, alike: Iterable[list[Path]]) -> None:
    for paths in alike:
        if len(paths) > 1:
            raise DataError(
                f"{root} has {in_words(path.name for path in paths)}, and it is not clear which "
                "one to use. Rename one of them."
            )


def _refuse_two_sets(root: Path) -> None:
    if sided := _sided(root):
        raise DataError(
            f"{root} has {in_words(path.name for path in sided.values())}, which are two sets. "
            "Give it as --data to a method for two sets (--mode cyclegan, cut or pix2pix), or give "
            "its folders one by one."
        )


def has_pictures(folder: Path) -> bool:
    """Whether there is a picture in the folder or below it."""
    return next(find_pictures(folder), None) is not None


def pictures_beside(folder: Path) -> int:
    """The number of pictures in the folder itself, without sub-folders."""
    return len(beside(folder))


def in_words(names: Iterable[str]) -> str:
    """The names as an enumeration: "a, b and c"."""
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last
