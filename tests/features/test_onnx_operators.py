"""Each operator computes in torch what it computes in onnxruntime."""

import numpy as np
import onnx
import pytest

from img2img.features.onnx_file import load
from img2img.features.onnx_operators import OPERATORS

RANDOM = np.random.default_rng(0)


def weights(*shape):
    return RANDOM.normal(size=shape).astype(np.float32)


def positive(*shape):
    return np.abs(weights(*shape)) + np.float32(0.5)


def integers(*values):
    return np.array(values, np.int64)


NONE = None  # an input that is left out
# Operator, attributes, and the inputs after the picture
ASYMMETRIC = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
CASES = [
    ("Conv", {"strides": [2, 1], "pads": [1, 0, 2, 1], "dilations": [1, 2]}, [weights(4, 3, 3, 3)]),
    ("Conv", {"group": 3, "auto_pad": "SAME_UPPER", "strides": [2, 2]}, [weights(6, 1, 4, 4)]),
    ("Conv", {"auto_pad": "SAME_LOWER", "strides": [2, 2]}, [weights(2, 3, 4, 4), weights(2)]),
    ("Conv", {"auto_pad": "VALID"}, [weights(2, 3, 3, 3), weights(2)]),
    ("MaxPool", {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 0, 0]}, []),
    ("MaxPool", {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1}, []),
    ("AveragePool", {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}, []),
    ("AveragePool", {"kernel_shape": [2, 2], "pads": [1, 1, 1, 1], "count_include_pad": 1}, []),
    ("GlobalAveragePool", {}, []),
    ("GlobalMaxPool", {}, []),
    ("BatchNormalization", {"epsilon": 1e-3}, [weights(3), weights(3), weights(3), positive(3)]),
    ("InstanceNormalization", {"epsilon": 1e-3}, [weights(3), weights(3)]),
    ("LayerNormalization", {"axis": -1, "epsilon": 1e-3}, [weights(96), weights(96)]),
    ("LayerNormalization", {"axis": 2}, [weights(64, 96)]),
    ("Relu", {}, []),
    ("LeakyRelu", {"alpha": 0.3}, []),
    ("PRelu", {}, [weights(3, 1, 1)]),
    ("Elu", {"alpha": 0.7}, []),
    ("Selu", {}, []),
    ("Sigmoid", {}, []),
    ("HardSigmoid", {"alpha": 0.3, "beta": 0.4}, []),
    ("HardSwish", {}, []),
    ("Mish", {}, []),
    ("Gelu", {}, []),
    ("Gelu", {"approximate": "tanh"}, []),
    ("Tanh", {}, []),
    ("Softplus", {}, []),
    ("Softmax", {"axis": 1}, []),
    ("Erf", {}, []),
    ("Exp", {}, []),
    ("Abs", {}, []),
    ("Neg", {}, []),
    ("Clip", {}, [np.float32(-0.3), np.float32(0.4)]),
    ("Clip", {}, [NONE, np.float32(0.4)]),
    ("Add", {}, [weights(3, 1, 1)]),
    ("Sub", {}, [np.float32(0.25)]),
    ("Mul", {}, [weights(1, 3, 1, 1)]),
    ("Div", {}, [positive(3, 1, 1)]),
    ("Pow", {}, [np.float32(2)]),
    ("Max", {}, [np.float32(0.1)]),
    ("Min", {}, [weights(3, 1, 1)]),
    ("MatMul", {}, [weights(96, 5)]),
    ("ReduceMean", {"keepdims": 0}, [integers(2, 3)]),
    ("ReduceSum", {}, [integers(-1)]),
    ("ReduceMax", {}, [integers(1)]),
    ("Concat", {"axis": 1}, [weights(2, 4, 64, 96)]),
    ("Split", {"axis": 3, "num_outputs": 2}, []),
    ("Split", {"axis": 2}, [integers(24, 40)]),
    ("Slice", {}, [integers(1, 2), integers(-1, 1000), integers(2, 3), integers(1, 3)]),
    ("Slice", {}, [integers(0, 1), integers(2, 3)]),
    ("Gather", {"axis": 1}, [integers(2, -3)]),
    ("Gather", {"axis": 3}, [np.array(5, np.int64)]),
    ("Pad", {}, [integers(0, 1, 2, 3, 0, 4, 5, 6), np.float32(0.5)]),
    ("Pad", {"mode": "reflect"}, [integers(1, 2, 3, 4), NONE, integers(2, 3)]),
    ("Pad", {"mode": "edge"}, [integers(0, 0, 1, 2, 0, 0, 3, 4)]),
    (
        "Resize",
        {"mode": "nearest", **ASYMMETRIC},
        [NONE, np.array([1, 1, 2, 2], np.float32)],
    ),
    ("Resize", {"mode": "linear"}, [NONE, NONE, integers(2, 3, 96, 128)]),
    (
        "Resize",
        {"mode": "linear", "coordinate_transformation_mode": "align_corners"},
        [NONE, NONE, integers(2, 3, 100, 50)],
    ),
    ("Reshape", {}, [integers(0, 3, -1)]),
    ("Flatten", {"axis": 2}, []),
    ("Transpose", {"perm": [0, 2, 3, 1]}, []),
    ("Unsqueeze", {}, [integers(0, -1)]),
    ("SpaceToDepth", {"blocksize": 2}, []),
    ("Identity", {}, []),
    ("Dropout", {}, []),
]
CHAINED = {  # which take what another operator gives, or shapes
    *("Log", "Sqrt", "Reciprocal", "Gemm", "Squeeze", "DepthToSpace", "Shape", "Cast"),
}


def content_of(nodes, constants, outputs, opset=20):
    """The content of a file; constants: arrays by name; outputs: names."""
    info = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        nodes,
        "graph",
        [info("x", onnx.TensorProto.FLOAT, ["n", 3, "h", "w"])],
        [info(name, onnx.TensorProto.FLOAT, None) for name in outputs],
        [onnx.numpy_helper.from_array(np.asarray(array), n) for n, array in constants.items()],
    )
    opsets = [onnx.helper.make_opsetid("", opset)]
    model = onnx.helper.make_model(graph, opset_imports=opsets, ir_version=9)
    return onnx.shape_inference.infer_shapes(model).SerializeToString()


def test_every_operator_is_tested():
    assert {name for name, _, _ in CASES} | CHAINED == set(OPERATORS)


@pytest.mark.parametrize(
    ("name", "attributes", "inputs"), CASES, ids=lambda value: value if type(value) is str else ""
)
def test_an_operator_computes_what_onnxruntime_does(name, attributes, inputs, tmp_path):
    """Opening a file compares."""
    named = {f"input{n}": array for n, array in enumerate(inputs) if array is not None}
    names = [f"input{n}" if array is not None else "" for n, array in enumerate(inputs)]
    outputs = ["y", "z"] if name == "Split" else ["y"]
    node = onnx.helper.make_node(name, ["x", *names], outputs, **attributes)
    load(content_of([node], named, outputs), tmp_path / "x.onnx")


def test_operators_on_what_others_give_and_on_shapes(tmp_path):
    node = onnx.helper.make_node
    nodes = [
        node("Constant", [], ["two"], value=onnx.numpy_helper.from_array(np.float32(2))),
        node("Add", ["x", "two"], ["more"]),
        node("Log", ["more"], ["log"]),
        node("Sqrt", ["more"], ["root"]),
        node("Reciprocal", ["more"], ["inverse"]),
        node("ReduceMean", ["x", "axes"], ["pooled"], keepdims=0),
        node("Gemm", ["pooled", "weight", "bias"], ["dense"], transB=1, alpha=0.5, beta=2.0),
        node("ReduceMean", ["x", "last"], ["column"]),
        node("Squeeze", ["column", "last"], ["line"]),
        node("SpaceToDepth", ["x"], ["deep"], blocksize=2),
        node("DepthToSpace", ["deep"], ["flat"], blocksize=2),
        node("DepthToSpace", ["deep"], ["mixed"], blocksize=2, mode="CRD"),
        node("Shape", ["x"], ["size"], start=2),
        node("Cast", ["size"], ["floats"], to=1),
    ]
    constants = {
        "axes": integers(2, 3),
        "last": integers(3),
        "weight": weights(4, 3),
        "bias": weights(4),
    }
    outputs = ["log", "root", "inverse", "dense", "line", "flat", "mixed", "floats"]
    load(content_of(nodes, constants, outputs), tmp_path / "x.onnx")
