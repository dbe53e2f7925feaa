"""One picture of a job, from its file to its file, apart from the model.

Processes of their own may do this, so nothing here imports a runtime.
"""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from img2img import images
from img2img.errors import DataError
from img2img.files import write_whole
from img2img.images import Metadata, Picture
from img2img.infer.plan import Job
from img2img.infer.record import Source

NO_PIXELS = np.empty((0, 0, 3), np.uint8)


@dataclass
class Item:
    """One picture as it is read, translated and saved, or the error that stopped it."""

    job: Job
    picture: Picture = Picture(NO_PIXELS)  # noqa: RUF009 (frozen)
    source: Source | None = None
    result: np.ndarray | None = None
    written: int = 0  # bytes of the output
    error: str | None = None

    def as_dict(self) -> dict[str, object]:
        """The item's fields in the record."""
        source = self.source or Source(os.path.abspath(self.job.source), 0, 0, "")
        result = {"written": self.written, "error": self.error, "notes": list(self.picture.notes)}
        return source._asdict() | result


def read_all(
    jobs: Sequence[Job], channels: int, max_pixels: int, max_side: int | None
) -> list[Item]:
    """The inputs of several jobs, decoded, each with the error of its file where it has one."""
    return [_read(job, channels, max_pixels, max_side) for job in jobs]


def save_all(items: Sequence[Item], quality: int | None) -> list[Item]:
    """Encode and write several outputs, with notes on metadata that a format can't hold. Returns
    the items without their pixels.
    """
    return [_save(item, quality) for item in items]


def _read(job: Job, channels: int, max_pixels: int, max_side: int | None) -> Item:
    path = Path(job.source)
    try:
        stat = path.stat()
        content = images.load(path, max_pixels)
        picture = images.read(content, channels, max_pixels, max_side, to_translate=True)
    except (DataError, OSError, MemoryError) as error:
        system_message = isinstance(error, OSError) and error.strerror  # "Permission denied"
        message = str(system_message or error)
        reason = message.removeprefix("the picture: ").removeprefix(f"{path}: ")
        return Item(job, error=reason or type(error).__name__)
    digest = hashlib.sha256(content).hexdigest()
    return Item(job, picture, Source(os.path.abspath(path), len(content), stat.st_mtime_ns, digest))


def _save(item: Item, quality: int | None) -> Item:
    notes: tuple[str, ...] = ()
    if item.result is not None:
        try:
            picture = item.picture.translated(item.result)
            suffix = os.path.splitext(item.job.target)[1]
            notes = images.left_out(picture, suffix)
            try:
                content = images.encode(picture, suffix, quality)
            except Exception:  # possibly because of the metadata, which may be malformed
                content = images.encode(replace(picture, metadata=Metadata()), suffix, quality)
                notes = ("the metadata can't be written; it is left out",)
            write_whole(Path(item.job.target), content)
            item.written = len(content)
        except Exception as error:  # a full disk, or a picture that the format can't hold
            item.error, notes = f"can't be written: {str(error) or type(error).__name__}", ()
        item.result = None
    item.picture = Picture(NO_PIXELS, notes=(*item.picture.notes, *notes))
    return item
