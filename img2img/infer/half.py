"""A bundle's graph in half precision, for GPUs, whose matrix units are several times faster in it.

Convolutions and matrix products compute in fp16, and so does what lies between them, so that the
values are stored in two bytes. What needs more range or digits stays in fp32: pixels before the
first convolution and after the last one, and every operator that is not listed here.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from img2img.infer import onnx_file
from img2img.infer.onnx_file import FLOAT, FLOAT16

# The positions of an operator's inputs that have the type of its output.
PRODUCTS = {"Conv": (0, 1, 2), "ConvTranspose": (0, 1, 2), "MatMul": (0, 1), "Gemm": (0, 1, 2)}
BETWEEN = {
    "Add": (0, 1),
    "Clip": (0, 1, 2),
    "Concat": tuple(range(16)),
    "DepthToSpace": (0,),
    "Expand": (0,),
    "Identity": (0,),
    "InstanceNormalization": (0, 1, 2),  # its sums are in fp32 on CUDA, whatever its input is
    "LeakyRelu": (0,),
    "Mul": (0, 1),
    "Neg": (0,),
    "Pad": (0, 2),
    "Relu": (0,),
    "Reshape": (0,),
    "Resize": (0,),
    "Sigmoid": (0,),
    "Slice": (0,),
    "Softmax": (0,),  # its sums, too
    "Split": (0,),
    "Squeeze": (0,),
    "Sub": (0, 1),
    "Tanh": (0,),
    "Transpose": (0,),
    "Unsqueeze": (0,),
}


def in_half(content: bytes) -> bytes:
    """The ONNX file with a graph in half precision; its inputs and outputs keep their types."""
    model = onnx_file.parse(content)
    _Halving(model.graph).run()
    converted: bytes = model.SerializeToString()
    return converted


class _Halving:
    """The conversion of one graph, node by node in their order."""

    def __init__(self, graph: Any):
        self.graph = graph
        self.stored = {tensor.name: tensor for tensor in graph.initializer}
        self.halves: dict[str, str] = {}  # the fp16 value of a tensor in fp32, by name
        self.wides: dict[str, str] = {}  # the fp32 value of a tensor that is computed in fp16
        self.computed: set[str] = set()  # tensors that are computed in fp16
        self.nodes: list[Any] = []

    def run(self) -> None:
        towards = _towards_products(self.graph)
        for node in self.graph.node:
            positions = PRODUCTS.get(node.op_type, ())
            if not positions and towards.intersection(node.output):
                between = BETWEEN.get(node.op_type, ())
                if any(name in self.computed for name in _at(node, between)):
                    positions = between
            for position, name in enumerate(node.input):
                if position in positions and name:
                    node.input[position] = self._half(name)
                elif name in self.computed:
                    node.input[position] = self._wide(name)
            if positions:
                self.computed |= set(node.output)
            elif node.op_type == "Cast" and node.input[0] in self.stored:
                self._take_stored(node)
            self.nodes.append(node)
        self._keep_needed()

    def _half(self, name: str) -> str:
        """The name of the tensor in fp16."""
        if name in self.computed:
            return name
        if name not in self.halves:
            self.halves[name] = f"{name}.half"
            stored = self.stored.get(name)
            if stored is None:
                self.nodes.append(_cast(name, self.halves[name], FLOAT16))
            else:
                self.graph.initializer.append(_halved(stored, self.halves[name]))
        return self.halves[name]

    def _wide(self, name: str) -> str:
        """The name of a tensor that is computed in fp16, in fp32."""
        if name not in self.wides:
            self.wides[name] = f"{name}.wide"
            self.nodes.append(_cast(name, self.wides[name], FLOAT))
        return self.wides[name]

    def _take_stored(self, cast: Any) -> None:
        """Use weights that are stored in fp16 as they are, instead of widening them first."""
        if self.stored[cast.input[0]].data_type == FLOAT16:
            self.halves[cast.output[0]] = cast.input[0]

    def _keep_needed(self) -> None:
        """Put the new nodes into the graph, without those and the weights that nothing uses now."""
        needed = {value.name for value in self.graph.output}
        kept = []
        for node in reversed(self.nodes):  # a node's inputs come before it
            if needed.intersection(node.output):
                kept.append(node)
                needed.update(node.input)
        weights = [tensor for tensor in self.graph.initializer if tensor.name in needed]
        for field, values in ((self.graph.node, kept[::-1]), (self.graph.initializer, weights)):
            copies = [type(value).FromString(value.SerializeToString()) for value in values]
            del field[:]
            field.extend(copies)
        del self.graph.value_info[:]  # they state the types of before


def _towards_products(graph: Any) -> set[str]:
    """The names of tensors on which a later convolution or matrix product depends."""
    names: set[str] = set()
    for node in reversed(graph.node):
        if node.op_type in PRODUCTS or names.intersection(node.output):
            names.update(node.input)
    return names


def _at(node: Any, positions: tuple[int, ...]) -> Iterator[str]:
    return (node.input[position] for position in positions if position < len(node.input))


def _cast(name: str, result: str, kind: int) -> Any:
    node = onnx_file.message("Node")(
        input=[name], output=[result], name=f"{result}.cast", op_type="Cast"
    )
    node.attribute.add(name="to", i=kind, type=onnx_file.INT)
    return node


def _halved(tensor: Any, name: str) -> Any:
    """A tensor with the values of one in fp32, rounded to fp16; beyond its range, infinite."""
    if tensor.HasField("raw_data"):
        values = np.frombuffer(tensor.raw_data, "<f4")
    else:
        values = np.array(tensor.float_data, "<f4")
    with np.errstate(over="ignore"):
        rounded = values.astype("<f2").tobytes()
    return onnx_file.message("Tensor")(
        dims=tensor.dims, data_type=FLOAT16, name=name, raw_data=rounded
    )
