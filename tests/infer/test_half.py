"""Graphs converted to half precision in memory."""

from collections.abc import Sequence

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from img2img.export.half_weights import with_half_weights
from img2img.infer import onnx_file
from img2img.infer.half import in_half
from img2img.infer.registry import shipped

KERNEL = np.random.default_rng(0).normal(0, 0.2, (3, 3, 3, 3)).astype(np.float32)


def network(middle: Sequence[onnx.NodeProto] = (), **weights: np.ndarray) -> onnx.ModelProto:
    """image -> x -> convolution -> nodes from `a` to `b` -> convolution -> translated."""
    shape = ["N", "H", "W", 3]
    image = helper.make_tensor_value_info("image", TensorProto.UINT8, shape)
    result = helper.make_tensor_value_info("translated", TensorProto.UINT8, shape)
    same = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}
    nodes = [
        helper.make_node("Cast", ["image"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Div", ["float", "top"], ["scaled"]),
        helper.make_node("Transpose", ["scaled"], ["x"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["x", "kernel"], ["a"], **same),
        *(middle or [helper.make_node("Relu", ["a"], ["b"])]),
        helper.make_node("Conv", ["b", "kernel"], ["c"], **same),
        helper.make_node("Tanh", ["c"], ["d"]),
        helper.make_node("Mul", ["d", "top"], ["e"]),
        helper.make_node("Transpose", ["e"], ["f"], perm=[0, 2, 3, 1]),
        helper.make_node("Clip", ["f", "zero", "top"], ["g"]),
        helper.make_node("Cast", ["g"], ["translated"], to=TensorProto.UINT8),
    ]
    values = {"top": np.float32(255), "zero": np.float32(0), "kernel": KERNEL, **weights}
    stored = [numpy_helper.from_array(np.asarray(v), k) for k, v in values.items()]
    graph = helper.make_graph(nodes, "g", [image], [result], stored)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def types(content: bytes) -> dict[str, int]:
    """The types of all tensors of a graph that is valid."""
    model = onnx.load_from_string(content)
    onnx.checker.check_model(model, full_check=True)
    graph = onnx.shape_inference.infer_shapes(model, strict_mode=True).graph
    found = {value.name: value.type.tensor_type.elem_type for value in graph.value_info}
    return found | {tensor.name: tensor.data_type for tensor in graph.initializer}


def run(content: bytes) -> np.ndarray:
    image = np.random.default_rng(1).integers(0, 256, (2, 9, 7, 3), np.uint8)
    [result] = ort.InferenceSession(content).run(None, {"image": image})
    return result.astype(int)


def test_convolutions_and_what_is_between_them_compute_in_half():
    found = types(in_half(network().SerializeToString()))
    half = {"a", "b", "c", "kernel.half"}
    assert {name for name, kind in found.items() if kind == TensorProto.FLOAT16} >= half
    assert "kernel" not in found  # nothing uses it in fp32


def test_pixels_stay_in_full_precision_before_and_after_the_network():
    found = types(in_half(network().SerializeToString()))
    assert {found[name] for name in ("float", "scaled", "x", "d", "e", "f", "g")} == {
        TensorProto.FLOAT
    }


def test_the_result_is_that_of_full_precision_but_for_rounding():
    content = network().SerializeToString()
    difference = run(in_half(content)) - run(content)
    assert run(content).std() > 0
    assert np.abs(difference).max() <= 1


def test_an_operator_that_is_not_listed_computes_in_full_precision():
    middle = [
        helper.make_node("Exp", ["a"], ["grown"]),
        helper.make_node("Add", ["grown", "a"], ["b"]),
    ]
    content = in_half(network(middle).SerializeToString())
    found = types(content)
    assert found["grown"] == TensorProto.FLOAT
    assert found["b"] == TensorProto.FLOAT16
    assert np.abs(run(content) - run(network(middle).SerializeToString())).max() <= 1


def test_shapes_stay_integers():
    middle = [
        helper.make_node("Shape", ["a"], ["size"]),
        helper.make_node("Concat", ["size"], ["same"], axis=0),
        helper.make_node("Reshape", ["a", "same"], ["b"]),
    ]
    found = types(in_half(network(middle).SerializeToString()))
    assert found["same"] == TensorProto.INT64
    assert found["b"] == TensorProto.FLOAT16


def test_weights_that_are_stored_in_half_are_taken_as_they_are():
    large = np.random.default_rng(2).normal(0, 0.05, (512, 3, 1, 1)).astype(np.float32)
    middle = [
        helper.make_node("Conv", ["a", "large"], ["wide"]),
        helper.make_node("ConvTranspose", ["wide", "large"], ["b"]),
    ]
    model = with_half_weights(network(middle, large=large))
    content = in_half(model.SerializeToString())
    assert types(content)["large.fp16"] == TensorProto.FLOAT16
    names = [tensor.name for tensor in onnx.load_from_string(content).graph.initializer]
    assert sum(name.startswith("large") for name in names) == 1
    assert np.abs(run(content) - run(model.SerializeToString())).max() <= 1


def test_values_listed_as_floats_are_converted_like_bytes():
    model = network()
    [kernel] = [t for t in model.graph.initializer if t.name == "kernel"]
    listed = helper.make_tensor("kernel", TensorProto.FLOAT, KERNEL.shape, KERNEL.ravel())
    kernel.CopyFrom(listed)
    kernel.ClearField("raw_data")
    kernel.float_data[:] = KERNEL.ravel().tolist()
    assert np.array_equal(
        run(in_half(model.SerializeToString())), run(in_half(network().SerializeToString()))
    )


@pytest.mark.parametrize(
    ("name", "inside"),
    [
        ("flat-noto-ab", 0),
        ("flat-to-3d", 0),
        ("map-to-satellite", 0),
        # The means of squares of 13 norms, the roots of 12 demodulations, and the label vector
        # stay in fp32: each is cast there and back.
        ("three-styles", 2 * 13 + 2 * 12 + 1),
    ],
)
def test_a_shipped_model_keeps_its_metadata_and_is_cast_only_where_it_must(name, inside):
    content = (shipped("weights") / f"{name}.onnx").read_bytes()
    half = in_half(content)
    model = onnx.load_from_string(half)
    onnx.checker.check_model(model)
    assert sum(node.op_type == "Cast" for node in model.graph.node) == 4 + inside
    assert onnx_file.metadata(onnx_file.parse(half)) == onnx_file.metadata(onnx_file.parse(content))
    weights = [t for t in model.graph.initializer if len(t.dims) == 4]
    assert {t.data_type for t in weights} == {TensorProto.FLOAT16}
