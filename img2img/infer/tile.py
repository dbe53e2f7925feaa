"""Pictures too large for memory, translated tile by tile, as they would be if they were run whole.

Generators that normalise each picture by its own statistics give other colours for a part of it
than for the whole. So every tile is normalised by the statistics of the whole picture, which are
collected from all tiles first: those of a norm depend on the norms before it alone, so that one
round over the tiles a norm, each through the graph up to that norm, gives them exactly. With a
margin as wide as the network sees, the tiles meet without a seam.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from img2img.errors import UsageError, needs_extra
from img2img.infer.session import Session, session_of
from img2img.infer.translator import Translator


class Box(NamedTuple):
    """A part of the picture, in pixels: rows top to bottom, columns left to right."""

    top: int
    bottom: int
    left: int
    right: int

    def of(self, pixels: np.ndarray) -> np.ndarray:
        return pixels[self.top : self.bottom, self.left : self.right]

    def within(self, other: "Box") -> "Box":
        """Its place in another that holds it."""
        top, left = other.top, other.left
        return Box(self.top - top, self.bottom - top, self.left - left, self.right - left)


class Tiler:
    """Translates with tiles of so many pixels a side, and a margin around each.

    Raises UsageError for a model that looks at the whole picture at once (a U-Net).
    """

    def __init__(self, translator: Translator, side: int):
        try:
            from img2img.infer.tile_graph import TileGraph
        except ImportError as error:
            raise needs_extra("tile", error) from None
        manifest = translator.manifest
        if manifest.reach is None:
            raise UsageError(
                f"{manifest.name} looks at the whole picture at once (as a U-Net does), so it "
                "can't be run in tiles; --max-side makes the pictures smaller."
            )
        self.translator = translator
        self.multiple, self.least = manifest.size_multiple, manifest.min_size
        self.side = _up(max(side - self.multiple + 1, self.least), self.multiple)
        self.margin = _up(manifest.reach, self.multiple)
        self.graph = TileGraph(translator.path.read_bytes())
        self._whole = self._session(self.graph.whole())

    @property
    def whole_side(self) -> int:
        """Pictures up to this side are run whole."""
        return self.side + 2 * self.margin

    def __call__(self, pixels: np.ndarray, domain: np.ndarray | None = None) -> np.ndarray:
        """Uint8 [H, W, C] -> uint8 [H, W, C']; domain: the label vector, where there are any."""
        height, width = pixels.shape[:2]
        sizes = [_up(max(side, self.least), self.multiple) for side in (height, width)]
        padding = [(0, sizes[0] - height), (0, sizes[1] - width), (0, 0)]
        padded = np.pad(pixels, padding, mode="edge")  # as the graph pads the whole picture
        given = {} if domain is None else {"domain": domain[None]}
        for number in range(len(self.graph.normalised)):
            given |= self.statistics(number, padded, given)
        result = np.empty((*sizes, self.translator.manifest.out_channels), np.uint8)
        for core, tile in self._tiles(*sizes):
            [output] = self._whole.run(None, {"image": tile.of(padded)[None], **given})
            core.of(result)[:] = core.within(tile).of(output[0])
        return result[:height, :width]

    def _tiles(self, height: int, width: int) -> Iterator[tuple[Box, Box]]:
        """Each core, and the tile that it is the inner part of."""
        for top in range(0, height, self.side):
            for left in range(0, width, self.side):
                bottom, right = min(top + self.side, height), min(left + self.side, width)
                core = Box(top, bottom, left, right)
                tile = Box(
                    max(0, top - self.margin),
                    min(height, bottom + self.margin),
                    max(0, left - self.margin),
                    min(width, right + self.margin),
                )
                yield core, tile

    def statistics(
        self, number: int, pixels: np.ndarray, given: dict[str, np.ndarray]
    ) -> dict[str, np.ndarray]:
        """Mean and variance of what a norm is given, float32 [C], of all of the picture.

        given: the graph's other inputs, the statistics of the norms before among them.
        """
        part, inputs = self.graph.before(number)
        session = self._session(part)  # not kept: together they hold the weights many times over
        given = {name: value for name, value in given.items() if name in inputs}
        count, mean, squares = 0, np.zeros(1), np.zeros(1)
        for core, tile in self._tiles(*pixels.shape[:2]):
            [x] = session.run(None, {"image": tile.of(pixels)[None], **given})
            scale = (tile.bottom - tile.top) // x.shape[2]
            inner = Box(*(edge // scale for edge in core.within(tile)))
            channels = [inner.of(channel) for channel in x[0]]
            added, size = np.array([c.mean(dtype=np.float64) for c in channels]), channels[0].size
            # Deviations from the tile's own mean, joined as Chan et al. (1979) do: a difference of
            # large sums would lose the digits.
            apart = added - mean
            squares = squares + size * np.array([c.var(dtype=np.float64) for c in channels])
            squares += np.square(apart) * count * size / (count + size)
            mean = mean + apart * size / (count + size)
            count += size
        names = self.graph.statistics(number)
        return dict(zip(names, np.asarray([mean, squares / count], np.float32), strict=True))

    def _session(self, graph: bytes) -> Session:
        t = self.translator
        return session_of(graph, t.path, t.provider, t.threads)


def _up(size: int, multiple: int) -> int:
    """The next multiple."""
    return -(-size // multiple) * multiple
