"""The chain of directories of a TIFF, checked before anything is decoded.

TIFF 6.0, section 2, and https://www.awaresystems.be/imaging/tiff/bigtiff.html
"""

import struct
from dataclasses import dataclass
from typing import BinaryIO

from img2img.errors import DataError

MAX_DIRECTORIES = 100_000
TYPE_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
TYPE_SIZES |= {16: 8, 17: 8, 18: 8}  # of BigTIFF
NUMBERS = {3: "H", 4: "I"}
SUBFILE, REDUCED, MASK = 254, 1, 4
FORM = (256, 257, 258, 262, 277, 339)  # size, bits, colors, samples and their format
# The size, form and position of pixels, their description, and georeferences: a file from which one
# of them is cut off would be read as something else.
REQUIRED = {
    *range(256, 280),
    *(282, 283, 284, 317, *range(320, 326), 338, 339, 347, 530),
    *(33550, 33922, 34264, 34735, 34736, 34737, 42112, 42113),
}


@dataclass(frozen=True)
class Directory:
    """What tells pages of a stack from thumbnails and masks."""

    subfile: int  # bits: a smaller version of another page, one of several pages, a mask
    form: tuple[int | None, ...]  # values of FORM, None for those that are not single numbers

    @property
    def is_page(self) -> bool:
        return not self.subfile & (REDUCED | MASK)


def directories(file: BinaryIO) -> list[Directory]:
    """All directories, in order. Raises DataError where the chain is broken or a loop, and where
    values of the first directory's tags are missing.
    """
    size = file.seek(0, 2)
    file.seek(0)
    start = file.read(16)
    order = "<" if start[:2] == b"II" else ">"
    big = 43 in start[2:4]
    offset, count, entry = ("Q", "Q", 20) if big else ("I", "H", 12)
    visited: set[int] = set()
    described: list[Directory] = []
    try:
        [at] = struct.unpack_from(order + offset, start, 8 if big else 4)
        while at:
            if at in visited or len(visited) >= MAX_DIRECTORIES:
                raise DataError(f"its pages form a loop, or are more than {MAX_DIRECTORIES:,}")
            if at >= size:
                raise DataError("the file is truncated: a page is missing")
            file.seek(at)
            [entries] = struct.unpack(order + count, file.read(struct.calcsize(count)))
            content = file.read(min(entries, size) * entry)
            if not visited:
                _require_values(content, order + "HH" + offset * 2, size)
            visited.add(at)
            described.append(_described(content, order, big))
            [at] = struct.unpack(order + offset, file.read(struct.calcsize(offset)))
    except struct.error:
        raise DataError("the file is truncated: a page is missing") from None
    return described


def _require_values(content: bytes, form: str, size: int) -> None:
    """content: entries of a directory, each of tag, type, count, and value or position."""
    step = struct.calcsize(form)
    inline = 8 if step == 20 else 4
    for at in range(0, len(content) - step + 1, step):
        tag, kind, count, position = struct.unpack_from(form, content, at)
        length = TYPE_SIZES.get(kind, 0) * count
        if tag in REQUIRED and length > inline and position + length > size:
            raise DataError(f"the file is truncated, or damaged: the value of tag {tag} is missing")


def _described(content: bytes, order: str, big: bool) -> Directory:
    """content: entries of a directory."""
    form, step, inline = (order + "HHQ", 20, 8) if big else (order + "HHI", 12, 4)
    numbers: dict[int, int] = {}
    for at in range(0, len(content) - step + 1, step):
        tag, kind, count = struct.unpack_from(form, content, at)
        if count == 1 and kind in NUMBERS and (tag in FORM or tag == SUBFILE):
            value = at + step - inline
            [numbers[tag]] = struct.unpack_from(order + NUMBERS[kind], content, value)
    return Directory(numbers.get(SUBFILE, 0), tuple(numbers.get(tag) for tag in FORM))
