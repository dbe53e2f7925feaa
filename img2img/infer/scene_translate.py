"""Translating pictures that don't fit into memory: see `scene`."""

import math
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image

from img2img import images
from img2img.box import Box
from img2img.errors import DataError
from img2img.files import split_suffix
from img2img.infer.scene import (
    PREMULTIPLIED,
    WRITES,
    Scene,
    has_alpha,
    is_photograph,
    pages_in,
)
from img2img.infer.tile import Part, Progress, Tiler
from img2img.intensity import Intensity, gap_of
from img2img.manifest import Manifest
from img2img.rasters import Raster, windows
from img2img.rasters.array_file import ArrayFile
from img2img.rasters.tiff_metadata import ICC_PROFILE, ORIENTATION, TiffMetadata
from img2img.stored import Stored, as_stored, photograph_as_stored, require_files, stack_pages

SAVE_EVERY = 10.0  # seconds, after which the state is saved


def translate_scene(
    scene: Scene,
    tiler_of: Callable[[int | None], Tiler],
    domain: np.ndarray | None,
    progress: Callable[[int, int], None],
) -> tuple[str, ...]:
    """Translate into the scene's folder, from where an earlier run stopped. Returns notes.

    tiler_of: gives a tiler with tiles of a side, or for None of one that fits into memory.
    progress: takes the number of steps that are done, and of all.

    Raises DataError for a file that can't be read in parts, for a format that can't be written
    in parts, and where the disk has too little space.
    """
    if split_suffix(scene.target.name)[1].lower() not in WRITES:
        raise DataError(
            f"pictures of its size are written as {', '.join(WRITES)}: leave out --ext, or name "
            "such a file"
        )
    with scene.locked():
        try:
            return _translate_locked(scene, tiler_of, domain, progress)
        except DataError:
            if not scene.state():
                scene.clear()  # nothing was begun
            raise


@dataclass
class _Work:
    """A scene that is translated, and how far it is, which its state keeps."""

    scene: Scene
    tiler: Tiler
    shape: tuple[int, ...]  # of the pixels, [pages, H, W, bands]
    dtype: np.dtype[np.generic]
    alpha: bool  # whether the last band is the transparency of a photograph
    gap: float  # the value of missing pixels
    remarks: dict[str, None]  # notes on the files, in their order
    page: int = 0
    lost: bool = False  # whether any pixel is missing
    progress: Progress = field(default_factory=Progress)  # of the page

    def save(self, file: BinaryIO) -> None:
        """Save the state, and the pixels first. file: of these."""
        file.flush()
        os.fsync(file.fileno())
        state: dict[str, object] = {"side": self.tiler.side, "page": self.page, "lost": self.lost}
        state |= {"progress": self.progress.as_dict(), "remarks": list(self.remarks)}
        state |= {"shape": self.shape, "dtype": self.dtype.name, "alpha": self.alpha}
        self.scene.save_state(state)

    @property
    def notes(self) -> tuple[str, ...]:
        share = self.progress.clipped / max(self.progress.known, 1)
        clipped = f"values beyond the model's range are clipped, {share:.2%} of them"
        return (*self.remarks, *((clipped,) if share else ()))


def _translate_locked(
    scene: Scene,
    tiler_of: Callable[[int | None], Tiler],
    domain: np.ndarray | None,
    progress: Callable[[int, int], None],
) -> tuple[str, ...]:
    state = scene.state()
    work = _begun(scene, tiler_of(state["side"] if state else None))
    if state:
        work.page, work.lost = state["page"], state["lost"]
        work.progress = Progress.of_dict(state["progress"])
        work.remarks |= dict.fromkeys(state["remarks"])
    else:
        scene.forget()
        _require_space(scene.folder, math.prod(work.shape) * work.dtype.itemsize)
    with scene.pixels.open("r+b" if state else "w+b") as file:
        pages = pages_in(file, work.shape, work.dtype)
        while True:
            _translate_page(work, file, pages[work.page], domain, progress)
            if work.page == len(pages) - 1:
                return work.notes
            work.page += 1
            work.progress = Progress(clipped=work.progress.clipped, known=work.progress.known)


def _begun(scene: Scene, tiler: Tiler) -> _Work:
    """The work that nothing is done of. Raises DataError for what can't be translated in parts."""
    manifest, remarks = tiler.translator.manifest, dict[str, None]()
    with _opened(scene, manifest, 0) as picture:
        count, alpha = _count_of_pages(picture, manifest, remarks), picture.alpha
        shape = count, *picture.shape, manifest.out_channels + alpha
        declared = picture.pages[0].raster.nodata
    if count > 1 and split_suffix(scene.target.name)[1].lower() == ".npy":
        raise DataError(f".npy holds one page, and it has {count}: leave out --ext, or name a .tif")
    gap, _ = gap_of(manifest.intensity_out, declared, manifest.dtype_out)
    return _Work(scene, tiler, shape, np.dtype(manifest.dtype_out), alpha, gap, remarks)


def _translate_page(
    work: _Work,
    file: BinaryIO,
    pixels: ArrayFile,
    domain: np.ndarray | None,
    progress: Callable[[int, int], None],
) -> None:
    """Translate the page of the work, from where it is. pixels: of the page, in the file."""
    tiler = work.tiler
    with _opened(work.scene, tiler.translator.manifest, work.page) as picture:
        work.remarks |= picture.remarks
        picture.remarks = work.remarks
        each = tiler.count(picture.shape)
        total = each * work.shape[0]
        steps = each * work.page + tiler.done(picture.shape, work.progress)
        progress(min(steps, total), total)
        saved = time.monotonic()
        for _ in tiler.steps(picture, _Canvas(pixels, picture, work), domain, work.progress):
            steps += 1
            progress(min(steps, total), total)
            if time.monotonic() - saved > SAVE_EVERY:
                work.save(file)
                saved = time.monotonic()
        work.save(file)


@contextmanager
def _opened(scene: Scene, manifest: Manifest, page: int) -> "Iterator[_Picture]":
    """A page of the scene's files, as the model takes it."""
    with ExitStack() as files:
        pages = [files.enter_context(windows.opened(path, page=page)) for path in scene.sources]
        yield _Picture(pages, manifest, [str(path) for path in scene.sources])


def _count_of_pages(picture: "_Picture", manifest: Manifest, remarks: dict[str, None]) -> int:
    """How many pages of the files are translated. Of photographs, and of inputs whose first page is
    the picture, that is one, with a remark.

    Raises DataError for files with different numbers of such pages.
    """
    parts = manifest.intensity_in.inputs if manifest.intensity_in else ()
    by_page = [part.pages == "each" and not part.photographs for part in parts] or [False]
    counts = set()
    for page, each in zip(picture.pages, by_page, strict=True):
        counts.add(page.pages if each else 1)
        if page.pages > 1 and not each:
            remarks[f"only the first page is read, of {page.pages}"] = None
    if len(counts) > 1:
        raise DataError(
            f"{' and '.join(picture.names)} have different numbers of pages. Give files with as "
            "many pages as each other"
        )
    [count] = counts
    return count


class _Picture:
    """A file in parts, or several for a model with several inputs, as the model takes them."""

    def __init__(self, pages: Sequence[windows.Windows], manifest: Manifest, names: Sequence[str]):
        """Raises DataError for files that the model doesn't take, and for different sizes. names:
        of the files, in errors.
        """
        self.pages, self.names = pages, names
        self.channels, self.intensity = manifest.in_channels, manifest.intensity_in
        # Notes on the files, in their order.
        self.remarks = dict.fromkeys(note for page in pages for note in page.raster.notes)
        self.alpha = False  # whether the output has the transparency of the photograph
        if self.intensity:
            require_files(len(pages), self.intensity)
            for page, part in zip(pages, self.intensity.inputs, strict=True):
                if part.neighbors or (part.pages == "stack" and page.pages > 1):
                    raise DataError(
                        f"{manifest.name} takes several pages as bands, which are not read in "
                        "parts. Raise --max-pixels, where there is the memory for it"
                    )
        else:
            _require_photograph(pages[0].raster)
            with_alpha = has_alpha(pages[0].raster) and self.channels != 4
            self.alpha = with_alpha and not manifest.intensity_out
        self.read(Box(0, 1, 0, 1))  # so that another type or number of bands is named at once
        for name, page in zip(names, pages, strict=True):
            if page.shape != pages[0].shape:
                raise DataError(f"{names[0]} and {name} differ in size. Resample them to one grid")

    @property
    def shape(self) -> tuple[int, int]:
        return self.pages[0].shape

    def read(self, box: Box) -> Part:
        if not self.intensity:
            # The colors of transparent pixels are those of visible ones nearby.
            height, width = self.shape
            around = box.grown(images.AROUND if self.alpha else 0).common(Box(0, height, 0, width))
            return Part(box.within(around).of(self.photograph(around).pixels))
        rasters = [page.read(box) for page in self.pages]
        self._note(rasters)
        each = [
            [_as_stored(raster, part, name)]
            for raster, part, name in zip(rasters, self.intensity.inputs, self.names, strict=True)
        ]
        [stored] = stack_pages(each, self.names, self.intensity)
        values, missing = stored.values, stored.missing
        known = values if missing is None else values[~missing]
        clipped = round(self.intensity.outside(known) * known.size) if known.size else 0
        return Part(values, missing, clipped, known.size)

    def photograph(self, box: Box) -> images.Picture:
        """A part of a photograph, as the model takes it."""
        raster = self.pages[0].read(box)
        self._note([raster])
        return _in_srgb(raster, self.channels)

    def _note(self, rasters: Sequence[Raster]) -> None:
        self.remarks |= dict.fromkeys(note for raster in rasters for note in raster.notes)


def _as_stored(raster: Raster, intensity: Intensity, name: str) -> Stored:
    """A part of a file as an input of the model takes it."""
    if not intensity.photographs:
        return as_stored(raster, intensity, name)
    _require_photograph(raster)
    if has_alpha(raster):
        raise DataError(f"{name}: inputs with transparency are not read in parts. Remove it")
    pixels = _in_srgb(raster, intensity.file_bands).pixels
    return photograph_as_stored(replace(raster, values=pixels), intensity)


class _Canvas:
    """A page of the file of translated pixels."""

    def __init__(self, array: ArrayFile, picture: _Picture, work: _Work):
        self.array, self.picture, self.work = array, picture, work

    def write(self, box: Box, values: np.ndarray | None, missing: np.ndarray | None) -> None:
        gap = np.array(self.work.gap, self.array.dtype)
        if values is None:
            values = np.broadcast_to(gap, (box.height, box.width, self.array.shape[2]))
            self.work.lost = True
        elif missing is not None and missing.any():
            values = np.where(missing[..., None], gap, values)
            self.work.lost = True
        if self.picture.alpha:
            joined = self.picture.photograph(box).translated(values)
            alpha = np.full(values.shape[:2], 255, np.uint8)
            alpha = alpha if joined.alpha is None else joined.alpha
            values = np.concatenate([joined.pixels, alpha[..., None]], -1)
        self.array.write(box, values)


def _require_photograph(raster: Raster) -> None:
    """Raise DataError for a file that is no photograph, or turned."""
    if not is_photograph(raster):
        raise DataError(
            "photographs of this size are read as gray or RGB of 8 bits, from TIFF. Convert it"
        )
    if _tag(raster, ORIENTATION) not in (None, 1):
        raise DataError("it is stored turned by its orientation tag. Save it upright")


def _in_srgb(raster: Raster, channels: int) -> images.Picture:
    """A part of a photograph as the model takes photographs: uint8 [h, w, channels], and alpha."""
    values = raster.values
    assert isinstance(raster.carried, TiffMetadata)  # as is_photograph checks
    if has_alpha(raster) and raster.carried.extra == PREMULTIPLIED:
        image = Image.frombytes("RGBa", values.shape[1::-1], values.tobytes()).convert("RGBA")
    else:
        image = Image.fromarray(values[..., 0] if values.shape[2] == 1 else values)
    if profile := _tag_bytes(raster, ICC_PROFILE):
        image.info["icc_profile"] = profile
    return images.read(image, channels, to_translate=True)


def _tag_bytes(raster: Raster, code: int) -> bytes | None:
    assert isinstance(raster.carried, TiffMetadata)  # as is_photograph checks
    return next((content for tag, _, _, content in raster.carried.tags if tag == code), None)


def _tag(raster: Raster, code: int) -> int | None:
    """The value of a tag of one number."""
    content = _tag_bytes(raster, code)
    if content is None:
        return None
    assert isinstance(raster.carried, TiffMetadata)
    return int.from_bytes(content, "little" if raster.carried.byteorder == "<" else "big")


def _require_space(folder: Path, needed: int) -> None:
    """Raise DataError where the disk has no room for the pixels and for the output."""
    free = shutil.disk_usage(folder).free
    if free < 2 * needed:
        raise DataError(
            f"its {needed / 2**30:.1f} GiB of pixels and the output may need twice as much on the "
            f"disk of {folder.parent}, which has {free / 2**30:.1f} GiB left. Choose another "
            "folder with -o, or free some space"
        )
