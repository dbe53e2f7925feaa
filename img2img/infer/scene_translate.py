"""Translating pictures that don't fit into memory: see `scene`."""

import os
import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from img2img import images
from img2img.box import Box
from img2img.errors import DataError
from img2img.files import split_suffix
from img2img.infer.scene import WRITES, Scene, is_photograph
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


def _translate_locked(
    scene: Scene,
    tiler_of: Callable[[int | None], Tiler],
    domain: np.ndarray | None,
    progress: Callable[[int, int], None],
) -> tuple[str, ...]:
    state = scene.state()
    tiler = tiler_of(state["side"] if state else None)
    manifest = tiler.translator.manifest
    done = Progress.of_dict(state["progress"]) if state else Progress()
    with ExitStack() as files:
        pages = [files.enter_context(windows.opened(source)) for source in scene.sources]
        picture = _Picture(pages, manifest, [str(source) for source in scene.sources])
        height, width = picture.shape
        dtype = np.dtype(manifest.dtype_out)
        shape = height, width, manifest.out_channels
        if not state:
            scene.forget()
            _require_space(scene.folder, height * width * manifest.out_channels * dtype.itemsize)
        value, _ = gap_of(manifest.intensity_out, pages[0].raster.nodata, dtype.name)
        with scene.pixels.open("r+b" if state else "w+b") as file:
            canvas = _Canvas(ArrayFile(file, 0, shape, dtype), value)
            if state:
                canvas.lost = state["lost"]
                picture.remarks |= dict.fromkeys(state["remarks"])

            def save() -> None:
                file.flush()
                os.fsync(file.fileno())
                content = {"side": tiler.side, "progress": done.as_dict(), "lost": canvas.lost}
                content |= {"remarks": list(picture.remarks)}
                scene.save_state(content | {"shape": shape, "dtype": dtype.name})

            steps, total = tiler.done(picture.shape, done), tiler.count(picture.shape)
            progress(min(steps, total), total)
            saved = time.monotonic()
            for _ in tiler.steps(picture, canvas, domain, done):
                steps += 1
                progress(min(steps, total), total)
                if time.monotonic() - saved > SAVE_EVERY:
                    save()
                    saved = time.monotonic()
            save()
    share = done.clipped / max(done.known, 1)
    clipped = f"values beyond the model's range are clipped, {share:.2%} of them"
    return (*picture.remarks, *((clipped,) if share else ()))


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
        if self.intensity:
            require_files(len(pages), self.intensity)
        else:
            _require_photograph(pages[0].raster)
        self.read(Box(0, 1, 0, 1))  # so that another type or number of bands is named at once
        for name, page in zip(names, pages, strict=True):
            if page.shape != pages[0].shape:
                raise DataError(f"{names[0]} and {name} differ in size. Resample them to one grid")

    @property
    def shape(self) -> tuple[int, int]:
        return self.pages[0].shape

    def read(self, box: Box) -> Part:
        rasters = [page.read(box) for page in self.pages]
        self.remarks |= dict.fromkeys(note for raster in rasters for note in raster.notes)
        if not self.intensity:
            return Part(_in_srgb(rasters[0], self.channels))
        each = [
            [_as_stored(raster, part, name)]
            for raster, part, name in zip(rasters, self.intensity.inputs, self.names, strict=True)
        ]
        [stored] = stack_pages(each, self.names, self.intensity)
        values, missing = stored.values, stored.missing
        known = values if missing is None else values[~missing]
        clipped = round(self.intensity.outside(known) * known.size) if known.size else 0
        return Part(values, missing, clipped, known.size)


def _as_stored(raster: Raster, intensity: Intensity, name: str) -> Stored:
    """A part of a file as an input of the model takes it."""
    if not intensity.photographs:
        return as_stored(raster, intensity, name)
    _require_photograph(raster)
    pixels = _in_srgb(raster, intensity.file_bands)
    return photograph_as_stored(replace(raster, values=pixels), intensity)


class _Canvas:
    """The file of translated pixels."""

    def __init__(self, array: ArrayFile, gap: float):
        """gap: the value of missing pixels."""
        self.array, self.gap = array, gap
        self.lost = False  # whether any pixel is missing

    def write(self, box: Box, values: np.ndarray | None, missing: np.ndarray | None) -> None:
        gap = np.array(self.gap, self.array.dtype)
        if values is None:
            values = np.broadcast_to(gap, (box.height, box.width, self.array.shape[2]))
            self.lost = True
        elif missing is not None and missing.any():
            values = np.where(missing[..., None], gap, values)
            self.lost = True
        self.array.write(box, values)


def _require_photograph(raster: Raster) -> None:
    """Raise DataError for a file that is no photograph, or turned."""
    if not is_photograph(raster):
        raise DataError(
            "photographs of this size are read as gray or RGB of 8 bits without transparency, from "
            "TIFF. Convert it"
        )
    if _tag(raster, ORIENTATION) not in (None, 1):
        raise DataError("it is stored turned by its orientation tag. Save it upright")


def _in_srgb(raster: Raster, channels: int) -> np.ndarray:
    """A part of a photograph as the model takes photographs: uint8 [h, w, channels]."""
    values = raster.values
    image = Image.fromarray(values[..., 0] if values.shape[2] == 1 else values)
    if profile := _tag_bytes(raster, ICC_PROFILE):
        image.info["icc_profile"] = profile
    return images.read(image, channels).pixels


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
