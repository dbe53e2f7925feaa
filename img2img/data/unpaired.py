"""Two sets of pictures without pairs, or with pairs in a part of them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain, compress
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np

from img2img import images
from img2img.data.dataset import Dataset, Sample, split_evenly
from img2img.data.groups import Groups, divided, held_out_groups
from img2img.data.pages import named_pictures, pictures_of
from img2img.data.parts import Located, match, stacks, two_folders, two_sources
from img2img.data.sources import Sources
from img2img.errors import UsageError
from img2img.files import PassedOver
from img2img.shards import of_rank

if TYPE_CHECKING:
    from img2img.data.augment import Augment


@dataclass(frozen=True, kw_only=True)
class Unpaired(Dataset):
    """Two sets of pictures. An epoch is max(|a|, |b|) samples; in training, b is random."""

    a: tuple[Path, ...]
    b: tuple[Path, ...]

    @classmethod
    def accepts(cls, sources: Sources) -> bool:
        """Takes --a and --b, but no --direction."""
        given = bool(sources.a and sources.b)
        return given and not (sources.pairs or sources.data or sources.swap or sources.listed())

    @classmethod
    def open(cls, sources: Sources, channels: tuple[int, int]) -> Self:
        assert sources.a
        assert sources.b
        left_over = PassedOver()
        if not sources.more_a:
            a, b = (
                pictures_of(folder, sources.pages, left_over) for folder in (sources.a, sources.b)
            )
            return cls(a=a, b=b, channels=channels, passed_over=left_over)
        inputs, stacked = stacks(sources, left_over)
        a, b = tuple(inputs.values()), pictures_of(sources.b, sources.pages, left_over)
        return cls(a=a, b=b, channels=channels, passed_over=left_over, stacks=stacked)

    @classmethod
    def locate(cls, sources: Sources) -> Located | None:
        return two_folders(sources, exchange=False)

    @classmethod
    def from_folders(
        cls, folders: Sequence[Path], attributes: Path | None, attribute: tuple[str, ...]
    ) -> Sources | None:
        return None if attributes else two_sources(folders)

    @classmethod
    def fit(cls, sources: Sources) -> float:
        """0.5, since any two folders are two sets."""
        return 0.5

    @property
    def parts(self) -> tuple[range, ...]:
        return (range(max(len(self.a), len(self.b))),)

    @property
    def distinct(self) -> int:
        return min(len(self.a), len(self.b))

    def roles(self) -> Iterator[tuple[str, Path]]:
        for role, paths in (("a", self.a), ("b", self.b)):
            yield from ((role, path) for path in paths)

    def inputs(self, direction: str) -> list[Path]:
        return list(self.b if direction == "ba" else self.a)

    @property
    def records(self) -> tuple[int, int]:
        return len(self.a) + len(self.b), max(self.form(side).pixel_bytes for side in "ab")

    def sample(self, index: int, augment: "Augment", random: np.random.Generator) -> Sample:
        if augment.training:
            places = index % len(self.a), int(random.integers(len(self.b)))
        else:
            places = self._undisturbed_places(index % self.distinct)
        a, b = (self._prepared(n, place, augment) for n, place in zip("ab", places, strict=True))
        return augment(random, a) | augment(random, b)

    def _undisturbed_places(self, number: int) -> tuple[int, int]:
        """The indices of a and b in one of the `distinct` samples outside of training, which use
        equally many pictures of both sets, spread evenly.
        """
        count = self.distinct
        return number * len(self.a) // count, number * len(self.b) // count

    def _prepared(self, name: str, place: int, augment: "Augment") -> Sample:
        """A picture of a or b by its index, after the first stage of augmentation."""
        number = "ab".index(name)
        forms = {name: self.form(name)}
        record = number * len(self.a) + place
        return augment.prepared(record, forms, partial(self._read, name, place, augment))

    def _read(self, name: str, place: int, augment: "Augment") -> Sample:
        return {name: self.read(name, (self.a, self.b)["ab".index(name)][place])}

    def pictures(self, name: str) -> Iterator[np.ndarray]:
        return (self.read(name, path) for path in (self.a, self.b)["ab".index(name)])

    def split(self, held_out: int) -> tuple[Self, Self]:
        (rest_a, out_a), (rest_b, out_b) = (
            split_evenly(paths, held_out) for paths in (self.a, self.b)
        )
        if not (out_a and out_b):  # one of the sets has a single picture
            return self, replace(self, a=(), b=())
        return replace(self, a=rest_a, b=rest_b), replace(self, a=out_a, b=out_b)

    def split_groups(self, held_out: int, groups: Groups) -> tuple[Self, Self]:
        """A group that is held out is held out of both sets."""
        of_a, of_b = ([groups.name(path) for path in paths] for paths in (self.a, self.b))
        chosen = held_out_groups({"pictures of a": of_a, "pictures of b": of_b}, held_out)
        rest_a, out_a = groups.divided(self.a, self.a, chosen)
        rest_b, out_b = groups.divided(self.b, self.b, chosen)
        return replace(self, a=rest_a, b=rest_b), replace(self, a=out_a, b=out_b)

    def of_rank(self, rank: int, count: int) -> Self:
        mine_a, mine_b = (of_rank(paths, rank, count) for paths in (self.a, self.b))
        if all(mine_a) and all(mine_b):
            return self
        return replace(self, a=tuple(compress(self.a, mine_a)), b=tuple(compress(self.b, mine_b)))

    def describe(self) -> str:
        return f"{len(self.a):,} pictures of a, {len(self.b):,} of b"


@dataclass(frozen=True, kw_only=True)
class PartlyPaired(Unpaired):
    """Two sets of pictures with pairs in a part of them. Pairs have the same relative path without
    suffix; they are the first `pairs` pictures of a and of b.

    In training, a sample is a picture of a with its partner, both cropped and flipped alike, or, if
    it has none, with a random picture of b. `paired` (float32 []) is 1 for partners, else 0. An
    epoch is max(|a|, |b|) samples, as in `Unpaired`.
    """

    pairs: int

    @classmethod
    def open(cls, sources: Sources, channels: tuple[int, int]) -> Self:
        assert sources.a
        assert sources.b
        left_over = PassedOver()
        inputs, stacked = stacks(sources, left_over)
        pairs, alone_a, alone_b = match(inputs, named_pictures(sources.b, sources.pages, left_over))
        empty = cls(a=(), b=(), pairs=0, channels=channels, passed_over=left_over, stacks=stacked)
        return empty._with(pairs, alone_a, alone_b)

    def sample(self, index: int, augment: "Augment", random: np.random.Generator) -> Sample:
        number = index if augment.training else index % self.distinct
        if number < self.pairs:
            a, b = (self._prepared(name, number, augment) for name in "ab")
            sample = augment(random, a | b)
        else:
            sample = super().sample(number, augment, random)
        return sample | {"paired": np.array(number < self.pairs, np.float32)}

    def _undisturbed_places(self, number: int) -> tuple[int, int]:
        """For samples after the pairs: the indices of pictures without a partner, spread evenly."""
        place, count = number - self.pairs, self.distinct - self.pairs
        alone_a, alone_b = len(self.a) - self.pairs, len(self.b) - self.pairs
        return self.pairs + place * alone_a // count, self.pairs + place * alone_b // count

    def _read(self, name: str, place: int, augment: "Augment") -> Sample:
        sample = super()._read(name, place, augment)
        changes = augment.adds_margin or (name == "b" and not augment.resizes_first)
        if place >= self.pairs or not changes:
            return sample
        # Both must have the same size and margin for the same crop. They are made alike for random
        # samples, too, so that a cache has the same content in both cases.
        sample |= super()._read("b" if name == "a" else "a", place, augment)
        height, width = sample["a"].shape[:2]
        if not augment.resizes_first and sample["b"].shape[:2] != (height, width):
            labels = "b" in augment.labels
            sample["b"] = images.resize(sample["b"], width, height, labels=labels)
        return sample

    def split(self, held_out: int) -> tuple[Self, Self]:
        """Hold out about as many samples as `Unpaired`, of which at most a tenth of the pairs."""
        count = min(held_out, max(self.distinct // 10, 1))
        pairs = list(zip(self.a, self.b, strict=False))[: self.pairs]
        rest_pairs, out_pairs = split_evenly(pairs, count)
        left = count - len(out_pairs)
        alone_a, alone_b = self.a[self.pairs :], self.b[self.pairs :]
        (rest_a, out_a), (rest_b, out_b) = (split_evenly(f, left) for f in (alone_a, alone_b))
        if not (out_a and out_b):  # one of the sets has too few pictures
            rest_a, out_a, rest_b, out_b = alone_a, (), alone_b, ()
        return self._with(rest_pairs, rest_a, rest_b), self._with(out_pairs, out_a, out_b)

    def split_groups(self, held_out: int, groups: Groups) -> tuple[Self, Self]:
        """As in `Unpaired`; the group of a pair is that of its a."""
        of_a = [groups.name(path) for path in self.a]
        of_pairs = of_a[: self.pairs]
        alone_b = self.b[self.pairs :]
        of_alone_b = [groups.name(path) for path in alone_b]
        kinds = {"pairs": of_pairs, "pictures of a": of_a, "pictures of b": of_pairs + of_alone_b}
        chosen = held_out_groups(kinds, held_out)
        pairs = list(zip(self.a, self.b, strict=False))[: self.pairs]
        _, held_a = divided(self.a, of_a, chosen)
        rest_pairs, out_pairs = groups.divided(pairs, self.a[: self.pairs], chosen, held_a)
        alone_a, held_b = self.a[self.pairs :], [b for _, b in out_pairs]
        rest_a, out_a = groups.divided(alone_a, alone_a, chosen, held_a)
        rest_b, out_b = groups.divided(alone_b, alone_b, chosen, held_b)
        return self._with(rest_pairs, rest_a, rest_b), self._with(out_pairs, out_a, out_b)

    def of_rank(self, rank: int, count: int) -> Self:
        """All: a rank's pairs would have their partners in the shards of other ranks."""
        return self

    def deciding_files(self) -> Iterator[Path]:
        """Those of a, and those of b that have no partner."""
        return chain(self.a, self.b[self.pairs :])

    def _with(
        self,
        pairs: Sequence[tuple[Path, Path]],
        alone_a: tuple[Path, ...],
        alone_b: tuple[Path, ...],
    ) -> Self:
        """A copy with these files."""
        a, b = (*(a for a, _ in pairs), *alone_a), (*(b for _, b in pairs), *alone_b)
        return replace(self, a=a, b=b, pairs=len(pairs))

    def describe(self) -> str:
        return f"{super().describe()}, {self.pairs:,} pairs among them"

    def identity(self) -> bytes:
        return b"%d pairs" % self.pairs

    def obstacle(self) -> UsageError | None:
        if self.pairs:
            return None
        return UsageError(
            f"--paired needs pairs, and no picture of a has a partner of the same name in b (for "
            f"example {self.a[0].name}). Pairs are matched by relative path without suffix. Rename "
            "the files, or leave out --paired."
        )
