"""A bundle's graph edited so that its norms take their statistics as inputs, whole or cut short."""

import onnx
from onnx import TensorProto, helper


class TileGraph:
    """The graph with every InstanceNormalization replaced by a BatchNormalization with the same
    scale, bias and epsilon. Its mean and variance, float [C], are inputs of the graph, which are
    called `norm_0_mean`, `norm_0_variance`, and so on in the order of the norms.
    """

    def __init__(self, content: bytes):
        """content: the bytes of an ONNX file."""
        self.model = onnx.load_from_string(content)
        self.normalized: list[str] = []  # names of the tensors that the norms take
        for node in self.model.graph.node:
            if node.op_type != "InstanceNormalization":
                continue
            names = self.statistics(len(self.normalized))
            self.normalized.append(node.input[0])
            node.op_type = "BatchNormalization"
            node.input.extend(names)
            for name in names:
                value = helper.make_tensor_value_info(name, TensorProto.FLOAT, [None])
                self.model.graph.input.append(value)

    @staticmethod
    def statistics(number: int) -> tuple[str, str]:
        """The names of the inputs for a norm's mean and variance."""
        return f"norm_{number}_mean", f"norm_{number}_variance"

    def whole(self) -> bytes:
        """The edited graph, as an ONNX file."""
        content: bytes = self.model.SerializeToString()
        return content

    def before(self, number: int) -> tuple[bytes, set[str]]:
        """The part of the graph that computes a norm's input, as an ONNX file, and the names of the
        part's inputs.
        """
        graph, tensor = self.model.graph, self.normalized[number]
        needed, nodes = {tensor}, []
        for node in reversed(graph.node):  # nodes are sorted: a node's inputs come before it
            if needed & set(node.output):
                nodes.append(node)
                needed |= set(node.input)
        inputs = [value for value in graph.input if value.name in needed]
        output = helper.make_tensor_value_info(tensor, TensorProto.FLOAT, None)
        weights = [value for value in graph.initializer if value.name in needed]
        part = helper.make_graph(nodes[::-1], "part", inputs, [output], weights)
        opset, version = self.model.opset_import, self.model.ir_version
        model = helper.make_model(part, opset_imports=opset, ir_version=version)
        content: bytes = model.SerializeToString()
        return content, {value.name for value in inputs}
