"""A memory-mapped file of decoded and resized pictures, for all epochs after the first."""

import contextlib
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from img2img.errors import DataError


class Cache:
    """A number of records of bounded length, which the data workers of a rank share.

    The system keeps as much of the file in memory as fits. When the cache is pickled for a data
    worker, the worker opens the file again.
    """

    def __init__(self, path: Path, records: int, length: int):
        """length: bytes of a record, at most. Raises DataError if the disk has too little space."""
        self.path, self.shape = path, (records, 1 + length)  # first byte: whether it is filled
        size, free = records * (1 + length), 0
        try:
            free = shutil.disk_usage(path.parent).free
            with path.open("wb") as file:
                file.truncate(size)
                if hasattr(
                    os, "posix_fallocate"
                ):  # a disk that fills up later would kill the process
                    os.posix_fallocate(file.fileno(), 0, size)
                elif free < size:
                    raise OSError
        except OSError:
            path.unlink(missing_ok=True)
            raise DataError(
                f"The cache of pictures needs {size / 2**30:.1f} GiB in {path.parent}, where "
                f"{free / 2**30:.1f} GiB are free. Free some space, or use --no-cache."
            ) from None
        self._open()

    def _open(self) -> None:
        # A plain array: indexing a memmap costs more than most of what is done with a record.
        self.rows = np.asarray(np.memmap(self.path, np.uint8, "r+", shape=self.shape))

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "rows"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._open()

    def get(self, record: int, length: int) -> np.ndarray | None:
        """The first `length` bytes of a record, uint8, a read-only view; None if it is not filled
        yet.
        """
        if not self.rows[record, 0]:
            return None
        content = self.rows[record, 1 : 1 + length]
        content.flags.writeable = False  # it would change the file
        return content

    def put(self, record: int, content: np.ndarray) -> None:
        """Fill a record. Two processes may do so at once, since they write the same content."""
        row = self.rows[record]
        row[1 : 1 + len(content)] = content
        row[0] = 1

    def close(self) -> None:
        """Delete the file."""
        del self.rows
        with contextlib.suppress(OSError):  # on Windows, if a worker has it open
            self.path.unlink(missing_ok=True)
