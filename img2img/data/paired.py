"""Pairs of an input and its target, from two folders or side by side in one file."""

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain, compress
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np
from rich.console import Console

from img2img import images
from img2img.data.dataset import Dataset, Sample, split_evenly
from img2img.data.findings import Finding
from img2img.data.groups import Groups, held_out_groups
from img2img.data.pages import named_pictures, pictures_of
from img2img.data.parts import (
    Located,
    has_two_sets,
    match,
    side_by_side,
    stacks,
    two_folders,
    two_sources,
)
from img2img.data.sources import Sources
from img2img.errors import DataError, UsageError
from img2img.files import PassedOver, find_pictures, stem
from img2img.shards import by_name, is_shards, of_rank

if TYPE_CHECKING:
    from img2img.data.augment import Augment


@dataclass(frozen=True, kw_only=True)
class Paired(Dataset):
    """Base class of layouts of pairs: both pictures of a sample are cropped and flipped alike."""

    paired = True

    @abstractmethod
    def read_pair(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Read a and b, uint8 [H, W, C] of any size. Raises DataError for unreadable files."""

    @property
    def records(self) -> tuple[int, int]:
        return len(self), sum(self.form(side).pixel_bytes for side in "ab")

    def sample(self, index: int, augment: "Augment", random: np.random.Generator) -> Sample:
        forms = {side: self.form(side) for side in "ab"}
        read = partial(self._read, index, augment)
        return augment(random, augment.prepared(index, forms, read))

    def _read(self, index: int, augment: "Augment") -> Sample:
        a, b = self.read_pair(index)
        if not augment.resizes_first and a.shape[:2] != b.shape[:2]:
            # Both must have the same size for the same crop.
            b = images.resize(b, a.shape[1], a.shape[0], labels="b" in augment.labels)
        return {"a": a, "b": b}

    def pictures(self, name: str) -> Iterator[np.ndarray]:
        return (self.read_pair(index)["ab".index(name)] for index in range(len(self)))

    def describe(self) -> str:
        return f"{len(self):,} pairs"

    def findings(self, console: Console) -> list[Finding]:
        """Pairs whose pictures are misaligned."""
        from img2img.data.shift import shifted_pairs  # it needs OpenCV

        return shifted_pairs(self.inputs("ab"), self.read_pair, console)


@dataclass(frozen=True, kw_only=True)
class Pairs(Paired):
    """Pairs from two folders, matched by relative path without suffix."""

    items: tuple[tuple[Path, Path], ...]

    @classmethod
    def accepts(cls, sources: Sources) -> bool:
        given = bool(sources.a and sources.b)
        return given and not (sources.pairs or sources.data or sources.listed())

    @classmethod
    def open(cls, sources: Sources, channels: tuple[int, int]) -> Self:
        assert sources.a
        assert sources.b
        if sources.swap:
            raise UsageError(
                "--direction ba is for --pairs. With two folders, exchange --a and --b."
            )
        left_over = PassedOver()
        inputs, stacked = stacks(sources, left_over)
        pairs, alone_a, alone_b = match(inputs, named_pictures(sources.b, sources.pages, left_over))
        if not pairs:
            raise DataError(
                f"No picture in {sources.a} has a partner of the same name in {sources.b} "
                f"(for example {alone_a[0].name}). Pairs are matched by relative path without "
                "suffix."
            )
        dataset = cls._of(pairs, alone_a, alone_b, channels, left_over)
        return replace(dataset, stacks=stacked)

    @classmethod
    def _of(
        cls,
        pairs: tuple[tuple[Path, Path], ...],
        alone_a: tuple[Path, ...],
        alone_b: tuple[Path, ...],
        channels: tuple[int, int],
        passed_over: PassedOver,
    ) -> Self:
        """Make the data set from matched files."""
        left_out = alone_a + alone_b
        return cls(items=pairs, channels=channels, left_out=left_out, passed_over=passed_over)

    @classmethod
    def locate(cls, sources: Sources) -> Located | None:
        return two_folders(sources, exchange=True)

    @classmethod
    def from_folders(
        cls, folders: Sequence[Path], attributes: Path | None, attribute: tuple[str, ...]
    ) -> Sources | None:
        return None if attributes else two_sources(folders)

    @classmethod
    def fit(cls, sources: Sources) -> float:
        """1 if more than half of the pictures in the smaller folder have a partner by name."""
        located = cls.locate(sources)
        both = located.folders if located else ()
        folders = [folder.parts["train"] for folder in both if folder.field != "more_a"]
        if len(folders) != 2 or not all(f.is_dir() or is_shards(f) for f in folders):
            return 0.1
        names = [
            by_name(folder, PassedOver()).keys()
            if is_shards(folder)
            else {stem(path, folder) for path in find_pictures(folder)}
            for folder in folders
        ]
        return 1.0 if 2 * len(names[0] & names[1]) > min(map(len, names)) else 0.1

    @property
    def parts(self) -> tuple[range, ...]:
        return (range(len(self.items)),)

    def roles(self) -> Iterator[tuple[str, Path]]:
        return ((role, path) for item in self.items for role, path in zip("ab", item, strict=True))

    def inputs(self, direction: str) -> list[Path]:
        return [a for a, _ in self.items]

    def read_pair(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        a, b = (self.read(side, path) for side, path in zip("ab", self.items[index], strict=True))
        return a, b

    def split(self, held_out: int) -> tuple[Self, Self]:
        rest, out = split_evenly(self.items, held_out)
        return replace(self, items=rest), replace(self, items=out)

    def split_groups(self, held_out: int, groups: Groups) -> tuple[Self, Self]:
        rest, out = groups.split("pairs", self.items, self.inputs("ab"), held_out)
        return replace(self, items=rest), replace(self, items=out)

    def of_rank(self, rank: int, count: int) -> Self:
        """The pairs whose a is in the rank's shards."""
        mine = of_rank(self.inputs("ab"), rank, count)
        return self if all(mine) else replace(self, items=tuple(compress(self.items, mine)))

    def deciding_files(self) -> Iterator[Path]:
        """Those of a."""
        return (a for a, _ in self.items)


@dataclass(frozen=True, kw_only=True)
class PairsAndInputs(Pairs):
    """Pairs from two folders, and the pictures of a that have no partner.

    A sample is a pair and, as `extra`, one of those pictures, at random in training. An epoch is a
    pass over the pairs.
    """

    left_out_why = (
        "pictures of b have no partner, without which the discriminator can't judge them,"
    )

    extra: tuple[Path, ...]

    @classmethod
    def _of(
        cls,
        pairs: tuple[tuple[Path, Path], ...],
        alone_a: tuple[Path, ...],
        alone_b: tuple[Path, ...],
        channels: tuple[int, int],
        passed_over: PassedOver,
    ) -> Self:
        return cls(
            items=pairs, extra=alone_a, channels=channels, left_out=alone_b, passed_over=passed_over
        )

    def roles(self) -> Iterator[tuple[str, Path]]:
        yield from super().roles()
        yield from (("a without a partner", path) for path in self.extra)

    @property
    def records(self) -> tuple[int, int]:
        count, channels = super().records
        return count + len(self.extra), channels

    def sample(self, index: int, augment: "Augment", random: np.random.Generator) -> Sample:
        sample = super().sample(index, augment, random)
        if not self.extra:  # held-out pairs
            return sample
        if augment.training:
            chosen = int(random.integers(len(self.extra)))
        else:
            chosen = index % len(self.extra)
        read = partial(self._read_extra, chosen)
        prepared = augment.prepared(len(self.items) + chosen, {"a": self.form("a")}, read)
        return sample | {"extra": augment(random, prepared)["a"]}

    def _read_extra(self, number: int) -> Sample:
        return {"a": self.read("a", self.extra[number])}

    def pictures(self, name: str) -> Iterator[np.ndarray]:
        yield from super().pictures(name)
        if name == "a":
            yield from (self._read_extra(number)["a"] for number in range(len(self.extra)))

    def split(self, held_out: int) -> tuple[Self, Self]:
        """Only pairs are held out, since nothing can be measured on inputs without a target."""
        rest, out = super().split(held_out)
        return rest, replace(out, extra=())

    def split_groups(self, held_out: int, groups: Groups) -> tuple[Self, Self]:
        """As `split`. Inputs without a partner of the groups that are held out are not used."""
        names = [groups.name(a) for a, _ in self.items]
        chosen = held_out_groups({"pairs": names}, held_out)
        rest, out = groups.divided(self.items, self.inputs("ab"), chosen)
        held = [a for a, _ in out]
        extra, unused = groups.divided(self.extra, self.extra, chosen, held)
        if unused and not extra:
            raise DataError(
                f"--group: all {len(unused):,} inputs without a partner are of groups that are "
                f"held out ({', '.join(sorted(chosen)[:5])}), so none is left to train on. Leave "
                "out --unpaired, or give held-out folders (--test-...)."
            )
        return replace(self, items=rest, extra=extra), replace(self, items=out, extra=())

    def deciding_files(self) -> Iterator[Path]:
        """Those of a."""
        return chain(super().deciding_files(), self.extra)

    def describe(self) -> str:
        if not self.extra:
            return super().describe()
        return f"{len(self.items):,} pairs and {len(self.extra):,} inputs without a partner"

    def obstacle(self) -> UsageError | None:
        if self.extra:
            return None
        return UsageError(
            "--unpaired would change nothing: every picture of a has a partner. Leave it out."
        )


@dataclass(frozen=True, kw_only=True)
class SideBySide(Paired):
    """Pairs in a single file each, with a on the left half and b on the right, or vice versa."""

    items: tuple[Path, ...]
    swap: bool = False  # b is on the left

    @classmethod
    def accepts(cls, sources: Sources) -> bool:
        others = sources.a or sources.b or sources.data or sources.listed()
        return bool(sources.pairs) and not others

    @classmethod
    def open(cls, sources: Sources, channels: tuple[int, int]) -> Self:
        assert sources.pairs
        left_over = PassedOver()
        files = pictures_of(sources.pairs, sources.pages, left_over)
        return cls(items=files, channels=channels, swap=sources.swap, passed_over=left_over)

    @classmethod
    def locate(cls, sources: Sources) -> Located | None:
        return side_by_side(sources)

    @classmethod
    def from_folders(
        cls, folders: Sequence[Path], attributes: Path | None, attribute: tuple[str, ...]
    ) -> Sources | None:
        if attributes or len(folders) != 1 or has_two_sets(folders[0]):
            return None
        return Sources(pairs=folders[0])

    @classmethod
    def fit(cls, sources: Sources) -> float:
        """0.5, since the folder does not show whether its files are pairs."""
        return 0.5

    @property
    def parts(self) -> tuple[range, ...]:
        return (range(len(self.items)),)

    def roles(self) -> Iterator[tuple[str, Path]]:
        return (("pairs", path) for path in self.items)

    def sides(self, role: str) -> tuple[str, ...]:
        return ("a", "b") if role == "pairs" else super().sides(role)

    def inputs(self, direction: str) -> list[Path]:
        return list(self.items)

    def read_input(self, path: Path, direction: str) -> np.ndarray:
        return self._halves(super().read_input(path, direction))[0]

    def read_pair(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        path = self.items[index]
        a = b = self.read("a", path)
        if self.channels[0] != self.channels[1] or (
            self.intensities.get("a") != self.intensities.get("b")
        ):
            b = self.read("b", path)
        return self._halves(a)[0], self._halves(b)[1]

    def _halves(self, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The halves of a and b, without the last column if the width is odd."""
        half = pixels.shape[1] // 2
        left, right = pixels[:, :half], pixels[:, half : 2 * half]
        return (right, left) if self.swap else (left, right)

    def picture_size(self, size: tuple[int, int]) -> tuple[int, int]:
        return size[0] // 2, size[1]

    def of_rank(self, rank: int, count: int) -> Self:
        mine = of_rank(self.items, rank, count)
        return self if all(mine) else replace(self, items=tuple(compress(self.items, mine)))

    def split(self, held_out: int) -> tuple[Self, Self]:
        rest, out = split_evenly(self.items, held_out)
        return replace(self, items=rest), replace(self, items=out)

    def split_groups(self, held_out: int, groups: Groups) -> tuple[Self, Self]:
        rest, out = groups.split("pairs", self.items, self.items, held_out)
        return replace(self, items=rest), replace(self, items=out)
