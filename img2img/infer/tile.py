"""Pictures too large for memory, translated in tiles, with the result of the whole picture.

Instance normalization uses the statistics of its input, so a tile by itself would get other colors
than the same part of the whole picture. Therefore each tile is normalized by the statistics of the
whole picture, which are computed first: one pass over all tiles per norm, each through the graph up
to that norm, because the input of a norm depends only on the norms before it. With a margin as wide
as the receptive field, tiles meet without a seam. `tile_graph` edits the graph accordingly.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from img2img.errors import UsageError, needs_extra
from img2img.infer.session import Session, session_of
from img2img.infer.translator import Translator


class Box(NamedTuple):
    """A rectangle of the picture, in pixels; bottom and right are exclusive."""

    top: int
    bottom: int
    left: int
    right: int

    def of(self, pixels: np.ndarray) -> np.ndarray:
        return pixels[self.top : self.bottom, self.left : self.right]

    def within(self, other: "Box") -> "Box":
        """The box in the coordinates of another box, which contains it."""
        top, left = other.top, other.left
        return Box(self.top - top, self.bottom - top, self.left - left, self.right - left)


class Moments:
    """The mean and variance of each channel over several parts of a picture, in float64.

    Parts are merged by the deviations from their means (Chan et al. 1979): the difference of two
    large sums would lose digits.
    """

    def __init__(self) -> None:
        self.count, self.mean, self._squares = 0, np.zeros(1), np.zeros(1)

    def add(self, part: np.ndarray) -> None:
        """Add a part, [C, H, W]."""
        mean, count = np.array([c.mean(dtype=np.float64) for c in part]), part[0].size
        squares = np.array([c.var(dtype=np.float64) for c in part]) * count
        difference, total = mean - self.mean, self.count + count
        self._squares = self._squares + squares
        self._squares += np.square(difference) * self.count * count / total
        self.mean = self.mean + difference * count / total
        self.count = total

    @property
    def variance(self) -> np.ndarray:
        """Over all pixels, without Bessel's correction, as norms use it: [C]."""
        return np.asarray(self._squares / self.count)


class Tiler:
    """Translates in tiles, with a margin around each."""

    def __init__(self, translator: Translator, side: int):
        """side: of a tile without its margin, px, rounded down to a multiple that the model takes.

        Raises UsageError for a model without a bounded receptive field (a U-Net).
        """
        try:
            from img2img.infer.tile_graph import TileGraph
        except ImportError as error:
            raise needs_extra("tile", error) from None
        manifest = translator.manifest
        if manifest.reach is None:
            raise UsageError(
                f"{manifest.name} can't run in tiles, because every output pixel depends on the "
                "whole picture (as in a U-Net). Use --max-side to make the pictures smaller."
            )
        self.translator = translator
        self.multiple, self.least = manifest.size_multiple, manifest.min_size
        self.side = _up(max(side - self.multiple + 1, self.least), self.multiple)
        self.margin = _up(manifest.reach, self.multiple)
        self.graph = TileGraph(translator.path.read_bytes())
        self._whole = self._session(self.graph.whole())

    @property
    def whole_side(self) -> int:
        """Pictures up to this side, px, should be run whole."""
        return self.side + 2 * self.margin

    def __call__(self, pixels: np.ndarray, domain: np.ndarray | None = None) -> np.ndarray:
        """[H, W, C] -> [H, W, C'] of the manifest's types; domain: the label vector of a model
        with domains.
        """
        height, width = pixels.shape[:2]
        sizes = [_up(max(side, self.least), self.multiple) for side in (height, width)]
        padding = [(0, sizes[0] - height), (0, sizes[1] - width), (0, 0)]
        padded = np.pad(pixels, padding, mode="edge")  # as the graph pads a whole picture
        inputs = {} if domain is None else {"domain": domain[None]}
        for number in range(len(self.graph.normalised)):
            inputs |= self.statistics(number, padded, inputs)
        manifest = self.translator.manifest
        result = np.empty((*sizes, manifest.out_channels), manifest.dtype_out)
        for core, tile in self._tiles(*sizes):
            [output] = self._whole.run(None, {"image": tile.of(padded)[None], **inputs})
            core.of(result)[:] = core.within(tile).of(output[0])
        return result[:height, :width]

    def _tiles(self, height: int, width: int) -> Iterator[tuple[Box, Box]]:
        """Cores, which cover the picture, each with its tile: the core and the margin around it."""
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
        self, number: int, pixels: np.ndarray, inputs: dict[str, np.ndarray]
    ) -> dict[str, np.ndarray]:
        """Mean and variance, float32 [C], of a norm's input over the whole picture.

        inputs: the graph's other inputs, among them the statistics of the norms before.
        """
        part, names = self.graph.before(number)
        session = self._session(part)  # not kept: all of them would hold the weights many times
        needed = {name: value for name, value in inputs.items() if name in names}
        moments = Moments()
        for core, tile in self._tiles(*pixels.shape[:2]):
            [x] = session.run(None, {"image": tile.of(pixels)[None], **needed})
            scale = (tile.bottom - tile.top) // x.shape[2]
            inner = Box(*(edge // scale for edge in core.within(tile)))
            moments.add(x[0][:, inner.top : inner.bottom, inner.left : inner.right])
        mean_name, variance_name = self.graph.statistics(number)
        return {
            mean_name: moments.mean.astype(np.float32),
            variance_name: moments.variance.astype(np.float32),
        }

    def _session(self, graph: bytes) -> Session:
        t = self.translator
        return session_of(graph, t.path, t.provider, t.threads)


def _up(size: int, multiple: int) -> int:
    """The size, rounded up to a multiple."""
    return -(-size // multiple) * multiple
