"""Two sets of pictures, none of which is the truth of another."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np

from img2img import images
from img2img.data.dataset import Dataset, Sample, split_evenly
from img2img.data.parts import Located, two_folders, two_sources
from img2img.data.sources import Sources
from img2img.files import PassedOver, pictures

if TYPE_CHECKING:
    from img2img.data.augment import Augment


@dataclass(frozen=True, kw_only=True)
class Unpaired(Dataset):
    """Two sets of pictures. An epoch is max(|a|, |b|) samples; training draws b at random."""

    a: tuple[Path, ...]
    b: tuple[Path, ...]

    @classmethod
    def accepts(cls, sources: Sources) -> bool:
        """Without a direction: such methods learn both."""
        given = bool(sources.a and sources.b)
        return given and not (sources.pairs or sources.data or sources.swap)

    @classmethod
    def open(cls, sources: Sources, channels: tuple[int, int]) -> Self:
        assert sources.a
        assert sources.b
        left_over = PassedOver()
        a, b = pictures(sources.a, left_over), pictures(sources.b, left_over)
        return cls(a=a, b=b, channels=channels, passed_over=left_over)

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
        """Half: any two folders are two sets."""
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
        return len(self.a) + len(self.b), max(self.channels)

    def sample(self, index: int, augment: "Augment", random: np.random.Generator) -> Sample:
        if augment.training:
            first, second = index % len(self.a), int(random.integers(len(self.b)))
        else:  # as many of the larger set as of the smaller, spread over it
            place = index % self.distinct
            first, second = (place * len(some) // self.distinct for some in (self.a, self.b))
        sides = (("a", self.a, first, 0), ("b", self.b, second, len(self.a)))
        sample: Sample = {}
        for (name, files, place, before), channels in zip(sides, self.channels, strict=True):
            read = partial(_read, name, files[place], channels)
            sample |= augment(random, augment.prepared(before + place, {name: channels}, read))
        return sample

    def pictures(self, name: str) -> Iterator[np.ndarray]:
        files, channels = (self.a, self.b)["ab".index(name)], self.channels["ab".index(name)]
        return (images.read(path, channels).pixels for path in files)

    def split(self, held_out: int) -> tuple[Self, Self]:
        (rest_a, out_a), (rest_b, out_b) = (
            split_evenly(paths, held_out) for paths in (self.a, self.b)
        )
        if not (out_a and out_b):  # one of them has a single picture
            return self, replace(self, a=(), b=())
        return replace(self, a=rest_a, b=rest_b), replace(self, a=out_a, b=out_b)

    def describe(self) -> str:
        return f"{len(self.a):,} pictures of a, {len(self.b):,} of b"


def _read(name: str, path: Path, channels: int) -> Sample:
    return {name: images.read(path, channels).pixels}
