"""Pictures that are read and written in parts, because they don't fit into memory: their files.

While a scene is translated, a folder beside its output holds the pixels that are done, and
state.json, which says how far it is. After an interruption, the same command goes on from there.
`scene_translate` does the work; nothing here imports a runtime.
"""

import contextlib
import hashlib
import json
import math
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from img2img import locks, rasters
from img2img.errors import DataError, UsageError
from img2img.files import split_suffix
from img2img.intensity import Intensity, gap_of
from img2img.rasters import Raster, npy, tiff_write, windows
from img2img.rasters.array_file import ArrayFile
from img2img.rasters.raster import BYTES_PER_PIXEL
from img2img.rasters.tiff_metadata import COLORS, ICC_PROFILE, TiffMetadata, renamed
from img2img.stored import MOST
from img2img.writing import whole_file, write_whole

WRITES = (".tif", ".tiff", ".npy")
STATE = "state.json"
PREMULTIPLIED, ALPHA = (1,), (2,)  # extra bands of TIFF, section 18
PARTS = ".parts"  # the suffix of a folder of unfinished work


def is_scene(path: Path, most: int) -> bool:
    """Whether a file can be read in parts, and has more pixels than `most`, or more bands or pages
    than are read at once of so many. A broken file is none: it is named where it is read.
    """
    if not windows.reads(path):
        return False
    try:
        header = rasters.header(path)
    except DataError:
        return False
    if header is None:
        return False
    pixels = header.size[0] * header.size[1]
    stored = pixels * header.bands * np.dtype(header.dtype).itemsize
    several = header.pages > 1 and header.pages * pixels > MOST * most
    return pixels > most or stored > BYTES_PER_PIXEL * most or several


@dataclass(frozen=True)
class Scene:
    """A scene's files, and a hash of all that its output depends on."""

    sources: tuple[Path, ...]  # of a model with several inputs, one for each
    target: Path
    key: str

    @property
    def folder(self) -> Path:
        """That of the unfinished work."""
        name = hashlib.sha256(self.target.name.encode()).hexdigest()[:16]
        return self.target.parent / f".img2img-{name}{PARTS}"

    @property
    def pixels(self) -> Path:
        """The file of the translated pixels, without a header."""
        return self.folder / "pixels.raw"

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """A context in which no other process works on the scene. Raises DataError, which names the
        other process, where one does.
        """
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(locks.held(self.folder / "lock", "it is being translated"))
            except UsageError as error:  # of this scene alone, not of the command
                raise DataError(str(error)) from None
            yield

    def save(self, intensity: Intensity | None) -> tuple[int, tuple[str, ...]]:
        """Write the output from the translated pixels. Returns its bytes, and notes. intensity: of
        the output, if it has values.
        """
        with self.locked():
            return self._save(intensity)

    def _save(self, intensity: Intensity | None) -> tuple[int, tuple[str, ...]]:
        state = self.state()
        if not state:
            raise DataError("another process has begun it anew; run the same command again")
        shape, dtype, lost = tuple(state["shape"]), state["dtype"], state["lost"]
        with windows.opened(self.sources[0]) as page:
            like = page.raster
        if not intensity and is_photograph(like):
            like = _as_photograph(like, state["alpha"], shape[-1])
        gap = gap_of_output(like.nodata, intensity, dtype, lost)
        if not state["alpha"]:
            like = described(like, intensity, shape[-1], gap.declared)
        with whole_file(self.target) as temporary, self.pixels.open("rb") as file:
            pages = pages_in(file, shape, np.dtype(dtype))
            if split_suffix(self.target.name)[1].lower() == ".npy":
                npy.save(temporary, pages[0])
            else:
                tiff_write.save(temporary, pages, like)
        return self.target.stat().st_size, gap.notes

    def save_state(self, state: dict[str, Any]) -> None:
        """state: how far the work is, with the pixels' `shape` [pages, H, W, bands] and `dtype`,
        `alpha`, whether the last band is that, and `lost`, whether any pixel is missing.
        """
        write_whole(self.folder / STATE, json.dumps({"key": self.key, **state}))

    def clear(self) -> None:
        """Delete the folder of the work, which the caller has locked."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def finish(self) -> None:
        """Delete the folder of the work, unless another process works there."""
        with contextlib.suppress(DataError), self.locked():
            self.clear()

    def forget(self) -> None:
        """Delete what an earlier run with other settings left, the state first."""
        (self.folder / STATE).unlink(missing_ok=True)
        self.pixels.unlink(missing_ok=True)

    def state(self) -> dict[str, Any] | None:
        """That of an earlier run of the same job; None if there is none."""
        try:
            state: dict[str, Any] = json.loads((self.folder / STATE).read_text())
            size = math.prod(state["shape"]) * np.dtype(state["dtype"]).itemsize
            whole = self.pixels.stat().st_size <= size
            complete = len(state["shape"]) == 4 and {"page", "lost", "alpha"} <= state.keys()
            return state if state["key"] == self.key and whole and complete else None
        except (OSError, ValueError, TypeError, KeyError):
            return None


def clear_leftovers(targets: Iterable[str]) -> None:
    """Delete the folders of the work on complete outputs, which a kill may have left."""
    folders: dict[str, list[str]] = {}  # of outputs, with their sub-folders of work
    for target in targets:
        parent = os.path.dirname(target)
        if parent not in folders:
            with contextlib.suppress(OSError):
                folders[parent] = [n for n in os.listdir(parent) if n.endswith(PARTS)]
        if folders.get(parent):
            scene = Scene((), Path(target), "")
            if scene.folder.name in folders[parent]:
                scene.finish()


def described(
    raster: Raster, intensity: Intensity | None, bands: int, nodata: float | None
) -> Raster:
    """An input's raster for an output of so many bands: with their names, where they have some, and
    what marks missing pixels. intensity: of the output; None for a photograph.
    """
    raster = replace(raster, nodata=nodata)
    names: tuple[str, ...] = COLORS if bands == 3 and not intensity else ()
    if intensity and intensity.named:
        names = intensity.bands
    if not names or names == raster.bands:
        return raster
    carried = raster.carried
    if isinstance(carried, TiffMetadata) and carried.form == "plain":
        carried = renamed(carried, names)
    return replace(raster, bands=names, carried=carried)


class Gap(NamedTuple):
    """The missing pixels of an output."""

    value: float  # that they get
    declared: float | None  # what its file declares for them
    notes: tuple[str, ...]


def gap_of_output(
    declared: float | None, intensity: Intensity | None, dtype: str, lost: bool
) -> Gap:
    """declared: by the input's file. intensity: of the output, whose type is dtype. lost: whether
    any pixel is missing.
    """
    value, marker = gap_of(intensity, declared, dtype)
    by_model = bool(intensity and intensity.may_miss)
    notes: tuple[str, ...] = ()
    if lost and marker is None and not by_model:
        notes = (f"missing pixels are 0, since {dtype} has no value for them",)
    return Gap(value, marker if lost or by_model else None, notes)


def pages_in(file: BinaryIO, shape: Sequence[int], dtype: np.dtype[np.generic]) -> list[ArrayFile]:
    """The pages of an array [pages, H, W, bands] that is a file."""
    count, height, width, bands = shape
    size = height * width * bands * dtype.itemsize
    return [ArrayFile(file, n * size, (height, width, bands), dtype) for n in range(count)]


def has_alpha(raster: Raster) -> bool:
    """Whether a photograph's last band is its transparency."""
    assert isinstance(raster.carried, TiffMetadata)  # as is_photograph checks
    extra = raster.carried.extra
    return (raster.values.shape[2], extra) in ((2, ALPHA), (4, ALPHA), (4, PREMULTIPLIED))


def is_photograph(raster: Raster) -> bool:
    """Whether the values are gray or RGB of 8 bits, or these with transparency."""
    carried, bands = raster.carried, raster.values.shape[2]
    if not isinstance(carried, TiffMetadata) or raster.values.dtype != np.uint8:
        return False
    colors = bands - has_alpha(raster)
    return colors == 1 or (carried.rgb and colors == 3)


def _as_photograph(raster: Raster, alpha: bool, bands: int) -> Raster:
    """Without what says how colors are stored, since those of outputs are in sRGB. alpha: whether
    the last of the output's bands is its transparency.
    """
    assert isinstance(raster.carried, TiffMetadata)  # as is_photograph checks
    tags = tuple(tag for tag in raster.carried.tags if tag[0] != ICC_PROFILE)
    carried = replace(raster.carried, tags=tags)
    if alpha:
        carried = replace(carried, rgb=bands == 4, extra=ALPHA)
    return replace(raster, carried=carried)
