"""Pairs in one folder: NAME_a.png is the input, and NAME_b.png what it becomes."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np

from img2img import images
from img2img.data.dataset import split_evenly
from img2img.data.paired import Paired
from img2img.data.parts import Located, side_by_side
from img2img.data.sources import Sources
from img2img.errors import DataError
from img2img.files import PassedOver, pictures


@dataclass(frozen=True, kw_only=True)
class Suffixed(Paired):
    """`Paired` crops and flips both images of a pair alike; this class finds and reads them."""

    items: tuple[tuple[Path, Path], ...]

    @classmethod
    def accepts(cls, sources: Sources) -> bool:
        return bool(sources.pairs) and not (sources.a or sources.b or sources.data)

    @classmethod
    def open(cls, sources: Sources, channels: tuple[int, int]) -> Self:
        assert sources.pairs  # it is accepted
        passed_over = PassedOver()
        first, second = ("_b", "_a") if sources.swap else ("_a", "_b")  # --direction ba swaps
        files = {path.with_suffix(""): path for path in pictures(sources.pairs, passed_over)}
        items = tuple(
            (path, files[partner])
            for name, path in files.items()
            if name.name.endswith(first)
            and (partner := name.with_name(name.name.removesuffix(first) + second)) in files
        )
        if not items:
            raise DataError(f"{sources.pairs} has no files named NAME_a and NAME_b.")
        alone = set(files.values()) - {path for item in items for path in item}
        return cls(
            items=items,
            channels=channels,
            left_out=tuple(sorted(alone)),
            passed_over=passed_over,
        )

    @classmethod
    def locate(cls, sources: Sources) -> Located | None:
        return side_by_side(sources)  # one folder, or its train and test folders

    @classmethod
    def from_folders(
        cls, folders: Sequence[Path], attributes: Path | None, attribute: tuple[str, ...]
    ) -> Sources | None:
        return Sources(pairs=folders[0]) if len(folders) == 1 and not attributes else None

    @classmethod
    def fit(cls, sources: Sources) -> float:
        return 0.5

    @property
    def parts(self) -> tuple[range, ...]:
        return (range(len(self.items)),)

    def roles(self) -> Iterator[tuple[str, Path]]:
        return ((role, path) for item in self.items for role, path in zip("ab", item, strict=True))

    def inputs(self, direction: str) -> list[Path]:
        return [first for first, _ in self.items]

    def read_pair(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        first, second = self.items[index]
        a, b = self.channels
        return images.read(first, a).pixels, images.read(second, b).pixels

    def split(self, held_out: int) -> tuple[Self, Self]:
        rest, out = split_evenly(self.items, held_out)
        return replace(self, items=rest), replace(self, items=out)
