"""Data sets as they are published: what of a folder is for training, and what is held out.

    DIR/train, DIR/val, DIR/test        pairs side by side, one of two sets, or folders of domains
    DIR/trainA, DIR/trainB, DIR/testA   two sets, as the authors of CycleGAN publish them
    DIR/train/A, DIR/train/B            two sets
    DIR/A, DIR/B                        two sets, each with parts or without

Other spellings (training, valid, validation, testing; any case) count, too.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby, islice
from pathlib import Path
from typing import Literal

from img2img.data import LAYOUTS
from img2img.data.sources import Sources
from img2img.errors import DataError, UsageError
from img2img.files import beside, data_folders, find_pictures, is_picture_name, require_folder

Part = Literal["train", "val", "test"]
Side = Literal["a", "b"]
SPELLINGS: dict[str, Part] = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev", "eval"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
SIDED = re.compile(rf"({'|'.join(SPELLINGS)})[ _-]?([ab])", re.IGNORECASE)  # trainA, test_b
HELD_OUT: tuple[Part, ...] = ("test", "val")  # the first of them that is there


@dataclass(frozen=True)
class Resolved:
    """Concrete folders in place of published data sets, and what there is to say of the choice."""

    training: Sources
    held_out: Sources  # empty where nothing is held out whole
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Folder:
    """A folder of the sources with its parts; one that has no parts is its own training part."""

    root: Path
    field: Literal["a", "b", "pairs", "data"]
    parts: dict[Part, Path]

    @property
    def published(self) -> bool:
        """Whether it has parts."""
        return self.parts["train"] != self.root

    def name(self, part: Part) -> str:
        return self.parts[part].relative_to(self.root).as_posix()


@dataclass(frozen=True)
class Located:
    """The folders of the sources with their parts; and the sources, whose --direction is settled
    where it says which of two sets is a.
    """

    folders: tuple[Folder, ...]
    sources: Sources


def resolve(layouts: Sequence[str], sources: Sources, test: Sources | None = None) -> Resolved:
    """Train on the training part of published data sets, and hold out their test part, else val.

    layouts: a method's, in which the sources are looked for in order. A part is held out where all
    of the folders have it; `test`, what the user holds out, wins. Folders that are no published
    data sets stay as they are. Raises UsageError for a --data that the method can't read, DataError
    where the names of its folders have more than one meaning.
    """
    located = _locate(layouts, sources)
    folders = located.folders
    part, held_out = None, Sources()
    notes: tuple[str, ...] = ()
    if test and test.given():
        # These two are given once, with the sources.
        shared = {"swap": sources.swap, "attributes": sources.attributes}
        held_out, notes = held_out_part(layouts, test.model_copy(update=shared))
        kept = {"swap": test.swap, "attributes": test.attributes}
        held_out = held_out.model_copy(update=kept)
    elif any(folder.published for folder in folders):
        part = next((p for p in HELD_OUT if all(p in folder.parts for folder in folders)), None)
        if part:
            held_out = _with(Sources(), folders, [folder.parts[part] for folder in folders])
    training = _with(located.sources, folders, [folder.parts["train"] for folder in folders])
    published = [folder for folder in folders if folder.published]
    choices = [
        _choice(root, list(group), part, bool(test and test.given()))
        for root, group in groupby(published, key=lambda folder: folder.root)
    ]
    return Resolved(training, held_out, (*choices, *_doubts(folders, sources), *notes))


def held_out_part(layouts: Sequence[str], sources: Sources) -> tuple[Sources, tuple[str, ...]]:
    """Of published data sets their test part, else val; and a line on each such choice.

    Raises DataError for one that has neither with pictures of this kind.
    """
    return _only(layouts, sources, HELD_OUT)


def training_part(layouts: Sequence[str], sources: Sources) -> tuple[Sources, tuple[str, ...]]:
    """Of published data sets their training part; and a line on each such choice."""
    return _only(layouts, sources, ("train",))


def two_sets(root: Path) -> dict[Side, dict[Part, Path]] | None:
    """The parts of both sets of a data set of two; None for another folder.

    Raises DataError where one of the two is missing.
    """
    sided = _sided(root)
    if sided:
        sides = {side: {p: path for (p, s), path in sided.items() if s == side} for side in "ab"}
        if not all("train" in parts for parts in sides.values()):
            there = _and(path.name for path in sided.values())
            raise DataError(
                f"{root} has {there}, but not both trainA and trainB. Name the folders so, or give "
                "them one by one: --a DIR --b DIR, --test-a DIR --test-b DIR."
            )
        return _common(sides)
    by_part = {part: _sides(folder) for part, folder in _named_parts(root).items()}
    if len(by_part.get("train", ())) == 2:
        pairs = {part: sides for part, sides in by_part.items() if len(sides) == 2}
        return _common({s: {part: sides[s] for part, sides in pairs.items()} for s in "ab"})
    sides = _sides(root)
    if len(sides) == 2:
        return _common({s: _parts(folder) or {"train": folder} for s, folder in sides.items()})
    return None


def has_two_sets(root: Path) -> bool:
    """Whether `two_sets` finds them in the folder, which may be missing."""
    return root.is_dir() and two_sets(root) is not None


def has_domains(folder: Path) -> bool:
    """Whether two sub-folders or more have most of its pictures."""
    if not folder.is_dir() or sum(_has_pictures(path) for path in data_folders(folder)) < 2:
        return False
    # No more of them are listed than it takes.
    return any(True for _ in islice(find_pictures(folder), 2 * _pictures_beside(folder), None))


def main_part(root: Path) -> Path:
    """The training part of a folder that has parts, else the folder."""
    return _parts(root).get("train", root)


def two_folders(sources: Sources, exchange: bool) -> Located | None:
    """Where the folders of a and b are given, or --data with both.

    exchange: --direction ba makes a the second of two sets that were found in --data; without it
    the direction stays, for the layout to refuse.
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


def side_by_side(sources: Sources) -> Located | None:
    """Where --pairs is given, or --data with pictures in it or in its parts."""
    if sources.pairs and not sources.data:
        return _named(sources)
    root = _single_data(sources)
    if root is None:
        return None
    parts = _whole_or_parts(root)
    if not _pictures_beside(parts["train"]):
        return None
    return Located((Folder(root, "pairs", parts),), sources)


def domain_folders(sources: Sources) -> Located:
    """Each --data with its parts: of folders of domains, or of the attribute list's pictures."""
    listed = sources.data[:1] if sources.attributes else ()
    folders = []
    for root in sources.data:
        require_folder(root)
        _refuse_two_sets(root)
        parts = _parts(root) if root in listed else _domain_parts(root)
        folders.append(Folder(root, "data", parts or {"train": root}))
    return Located(tuple(folders), sources)


def _locate(layouts: Sequence[str], sources: Sources) -> Located:
    """By the first of the layouts that finds its folders in the sources."""
    sources = _entered(sources)
    for name in layouts:
        if located := LAYOUTS[name].locate(sources):
            return located
    if sources.folders() == sources.data != ():
        _refuse(sources.data[0])
    return Located((), sources)  # which no layout accepts


def _refuse(root: Path) -> None:
    inside = [path for path in data_folders(main_part(root)) if _has_pictures(path)]
    hint = "It has no two sets of pictures"
    if len(inside) == 2:
        first, second = inside
        hint = f"If these are the two sets: --a {first} --b {second}, and --test-a with --test-b"
    raise DataError(
        f"It is not clear how to read {root}. --data takes trainA and trainB (testA, testB), "
        f"train/A and train/B, or A and B; for pix2pix also pairs side by side in train and test. "
        f"{hint}."
    )


def _named(sources: Sources) -> Located:
    """The folders of a, b and pairs that are given."""
    fields: tuple[tuple[Literal["a", "b", "pairs"], Path | None], ...] = (
        ("a", sources.a),
        ("b", sources.b),
        ("pairs", sources.pairs),
    )
    for root in sources.folders():
        _refuse_two_sets(root)
    folders = [Folder(root, field, _whole_or_parts(root)) for field, root in fields if root]
    return Located(tuple(folders), sources)


def _single_data(sources: Sources) -> Path | None:
    """The folder where --data is all that is given; UsageError for several."""
    if not sources.data or sources.folders() != sources.data:
        return None
    if len(sources.data) > 1:
        raise UsageError("Several --data are for stargan; the others take one.")
    require_folder(sources.data[0])
    return sources.data[0]


def entered(root: Path) -> Path:
    """The published data set that is alone in a folder, as archives unpack; else the folder."""
    inside = data_folders(root) if root.is_dir() else []
    if len(inside) != 1 or any(is_picture_name(p.name, bytes) for p in root.iterdir()):
        return root
    return inside[0] if _parts(inside[0]) or _sided(inside[0]) else root


def _entered(sources: Sources) -> Sources:
    single = {"a": sources.a, "b": sources.b, "pairs": sources.pairs}
    update = {field: path and entered(path) for field, path in single.items()}
    return sources.model_copy(update={**update, "data": tuple(map(entered, sources.data))})


def _only(
    layouts: Sequence[str], sources: Sources, wanted: Sequence[Part]
) -> tuple[Sources, tuple[str, ...]]:
    located = _locate(layouts, sources)
    paths, notes = [], []
    for folder in located.folders:
        if not folder.published:
            paths.append(folder.root)
            continue
        part = next((part for part in wanted if part in folder.parts), None)
        if part is None:
            raise DataError(
                f"{folder.root} has {folder.name('train')}, which is for training, but no test or "
                "val with pictures of this kind. Name the folder of the held-out ones itself."
            )
        paths.append(folder.parts[part])
        notes.append(f"{folder.root} has {_and(_names([folder]))}: taking {folder.name(part)}")
    return _with(located.sources, located.folders, paths), tuple(notes)


def _with(sources: Sources, folders: Sequence[Folder], paths: Sequence[Path]) -> Sources:
    """The sources with the paths in place of all folders; as they are where none was located."""
    if not folders:
        return sources
    fields: dict[str, list[Path]] = {"a": [], "b": [], "pairs": [], "data": []}
    for folder, path in zip(folders, paths, strict=True):
        fields[folder.field].append(path)
    single = {field: next(iter(fields[field]), None) for field in ("a", "b", "pairs")}
    return sources.model_copy(update={**single, "data": tuple(fields["data"])})


def _choice(root: Path, folders: Sequence[Folder], held_out: Part | None, named: bool) -> str:
    """A line on what of a published data set is used, and what is not.

    named: the user has said what is held out, which may be one of its parts.
    """
    training = _and(folder.name("train") for folder in folders)
    line = f"{root} has {_and(_names(folders))}: training on {training}"
    unused = []
    if named:
        line += ", held out what --test-... names"
    else:
        rest = [part for part in HELD_OUT if part != held_out]
        unused = [f.name(part) for part in rest for f in folders if part in f.parts]
    if held_out:
        line += f", held out {_and(folder.name(held_out) for folder in folders)}"
    tops = {Path(folder.name(part)).parts[0] for folder in folders for part in folder.parts}
    unused += [p.name for p in data_folders(root) if p.name not in tops and _has_pictures(p)]
    beside = _pictures_beside(root)
    unused += [f"{beside} pictures beside them"] if beside else []
    return f"{line}; not used: {_and(unused)}" if unused else line


def _doubts(folders: Sequence[Folder], sources: Sources) -> list[str]:
    """Lines on folders with sub-folders that are named like parts, but are not read so."""
    lines = []
    for folder in folders[1:] if sources.attributes else folders:
        parts = {} if folder.published else _named_parts(folder.root)
        if folder.field == "data" and len(parts) > 1:
            names = _and(path.name for path in parts.values())
            lines.append(f"{folder.root}: {names} are domains, for they have no sub-folders")
        elif folder.field != "data" and {"test", "val"} & parts.keys() and "train" not in parts:
            names = _and(path.name for path in parts.values())
            lines.append(f"{folder.root} has {names}, but no train: all of it is used")
        if folder.field == "data" and (beside := _pictures_beside(folder.parts["train"])):
            where = folder.parts["train"]
            lines.append(f"{where}: {beside} pictures beside the sub-folders are not used")
    return lines


def _parts(root: Path) -> dict[Part, Path]:
    """The training part, and of the others those that have pictures; {} for other folders."""
    named = _named_parts(root)
    if "train" not in named or len(named) == 1:
        return {}
    return {p: path for p, path in named.items() if p == "train" or _has_pictures(path)}


def _whole_or_parts(root: Path) -> dict[Part, Path]:
    """Of a folder without parts, all of it for training."""
    return _parts(root) or {"train": root}


def _domain_parts(root: Path) -> dict[Part, Path]:
    """The same for parts that have sub-folders of domains; others are domains themselves."""
    parts = {
        part: folder
        for part, folder in _parts(root).items()
        if any(_has_pictures(path) for path in data_folders(folder))
    }
    return parts if "train" in parts else {}


def _named_parts(root: Path) -> dict[Part, Path]:
    """Sub-folders by the part that their names say, training first."""
    named: dict[Part, list[Path]] = {"train": [], "val": [], "test": []}
    for path in data_folders(root) if root.is_dir() else ():
        if part := SPELLINGS.get(path.name.lower()):
            named[part].append(path)
    if named["train"]:
        _require_one_each(root, named.values())
    return {part: paths[0] for part, paths in named.items() if paths}


def _sided(root: Path) -> dict[tuple[Part, Side], Path]:
    """Sub-folders like trainA and test_B."""
    sided: dict[tuple[Part, Side], list[Path]] = {}
    for path in data_folders(root) if root.is_dir() else ():
        if match := SIDED.fullmatch(path.name):
            key = SPELLINGS[match[1].lower()], match[2].lower()
            sided.setdefault(key, []).append(path)
    _require_one_each(root, sided.values())
    return {key: paths[0] for key, paths in sided.items()}


def _sides(root: Path) -> dict[Side, Path]:
    """Sub-folders named A and B."""
    sides: dict[Side, list[Path]] = {"a": [], "b": []}
    for path in data_folders(root):
        if path.name.lower() in sides:
            sides[path.name.lower()].append(path)
    _require_one_each(root, sides.values())
    return {side: paths[0] for side, paths in sides.items() if paths}


def _common(sides: dict[Side, dict[Part, Path]]) -> dict[Side, dict[Part, Path]]:
    """The training parts, and of the others those that have pictures of both sets."""
    both = [
        part
        for part in ("train", "val", "test")
        if all(part in parts for parts in sides.values())
        and (part == "train" or all(_has_pictures(parts[part]) for parts in sides.values()))
    ]
    return {side: {part: parts[part] for part in both} for side, parts in sides.items()}


def _require_one_each(root: Path, alike: Iterable[list[Path]]) -> None:
    for paths in alike:
        if len(paths) > 1:
            raise DataError(
                f"{root} has {_and(path.name for path in paths)}, and it is not clear which to "
                "take. Rename one of them."
            )


def _refuse_two_sets(root: Path) -> None:
    if sided := _sided(root):
        raise DataError(
            f"{root} has {_and(path.name for path in sided.values())}: two sets, and test pictures "
            "of theirs. Give it as --data with --mode cyclegan or pix2pix, or give its folders "
            "one by one."
        )


def _has_pictures(folder: Path) -> bool:
    return next(find_pictures(folder), None) is not None


def _pictures_beside(folder: Path) -> int:
    """How many lie in the folder itself."""
    return len(beside(folder))


def _names(folders: Sequence[Folder]) -> list[str]:
    """Of all parts, training first."""
    parts = dict.fromkeys(part for folder in folders for part in folder.parts)
    return [f.name(part) for part in parts for f in folders if part in f.parts]


def _and(names: Iterable[str]) -> str:
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last
