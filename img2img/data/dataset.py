"""The base class of data sets, through which training, `check` and export use them."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, NamedTuple, Self, TypeVar

import numpy as np
from rich.console import Console

from img2img import images
from img2img.data.findings import Finding
from img2img.data.groups import Groups, most_held_out
from img2img.data.parts import Located, Stacks
from img2img.data.sources import Sources
from img2img.errors import DataError, Img2ImgError, UsageError
from img2img.files import PassedOver
from img2img.intensity import Intensity
from img2img.manifest import Labels, Palette
from img2img.rasters.pages import Mode, Read
from img2img.rasters.pages import read as read_picture
from img2img.stored import read_stored, read_values

if TYPE_CHECKING:  # it imports albumentations, which listing files does not need
    from img2img.data.augment import Augment

# By name: photographs uint8 [H, W, C], other pictures float32 [H, W, C] in [-1, 1], and which of
# their pixels are not missing, float32 [H, W, 1]; label vectors float32 [D], and flags float32 [].
Sample = dict[str, np.ndarray]
T = TypeVar("T")
MOST_COLORS = 256  # of the label maps of a data set


class Form(NamedTuple):
    """How the pixels of a side are held after reading."""

    channels: int
    dtype: str

    @property
    def pixel_bytes(self) -> int:
        return self.channels * np.dtype(self.dtype).itemsize


@dataclass(frozen=True, kw_only=True)
class Dataset(ABC):
    """An opened data set. Each subclass reads one layout of files, and is a row of `LAYOUTS`."""

    paired: ClassVar[bool] = False  # whether b of a sample is the target of its a
    left_out_why: ClassVar[str] = "files have no partner"  # in words that follow their number

    channels: tuple[int, int] = (3, 3)  # to which photographs of a and b are decoded
    intensities: Mapping[str, Intensity] = field(default_factory=dict)  # of sides of other pictures
    labels: Labels = Labels()  # the domains of its pictures; empty if it has none
    left_out: tuple[Path, ...] = ()  # files without a partner, or listed but missing
    stacks: Stacks = field(default_factory=Stacks)  # the files of a's pictures in further folders
    pages: Mode = "each"  # which pages of a file make up a picture; each one has a name here
    neighbors: int = 0  # pages before and after one that are further bands of its a
    # Files that are not pictures, for a message.
    passed_over: PassedOver = field(default_factory=PassedOver, compare=False)

    @classmethod
    @abstractmethod
    def accepts(cls, sources: Sources) -> bool:
        """Whether exactly those fields are set that this layout reads. Accesses no files."""

    @classmethod
    @abstractmethod
    def open(cls, sources: Sources, channels: tuple[int, int]) -> Self:
        """List the files of sources that it accepts.

        channels: to which pictures of a and b are decoded. Raises UsageError for options that
        contradict each other, DataError for unusable folders.
        """

    @classmethod
    @abstractmethod
    def locate(cls, sources: Sources) -> Located | None:
        """The folders of the sources with their parts (train, val, test); None if the sources are
        not of this layout. Raises DataError for ambiguous folder names.
        """

    @classmethod
    @abstractmethod
    def from_folders(
        cls, folders: Sequence[Path], attributes: Path | None, attribute: tuple[str, ...]
    ) -> Sources | None:
        """The sources for folders that are given without options (`img2img check DATA...`); None if
        they can't be of this layout.
        """

    @classmethod
    @abstractmethod
    def fit(cls, sources: Sources) -> float:
        """How well the contents of the folders fit the layout, from 0 (not at all) to 1.

        sources: those of `from_folders`. Without --mode, `check` chooses the method with the best
        fit.
        """

    @property
    @abstractmethod
    def parts(self) -> tuple[range, ...]:
        """The ranges of sample indices of each set; all samples of a batch come from one set."""

    @abstractmethod
    def roles(self) -> Iterator[tuple[str, Path]]:
        """Every picture with its role ("a", "b", a domain), in a fixed order: its file, or that in
        the first folder of a.
        """

    @abstractmethod
    def inputs(self, direction: str) -> list[Path]:
        """The input files of an exported model of that direction ("ab", "ba" or "to")."""

    @property
    @abstractmethod
    def records(self) -> tuple[int, int]:
        """The size of a cache of all pictures: the number of records, and the bytes of a pixel."""

    @abstractmethod
    def sample(self, index: int, augment: "Augment", random: np.random.Generator) -> Sample:
        """Decode and augment a sample. random: the only source of randomness. Raises DataError for
        unreadable files.
        """

    @abstractmethod
    def split(self, held_out: int) -> tuple[Self, Self]:
        """Split into training data and about `held_out` held-out samples."""

    def split_groups(self, held_out: int, groups: Groups) -> tuple[Self, Self]:
        """Split like `split`, with every group whole on one side. held_out: at least 1.

        Raises DataError for a file without a group, and for groups that can't be split, UsageError
        for a layout that has no groups.
        """
        raise UsageError(f"--group: {type(self).__name__} data sets are not split by groups.")

    def of_rank(self, rank: int, count: int) -> Self:
        """The samples of one of several ranks, where each can have shards that no other reads;
        itself, unchanged, where all read all, as from folders.
        """
        return self

    def deciding_files(self) -> Iterator[Path]:
        """The files whose paths tell the groups of the samples."""
        return self.files()

    @abstractmethod
    def describe(self) -> str:
        """The number of pictures in words, for titles: "12 pairs"."""

    @property
    def distinct(self) -> int:
        """The number of samples, from the first one, in which no picture occurs twice."""
        return len(self)

    def files(self) -> Iterator[Path]:
        """Every file, in a fixed order."""
        return (path for _, path in self.file_roles())

    def file_roles(self) -> Iterator[tuple[str, Path]]:
        """Every file with its role; "a (folder 2)" is that of files in the second folder of a."""
        for role, path in self.roles():
            yield role, path
            for number, further in enumerate(self.files_of(self.sides(role)[0], path)[1:], 2):
                yield f"{role} (folder {number})", further

    def files_of(self, side: str, path: Path) -> tuple[Path, ...]:
        """The files that make up a picture of a side: its own and, of a, those of the same name in
        the further folders.
        """
        return (path, *self.stacks.further.get(path, ())) if side == "a" else (path,)

    def files_by_side(self) -> dict[str, list[Path]]:
        """The files of each side; those that show both are in both."""
        files: dict[str, list[Path]] = {}
        for role, path in self.roles():
            for side in self.sides(role):
                files.setdefault(side, []).append(path)
        return files

    def files_by_input(self, names: Sequence[str]) -> dict[str, tuple[Path, ...]]:
        """The files of each of the folders that are stacked as a, by the folder's name."""
        pictures = [self.files_of("a", path) for path in self.files_by_side()["a"]]
        return dict(zip(names, zip(*pictures, strict=True), strict=True))

    def sides(self, role: str) -> tuple[str, ...]:
        """The sides, "a" or "b" or both, of a role or of a picture's name in samples. A picture is
        read as one of the first.
        """
        return ("b",) if role == "b" else ("a",)

    def form(self, side: str) -> Form:
        """How the pixels of a side are held."""
        if intensity := self.intensities.get(side):
            return Form(len(intensity.bands), intensity.held)
        return Form(self.channels["ab".index(side)], "uint8")

    def read(self, side: str, path: Path, read_page: Read = read_picture) -> np.ndarray:
        """Decode a picture: [H, W, C] of the side's form. read_page: reads pages by their names.
        Raises DataError for unreadable files.
        """
        if intensity := self.intensities.get(side):
            return read_values(self.files_of(side, path), intensity, read_page)
        return images.read(path, self.channels["ab".index(side)]).pixels

    def finished(self, sample: Sample) -> Sample:
        """The sample with values of pictures that are not photographs mapped to [-1, 1]. Where
        pixels of a side may be missing, NAME_valid is 0 at these and 1 elsewhere.
        """
        if not self.intensities:
            return sample
        mapped: Sample = {}
        for name, array in sample.items():
            intensity = self.intensities.get(self.sides(name)[0]) if array.ndim == 3 else None
            mapped[name] = intensity.to_network(array) if intensity else array
            if intensity and intensity.may_miss:
                known = np.isnan(array).sum(-1, keepdims=True) == 0
                mapped[f"{name}_valid"] = known.astype(np.float32)
        return mapped

    def read_input(self, path: Path, direction: str) -> np.ndarray:
        """Read the input of a direction from one of its `inputs`: [H, W, C], uint8, or the stored
        values of pictures that are not photographs.
        """
        side = "b" if direction == "ba" else "a"
        if intensity := self.intensities.get(side):
            return read_stored(self.files_of(side, path), intensity).values
        return self.read(side, path)

    def picture_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """The (width, height) of a picture within a file of that (width, height)."""
        return size

    def pictures(self, name: str) -> Iterator[np.ndarray]:
        """All pictures that samples have by that name, uint8 [H, W, C], without augmentation."""
        raise UsageError(f"{type(self).__name__} data sets have no label maps.")

    def palette(self, name: str) -> Palette:
        """The sorted colors of all label maps that samples have by that name.

        Raises DataError for more than 256 colors.
        """
        colors: set[int] = set()
        channels = 1
        for picture in self.pictures(name):
            channels = picture.shape[2]
            packed = picture.astype(np.int64) @ 256 ** np.arange(channels)[::-1]
            colors.update(np.unique(packed).tolist())
            if len(colors) > MOST_COLORS:
                raise DataError(
                    f"The pictures of {name} have over {MOST_COLORS} colors, so they are not label "
                    "maps. Look for JPEG files, or antialiased edges, among them."
                )
        powers = [256**power for power in range(channels)[::-1]]
        return tuple(tuple(color // power % 256 for power in powers) for color in sorted(colors))

    def identity(self) -> bytes:
        """What must be unchanged for an exact resume, in addition to the files."""
        return b""

    def gaps(self) -> list[tuple[str, tuple[Path, ...]]]:
        """Files that are left out by reason, in words that follow their number."""
        gaps = (
            (self.left_out_why, self.left_out),
            ("files are not in all folders of a", self.stacks.alone),
        )
        return [(why, files) for why, files in gaps if files]

    def findings(self, console: Console) -> list[Finding]:
        """The findings of `check` that are specific to this layout. console: for a progress bar."""
        return []

    def obstacle(self) -> Img2ImgError | None:
        """The error to raise if these pictures can't be trained on, else None."""
        return None

    def __len__(self) -> int:
        return self.parts[-1].stop if self.parts else 0


def split_evenly(items: Sequence[T], held_out: int) -> tuple[tuple[T, ...], tuple[T, ...]]:
    """Split items into the rest and about `held_out` of them, spread evenly.

    At most a tenth is held out, but at least one item; a single item is not held out.
    """
    count = most_held_out(held_out, len(items)) if len(items) > 1 else 0
    chosen = {(2 * i + 1) * len(items) // (2 * count) for i in range(count)}
    rest = tuple(item for index, item in enumerate(items) if index not in chosen)
    return rest, tuple(items[index] for index in sorted(chosen))
