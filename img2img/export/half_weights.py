"""Weights stored in fp16 and computed with in fp32, which halves the file."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

LEAST = 1024  # values of a tensor; rounding smaller ones would save nothing worth it
SMALLEST, LARGEST = 2.0**-14, 65504.0  # normal numbers of fp16


def with_half_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model, changed in place, with its large weights in fp16, each behind a Cast to fp32.

    Runtimes compute the Cast once, when they load the file, so that nothing else changes: they
    run as fast as with weights in fp32, and need no arithmetic in fp16. Each weight is rounded to
    11 binary digits. Biases, the scales of norms and other small tensors stay in fp32, and so do
    weights that fp16 can't represent with all of these digits.
    """
    graph, casts = model.graph, []
    for tensor in graph.initializer:
        if tensor.data_type != TensorProto.FLOAT or len(tensor.dims) < 2:
            continue
        weight = numpy_helper.to_array(tensor)
        if weight.size < LEAST or not fits(weight):
            continue
        name, stored = tensor.name, f"{tensor.name}.fp16"
        tensor.CopyFrom(numpy_helper.from_array(weight.astype(np.float16), stored))
        casts.append(
            helper.make_node("Cast", [stored], [name], f"{name}.cast", to=TensorProto.FLOAT)
        )
    nodes = [*casts, *graph.node]  # a node's inputs come before it
    del graph.node[:]
    graph.node.extend(nodes)
    return model


def fits(weight: np.ndarray) -> bool:
    """Whether fp16 has the range of a weight [A, B, ...].

    The largest magnitude of every slice of the first two axes, one of which is the output channel,
    must be 0 or a normal number of fp16. Its error and those of the smaller values beside it are
    then at most 2^-11 of it. A channel of tiny weights would lose digits that a norm amplifies.
    """
    magnitudes = np.abs(weight)
    for axis in (0, 1):
        others = tuple(other for other in range(weight.ndim) if other != axis)
        largest = magnitudes.max(axis=others)
        if not ((largest == 0) | ((largest >= SMALLEST) & (largest <= LARGEST))).all():
            return False
    return True
