"""Tiles of a scene in blocks: where a tile lies, by the name that `img2img tiles` gives it."""

import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from img2img import images, rasters
from img2img.errors import DataError
from img2img.rasters.pages import split_name

RULE = re.compile(r"blocks:([1-9]\d{0,8})(?::(\d{1,9}))?")  # the side of a block, and a margin, px
PAGE = re.compile(r"/page-\d+$")  # of a tile that has several
NAME = re.compile(r"(.*)-y(\d+)-x(\d+)\.[^./]+")  # of a tile: its scene, and its top and left


class Blocks(NamedTuple):
    """The rule "blocks:SIDE" or "blocks:SIDE:MARGIN"."""

    side: int  # px, of the squares that a scene is divided into
    margin: int  # px that must be between a held-out tile and one of training

    @classmethod
    def of(cls, rule: str) -> "Blocks | None":
        """None for a rule of another kind. Raises ValueError for one that can't be read."""
        if not rule.startswith("blocks:"):
            return None
        match = RULE.fullmatch(rule)
        if not match:
            raise ValueError("write blocks:2048, or blocks:2048:256 with a margin, in pixels")
        return cls(int(match[1]), int(match[2] or 0))

    def name(self, relative: str) -> str:
        """The block in which a tile's top left corner lies. relative: the tile's path below its
        folder. Raises DataError for another name than that of a tile.
        """
        scene, top, left = _place(relative)
        return f"{scene} y{top // self.side * self.side} x{left // self.side * self.side}"

    def near(self, paths: Sequence[Path], held_out: Sequence[Path]) -> list[bool]:
        """Which tiles overlap or touch a held-out tile of their scene, or are not farther from one
        than the margin. Raises DataError for a file that can't be read.
        """
        others: dict[str, list[tuple[int, ...]]] = defaultdict(list)
        for path in held_out:
            scene, *rectangle = _rectangle(path)
            others[scene].append(tuple(rectangle))
        by_scene = {scene: np.array(rectangles) for scene, rectangles in others.items()}
        return [self._is_near(path, by_scene) for path in paths]

    def _is_near(self, path: Path, held_out: dict[str, np.ndarray]) -> bool:
        scene, top, left, bottom, right = _rectangle(path)
        if scene not in held_out:
            return False
        tops, lefts, bottoms, rights = held_out[scene].T
        down = np.maximum(tops - bottom, top - bottoms)  # px between them, negative where they meet
        across = np.maximum(lefts - right, left - rights)
        return bool((np.maximum(down, across) <= self.margin).any())


def _place(name: str) -> tuple[str, int, int]:
    match = NAME.fullmatch(PAGE.sub("", name))
    if not match:
        raise DataError(
            f"--group blocks: {name} is not named as img2img tiles names tiles "
            "(scene-y01024-x00512.tif), so it is not known where it lies."
        )
    return match[1], int(match[2]), int(match[3])


def _rectangle(path: Path) -> tuple[str, int, int, int, int]:
    """Scene, top, left, bottom and right of a tile, in pixels."""
    file, _ = split_name(path)
    scene, top, left = _place(file.as_posix())
    header = rasters.header(file) if rasters.is_raster_name(file) else None
    if header:
        width, height = header.size
    else:
        with images.open_header(file) as image:
            width, height = image.size
    return scene, top, left, top + height, left + width
