"""The three kinds of data sets, each opened from folders: pairs, two sets, labelled domains."""

import hashlib
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Literal, Protocol, Self

import numpy as np
from pydantic import BaseModel, ConfigDict

from img2img import images
from img2img.data.augment import Augment
from img2img.errors import DataError, UsageError
from img2img.files import find_pictures

Sample = dict[str, np.ndarray]  # pictures uint8 [H, W, C], label vectors float32 [D], by name


class Sources(BaseModel):
    """Where the pictures are; which fields belong to which method, `open` of each class tells."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    a: Path | None = None
    b: Path | None = None
    pairs: Path | None = None  # each file shows a on its left half, b on its right
    swap: bool = False  # pairs show b on the left; or: translate from b to a
    data: Path | None = None  # one sub-folder a domain, or all pictures beside an attribute list
    attributes: Path | None = None  # a list in CelebA's format
    attribute: tuple[str, ...] = ()  # the columns of that list to learn

    def given(self) -> bool:
        return any((self.a, self.b, self.pairs, self.data))

    def absolute(self) -> "Sources":
        paths = {"a": self.a, "b": self.b, "pairs": self.pairs, "data": self.data}
        paths["attributes"] = self.attributes
        return self.model_copy(update={k: p and p.absolute() for k, p in paths.items()})


class Dataset(Protocol):
    """What the stream, the loop and the check ask of each kind."""

    channels: tuple[int, int]  # of a and b, to decode to
    left_out: tuple[Path, ...]  # files without a partner, or without a picture

    @classmethod
    def open(cls, sources: Sources, channels: tuple[int, int]) -> Self: ...
    def __len__(self) -> int: ...  # samples an epoch
    def files(self) -> Iterator[Path]: ...  # every file, in a fixed order
    def sample(self, index: int, augment: Augment, random: np.random.Generator) -> Sample: ...
    def split(self, held_out: int) -> tuple[Self, Self]: ...  # the rest, and about held_out
    def describe(self) -> str: ...


@dataclass(frozen=True)
class Paired:
    """Pairs by relative path without suffix from two folders, or side by side in one file."""

    items: tuple[tuple[Path, Path | None], ...]
    channels: tuple[int, int] = (3, 3)
    swap: bool = False
    left_out: tuple[Path, ...] = ()

    @classmethod
    def open(cls, sources: Sources, channels: tuple[int, int]) -> "Paired":
        """Raises UsageError for folders of another method, DataError where nothing pairs up."""
        if sources.pairs and not (sources.a or sources.b or sources.data):
            files = tuple((path, None) for path in pictures(sources.pairs))
            return cls(files, channels, sources.swap)
        if not (sources.a and sources.b) or sources.pairs or sources.data:
            raise UsageError(
                "pix2pix needs --a DIR and --b DIR, or --pairs DIR (the same for --test-...)."
            )
        if sources.swap:
            raise UsageError("--direction ba is for --pairs; with folders, exchange --a and --b.")
        left, right = _by_name(sources.a), _by_name(sources.b)
        items = tuple((left[name], right[name]) for name in left if name in right)
        alone = [left[name] for name in left if name not in right]
        alone += [right[name] for name in right if name not in left]
        if not items:
            raise DataError(
                f"No picture in {sources.a} has a partner of the same name in {sources.b} "
                f"(for example {alone[0].name}). Pairs are matched by relative path without suffix."
            )
        return cls(items, channels, left_out=tuple(alone))

    def __len__(self) -> int:
        return len(self.items)

    def files(self) -> Iterator[Path]:
        return (path for item in self.items for path in item if path)

    def sample(self, index: int, augment: Augment, random: np.random.Generator) -> Sample:
        first, second = self.items[index]
        if second is not None:
            a = images.read(first, self.channels[0]).pixels
            b = images.read(second, self.channels[1]).pixels
        else:
            read = {channels: images.read(first, channels).pixels for channels in self.channels}
            a, b = (read[channels] for channels in self.channels)
            half = a.shape[1] // 2
            left, right = slice(0, half), slice(half, 2 * half)
            a, b = a[:, right if self.swap else left], b[:, left if self.swap else right]
        if not augment.resizes_first and a.shape[:2] != b.shape[:2]:
            b = images.resize(b, a.shape[1], a.shape[0])  # one crop window has to fit both
        return augment(random, {"a": a, "b": b})

    def split(self, held_out: int) -> tuple["Paired", "Paired"]:
        rest, out = _split(self.items, held_out)
        return replace(self, items=rest), replace(self, items=out)

    def describe(self) -> str:
        return f"{len(self.items):,} pairs"


@dataclass(frozen=True)
class Unpaired:
    """Two sets of pictures. An epoch is max(|a|, |b|) samples; b is drawn at random."""

    a: tuple[Path, ...]
    b: tuple[Path, ...]
    channels: tuple[int, int] = (3, 3)
    left_out: tuple[Path, ...] = ()

    @classmethod
    def open(cls, sources: Sources, channels: tuple[int, int]) -> "Unpaired":
        """Raises UsageError for folders of another method, DataError for empty ones."""
        if not (sources.a and sources.b) or sources.pairs or sources.data or sources.swap:
            raise UsageError(
                "cyclegan needs --a DIR and --b DIR (and --test-a with --test-b); it has no "
                "--direction, it learns both."
            )
        return cls(pictures(sources.a), pictures(sources.b), channels)

    def __len__(self) -> int:
        return max(len(self.a), len(self.b))

    def files(self) -> Iterator[Path]:
        yield from self.a
        yield from self.b

    def sample(self, index: int, augment: Augment, random: np.random.Generator) -> Sample:
        a = images.read(self.a[index % len(self.a)], self.channels[0]).pixels
        b = images.read(self.b[random.integers(len(self.b))], self.channels[1]).pixels
        return augment(random, {"a": a}) | augment(random, {"b": b})

    def split(self, held_out: int) -> tuple["Unpaired", "Unpaired"]:
        (rest_a, out_a), (rest_b, out_b) = _split(self.a, held_out), _split(self.b, held_out)
        if not (out_a and out_b):  # one of them has a single picture
            return self, replace(self, a=(), b=())
        return replace(self, a=rest_a, b=rest_b), replace(self, a=out_a, b=out_b)

    def describe(self) -> str:
        return f"{len(self.a):,} pictures of a, {len(self.b):,} of b"


@dataclass(frozen=True)
class Labelled:
    """Pictures with a label vector: one domain of several, or any set of binary attributes."""

    items: tuple[tuple[Path, tuple[int, ...]], ...]
    domains: tuple[str, ...]
    labels: Literal["classes", "attributes"]
    channels: tuple[int, int] = (3, 3)
    left_out: tuple[Path, ...] = ()  # of the attribute list

    @classmethod
    def open(cls, sources: Sources, channels: tuple[int, int]) -> "Labelled":
        """Raises UsageError for folders of another method, DataError for fewer than two domains."""
        if not sources.data or sources.a or sources.b or sources.pairs:
            raise UsageError("stargan needs --data DIR with one sub-folder a domain.")
        _require_folder(sources.data)
        if sources.attributes:
            if not sources.attribute:
                raise UsageError("--attributes FILE needs at least one --attribute NAME.")
            items, missing = _read_attributes(sources.attributes, sources.data, sources.attribute)
            return cls(items, sources.attribute, "attributes", channels, missing)
        if sources.attribute:
            raise UsageError("--attribute NAME needs the list, --attributes FILE.")
        folders = sorted(p for p in sources.data.iterdir() if p.is_dir() and p.name[0] != ".")
        if len(folders) < 2:
            raise DataError(
                f"{sources.data} has {len(folders)} sub-folder(s); StarGAN needs one for each of "
                "at least two domains."
            )
        one_hot = np.eye(len(folders), dtype=int).tolist()
        items = tuple(
            (path, tuple(label))
            for folder, label in zip(folders, one_hot, strict=True)
            for path in pictures(folder)
        )
        return cls(items, tuple(folder.name for folder in folders), "classes", channels)

    def __len__(self) -> int:
        return len(self.items)

    def files(self) -> Iterator[Path]:
        return (path for path, _ in self.items)

    def sample(self, index: int, augment: Augment, random: np.random.Generator) -> Sample:
        path, label = self.items[index]
        picture = {"image": images.read(path, self.channels[0]).pixels}
        return augment(random, picture) | {"domain": np.array(label, dtype=np.float32)}

    def split(self, held_out: int) -> tuple["Labelled", "Labelled"]:
        if self.labels == "attributes":
            rest, out = _split(self.items, held_out)
        else:
            rest, out = (), ()
            share = -(-held_out // len(self.domains))
            for domain in range(len(self.domains)):
                some = _split(tuple(i for i in self.items if i[1][domain]), share)
                rest, out = rest + some[0], out + some[1]
        return replace(self, items=rest), replace(self, items=out)

    def describe(self) -> str:
        counts = np.array([label for _, label in self.items]).sum(0)
        each = ", ".join(f"{n} {c:,}" for n, c in zip(self.domains, counts, strict=True))
        return f"{len(self.items):,} pictures ({each})"


def pictures(folder: Path) -> tuple[Path, ...]:
    """Every picture below the folder; DataError where it is missing or has none."""
    _require_folder(folder)
    found = tuple(find_pictures(folder))
    if not found:
        raise DataError(f"{folder} has no pictures (jpg, png, webp, bmp, tiff, gif).")
    return found


def fingerprint(dataset: Dataset) -> str:
    """A hash of the files' last path parts and sizes, in order: what exact resume relies on."""
    digest = hashlib.sha256()
    for path in dataset.files():
        digest.update(os.fsencode("/".join(path.parts[-2:])) + b"\0%d\n" % path.stat().st_size)
    return digest.hexdigest()


def verify(dataset: Dataset, crop: int, decode: bool = True) -> Iterator[int]:
    """Look at every file before training; yields the count of files seen so far.

    With decode, each is decoded whole. Raises DataError naming the unreadable files (the first
    five), or the smallest picture where its shorter side is less than `crop`.
    """
    side_by_side = isinstance(dataset, Paired) and dataset.items[0][1] is None
    broken: list[str] = []
    smallest: tuple[int, Path] | None = None
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        files, seen = dataset.files(), 0
        while some := list(islice(files, 256)):  # bounded: results would pile up in memory
            looks = pool.map(lambda path: _look(path, decode), some)
            for path, (size, error) in zip(some, looks, strict=True):
                if error:
                    broken.append(error)
                else:
                    side = min(size[0] // 2 if side_by_side else size[0], size[1])
                    smallest = min(smallest or (side, path), (side, path))
            seen += len(some)
            yield seen
    if broken:
        more = f" And {len(broken) - 5} more." if len(broken) > 5 else ""
        raise DataError(
            f"{len(broken)} of {seen} pictures can't be read: {' '.join(broken[:5])}{more} "
            "Mend or remove them, then start again."
        )
    if smallest[0] < crop:
        raise DataError(
            f"The crop of {crop} px is larger than the smallest picture, {smallest[1]} "
            f"({smallest[0]} px). Use a smaller --size or --centre-crop, or let --resize enlarge."
        )


def _look(path: Path, decode: bool) -> tuple[tuple[int, int], str | None]:
    try:
        if decode:
            pixels = images.read(path).pixels
            return (pixels.shape[1], pixels.shape[0]), None
        with images.open_header(path) as image:
            return image.size, None
    except (DataError, OSError) as error:
        return (0, 0), str(error)


def _require_folder(folder: Path) -> None:
    if not folder.is_dir():
        raise DataError(f"There is no folder {folder}.")


def _by_name(folder: Path) -> dict[str, Path]:
    """Pictures by relative path without suffix; DataError where two share a name."""
    found: dict[str, Path] = {}
    for path in pictures(folder):
        name = path.relative_to(folder).with_suffix("").as_posix()
        if name in found:
            raise DataError(
                f"{found[name]} and {path} have the same name without suffix, so it is not clear "
                "which of them pairs up. Remove one."
            )
        found[name] = path
    return found


def _split(items: Sequence, held_out: int) -> tuple[tuple, tuple]:
    """Take about held_out items, spread evenly, but never more than a tenth, or any of one."""
    count = min(held_out, max(len(items) // 10, 1)) if len(items) > 1 else 0
    chosen = {(2 * i + 1) * len(items) // (2 * count) for i in range(count)}
    rest = tuple(item for index, item in enumerate(items) if index not in chosen)
    return rest, tuple(items[index] for index in sorted(chosen))


def _read_attributes(
    table: Path, folder: Path, names: tuple[str, ...]
) -> tuple[tuple[tuple[Path, tuple[int, ...]], ...], tuple[Path, ...]]:
    """CelebA's list: a count, the attribute names, then `file 1 -1 ...` a line.

    Gives the pictures with their chosen attributes, and the listed files that are not there.
    """
    try:
        lines = table.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"The attribute list {table} can't be read: {error}.") from None
    start = 1 if lines and lines[0].strip().isdigit() else 0
    columns = lines[start].split() if len(lines) > start else []
    unknown = [name for name in names if name not in columns]
    if unknown:
        raise DataError(
            f"{table} has no attribute {', '.join(unknown)}. It has: {', '.join(columns[:50])}."
        )
    wanted = [columns.index(name) for name in names]
    items, missing = [], []
    for number, line in enumerate(lines[start + 1 :], start + 2):
        if not line.strip():
            continue
        name, *values = line.split()
        if len(values) != len(columns):
            raise DataError(
                f"{table}, line {number}: {len(values)} values, but {len(columns)} attributes."
            )
        path = folder / name
        if not path.is_file():
            missing.append(path)
        else:
            items.append((path, tuple(int(values[i] == "1") for i in wanted)))
    if not items:
        raise DataError(f"None of the {len(missing)} pictures that {table} lists is in {folder}.")
    return tuple(items), tuple(missing)
