"""What training, `check` and export ask of a data set, whatever its layout."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Self, TypeVar

import numpy as np
from rich.console import Console

from img2img import images
from img2img.data.findings import Finding
from img2img.data.parts import Located
from img2img.data.sources import Sources
from img2img.errors import DataError, UsageError
from img2img.files import PassedOver
from img2img.manifest import Labels, Palette

if TYPE_CHECKING:  # it brings albumentations, which those who only list files do without
    from img2img.data.augment import Augment

Sample = dict[str, np.ndarray]  # pictures uint8 [H, W, C], label vectors float32 [D], by name
T = TypeVar("T")
MOST_COLORS = 256  # of label maps


@dataclass(frozen=True, kw_only=True)
class Dataset(ABC):
    """An opened data set. A subclass is one layout of files, and a row in `LAYOUTS`."""

    paired: ClassVar[bool] = False  # whether a sample's b is the truth of its a

    channels: tuple[int, int] = (3, 3)  # of a and b, to decode to
    labels: Labels = Labels()  # the domains of its pictures; empty for a layout without
    left_out: tuple[Path, ...] = ()  # files without a partner, or listed files that are missing
    passed_over: PassedOver = field(default_factory=PassedOver, compare=False)  # other files

    @classmethod
    @abstractmethod
    def accepts(cls, sources: Sources) -> bool:
        """Whether exactly the fields that this layout reads are given. Looks at no file."""

    @classmethod
    @abstractmethod
    def open(cls, sources: Sources, channels: tuple[int, int]) -> Self:
        """List the files of sources that it accepts; channels: of a and b, to decode to.

        Raises UsageError for options that contradict each other, DataError for unusable folders.
        """

    @classmethod
    @abstractmethod
    def locate(cls, sources: Sources) -> Located | None:
        """The folders of the sources with their parts (train, val, test); None where the sources
        are not of this layout. Raises DataError for names with several meanings.
        """

    @classmethod
    @abstractmethod
    def from_folders(
        cls, folders: Sequence[Path], attributes: Path | None, attribute: tuple[str, ...]
    ) -> Sources | None:
        """The sources that these folders are, given without a word on what is in them; None where
        they can't be of this layout.
        """

    @classmethod
    @abstractmethod
    def fit(cls, sources: Sources) -> float:
        """How well the folders' contents fit the layout, from 0 (not at all) to 1. sources: from
        `from_folders`. `check` takes the method with the best fit for its mode.
        """

    @property
    @abstractmethod
    def parts(self) -> tuple[range, ...]:
        """The samples, by the set that they come from: a batch is of one."""

    @abstractmethod
    def roles(self) -> Iterator[tuple[str, Path]]:
        """Every file with what it serves as ("a", "b", a domain), in a fixed order."""

    @abstractmethod
    def inputs(self, direction: str) -> list[Path]:
        """The files that an exported model of that direction ("ab", "ba" or "to") translates."""

    @property
    @abstractmethod
    def records(self) -> tuple[int, int]:
        """What a cache of all pictures holds: how many records, of how many channels each."""

    @abstractmethod
    def sample(self, index: int, augment: "Augment", random: np.random.Generator) -> Sample:
        """One sample, decoded and augmented."""

    @abstractmethod
    def split(self, held_out: int) -> tuple[Self, Self]:
        """The rest, and about held_out samples."""

    @abstractmethod
    def describe(self) -> str:
        """The numbers of pictures, for a title."""

    @property
    def distinct(self) -> int:
        """How many of the samples, from the first on, show no picture twice."""
        return len(self)

    def files(self) -> Iterator[Path]:
        """Every file, in a fixed order."""
        return (path for _, path in self.roles())

    def read_input(self, path: Path, channels: int) -> np.ndarray:
        """The input in one of its `inputs`, uint8 [H, W, channels]."""
        return images.read(path, channels).pixels

    def picture_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """Width and height of a picture in a file of that width and height."""
        return size

    def pictures(self, name: str) -> Iterator[np.ndarray]:
        """Every picture that a sample may have by that name, uint8 [H, W, C], undisturbed."""
        raise UsageError(f"{type(self).__name__} data sets have no label maps.")

    def palette(self, name: str) -> Palette:
        """The colors of all pictures of that name, in order, of label maps.

        Raises DataError for more than 256 of them.
        """
        colors: set[int] = set()
        channels = 1
        for picture in self.pictures(name):
            channels = picture.shape[2]
            packed = picture.astype(np.int64) @ 256 ** np.arange(channels)[::-1]
            colors.update(np.unique(packed).tolist())
            if len(colors) > MOST_COLORS:
                raise DataError(
                    f"The pictures of {name} have over {MOST_COLORS} colors, so they are no label "
                    "maps. Look for JPEG files, or soft edges, among them."
                )
        powers = [256**power for power in range(channels)[::-1]]
        return tuple(tuple(color // power % 256 for power in powers) for color in sorted(colors))

    def identity(self) -> bytes:
        """What, beside the files, has to be the same for a run to go on exactly."""
        return b""

    def gaps(self) -> list[tuple[str, tuple[Path, ...]]]:
        """Files that are left out, and why, in words that follow their number."""
        return [("files have no partner", self.left_out)] if self.left_out else []

    def findings(self, console: Console) -> list[Finding]:
        """What `check` reports of this layout in particular. console: for a progress bar."""
        return []

    def obstacle(self) -> str | None:
        """Why nothing could be learned from these pictures; None where something can be."""
        return None

    def __len__(self) -> int:
        return self.parts[-1].stop if self.parts else 0


def split_evenly(items: Sequence[T], held_out: int) -> tuple[tuple[T, ...], tuple[T, ...]]:
    """Take about held_out items, spread evenly, but never more than a tenth, or any of one."""
    count = min(held_out, max(len(items) // 10, 1)) if len(items) > 1 else 0
    chosen = {(2 * i + 1) * len(items) // (2 * count) for i in range(count)}
    rest = tuple(item for index, item in enumerate(items) if index not in chosen)
    return rest, tuple(items[index] for index in sorted(chosen))
