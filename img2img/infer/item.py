"""One picture of a job, from its file to its file, apart from the model.

Processes of their own may do this, so nothing here imports a runtime.
"""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from img2img import images, rasters, remote
from img2img.errors import DataError, told
from img2img.files import split_suffix
from img2img.images import Metadata, Picture
from img2img.infer import values
from img2img.infer.plan import Job
from img2img.infer.record import Source, remote_source
from img2img.infer.scene import Scene, is_scene
from img2img.intensity import Intensity
from img2img.rasters import Raster
from img2img.rasters.raster import TooLarge
from img2img.writing import write_whole

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
        source = self.job.source if self.job.remote else os.path.abspath(self.job.source)
        unread = Source(source, 0, 0, "")
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
    raster, missing = None, None
    most, side = reading.max_pixels, reading.max_side
    # What is read in parts is on a disk, as what is written in parts is.
    in_parts = reading.in_parts and not job.remote and not remote.is_url(job.target)
    paths = [Path(file) for file in job.files] if in_parts else []
    names = [file if job.remote else str(Path(file)) for file in job.files]
    try:
        # The headers of small files are read once, with their pixels.
        large = any(path.stat().st_size > LARGE for path in paths)
        if large and any(is_scene(path, most) for path in paths):
            return Item(job, sources=tuple(map(_source_of_scene, paths)), is_scene=True)
        contents, sources = zip(*_loaded(job, most), strict=True)
        if reading.intensity:
            read = values.read(contents, names, reading.intensity, most)
            picture = Picture(read.values, notes=read.notes)
            raster, missing = read.raster, read.missing
        else:
            [content] = contents
            picture = images.read(content, reading.channels, most, side, to_translate=True)
    except (DataError, OSError, MemoryError) as error:
        if isinstance(error, TooLarge) and any(is_scene(path, most) for path in paths):
            return Item(job, sources=tuple(map(_source_of_scene, paths)), is_scene=True)
        system_message = isinstance(error, OSError) and error.strerror  # "Permission denied"
        message = str(system_message or error)
        reason = message.removeprefix("the picture: ").removeprefix(f"{names[0]}: ")
        return Item(job, error=reason or type(error).__name__)
    return Item(job, picture, raster, missing, sources)


def _loaded(job: Job, max_pixels: int) -> list[tuple[bytes, Source]]:
    """The contents of a job's files, and what identifies each. Raises DataError for a local file,
    with its name first, and OSError for a remote one.
    """
    if job.remote:
        content = remote.read(job.source, job.remote, images.most_bytes(max_pixels))
        return [(content, remote_source(job.source, job.remote, content))]
    return [_loaded_file(Path(file), max_pixels) for file in job.files]


def _loaded_file(path: Path, max_pixels: int) -> tuple[bytes, Source]:
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


def _save(item: Item, quality: int | None, intensity: Intensity | None, maker: str) -> Item:
    notes: tuple[str, ...] = ()
    if item.scene and not item.error:
        try:
            item.written, notes = item.scene.save(intensity)
        except Exception as error:
            item.error = _not_written(error)
    elif item.result is not None:
        try:
            suffix = split_suffix(item.job.target)[1]
            if intensity or (item.raster and suffix.lower() in rasters.WRITES):
                content, notes = values.encode(
                    item.result, item.raster, item.missing, intensity, suffix, maker
                )
            else:
                content, notes = _encoded(item.picture.translated(item.result), suffix, quality)
            _write(item.job.target, content)
            item.written = len(content)
        except Exception as error:  # a full disk, or a picture that the format can't hold
            item.error, notes = _not_written(error), ()
        item.result = None
    item.picture = Picture(NO_PIXELS, notes=(*item.picture.notes, *notes))
    item.raster = item.missing = None
    return item


def _write(target: str, content: bytes) -> None:
    if remote.is_url(target):
        remote.write(target, content)
    else:
        write_whole(Path(target), content, sync=False)


def _not_written(error: Exception) -> str:
    if isinstance(error, OSError):
        return f"can't be written {told(error)}"
    return f"can't be written: {str(error) or type(error).__name__}"


def _encoded(picture: Picture, suffix: str, quality: int | None) -> tuple[bytes, tuple[str, ...]]:
    """The bytes of a photograph's file, and notes on metadata that are left out."""
    try:
        return images.encode(picture, suffix, quality), images.left_out(picture, suffix)
    except Exception:  # possibly because of the metadata, which may be malformed
        content = images.encode(replace(picture, metadata=Metadata()), suffix, quality)
        return content, ("the metadata can't be written; it is left out",)
