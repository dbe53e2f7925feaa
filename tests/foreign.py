"""What another package may bring: a layout of data of its own, and a method that reads it."""

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
from img2img.files import PassedOver, pictures
from img2img.methods.pix2pix import Pix2Pix


@dataclass(frozen=True, kw_only=True)
class Suffixed(Paired):
    """Pairs in one folder: NAME-in.png becomes NAME-out.png."""

    items: tuple[Path, ...]  # the inputs

    @classmethod
    def accepts(cls, sources: Sources) -> bool:
        return bool(sources.pairs)

    @classmethod
    def open(cls, sources: Sources, channels: tuple[int, int]) -> Self:
        assert sources.pairs
        left_over = PassedOver()
        files = pictures(sources.pairs, left_over)
        items = tuple(path for path in files if path.stem.endswith("-in"))
        return cls(items=items, channels=channels, passed_over=left_over)

    @classmethod
    def locate(cls, sources: Sources) -> Located | None:
        return side_by_side(sources)

    @classmethod
    def from_folders(
        cls, folders: Sequence[Path], attributes: Path | None, attribute: tuple[str, ...]
    ) -> Sources | None:
        return Sources(pairs=folders[0])

    @classmethod
    def fit(cls, sources: Sources) -> float:
        return 0.1

    @property
    def parts(self) -> tuple[range, ...]:
        return (range(len(self.items)),)

    def _output(self, path: Path) -> Path:
        return path.with_stem(path.stem.removesuffix("-in") + "-out")

    def roles(self) -> Iterator[tuple[str, Path]]:
        for path in self.items:
            yield from (("in", path), ("out", self._output(path)))

    def inputs(self, direction: str) -> list[Path]:
        return list(self.items)

    def read_pair(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        path = self.items[index]
        a = images.read(path, self.channels[0]).pixels
        return a, images.read(self._output(path), self.channels[1]).pixels

    def split(self, held_out: int) -> tuple[Self, Self]:
        rest, out = split_evenly(self.items, held_out)
        return replace(self, items=rest), replace(self, items=out)


class Foreign(Pix2Pix):
    """pix2pix on that layout."""

    name = "foreign"
    layouts = ("suffixed",)
    sources_hint = "foreign needs --pairs DIR."
