"""Decoded and resized pictures, kept for the passes after the first in a memory-mapped file."""

import contextlib
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from img2img.errors import DataError


class Cache:
    """So many records of at most one length, which a rank's data workers share.

    The system keeps of the file in memory what there is room for; it is as good as memory where
    everything fits. Pickled for a data worker, it is opened again there.
    """

    def __init__(self, path: Path, records: int, length: int):
        """Raises DataError where the disk has no room for all of them."""
        self.path, self.shape = path, (records, 1 + length)  # the first byte: whether it is there
        size, free = records * (1 + length), 0
        try:
            free = shutil.disk_usage(path.parent).free
            with path.open("wb") as file:
                file.truncate(size)
                if hasattr(os, "posix_fallocate"):  # a full disk later would end the process
                    os.posix_fallocate(file.fileno(), 0, size)
                elif free < size:
                    raise OSError
        except OSError:
            path.unlink(missing_ok=True)
            raise DataError(
                f"The cache of pictures needs {size / 2**30:.1f} GiB in {path.parent}, where "
                f"{free / 2**30:.1f} are free. Leave --cache out, or make room."
            ) from None
        self._open()

    def _open(self) -> None:
        self.rows = np.memmap(self.path, np.uint8, "r+", shape=self.shape)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "rows"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._open()

    def get(self, record: int, length: int) -> np.ndarray | None:
        row = self.rows[record]
        return np.array(row[1 : 1 + length]) if row[0] else None

    def put(self, record: int, content: np.ndarray) -> None:
        """Two processes may put the same at once: it is the same."""
        row = self.rows[record]
        row[1 : 1 + len(content)] = content
        row[0] = 1

    def close(self) -> None:
        del self.rows
        with contextlib.suppress(OSError):  # Windows, where a worker still has it open
            self.path.unlink(missing_ok=True)
