"""One picture of a job, from its file to its file, apart from the model.

Processes of their own may do this, so nothing here imports a runtime.
"""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from img2img import images, rasters
from img2img.errors import DataError
from img2img.files import split_suffix, write_whole
from img2img.formats import TooLarge
from img2img.images import Metadata, Picture
from img2img.infer.plan import Job
from img2img.infer.record import Source
from img2img.infer.scene import Scene, described, gap_of_output, is_scene
from img2img.intensity import Intensity
from img2img.rasters import Raster
from img2img.stored import Stored, read_pages, require_files, stack_pages

LARGE = 2**24  # bytes of a file that may be a scene, and is not read to find out
NO_PIXELS = np.empty((0, 0, 3), np.uint8)


@dataclass
class Item:
    """One picture as it is read, translated and saved, or the error that stopped it."""

    job: Job
    picture: Picture = Picture(NO_PIXELS)  # noqa: RUF009 (frozen); or pages [P, H, W, bands]
    raster: Raster | None = None  # of the first file, if no photograph, for its metadata
    missing: np.ndarray | None = None  # bool, [P, H, W] or [H, W]: its pixels without a value
    sources: tuple[Source, ...] = ()  # of each file
    is_scene: bool = False  # it is read in parts while it is translated
    scene: Scene | None = None  # its translated pixels
    result: np.ndarray | None = None
    written: int = 0  # bytes of the output
    error: str | None = None

    def as_dict(self) -> dict[str, object]:
        """The item's fields in the record."""
        unread = Source(os.path.abspath(self.job.source), 0, 0, "")
        first, *further = self.sources or (unread,)
        files = first._asdict()
        if further:
            files["further"] = [source._asdict() for source in further]
        result = {"written": self.written, "error": self.error, "notes": list(self.picture.notes)}
        return files | result


@dataclass(frozen=True)
class Reading:
    """How inputs are read: photographs to a number of channels, others as their intensity says."""

    channels: int
    intensity: Intensity | None
    max_pixels: int
    max_side: int | None  # px, of photographs; larger ones are made smaller
    in_parts: bool = False  # whether larger pictures are read in parts, where they can be


def read_all(jobs: Sequence[Job], reading: Reading) -> list[Item]:
    """The inputs of several jobs, decoded, each with the error of its file where it has one."""
    return [_read(job, reading) for job in jobs]


def save_all(
    items: Sequence[Item], quality: int | None, intensity: Intensity | None, maker: str = ""
) -> list[Item]:
    """Encode and write several outputs, with notes on metadata that a format can't hold. Returns
    the items without their pixels.

    intensity: of the outputs, if they are values, which are written without loss. maker: what
    tells the outputs of another model, or with other options, from these.
    """
    return [_save(item, quality, intensity, maker) for item in items]


def _read(job: Job, reading: Reading) -> Item:
    paths, raster, missing = [Path(file) for file in job.files], None, None
    most, side = reading.max_pixels, reading.max_side
    try:
        # The headers of small files are read once, with their pixels.
        large = any(path.stat().st_size > LARGE for path in paths)
        if reading.in_parts and large and any(is_scene(path, most) for path in paths):
            return Item(job, sources=tuple(map(_source_of_scene, paths)), is_scene=True)
        contents, sources = zip(*(_loaded(path, most) for path in paths), strict=True)
        if reading.intensity:
            pages = _pages(paths, contents, reading.intensity, most)
            raster = pages[0].raster
            notes = raster.notes + _beyond(pages, reading.intensity)
            values, missing = pages[0].values, pages[0].missing
            if len(pages) > 1:
                values, missing = np.stack([page.values for page in pages]), _missing(pages)
            picture = Picture(values, notes=notes)
            # Only its size matters from here on.
            first = raster.values
            empty = np.broadcast_to(np.zeros((), first.dtype), first.shape)
            raster = replace(raster, values=empty)
        else:
            [content] = contents
            picture = images.read(content, reading.channels, most, side, to_translate=True)
    except (DataError, OSError, MemoryError) as error:
        in_parts = isinstance(error, TooLarge) and reading.in_parts
        if in_parts and any(is_scene(path, most) for path in paths):
            return Item(job, sources=tuple(map(_source_of_scene, paths)), is_scene=True)
        system_message = isinstance(error, OSError) and error.strerror  # "Permission denied"
        message = str(system_message or error)
        reason = message.removeprefix("the picture: ").removeprefix(f"{paths[0]}: ")
        return Item(job, error=reason or type(error).__name__)
    return Item(job, picture, raster, missing, sources)


def _loaded(path: Path, max_pixels: int) -> tuple[bytes, Source]:
    """A file's content, and what identifies it. Raises DataError, with the file's name first."""
    try:
        stat = path.stat()
        content = images.load(path, max_pixels)
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}") from None
    digest = hashlib.sha256(content).hexdigest()
    return content, Source(os.path.abspath(path), len(content), stat.st_mtime_ns, digest)


def _source_of_scene(path: Path) -> Source:
    """What identifies a file that is not read yet."""
    stat = path.stat()
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return Source(os.path.abspath(path), stat.st_size, stat.st_mtime_ns, digest)


def _pages(
    paths: Sequence[Path], contents: Sequence[bytes], intensity: Intensity, max_pixels: int
) -> list[Stored]:
    """The pages of a picture, of one file for each input of the intensity. Raises DataError, with
    the file's name first.
    """
    require_files(len(paths), intensity)
    each = []
    for path, content, part in zip(paths, contents, intensity.inputs, strict=True):
        try:
            each.append(read_pages(content, part, max_pixels))
        except DataError as error:
            reason = str(error).removeprefix("the picture: ")
            raise type(error)(f"{path}: {reason}") from None  # TooLarge stays one
    return stack_pages(each, [str(path) for path in paths], intensity)


def _missing(pages: Sequence[Stored]) -> np.ndarray | None:
    """Where pixels of the pages are missing, bool [P, H, W]; None if none is."""
    if all(page.missing is None for page in pages):
        return None
    shape = pages[0].values.shape[:2]
    return np.stack([np.zeros(shape, bool) if p.missing is None else p.missing for p in pages])


def _beyond(pages: Sequence[Stored], intensity: Intensity) -> tuple[str, ...]:
    """A note on the share of values that the intensity clips."""
    known = [page.values if page.missing is None else page.values[~page.missing] for page in pages]
    share = float(np.mean([intensity.outside(values) for values in known]))
    return (f"values beyond the model's range are clipped, {share:.2%} of them",) if share else ()


def _save(item: Item, quality: int | None, intensity: Intensity | None, maker: str) -> Item:
    notes: tuple[str, ...] = ()
    if item.scene and not item.error:
        try:
            item.written, notes = item.scene.save(intensity)
        except Exception as error:
            item.error = f"can't be written: {str(error) or type(error).__name__}"
    elif item.result is not None:
        try:
            suffix = split_suffix(item.job.target)[1]
            if intensity or (item.raster and suffix.lower() in rasters.WRITES):
                content, notes = _encoded_values(item, item.result, intensity, suffix, maker)
            else:
                content, notes = _encoded(item.picture.translated(item.result), suffix, quality)
            write_whole(Path(item.job.target), content)
            item.written = len(content)
        except Exception as error:  # a full disk, or a picture that the format can't hold
            item.error, notes = f"can't be written: {str(error) or type(error).__name__}", ()
        item.result = None
    item.picture = Picture(NO_PIXELS, notes=(*item.picture.notes, *notes))
    item.raster = item.missing = None
    return item


def _encoded_values(
    item: Item, result: np.ndarray, intensity: Intensity | None, suffix: str, maker: str
) -> tuple[bytes, tuple[str, ...]]:
    """The bytes of a file of exact values with the input's metadata, and notes. Missing pixels have
    the value that the outputs' intensity declares, or else the input's, if the type can hold it.
    """
    declared = item.raster.nodata if item.raster else None
    gap = gap_of_output(declared, intensity, result.dtype.name, item.missing is not None)
    if item.missing is not None and not (intensity and intensity.may_miss):
        result = result.copy()  # else the model has marked them
        result[item.missing] = gap.value
    bands, nodata = result.shape[-1], gap.declared
    like = described(item.raster, intensity, bands, nodata) if item.raster else None
    if like is None and nodata is not None:
        like = Raster(result, nodata=nodata)
    return rasters.encode(result, like, suffix, maker), gap.notes


def _encoded(picture: Picture, suffix: str, quality: int | None) -> tuple[bytes, tuple[str, ...]]:
    """The bytes of a photograph's file, and notes on metadata that are left out."""
    try:
        return images.encode(picture, suffix, quality), images.left_out(picture, suffix)
    except Exception:  # possibly because of the metadata, which may be malformed
        content = images.encode(replace(picture, metadata=Metadata()), suffix, quality)
        return content, ("the metadata can't be written; it is left out",)
