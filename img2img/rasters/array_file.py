"""An array in a file, of which parts are read and written.

Not a memory map: its pages count as memory of the process, of which there is little where a picture
has to be read in parts.
"""

from typing import BinaryIO

import numpy as np

from img2img.box import Box
from img2img.errors import DataError


class ArrayFile:
    """An array [H, W, bands] in C order, from a position in an open file on."""

    def __init__(
        self,
        file: BinaryIO,
        offset: int,
        shape: tuple[int, int, int],
        dtype: np.dtype[np.generic],
    ):
        self.file, self.offset, self.shape, self.dtype = file, offset, shape, dtype

    def read(self, box: Box) -> np.ndarray:
        """The values of a part of it, [h, w, bands]. Raises DataError where the file has ended."""
        values = np.empty((box.height, box.width, self.shape[2]), self.dtype)
        for row, line in enumerate(values, start=box.top):
            self._seek(row, box.left)
            content = self.file.read(line.nbytes)
            if len(content) < line.nbytes:
                raise DataError("the file is truncated: pixels are missing")
            line[:] = np.frombuffer(content, self.dtype).reshape(line.shape)
        return values

    def write(self, box: Box, values: np.ndarray) -> None:
        """Replace a part of it by values [h, w, bands], which are cast to its type."""
        lines = np.ascontiguousarray(values, self.dtype)
        for row, line in enumerate(lines, start=box.top):
            self._seek(row, box.left)
            self.file.write(line.tobytes())

    def _seek(self, row: int, column: int) -> None:
        _, width, bands = self.shape
        self.file.seek(self.offset + (row * width + column) * bands * self.dtype.itemsize)
