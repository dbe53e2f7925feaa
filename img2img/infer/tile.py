"""Pictures too large for memory, translated tile by tile: to about half a grey level what they
would be if they were run whole.

Generators that normalise each picture by its own statistics give other colours for a part of it
than for the whole. So every tile is normalised by the statistics of the whole picture: first
guessed from a small copy, then collected from all tiles, some rounds of it, then used. With a
margin as wide as the network looks, the tiles meet without a seam.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from img2img import images
from img2img.errors import UsageError, needs_extra
from img2img.infer.session import session_of
from img2img.infer.translator import Translator

EPSILON = 1e-5  # of the norms, where the node does not say
MULTIPLE = 4  # what the tiled networks' sizes are multiples of
ROUNDS = 12  # over all tiles at most, in which the statistics settle
SETTLED = 0.01  # deviations that a norm's means still move in a round, at most


class Box(NamedTuple):
    """A part of the picture, in pixels: rows top to bottom, columns left to right."""

    top: int
    bottom: int
    left: int
    right: int

    def of(self, pixels: np.ndarray) -> np.ndarray:
        return pixels[self.top : self.bottom, self.left : self.right]


class Tiler:
    """Translates with tiles of so many pixels a side, and a margin around each.

    Raises UsageError for a model that looks at the whole picture at once (a U-Net).
    """

    def __init__(self, translator: Translator, side: int):
        try:
            import onnx
        except ImportError as error:
            raise needs_extra("tile", error) from None
        if translator.manifest.size_multiple > MULTIPLE:
            raise UsageError(
                f"{translator.manifest.name} looks at the whole picture at once (a U-Net), so it "
                "can't be run in tiles; --max-side makes the pictures smaller."
            )
        self.translator = translator
        model = onnx.load_from_string(translator.path.read_bytes())
        layers = sum(node.op_type in ("Conv", "ConvTranspose") for node in model.graph.node)
        self.side = max(MULTIPLE, side // MULTIPLE * MULTIPLE)
        self.margin = MULTIPLE * layers + 2 * MULTIPLE  # a 3x3 layer at a quarter of the size: 4 px
        self.norms = [n.name for n in model.graph.node if n.op_type == "InstanceNormalization"]
        self.own, self.given = (
            session_of(
                _collecting(model, given), translator.path, translator.provider, translator.threads
            )
            for given in (False, True)
        )

    @property
    def whole_side(self) -> int:
        """Pictures up to this side are run whole."""
        return self.side + 2 * self.margin

    def __call__(self, pixels: np.ndarray, domain: np.ndarray | None = None) -> np.ndarray:
        """Uint8 [H, W, C] -> uint8 [H, W, C']; domain: the label vector, where there are any."""
        height, width = pixels.shape[:2]
        padding = [(0, -height % MULTIPLE), (0, -width % MULTIPLE), (0, 0)]
        padded = np.pad(pixels, padding, mode="edge")  # as the graph pads the whole picture
        statistics = self._guess(padded, domain)
        for _ in range(ROUNDS if self.norms else 0):
            sums = [
                self._run(padded, tile, core, domain, statistics)[1:]
                for core, tile in self._tiles(*padded.shape[:2])
            ]
            found = self._statistics(sums)
            moved = self._moved(statistics, found)
            # Halfway: a layer's new statistics are those of what its predecessors' old ones gave,
            # and taken as they are they overshoot from layer to layer.
            statistics = {name: (statistics[name] + found[name]) / 2 for name in found}
            if moved < SETTLED:
                break
        result = np.empty((*padded.shape[:2], self.translator.manifest.out_channels), np.uint8)
        for core, tile in self._tiles(*padded.shape[:2]):
            [output, *_] = self._run(padded, tile, core, domain, statistics)
            inner = Box(
                core.top - tile.top,
                core.bottom - tile.top,
                core.left - tile.left,
                core.right - tile.left,
            )
            core.of(result)[:] = inner.of(output[0])
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

    def _guess(self, pixels: np.ndarray, domain: np.ndarray | None) -> dict[str, np.ndarray]:
        """The statistics of a small copy."""
        small = images.shrink(images.Picture(pixels), self.whole_side).pixels
        mask = np.ones((1, 1, *small.shape[:2]), np.float32)
        feed = {"image": small[None], "counted": mask, **_label(domain)}
        return self._statistics([self.own.run(None, feed)[1:]])

    def _run(
        self,
        pixels: np.ndarray,
        tile: Box,
        core: Box,
        domain: np.ndarray | None,
        statistics: dict[str, np.ndarray],
    ) -> list[np.ndarray]:
        """The tile's translation, and the sums over its core of every norm's input."""
        mask = np.zeros((1, 1, *pixels.shape[:2]), np.float32)
        core.of(mask[0, 0])[:] = 1
        feed = {"image": tile.of(pixels)[None], "counted": tile.of(mask[0, 0])[None, None]}
        return self.given.run(None, {**feed, **_label(domain), **statistics})

    def _statistics(self, sums: list[list[np.ndarray]]) -> dict[str, np.ndarray]:
        """Means and deviations from the tiles' counts, sums and sums of squares, norm by norm."""
        found = {}
        for number in range(len(self.norms)):
            count, first, second = (
                np.sum([part[3 * number + i].astype(np.float64) for part in sums], axis=0)
                for i in range(3)
            )
            mean = first / count
            variance = np.maximum(second / count - mean**2, 0)
            found[f"mean_{number}"] = mean.astype(np.float32)
            found[f"variance_{number}"] = variance.astype(np.float32)
        return found

    def _moved(self, old: dict[str, np.ndarray], new: dict[str, np.ndarray]) -> float:
        """How far the means went, in deviations: of the norm where that is most."""
        return max(
            float(
                np.mean(
                    np.abs(new[f"mean_{i}"] - old[f"mean_{i}"])
                    / np.sqrt(new[f"variance_{i}"] + EPSILON)
                )
            )
            for i in range(len(self.norms))
        )


def _label(domain: np.ndarray | None) -> dict[str, np.ndarray]:
    return {} if domain is None else {"domain": domain[None]}


def _collecting(model, given: bool) -> bytes:
    """The graph with the sums of what every norm sees as outputs; normalised by statistics that
    are given as inputs, or by the picture's own.

    counted: float [1, 1, H, W], 1 where the sums are taken.
    """
    import onnx
    from onnx import TensorProto, helper

    graph = onnx.ModelProto.FromString(model.SerializeToString()).graph
    inputs, outputs = list(graph.input), list(graph.output)
    shape = [1, 1, "height", "width"]
    inputs.append(helper.make_tensor_value_info("counted", TensorProto.FLOAT, shape))
    constants = {
        "places": np.array([2, 3], np.int64),
        "inner": np.array([1, 2], np.int64),
        "one_one": np.array([1, 1], np.int64),
    }
    nodes, number = [], 0
    for node in graph.node:
        if node.op_type != "InstanceNormalization":
            nodes.append(node)
            continue
        x, scale, bias = node.input
        p = f"norm_{number}_"
        make = helper.make_node
        nodes += [
            make("Shape", [x], [p + "size"], start=2),
            make("Concat", ["one_one", p + "size"], [p + "sizes"], axis=0),
            make(
                "Resize",
                ["counted", "", "", p + "sizes"],
                [p + "mask"],
                mode="nearest",
                coordinate_transformation_mode="asymmetric",
                nearest_mode="floor",
            ),
            make("ReduceSum", [p + "mask", "places"], [p + "count"], keepdims=1),
            make("Mul", [x, p + "mask"], [p + "masked"]),
            make("ReduceSum", [p + "masked", "places"], [p + "first"], keepdims=1),
            make("Mul", [p + "masked", x], [p + "squared"]),
            make("ReduceSum", [p + "squared", "places"], [p + "second"], keepdims=1),
        ]
        for name in ("count", "first", "second"):
            outputs.append(helper.make_tensor_value_info(p + name, TensorProto.FLOAT, None))
        if given:
            epsilon = next((a.f for a in node.attribute if a.name == "epsilon"), EPSILON)
            constants[p + "epsilon"] = np.array(epsilon, np.float32)
            for name in (f"mean_{number}", f"variance_{number}"):
                each = helper.make_tensor_value_info(
                    name, TensorProto.FLOAT, [1, f"channels_{number}", 1, 1]
                )
                inputs.append(each)
            nodes += [
                make("Add", [f"variance_{number}", p + "epsilon"], [p + "safe"]),
                make("Sqrt", [p + "safe"], [p + "deviation"]),
                make("Unsqueeze", [scale, "inner"], [p + "scale"]),
                make("Unsqueeze", [bias, "inner"], [p + "bias"]),
                make("Div", [p + "scale", p + "deviation"], [p + "gain"]),
                make("Mul", [f"mean_{number}", p + "gain"], [p + "moved"]),
                make("Sub", [p + "bias", p + "moved"], [p + "offset"]),
                make("Mul", [x, p + "gain"], [p + "gained"]),
                make("Add", [p + "gained", p + "offset"], list(node.output)),
            ]
        else:
            nodes.append(node)
        number += 1
    initial = [onnx.numpy_helper.from_array(value, name) for name, value in constants.items()]
    built = helper.make_graph(nodes, "tiled", inputs, outputs, [*graph.initializer, *initial])
    return helper.make_model(
        built, opset_imports=model.opset_import, ir_version=model.ir_version
    ).SerializeToString()
