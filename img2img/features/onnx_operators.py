"""The operators of ONNX that convolutional networks consist of, in torch.

Each takes a node's attributes and inputs (None for those that are left out) and returns its output,
as https://onnx.ai/onnx/operators describes it for opsets 11 to 23.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from img2img.features.efficientnet import same_padding

Attributes = dict[str, Any]
Operator = Callable[..., Tensor | list[Tensor]]


def convolution(a: Attributes, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    strides, dilations = a.get("strides", [1, 1]), a.get("dilations", [1, 1])
    x = F.pad(x, _padding(a, x, weight.shape[2:]))
    return F.conv2d(x, weight, bias, strides, 0, dilations, a.get("group", 1))


def max_pool(a: Attributes, x: Tensor) -> Tensor:
    kernel = a["kernel_shape"]
    padded = F.pad(x, _padding(a, x, kernel), value=float("-inf"))
    strides, dilations = a.get("strides", [1, 1]), a.get("dilations", [1, 1])
    return F.max_pool2d(padded, kernel, strides, 0, dilations, bool(a.get("ceil_mode", 0)))


def average_pool(a: Attributes, x: Tensor) -> Tensor:
    kernel, strides = a["kernel_shape"], a.get("strides", [1, 1])
    left, right, top, bottom = _padding(a, x, kernel)
    if (left, top) != (right, bottom):
        raise NotImplementedError("AveragePool with different padding on opposite sides")
    include, up = bool(a.get("count_include_pad", 0)), bool(a.get("ceil_mode", 0))
    return F.avg_pool2d(x, kernel, strides, (top, left), up, include)


def batch_norm(
    a: Attributes, x: Tensor, scale: Tensor, bias: Tensor, mean: Tensor, variance: Tensor
) -> Tensor:
    return F.batch_norm(x, mean, variance, scale, bias, eps=a.get("epsilon", 1e-5))


def instance_norm(a: Attributes, x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    return F.instance_norm(x, weight=scale, bias=bias, eps=a.get("epsilon", 1e-5))


def layer_norm(a: Attributes, x: Tensor, scale: Tensor, bias: Tensor | None = None) -> Tensor:
    axis = a.get("axis", -1) % x.ndim
    scale = scale.expand(x.shape[axis:])
    bias = None if bias is None else bias.expand(x.shape[axis:])
    return F.layer_norm(x, x.shape[axis:], scale, bias, a.get("epsilon", 1e-5))


def clip(a: Attributes, x: Tensor, low: Tensor | None = None, high: Tensor | None = None) -> Tensor:
    least = a.get("min") if low is None else float(low)
    return torch.clamp(x, least, a.get("max") if high is None else float(high))


def gemm(a: Attributes, x: Tensor, y: Tensor, z: Tensor | None = None) -> Tensor:
    x, y = x.T if a.get("transA") else x, y.T if a.get("transB") else y
    product: Tensor = a.get("alpha", 1.0) * (x @ y)
    return product if z is None else product + a.get("beta", 1.0) * z


def pad(
    a: Attributes, x: Tensor, pads: Tensor, value: Tensor | None = None, axes: Tensor | None = None
) -> Tensor:
    ends = pads.tolist()
    half = len(ends) // 2
    named = range(half) if axes is None else axes.tolist()
    by_axis = {axis % x.ndim: ends[number::half] for number, axis in enumerate(named)}
    amounts = [end for axis in reversed(range(x.ndim)) for end in by_axis.get(axis, (0, 0))]
    mode = {b"reflect": "reflect", b"edge": "replicate"}.get(a.get("mode", b"constant"), "constant")
    if mode != "constant":
        if any(amounts[4:]):
            raise NotImplementedError("Pad of other axes than height and width by their border")
        return F.pad(x, amounts[:4], mode)
    return F.pad(x, amounts, value=0.0 if value is None else float(value))


def resize(
    a: Attributes,
    x: Tensor,
    _: Tensor | None = None,
    scales: Tensor | None = None,
    sizes: Tensor | None = None,
) -> Tensor:
    mode, transform = a.get("mode", b"nearest"), a.get("coordinate_transformation_mode", b"")
    if sizes is not None and sizes.numel():
        height, width = sizes.tolist()[-2:]
    elif scales is not None:
        height, width = (
            int(side * scale) for side, scale in zip(x.shape[2:], scales.tolist()[-2:], strict=True)
        )
    if mode == b"nearest":
        return F.interpolate(x, (height, width), mode="nearest")
    corners = transform == b"align_corners"
    name = {b"linear": "bilinear", b"cubic": "bicubic"}[mode]
    return F.interpolate(x, (height, width), mode=name, align_corners=corners)


def slice_(
    _: Attributes,
    x: Tensor,
    starts: Tensor,
    ends: Tensor,
    axes: Tensor | None = None,
    steps: Tensor | None = None,
) -> Tensor:
    count = len(starts)
    along = range(count) if axes is None else axes.tolist()
    jumps = [1] * count if steps is None else steps.tolist()
    parts = [slice(None)] * x.ndim
    for axis, start, end, step in zip(along, starts.tolist(), ends.tolist(), jumps, strict=True):
        if step < 1:
            raise NotImplementedError("Slice with a negative step")
        parts[axis] = slice(start, end, step)
    return x[tuple(parts)]


def split(a: Attributes, x: Tensor, sizes: Tensor | None = None) -> list[Tensor]:
    axis = a.get("axis", 0)
    if sizes is None:
        return list(x.chunk(a["num_outputs"], axis))
    return list(torch.split_with_sizes(x, sizes.tolist(), axis))


def gather(a: Attributes, x: Tensor, indices: Tensor) -> Tensor:
    axis = a.get("axis", 0) % x.ndim
    chosen = x.index_select(axis, indices.flatten().to(x.device) % x.shape[axis])
    return chosen.reshape(*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :])


def reshape(_: Attributes, x: Tensor, shape: Tensor) -> Tensor:
    sides = [side or x.shape[axis] for axis, side in enumerate(shape.tolist())]
    return x.reshape(sides)


def depth_to_space(a: Attributes, x: Tensor) -> Tensor:
    block = a["blocksize"]
    if a.get("mode", b"DCR") == b"DCR":  # the place in the block comes before the channel
        parts = x.reshape(len(x), block * block, -1, *x.shape[2:])
        x = parts.transpose(1, 2).flatten(1, 2)
    return F.pixel_shuffle(x, block)


def space_to_depth(a: Attributes, x: Tensor) -> Tensor:
    block = a["blocksize"]
    parts = F.pixel_unshuffle(x, block)
    parts = parts.reshape(len(x), -1, block * block, *parts.shape[2:])
    return parts.transpose(1, 2).flatten(1, 2)


def cast(a: Attributes, x: Tensor) -> Tensor:
    kinds = {1: torch.float32, 6: torch.int32, 7: torch.int64, 9: torch.bool}
    return x.to(kinds[a["to"]])


def _reduced(function: Callable[..., Tensor]) -> Operator:
    def reduce(a: Attributes, x: Tensor, axes: Tensor | None = None) -> Tensor:
        chosen = a.get("axes") if axes is None else axes.tolist()
        return function(x, chosen or list(range(x.ndim)), keepdim=bool(a.get("keepdims", 1)))

    return reduce


def _squeeze(a: Attributes, x: Tensor, axes: Tensor | None = None) -> Tensor:
    chosen = a.get("axes") if axes is None else axes.tolist()
    return x.squeeze() if chosen is None else x.squeeze(tuple(chosen))


def _unsqueeze(a: Attributes, x: Tensor, axes: Tensor | None = None) -> Tensor:
    chosen = a["axes"] if axes is None else axes.tolist()
    ndim = x.ndim + len(chosen)
    for axis in sorted(axis % ndim for axis in chosen):
        x = x.unsqueeze(axis)
    return x


def _padding(a: Attributes, x: Tensor, kernel: Any) -> tuple[int, int, int, int]:
    """Left, right, top, bottom, as F.pad takes it; kernel: height and width."""
    automatic = a.get("auto_pad", b"NOTSET")
    if automatic == b"NOTSET":
        top, left, bottom, right = a.get("pads", [0, 0, 0, 0])
        return left, right, top, bottom
    if automatic == b"VALID":
        return 0, 0, 0, 0
    strides, dilations = a.get("strides", [1, 1]), a.get("dilations", [1, 1])
    windows = ((side - 1) * dilation + 1 for side, dilation in zip(kernel, dilations, strict=True))
    (top, bottom), (left, right) = map(same_padding, x.shape[2:], windows, strides)
    return (left, right, top, bottom) if automatic == b"SAME_UPPER" else (right, left, bottom, top)


OPERATORS: dict[str, Operator] = {
    "Conv": convolution,
    "MaxPool": max_pool,
    "AveragePool": average_pool,
    "GlobalAveragePool": lambda a, x: x.mean((2, 3), keepdim=True),
    "GlobalMaxPool": lambda a, x: x.amax((2, 3), keepdim=True),
    "BatchNormalization": batch_norm,
    "InstanceNormalization": instance_norm,
    "LayerNormalization": layer_norm,
    "Relu": lambda a, x: F.relu(x),
    "LeakyRelu": lambda a, x: F.leaky_relu(x, a.get("alpha", 0.01)),
    "PRelu": lambda a, x, slope: torch.where(x < 0, slope * x, x),
    "Elu": lambda a, x: F.elu(x, a.get("alpha", 1.0)),
    "Selu": lambda a, x: F.selu(x),
    "Sigmoid": lambda a, x: x.sigmoid(),
    "HardSigmoid": lambda a, x: (a.get("alpha", 0.2) * x + a.get("beta", 0.5)).clamp(0, 1),
    "HardSwish": lambda a, x: F.hardswish(x),
    "Mish": lambda a, x: F.mish(x),
    "Gelu": lambda a, x: F.gelu(x, approximate=a.get("approximate", b"none").decode()),
    "Tanh": lambda a, x: x.tanh(),
    "Softplus": lambda a, x: F.softplus(x),
    "Softmax": lambda a, x: x.softmax(a.get("axis", -1)),
    "Erf": lambda a, x: x.erf(),
    "Exp": lambda a, x: x.exp(),
    "Log": lambda a, x: x.log(),
    "Sqrt": lambda a, x: x.sqrt(),
    "Abs": lambda a, x: x.abs(),
    "Neg": lambda a, x: -x,
    "Reciprocal": lambda a, x: x.reciprocal(),
    "Clip": clip,
    "Add": lambda a, x, y: x + y,
    "Sub": lambda a, x, y: x - y,
    "Mul": lambda a, x, y: x * y,
    "Div": lambda a, x, y: x / y if x.is_floating_point() else x // y,
    "Pow": lambda a, x, y: x**y,
    "Max": lambda a, x, y: torch.maximum(x, y),
    "Min": lambda a, x, y: torch.minimum(x, y),
    "MatMul": lambda a, x, y: x @ y,
    "Gemm": gemm,
    "ReduceMean": _reduced(torch.mean),
    "ReduceSum": _reduced(torch.sum),
    "ReduceMax": _reduced(torch.amax),
    "Concat": lambda a, *parts: torch.cat(parts, a["axis"]),
    "Split": split,
    "Slice": slice_,
    "Gather": gather,
    "Pad": pad,
    "Resize": resize,
    "Reshape": reshape,
    "Flatten": lambda a, x: x.reshape(x.shape[: a.get("axis", 1)].numel(), -1),
    "Transpose": lambda a, x: x.permute(a["perm"]) if "perm" in a else x.T,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "DepthToSpace": depth_to_space,
    "SpaceToDepth": space_to_depth,
    "Shape": lambda a, x: torch.tensor(x.shape[a.get("start", 0) : a.get("end")]),
    "Cast": cast,
    "Identity": lambda a, x: x,
    "Dropout": lambda a, x, *_: x,
}
