"""ONNX files as torch modules, so that gradients flow to the picture.

An ONNX file is data, no code. Its nodes are run one after another in torch, and what they compute
is compared with onnxruntime when the file is opened.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx
import onnxruntime as ort
import torch
from onnxscript import optimizer
from torch import Tensor, nn

from img2img.errors import DataError
from img2img.features.onnx_operators import OPERATORS, Attributes, Operator

TOLERANCE = 1e-3  # of an output's largest value


class Node(NamedTuple):
    operator: Operator
    attributes: Attributes
    inputs: list[str]  # an empty name is an input that is left out
    outputs: list[str]


class OnnxNetwork(nn.Module):
    """The graph of a model: an input [N, 3, H, W] -> its outputs."""

    def __init__(self, graph: onnx.GraphProto):
        """Raises NotImplementedError, which names it, for an operator that is not in OPERATORS."""
        super().__init__()
        self.input = graph.input[0].name
        self.outputs = [output.name for output in graph.output]
        computed = [_node(node) for node in graph.node if node.op_type != "Constant"]
        self.nodes = _needed(computed, self.outputs)
        self.buffer_names: dict[str, str] = {}
        self.shapes: dict[str, Tensor] = {}  # integers and scalars, which stay on the CPU
        constants = {part.name: part for part in graph.initializer}
        for node in graph.node:
            if node.op_type == "Constant":
                constants[node.output[0]] = onnx.helper.get_node_attr_value(node, "value")
        for number, (name, constant) in enumerate(constants.items()):
            tensor = torch.from_numpy(onnx.numpy_helper.to_array(constant).copy())
            if tensor.is_floating_point() and tensor.ndim:
                self.register_buffer(f"weight_{number}", tensor.float(), persistent=False)
                self.buffer_names[name] = f"weight_{number}"
            else:
                self.shapes[name] = tensor

    def forward(self, image: Tensor) -> list[Tensor]:
        values: dict[str, Tensor | None] = {"": None, self.input: image, **self.shapes}
        values |= {name: self.get_buffer(buffer) for name, buffer in self.buffer_names.items()}
        for operator, attributes, inputs, outputs in self.nodes:
            result = operator(attributes, *(values[name] for name in inputs))
            results = [result] if isinstance(result, Tensor) else result
            values |= dict(zip(outputs, results, strict=False))  # optional outputs are left out
        tensors = [values[name] for name in self.outputs]
        return [tensor for tensor in tensors if tensor is not None]


def load(content: bytes, path: Path) -> tuple[nn.Module, dict[str, str]]:
    """The network of a file's content, and the metadata of the file, whose name is for messages.

    Raises DataError for a file that is damaged, keeps weights in other files, contains an operator
    that is not in OPERATORS, or computes something else in torch than in onnxruntime.
    """
    try:
        model = onnx.load_model_from_string(content)
        constants = [attribute.t for node in model.graph.node for attribute in node.attribute]
        if any(
            tensor.data_location == onnx.TensorProto.EXTERNAL
            for tensor in (*model.graph.initializer, *constants)
        ):
            raise DataError(
                f"{path} keeps weights in other files, which its SHA-256 does not cover. Save the "
                "model as one file."
            )
        onnx.checker.check_model(model)
    except DataError:
        raise
    except Exception as error:  # of protobuf and of the checker, which have no common class
        raise DataError(f"{path} is not a valid ONNX file: {_first_line(error)}.") from None
    names = {initializer.name for initializer in model.graph.initializer}
    inputs = [part for part in model.graph.input if part.name not in names]
    if len(inputs) != 1 or len(inputs[0].type.tensor_type.shape.dim) != 4:
        raise DataError(f"{path}: a feature network has one input, RGB pictures [N, 3, H, W].")
    del model.graph.input[:]
    model.graph.input.append(inputs[0])  # in old files, weights are inputs with a default
    try:
        network = OnnxNetwork(optimizer.optimize(model).graph).eval()
        difference = _difference(network, content, inputs[0])
    except Exception as error:  # of an operator, or of onnxruntime
        raise DataError(
            f"{path} can't be used as a feature network: {_first_line(error)}. What networks of "
            "convolutions, norms, activations and pooling consist of is supported; so are "
            "TorchScript files."
        ) from None
    if not difference < TOLERANCE:
        raise DataError(
            f"{path} computes something else in torch than in onnxruntime (by {difference:.2g} of "
            "an output's largest value), so it can't be used. Please report it, with the file."
        )
    return network, {entry.key: entry.value for entry in model.metadata_props}


def _node(node: onnx.NodeProto) -> Node:
    if node.domain not in ("", "ai.onnx") or node.op_type not in OPERATORS:
        raise NotImplementedError(f"the operator {node.op_type} is not supported")
    attributes = {
        attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute
    }
    return Node(OPERATORS[node.op_type], attributes, list(node.input), list(node.output))


def _needed(nodes: list[Node], outputs: list[str]) -> list[Node]:
    """The nodes on which the outputs depend, in order."""
    wanted, needed = set(outputs), []
    for node in reversed(nodes):
        if wanted & set(node.outputs):
            wanted |= set(node.inputs)
            needed.append(node)
    return needed[::-1]


def _difference(network: OnnxNetwork, content: bytes, image: onnx.ValueInfoProto) -> float:
    """The largest difference of an output in torch and in onnxruntime, relative to its largest
    value, for random pictures of a size that the file allows.
    """
    sides = zip(image.type.tensor_type.shape.dim, (2, 3, 64, 96), strict=True)
    shape = [dim.dim_value or side for dim, side in sides]
    picture = np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32)
    session = ort.InferenceSession(content, providers=["CPUExecutionProvider"])
    expected = session.run(None, {image.name: picture})
    with torch.no_grad():
        outputs = network(torch.from_numpy(picture))
    return max(
        float(np.abs(output.numpy() - reference).max() / max(np.abs(reference).max(), 1e-9))
        for output, reference in zip(outputs, expected, strict=True)
    )


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
