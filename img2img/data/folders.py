"""The three kinds of data sets, each opened from folders: pairs, two sets, labelled domains."""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Self

import numpy as np
from pydantic import BaseModel, BeforeValidator, ConfigDict

from img2img import images
from img2img.data.attributes import nfc, read_attributes
from img2img.errors import DataError, UsageError
from img2img.files import PassedOver, by_name, data_folders, pictures, require_folder, require_utf8
from img2img.manifest import Labels, LabelSet

if TYPE_CHECKING:  # it brings albumentations, which those who only list files do without
    from img2img.data.augment import Augment

Sample = dict[str, np.ndarray]  # pictures uint8 [H, W, C], label vectors float32 [D], by name


def _several(value: Any) -> Any:
    return (value,) if isinstance(value, str | Path) else value or ()


class Sources(BaseModel):
    """Where the pictures are; which fields belong to which method, `open` of each class tells."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    a: Path | None = None
    b: Path | None = None
    pairs: Path | None = None  # each file shows a on its left half, b on its right
    swap: bool = False  # pairs show b on the left; or: translate from b to a
    data: Annotated[tuple[Path, ...], BeforeValidator(_several)] = ()  # labelled, one or more sets
    attributes: Path | None = None  # a list in CelebA's format or CSV, of the first set's pictures
    attribute: tuple[str, ...] = ()  # the columns of that list to learn

    def given(self) -> bool:
        return any((self.a, self.b, self.pairs, self.data))

    def folders(self) -> tuple[Path, ...]:
        """Those that were given, of pictures."""
        return tuple(path for path in (self.a, self.b, self.pairs, *self.data) if path)

    def absolute(self) -> "Sources":
        paths = {"a": self.a, "b": self.b, "pairs": self.pairs, "attributes": self.attributes}
        update = {name: path and path.absolute() for name, path in paths.items()}
        return self.model_copy(update=update | {"data": tuple(p.absolute() for p in self.data)})


@dataclass(frozen=True, kw_only=True)
class Dataset(ABC):
    """What the stream, the loop, the check and the export ask of each kind."""

    channels: tuple[int, int] = (3, 3)  # of a and b, to decode to
    left_out: tuple[Path, ...] = ()  # files without a partner, or listed files that are not there
    unlisted: tuple[Path, ...] = ()  # files that the attribute list does not have

    @classmethod
    @abstractmethod
    def open(cls, sources: Sources, channels: tuple[int, int]) -> Self:
        """Raises UsageError for folders of another method, DataError for unusable ones."""

    @property
    @abstractmethod
    def parts(self) -> tuple[range, ...]:
        """The samples, by the data set they come from: a batch is of one."""

    @abstractmethod
    def inputs(self, direction: str) -> list[Path]:
        """The files that the direction translates."""

    @abstractmethod
    def files(self) -> Iterator[Path]:
        """Every file, in a fixed order."""

    @property
    @abstractmethod
    def records(self) -> tuple[int, int]:
        """What a cache of all pictures holds: how many records, of how many channels each."""

    @abstractmethod
    def sample(self, index: int, augment: "Augment", random: np.random.Generator) -> Sample: ...

    @abstractmethod
    def split(self, held_out: int) -> tuple[Self, Self]:
        """The rest, and about held_out samples."""

    @abstractmethod
    def describe(self) -> str: ...

    def gaps(self) -> list[tuple[str, tuple[Path, ...]]]:
        """Files that are left out, and why, in words that follow their number."""
        return [("files have no partner", self.left_out)] if self.left_out else []

    @property
    def distinct(self) -> int:
        """How many of the samples, from the first on, show no picture twice."""
        return len(self)

    def __len__(self) -> int:
        return self.parts[-1].stop if self.parts else 0


@dataclass(frozen=True, kw_only=True)
class Paired(Dataset):
    """Pairs by relative path without suffix from two folders, or side by side in one file."""

    items: tuple[tuple[Path, Path | None], ...]
    swap: bool = False

    @classmethod
    def open(cls, sources: Sources, channels: tuple[int, int]) -> "Paired":
        if sources.pairs and not (sources.a or sources.b or sources.data):
            files = tuple((path, None) for path in pictures(sources.pairs))
            return cls(items=files, channels=channels, swap=sources.swap)
        if not (sources.a and sources.b) or sources.pairs or sources.data:
            raise UsageError(
                "pix2pix needs --a DIR and --b DIR, or --pairs DIR, or --data DIR (the same for "
                "--test-...)."
            )
        if sources.swap:
            raise UsageError("--direction ba is for --pairs; with folders, exchange --a and --b.")
        left, right = by_name(sources.a), by_name(sources.b)
        items = tuple((left[name], right[name]) for name in left if name in right)
        alone = [left[name] for name in left if name not in right]
        alone += [right[name] for name in right if name not in left]
        if not items:
            raise DataError(
                f"No picture in {sources.a} has a partner of the same name in {sources.b} "
                f"(for example {alone[0].name}). Pairs are matched by relative path without suffix."
            )
        return cls(items=items, channels=channels, left_out=tuple(alone))

    @property
    def parts(self) -> tuple[range, ...]:
        return (range(len(self.items)),)

    def inputs(self, direction: str) -> list[Path]:
        return [first for first, _ in self.items]

    def files(self) -> Iterator[Path]:
        return (path for item in self.items for path in item if path)

    @property
    def records(self) -> tuple[int, int]:
        return len(self.items), sum(self.channels)

    def sample(self, index: int, augment: "Augment", random: np.random.Generator) -> Sample:
        channels = dict(zip("ab", self.channels, strict=True))
        read = partial(self._read, index, augment.resizes_first)
        return augment(random, augment.prepared(index, channels, read))

    def _read(self, index: int, any_sizes: bool) -> Sample:
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
        if not any_sizes and a.shape[:2] != b.shape[:2]:
            b = images.resize(b, a.shape[1], a.shape[0])  # one crop window has to fit both
        return {"a": a, "b": b}

    def split(self, held_out: int) -> tuple["Paired", "Paired"]:
        rest, out = _split(self.items, held_out)
        return replace(self, items=rest), replace(self, items=out)

    def describe(self) -> str:
        return f"{len(self.items):,} pairs"


@dataclass(frozen=True, kw_only=True)
class Unpaired(Dataset):
    """Two sets of pictures. An epoch is max(|a|, |b|) samples; training draws b at random."""

    a: tuple[Path, ...]
    b: tuple[Path, ...]

    @classmethod
    def open(cls, sources: Sources, channels: tuple[int, int]) -> "Unpaired":
        if not (sources.a and sources.b) or sources.pairs or sources.data or sources.swap:
            raise UsageError(
                "cyclegan needs --a DIR and --b DIR, or --data DIR (and --test-a with --test-b, or "
                "--test-data); it has no --direction, it learns both."
            )
        return cls(a=pictures(sources.a), b=pictures(sources.b), channels=channels)

    @property
    def parts(self) -> tuple[range, ...]:
        return (range(max(len(self.a), len(self.b))),)

    @property
    def distinct(self) -> int:
        return min(len(self.a), len(self.b))

    def inputs(self, direction: str) -> list[Path]:
        return list(self.b if direction == "ba" else self.a)

    def files(self) -> Iterator[Path]:
        yield from self.a
        yield from self.b

    @property
    def records(self) -> tuple[int, int]:
        return len(self.a) + len(self.b), max(self.channels)

    def sample(self, index: int, augment: "Augment", random: np.random.Generator) -> Sample:
        if augment.training:
            first, second = index % len(self.a), random.integers(len(self.b))
        else:  # as many of the larger set as of the smaller, spread over it
            place = index % self.distinct
            first, second = (place * len(some) // self.distinct for some in (self.a, self.b))
        sides = (("a", self.a, first, 0), ("b", self.b, second, len(self.a)))
        sample = {}
        for (name, files, place, before), channels in zip(sides, self.channels, strict=True):
            read = partial(_read, name, files[place], channels)
            sample |= augment(random, augment.prepared(before + place, {name: channels}, read))
        return sample

    def split(self, held_out: int) -> tuple["Unpaired", "Unpaired"]:
        (rest_a, out_a), (rest_b, out_b) = _split(self.a, held_out), _split(self.b, held_out)
        if not (out_a and out_b):  # one of them has a single picture
            return self, replace(self, a=(), b=())
        return replace(self, a=rest_a, b=rest_b), replace(self, a=out_a, b=out_b)

    def describe(self) -> str:
        return f"{len(self.a):,} pictures of a, {len(self.b):,} of b"


@dataclass(frozen=True, kw_only=True)
class Labelled(Dataset):
    """Pictures with a label vector, of one data set or of several that are learned together."""

    items: tuple[tuple[Path, int, tuple[str, ...]], ...]  # file, number of its set, its domains
    labels: Labels

    @classmethod
    def open(cls, sources: Sources, channels: tuple[int, int]) -> "Labelled":
        if not sources.data or sources.a or sources.b or sources.pairs:
            raise UsageError("stargan needs --data DIR with one sub-folder a domain.")
        if bool(sources.attributes) != bool(sources.attribute):
            raise UsageError(
                "--attributes FILE needs --attribute NAME (one or more), and NAME the FILE."
            )
        attributes = tuple(dict.fromkeys(map(nfc, sources.attribute)))
        sets, items, missing, unlisted = [], [], [], []
        for number, folder in enumerate(sources.data):
            require_folder(folder)
            if sources.attributes and number == 0:
                listed = read_attributes(sources.attributes, folder, attributes)
                found, missing, unlisted = listed.items, listed.missing, listed.unlisted
                sets.append(LabelSet(kind="attributes", domains=attributes))
            else:
                domains = _read_domains(folder)
                sets.append(LabelSet(kind="classes", domains=tuple(domains)))
                found = [(path, (name,)) for name, paths in domains.items() for path in paths]
            items += [(path, number, names) for path, names in found]
        labels = Labels(sets=tuple(sets))
        twice = [name for name, count in Counter(labels.names).items() if count > 1]
        if twice:
            raise DataError(f"Two data sets have a domain {twice[0]}. Rename one of the folders.")
        return cls(
            items=tuple(items),
            labels=labels,
            channels=channels,
            left_out=tuple(missing),
            unlisted=tuple(unlisted),
        )

    @cached_property
    def parts(self) -> tuple[range, ...]:
        counts = Counter(number for _, number, _ in self.items)
        ends = np.cumsum([counts[number] for number in sorted(counts)]).tolist()
        return tuple(map(range, [0, *ends], ends))

    def inputs(self, direction: str) -> list[Path]:
        return list(self.files())

    def files(self) -> Iterator[Path]:
        return (path for path, _, _ in self.items)

    @property
    def records(self) -> tuple[int, int]:
        return len(self.items), self.channels[0]

    def sample(self, index: int, augment: "Augment", random: np.random.Generator) -> Sample:
        path, number, domains = self.items[index]
        read = partial(_read, "image", path, self.channels[0])
        picture = augment(random, augment.prepared(index, {"image": self.channels[0]}, read))
        return picture | {"domain": self.labels.vector(number, domains)}

    def split(self, held_out: int) -> tuple["Labelled", "Labelled"]:
        """Of classes, as many from each."""
        groups: dict[tuple, list] = {}
        for item in self.items:
            _, number, domains = item
            one_of = self.labels.sets[number].kind == "classes"
            groups.setdefault((number, domains if one_of else ()), []).append(item)
        shares = [_split(group, -(-held_out // len(groups))) for group in groups.values()]
        rest, out = (tuple(chain.from_iterable(side)) for side in zip(*shares, strict=True))
        return replace(self, items=rest), replace(self, items=out)

    def gaps(self) -> list[tuple[str, tuple[Path, ...]]]:
        listed = ("files of the attribute list are not in the folder", self.left_out)
        there = ("files of the folder are not in the attribute list", self.unlisted)
        return [(why, files) for why, files in (listed, there) if files]

    def describe(self) -> str:
        counts = Counter(name for _, _, names in self.items for name in names)
        each = ", ".join(f"{name} {counts[name]:,}" for name in self.labels.names)
        return f"{len(self.items):,} pictures ({each})"


def _read(name: str, path: Path, channels: int) -> Sample:
    return {name: images.read(path, channels).pixels}


def _split(items: Sequence, held_out: int) -> tuple[tuple, tuple]:
    """Take about held_out items, spread evenly, but never more than a tenth, or any of one."""
    count = min(held_out, max(len(items) // 10, 1)) if len(items) > 1 else 0
    chosen = {(2 * i + 1) * len(items) // (2 * count) for i in range(count)}
    rest = tuple(item for index, item in enumerate(items) if index not in chosen)
    return rest, tuple(items[index] for index in sorted(chosen))


def _read_domains(folder: Path) -> dict[str, tuple[Path, ...]]:
    """One sub-folder a domain."""
    left = PassedOver()
    domains: dict[str, Path] = {}
    for path in sorted(data_folders(folder, left), key=lambda path: nfc(path.name)):
        require_utf8(path)
        if nfc(path.name) in domains:
            raise DataError(
                f"{folder} has two sub-folders named {path.name}, in two forms of Unicode. Put "
                "their pictures into one of them."
            )
        domains[nfc(path.name)] = path
    if len(domains) < 2:
        raise DataError(
            f"{folder} has {len(domains)} sub-folder(s); StarGAN needs one for each of at least "
            f"two domains.{f' {left}.' if left.outputs else ''}"
        )
    return {name: pictures(path) for name, path in domains.items()}
