"""Pictures that are read and written in parts, because they don't fit into memory: their files.

While a scene is translated, a folder beside its output holds the pixels that are done, and
state.json, which says how far it is. After an interruption, the same command goes on from there.
`scene_translate` does the work; nothing here imports a runtime.
"""

import hashlib
import json
import math
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from img2img import locks, rasters
from img2img.errors import DataError
from img2img.files import split_suffix
from img2img.intensity import Intensity, gap_of
from img2img.rasters import Raster, npy, tiff_write, windows
from img2img.rasters.array_file import ArrayFile
from img2img.rasters.raster import BYTES_PER_PIXEL
from img2img.rasters.tiff_metadata import COLORS, ICC_PROFILE, TiffMetadata, renamed
from img2img.writing import whole_file, write_whole

WRITES = (".tif", ".tiff", ".npy")
STATE = "state.json"


def is_scene(path: Path, most: int) -> bool:
    """Whether a file can be read in parts, and has more pixels than `most`, or more bands than are
    read at once of so many. A broken file is none: it is named where it is read.
    """
    if split_suffix(path.name)[1].lower() not in windows.SUFFIXES:
        return False
    try:
        header = rasters.header(path)
    except DataError:
        return False
    if header is None:
        return False
    pixels = header.size[0] * header.size[1]
    stored = pixels * header.bands * np.dtype(header.dtype).itemsize
    return pixels > most or stored > BYTES_PER_PIXEL * most


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
        return self.target.parent / f".img2img-{name}.parts"

    @property
    def pixels(self) -> Path:
        """The file of the translated pixels, without a header."""
        return self.folder / "pixels.raw"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """A context in which no other process works on the scene. Raises DataError where one does.
        The lock ends with its process; systems without such locks have none.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "lock").open("w") as file:
            if locks.take(file.fileno()) is False:
                raise DataError("another process is translating it")
            yield

    def save(self, intensity: Intensity | None) -> tuple[int, tuple[str, ...]]:
        """Write the output from the translated pixels. Returns its bytes, and notes. intensity: of
        the output, if it has values.
        """
        state = self.state()
        assert state  # it was translated
        shape, dtype, (_, _, lost) = tuple(state["shape"]), state["dtype"], state["seen"]
        with windows.opened(self.sources[0]) as page:
            like = page.raster
        if not intensity and is_photograph(like):
            like = _without_color(like)
        _, nodata = gap_of(intensity, like.nodata, dtype)
        declared = nodata if lost or (intensity and intensity.may_miss) else None
        like = described(like, intensity, shape[2], declared)
        with whole_file(self.target) as temporary, self.pixels.open("rb") as file:
            array = ArrayFile(file, 0, shape, np.dtype(dtype))
            if split_suffix(self.target.name)[1].lower() == ".npy":
                npy.save(temporary, array)
            else:
                tiff_write.save(temporary, array, like)
        no_value = lost and nodata is None and not (intensity and intensity.may_miss)
        return self.target.stat().st_size, (unmarked(dtype),) if no_value else ()

    def save_state(self, state: dict[str, Any]) -> None:
        """state: how far the work is, with the pixels' `shape` and `dtype`, and `seen`, whose last
        entry is whether any is missing.
        """
        write_whole(self.folder / STATE, json.dumps({"key": self.key, **state}))

    def clear(self) -> None:
        """Delete the folder of the work."""
        shutil.rmtree(self.folder, ignore_errors=True)

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
            return state if state["key"] == self.key and whole else None
        except (OSError, ValueError, TypeError, KeyError):
            return None


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


def unmarked(dtype: str) -> str:
    """A note on missing pixels in an output of a type that has no value for them."""
    return f"missing pixels are 0, since {dtype} has no value for them"


def is_photograph(raster: Raster) -> bool:
    """Whether the values are gray or RGB of 8 bits."""
    carried, bands = raster.carried, raster.values.shape[2]
    if not isinstance(carried, TiffMetadata) or raster.values.dtype != np.uint8:
        return False
    return bands == 1 or (carried.rgb and bands == 3)


def _without_color(raster: Raster) -> Raster:
    """Without what says how colors are stored, since those of outputs are in sRGB."""
    assert isinstance(raster.carried, TiffMetadata)  # as is_photograph checks
    tags = tuple(tag for tag in raster.carried.tags if tag[0] != ICC_PROFILE)
    return replace(raster, carried=replace(raster.carried, tags=tags))
