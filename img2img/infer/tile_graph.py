"""A bundle's graph, whole or cut short, normalised by given statistics: what tiles are run with."""

import onnx
from onnx import TensorProto, helper


class TileGraph:
    """The graph with every InstanceNormalization as a BatchNormalization of the same scale, bias
    and epsilon, whose mean and variance are inputs of the graph: float [C], `mean_0`, `variance_0`
    and so on, in the order of the norms.
    """

    def __init__(self, content: bytes):
        """content: an ONNX file's."""
        self.model = onnx.load_from_string(content)
        self.normalised: list[str] = []  # what each norm is given: the names of the tensors
        for node in self.model.graph.node:
            if node.op_type != "InstanceNormalization":
                continue
            names = self.statistics(len(self.normalised))
            self.normalised.append(node.input[0])
            node.op_type = "BatchNormalization"
            node.input.extend(names)
            for name in names:
                value = helper.make_tensor_value_info(name, TensorProto.FLOAT, [None])
                self.model.graph.input.append(value)

    @staticmethod
    def statistics(number: int) -> tuple[str, str]:
        """The names of the inputs that take a norm's mean and its variance."""
        return f"mean_{number}", f"variance_{number}"

    def whole(self) -> bytes:
        content: bytes = self.model.SerializeToString()
        return content

    def before(self, number: int) -> tuple[bytes, set[str]]:
        """The part of the graph that a norm depends on, which gives the norm's input, and the
        names of the part's own inputs.
        """
        graph, tensor = self.model.graph, self.normalised[number]
        needed, nodes = {tensor}, []
        for node in reversed(graph.node):  # a graph is sorted: what a node needs comes before it
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
