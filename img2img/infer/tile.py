"""Pictures too large for memory, translated in tiles, with the result of the whole picture.

Instance normalization uses the statistics of its input, so a tile by itself would get other colors
than the same part of the whole picture. Therefore each tile is normalized by the statistics of the
whole picture, which are computed first: one pass over all tiles per norm, each through the graph up
to that norm, because the input of a norm depends only on the norms before it. With a margin as wide
as the receptive field, tiles meet without a seam. `tile_graph` edits the graph accordingly.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, Self

import numpy as np

from img2img.box import Box
from img2img.errors import UsageError, needs_extra
from img2img.files import spread
from img2img.infer.session import Session, session_of
from img2img.infer.translator import Translator

GOLDEN = (5**0.5 - 1) / 2  # multiples of it, modulo 1, are evenly spread


class Part(NamedTuple):
    """A part of a picture."""

    values: np.ndarray  # [h, w, bands]
    missing: np.ndarray | None = None  # bool [h, w]; None if no pixel is missing
    clipped: int = 0  # values beyond the model's range
    known: int = 0  # values that are not missing


class Picture(Protocol):
    """What is translated in tiles."""

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width."""

    def read(self, box: Box) -> Part: ...


class Canvas(Protocol):
    """What takes the result."""

    def write(self, box: Box, values: np.ndarray | None, missing: np.ndarray | None) -> None:
        """Take a part [h, w, bands], and which of its pixels are missing; None for all of them."""


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

    def as_dict(self) -> dict[str, Any]:
        """For JSON, without rounding."""
        return {"count": self.count, "mean": self.mean.tolist(), "squares": self._squares.tolist()}

    @classmethod
    def of_dict(cls, saved: dict[str, Any]) -> Self:
        moments = cls()
        moments.count = int(saved["count"])
        moments.mean, moments._squares = (np.array(saved[key]) for key in ("mean", "squares"))
        return moments


@dataclass
class Progress:
    """How far a picture is: all that is needed to go on, apart from what the canvas has taken."""

    statistics: list[tuple[np.ndarray, np.ndarray]] = field(default_factory=list)  # of each norm
    tile: int = 0  # the next one of the pass for the next norm, or of the translation
    seen: int = 0  # tiles with a value in the pass for the next norm
    moments: Moments = field(default_factory=Moments)  # of the pass so far
    clipped: int = 0  # of the values of the tiles that are translated (each with its margin)
    known: int = 0  # the values of these that are not missing

    def as_dict(self) -> dict[str, Any]:
        """For JSON, without rounding."""
        statistics = [[mean.tolist(), variance.tolist()] for mean, variance in self.statistics]
        places = {"tile": self.tile, "seen": self.seen}
        places |= {"clipped": self.clipped, "known": self.known}
        return {"statistics": statistics, **places, "moments": self.moments.as_dict()}

    @classmethod
    def of_dict(cls, saved: dict[str, Any]) -> Self:
        statistics = [
            (np.array(mean, np.float32), np.array(variance, np.float32))
            for mean, variance in saved["statistics"]
        ]
        moments = Moments.of_dict(saved["moments"])
        counts = int(saved["clipped"]), int(saved["known"])
        return cls(statistics, int(saved["tile"]), int(saved["seen"]), moments, *counts)


class Tiler:
    """Translates in tiles, with a margin around each."""

    def __init__(self, translator: Translator, side: int, norm_tiles: int | None = None):
        """
        Args:
            side: of a tile without its margin, px, rounded down to a multiple that the model takes.
            norm_tiles: from how many tiles with a value, evenly spread, the statistics of norms are
                estimated; None for all of them, with which the result is that of the whole picture.

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
        self.translator, self.norm_tiles = translator, norm_tiles
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
        manifest = self.translator.manifest
        result = np.empty((*pixels.shape[:2], manifest.out_channels), manifest.dtype_out)
        for _ in self.steps(_Pixels(pixels), _Result(result), domain, Progress()):
            pass
        return result

    def count(self, shape: tuple[int, int]) -> int:
        """The number of steps for a picture of this height and width."""
        tiles = len(self._tiles(shape))
        return len(self.graph.normalized) * min(self.norm_tiles or tiles, tiles) + tiles

    def done(self, shape: tuple[int, int], progress: Progress) -> int:
        """The number of steps that were made for a picture of this height and width."""
        tiles, norms = len(self._tiles(shape)), len(progress.statistics)
        in_norms = self.norm_tiles and norms < len(self.graph.normalized)
        done = progress.seen if in_norms else progress.tile
        return norms * min(self.norm_tiles or tiles, tiles) + done

    def steps(
        self, picture: Picture, canvas: Canvas, domain: np.ndarray | None, progress: Progress
    ) -> Iterator[None]:
        """Translate a picture onto a canvas, from where `progress` is, which is kept up to date:
        after each step, it and the canvas may be saved, to go on from there.

        Tiles whose pixels are all missing are not run, and not among the statistics of norms.
        """
        fixed = {} if domain is None else {"domain": domain[None]}
        tiles = self._tiles(picture.shape)
        chosen = [tiles[index] for index in self._order(len(tiles))]
        wanted = self.norm_tiles or len(tiles)
        while (number := len(progress.statistics)) < len(self.graph.normalized):
            part, names = self.graph.before(number)
            session = self._session(part)  # not kept: all of them hold the weights many times
            inputs = fixed | self._inputs(progress)
            needed = {name: value for name, value in inputs.items() if name in names}
            for core, tile, read in self._read(picture, chosen[progress.tile :]):
                if read.missing is None or not read.missing.all():
                    [x] = session.run(None, {"image": read.values[None], **needed})
                    scale = tile.height // x.shape[2]
                    inner = Box(*(edge // scale for edge in core.within(tile)))
                    progress.moments.add(
                        x[0][:, inner.top : inner.bottom, inner.left : inner.right]
                    )
                    progress.seen += 1
                progress.tile += 1
                if progress.seen == wanted:
                    break
                if progress.tile < len(chosen):
                    yield
            moments, progress.moments = progress.moments, Moments()
            progress.tile = progress.seen = 0
            progress.statistics.append(_of_norm(moments))
            yield
        inputs = fixed | self._inputs(progress)
        height, width = picture.shape
        for core, tile, read in self._read(picture, tiles[progress.tile :]):
            shown, missing = core.common(Box(0, height, 0, width)), read.missing
            if missing is not None and missing.all():
                canvas.write(shown, None, None)
            else:
                [output] = self._whole.run(None, {"image": read.values[None], **inputs})
                lost = missing[: shown.height, : shown.width] if missing is not None else None
                canvas.write(shown, shown.within(tile).of(output[0]), lost)
            progress.tile += 1
            progress.clipped += read.clipped
            progress.known += read.known
            yield

    def _inputs(self, progress: Progress) -> dict[str, np.ndarray]:
        """The graph's inputs for the statistics that are known."""
        inputs: dict[str, np.ndarray] = {}
        for number, (mean, variance) in enumerate(progress.statistics):
            mean_name, variance_name = self.graph.statistics(number)
            inputs |= {mean_name: mean, variance_name: variance}
        return inputs

    def _order(self, tiles: int) -> list[int]:
        """The indices of the tiles in the order in which norms see them: all, or those that are
        evenly spread first, and then the others, spread, too, in place of those without a value.
        """
        if not self.norm_tiles:
            return list(range(tiles))
        first = spread(self.norm_tiles, tiles)
        others = sorted(set(range(tiles)) - set(first), key=lambda index: index * GOLDEN % 1)
        return first + others

    def _tiles(self, shape: tuple[int, int]) -> list[tuple[Box, Box]]:
        """Cores, which cover a picture of this height and width and what pads it to a multiple,
        each with its tile: the core and the margin around it.
        """
        height, width = (_up(max(side, self.least), self.multiple) for side in shape)
        tiles = []
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
                tiles.append((core, tile))
        return tiles

    def _read(
        self, picture: Picture, tiles: list[tuple[Box, Box]]
    ) -> Iterator[tuple[Box, Box, Part]]:
        """Cores with their tiles, and these as they are read, but with `missing` of the cores
        alone. The next ones are read while the model runs.
        """
        height, width = picture.shape

        def read(core: Box, tile: Box) -> Part:
            inside = tile.common(Box(0, height, 0, width))
            part = picture.read(inside)
            values, missing = part.values, part.missing
            # As the graph pads a whole picture.
            edges = ((0, tile.height - inside.height), (0, tile.width - inside.width), (0, 0))
            lost = None
            if missing is not None:
                lost = core.common(inside).within(inside).of(missing)
            padded = np.pad(values, edges, mode="edge") if edges != ((0, 0),) * 3 else values
            return part._replace(values=padded, missing=lost)

        with ThreadPoolExecutor(1) as pool:
            ahead = [pool.submit(read, *tile) for tile in tiles[:1]]
            for number, (core, tile) in enumerate(tiles):
                part = ahead.pop().result()
                ahead += [pool.submit(read, *tile) for tile in tiles[number + 1 : number + 2]]
                yield core, tile, part

    def _session(self, graph: bytes) -> Session:
        t = self.translator
        return session_of(graph, t.path, t.provider, t.threads)


class _Pixels:
    """A picture in memory."""

    def __init__(self, pixels: np.ndarray):
        self.pixels = pixels

    @property
    def shape(self) -> tuple[int, int]:
        height, width = self.pixels.shape[:2]
        return height, width

    def read(self, box: Box) -> Part:
        return Part(box.of(self.pixels))


class _Result:
    """A result in memory."""

    def __init__(self, pixels: np.ndarray):
        self.pixels = pixels

    def write(self, box: Box, values: np.ndarray | None, missing: np.ndarray | None) -> None:
        assert values is not None  # no pixel of a picture in memory is missing here
        box.of(self.pixels)[:] = values


def _of_norm(moments: Moments) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance, float32 [C]; of a picture of missing pixels alone, some of any use."""
    if not moments.count:
        return np.zeros(1, np.float32), np.ones(1, np.float32)
    return moments.mean.astype(np.float32), moments.variance.astype(np.float32)


def _up(size: int, multiple: int) -> int:
    """The size, rounded up to a multiple."""
    return -(-size // multiple) * multiple
