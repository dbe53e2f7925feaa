"""Published data sets: which folders are for training, and which are held out.

    DIR/train, DIR/val, DIR/test        pairs side by side, one of two sets, or folders of domains
    DIR/trainA, DIR/trainB, DIR/testA   two sets, as the authors of CycleGAN publish them
    DIR/train/A, DIR/train/B            two sets
    DIR/A, DIR/B                        two sets, each with parts or without

Other spellings (training, valid, validation, testing; any case) are recognized, too.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from img2img.data import LAYOUTS
from img2img.data.parts import (
    Folder,
    Located,
    Part,
    entered,
    has_pictures,
    in_words,
    main_part,
    named_parts,
    pictures_beside,
)
from img2img.data.sources import Sources
from img2img.errors import DataError, UsageError
from img2img.files import data_folders

HELD_OUT: tuple[Part, ...] = ("test", "val")  # the first of them that exists is held out


@dataclass(frozen=True)
class Resolved:
    """The folders in place of published data sets, and a line on each choice for the user."""

    training: Sources
    held_out: Sources  # empty if no folder is held out
    notes: tuple[str, ...]


def resolve(layouts: Sequence[str], sources: Sources, test: Sources | None = None) -> Resolved:
    """Choose the training part of published data sets, and hold out their test part, or else val.

    layouts: those of the method; the first that recognizes the sources is used. test: held-out
    folders of the user, which take precedence. A part is held out only if all folders have it.
    Folders without parts are left as they are. Raises UsageError for several --data if the method
    takes one, and for another number of --test-a than of --a, DataError for a --data that it can't
    read, and for ambiguous folder names.
    """
    located = _locate(layouts, sources)
    folders = located.folders
    part, held_out = None, Sources()
    notes: tuple[str, ...] = ()
    if test and test.given():
        if len(test.more_a) != len(sources.more_a):
            raise UsageError(
                f"There are {len(sources.inputs)} --a and {len(test.inputs)} --test-a. Give as "
                "many, in the same order."
            )
        # These are given once, with the training sources.
        shared = {"swap": sources.swap, "attributes": sources.attributes}
        held_out, notes = held_out_part(layouts, test.model_copy(update=shared))
        original = {"swap": test.swap, "attributes": test.attributes}
        held_out = held_out.model_copy(update=original)
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
    """The test part of published data sets, or else val, and a line on each choice.

    Raises DataError for a data set with parts, but neither of these.
    """
    return _only(layouts, sources, HELD_OUT)


def training_part(layouts: Sequence[str], sources: Sources) -> tuple[Sources, tuple[str, ...]]:
    """The training part of published data sets, and a line on each choice."""
    return _only(layouts, sources, ("train",))


def _locate(layouts: Sequence[str], sources: Sources) -> Located:
    """The folders that the first of the layouts recognizes in the sources."""
    sources = _entered(sources)
    for name in layouts:
        if located := LAYOUTS[name].locate(sources):
            return located
    if sources.folders() == sources.data != ():
        _refuse(sources.data[0])
    return Located((), sources)  # no layout accepts these


def _refuse(root: Path) -> None:
    inside = [path for path in data_folders(main_part(root)) if has_pictures(path)]
    hint = "It does not have two sets of pictures"
    if len(inside) == 2:
        first, second = inside
        hint = f"If these are the two sets, give --a {first} --b {second} (--test-a, --test-b)"
    raise DataError(
        f"It is not clear how to read {root}. --data takes trainA and trainB (testA, testB), "
        f"train/A and train/B, or A and B; for pix2pix also pairs side by side in train and test. "
        f"{hint}."
    )


def _entered(sources: Sources) -> Sources:
    single = {"a": sources.a, "b": sources.b, "pairs": sources.pairs}
    update: dict[str, Any] = {field: path and entered(path) for field, path in single.items()}
    lists = {"more_a": sources.more_a, "data": sources.data}
    update |= {field: tuple(map(entered, paths)) for field, paths in lists.items()}
    return sources.model_copy(update=update)


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
                "val with pictures of this kind. Give the folder of held-out pictures itself."
            )
        paths.append(folder.parts[part])
        notes.append(f"{folder.root} has {in_words(_names([folder]))}: taking {folder.name(part)}")
    return _with(located.sources, located.folders, paths), tuple(notes)


def _with(sources: Sources, folders: Sequence[Folder], paths: Sequence[Path]) -> Sources:
    """The sources with the paths in place of the folders; unchanged if there are no folders."""
    if not folders:
        return sources
    fields: dict[str, list[Path]] = {"a": [], "more_a": [], "b": [], "pairs": [], "data": []}
    for folder, path in zip(folders, paths, strict=True):
        fields[folder.field].append(path)
    single = {field: next(iter(fields[field]), None) for field in ("a", "b", "pairs")}
    lists = {field: tuple(fields[field]) for field in ("more_a", "data")}
    return sources.model_copy(update={**single, **lists})


def _choice(root: Path, folders: Sequence[Folder], held_out: Part | None, named: bool) -> str:
    """A line on which folders of a published data set are used, and which are not.

    named: whether the user chose the held-out folders, which may be parts of this data set.
    """
    training = in_words(folder.name("train") for folder in folders)
    line = f"{root} has {in_words(_names(folders))}: training on {training}"
    unused = []
    if named:
        line += ", held out are the folders of --test-..."
    else:
        rest = [part for part in HELD_OUT if part != held_out]
        unused = [f.name(part) for part in rest for f in folders if part in f.parts]
    if held_out:
        line += f", held out {in_words(folder.name(held_out) for folder in folders)}"
    tops = {Path(folder.name(part)).parts[0] for folder in folders for part in folder.parts}
    unused += [p.name for p in data_folders(root) if p.name not in tops and has_pictures(p)]
    beside = pictures_beside(root)
    unused += [f"{beside} pictures beside them"] if beside else []
    return f"{line}; not used: {in_words(unused)}" if unused else line


def _doubts(folders: Sequence[Folder], sources: Sources) -> list[str]:
    """Lines on folders with sub-folders that are named like parts, but are not used as parts."""
    lines = []
    for folder in folders[1:] if sources.attributes else folders:
        parts = {} if folder.published else named_parts(folder.root)
        if folder.field == "data" and len(parts) > 1:
            names = in_words(path.name for path in parts.values())
            lines.append(
                f"{folder.root}: {names} are used as domains, since they have no sub-folders"
            )
        elif folder.field != "data" and {"test", "val"} & parts.keys() and "train" not in parts:
            names = in_words(path.name for path in parts.values())
            lines.append(f"{folder.root} has {names}, but no train: all of it is used")
        if folder.field == "data" and (beside := pictures_beside(folder.parts["train"])):
            where = folder.parts["train"]
            lines.append(f"{where}: {beside} pictures beside the sub-folders are not used")
    return lines


def _names(folders: Sequence[Folder]) -> list[str]:
    """The names of all parts of the folders, training first."""
    parts = dict.fromkeys(part for folder in folders for part in folder.parts)
    return [f.name(part) for part in parts for f in folders if part in f.parts]
