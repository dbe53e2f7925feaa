"""A rectangle of a picture."""

from typing import NamedTuple

import numpy as np


class Box(NamedTuple):
    """In pixels; bottom and right are exclusive."""

    top: int
    bottom: int
    left: int
    right: int

    @property
    def height(self) -> int:
        return self.bottom - self.top

    @property
    def width(self) -> int:
        return self.right - self.left

    def of(self, pixels: np.ndarray) -> np.ndarray:
        """A view of this part of pixels [H, W, ...]."""
        return pixels[self.top : self.bottom, self.left : self.right]

    def within(self, other: "Box") -> "Box":
        """The box in the coordinates of another box, which contains it."""
        top, left = other.top, other.left
        return Box(self.top - top, self.bottom - top, self.left - left, self.right - left)

    def grown(self, by: int) -> "Box":
        """The box with so many more pixels on each side."""
        return Box(self.top - by, self.bottom + by, self.left - by, self.right + by)

    def common(self, other: "Box") -> "Box":
        """What both have in common, of at least no height or width."""
        top, left = max(self.top, other.top), max(self.left, other.left)
        bottom, right = min(self.bottom, other.bottom), min(self.right, other.right)
        return Box(top, max(top, bottom), left, max(left, right))


def boxes(height: int, width: int, side: int, step: int) -> list[Box]:
    """Squares of `side` px that cover a picture, from `step` to `step`, row by row. The last ones
    end at its border, and begin earlier for that; a smaller picture has one of its size.
    """
    return [
        Box(top, min(top + side, height), left, min(left + side, width))
        for top in _starts(height, side, step)
        for left in _starts(width, side, step)
    ]


def _starts(length: int, side: int, step: int) -> list[int]:
    last = max(length - side, 0)
    return sorted({*range(0, last, step), last})
