"""OpenVINO as a provider: the fastest one on CPUs with bf16 or 8-bit matrix instructions (AMX)."""

import importlib.util
import io
import threading
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from img2img.files import usable_cores

if TYPE_CHECKING:
    import openvino

AXES = [2, 3]  # height and width of [N, C, H, W]
# Compiled kernels that are kept. Each size of picture needs its own; OpenVINO's default of 5,000
# takes gigabytes.
KERNELS = 100
SUBPIXEL = {  # attributes of the transposed convolutions that are rewritten
    "strides": [2, 2],
    "dilations": [1, 1],
    "output_padding": [0, 0],
    "auto_pad": "explicit",
}


def read(content: bytes) -> "openvino.Model":
    """The graph in an ONNX file."""
    from openvino.frontend import FrontEndManager

    # Not Core.read_model, which also takes the formats of other frameworks.
    reader = FrontEndManager().load_by_framework("onnx")
    return reader.convert(reader.load(io.BytesIO(content)))


def metadata(model: "openvino.Model") -> dict[str, str]:
    """The metadata of the ONNX file."""
    entries = model.rt_info["framework"] if model.has_rt_info(["framework"]) else {}
    return {name: entries[name].value for name in entries}


class OpenVinoSession:
    """The part of onnxruntime's session that a translator needs. Several threads may run one."""

    def __init__(self, model: "openvino.Model", threads: int | None = None, exact: bool = False):
        """exact: compute in fp32 even where the CPU is faster in bf16."""
        _widen_weights(model)
        _use_subpixels(model)
        settings = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": threads or usable_cores(),
            "EXECUTION_MODE_HINT": "ACCURACY" if exact else "PERFORMANCE",
            "CPU_RUNTIME_CACHE_CAPACITY": KERNELS,
        }
        self._compiled = _core().compile_model(model, "CPU", settings)
        self._thread = threading.local()  # a request serves one thread at a time
        computed = self._compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
        self.precision = {"bf16": "bf16", "f16": "fp16"}.get(computed, "fp32")

    def run(self, outputs: None, feed: dict[str, np.ndarray]) -> list[np.ndarray]:
        """All outputs, in the graph's order."""
        if not hasattr(self._thread, "request"):
            self._thread.request = self._compiled.create_infer_request()
        results = self._thread.request.infer(feed)
        return [results[output].copy() for output in self._compiled.outputs]


def is_installed() -> bool:
    return importlib.util.find_spec("openvino") is not None


def pays_off() -> bool:
    """Whether this CPU computes in bf16. Without bf16, onnxruntime is as fast, and exact."""
    try:
        return "BF16" in _core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    except Exception:  # a broken installation, or one without a CPU plugin
        return False


@cache
def _core() -> "openvino.Core":
    """The process's only openvino.Core. When the last one is deleted, its plugin is unloaded, and
    starting a child process crashes after that.
    """
    import openvino

    return openvino.Core()


def _widen_weights(model: "openvino.Model") -> None:
    """Replace weights that are stored in fp16 and cast by weights in fp32, the constants that
    `_use_subpixels` needs. (All of OpenVINO's constant folding would widen those of int8, too.)
    """
    from openvino import opset13 as ops

    for node in model.get_ordered_ops():
        if node.get_type_name() != "Convert":
            continue
        stored, wanted = node.input_value(0).get_node(), node.get_element_type().to_dtype()
        if stored.get_type_name() == "Constant" and stored.data.dtype == np.float16:
            node.output(0).replace(ops.constant(stored.data.astype(wanted)).output(0))


def _use_subpixels(model: "openvino.Model") -> None:
    """Replace transposed convolutions of kernel 4, stride 2 and padding by convolutions and a pixel
    shuffle, which compute the same (Shi et al. 2016). Otherwise OpenVINO runs the last one of a
    network, and all of a U-Net's, in fp32.
    """
    from openvino import opset13 as ops

    for node in model.get_ordered_ops():
        if node.get_type_name() != "ConvolutionBackpropData":
            continue
        kernel, attributes = node.input_value(1).get_node(), node.get_attributes()
        begin, end = ([*attributes[f"pads_{where}"]] for where in ("begin", "end"))
        fits = attributes.items() >= SUBPIXEL.items() and node.get_input_size() == 2
        if (
            not fits
            or min(begin + end) < 1
            or kernel.get_type_name() != "Constant"
            or kernel.data.shape[2:] != (4, 4)
        ):
            continue
        convolved = ops.convolution(
            node.input_value(0), subpixel_kernel(kernel.data), [1, 1], [1, 1], [1, 1], [1, 1]
        )
        shuffled = ops.depth_to_space(convolved, "depth_first", 2)
        border = [ops.constant(value) for value in (begin, [-n for n in end], [1, 1], AXES)]
        node.output(0).replace(ops.slice(shuffled, *border).output(0))


def subpixel_kernel(kernel: np.ndarray) -> np.ndarray:
    """The kernel [C, C', 4, 4] of a transposed convolution -> the kernel [4 C', C, 2, 2] of a
    convolution with the same result after a pixel shuffle and without its border of 1 pixel.

    Position 2 p + r after the shuffle is output 2 p + r - 1, to which input p - 1 + a contributes
    the kernel's value at r + 2 (1 - a).
    """
    inner, outer = kernel.shape[:2]
    taps = kernel.reshape(inner, outer, 2, 2, 2, 2)[:, :, ::-1, :, ::-1]  # [C, C', a, r, b, s]
    return np.ascontiguousarray(taps.transpose(1, 3, 5, 0, 2, 4)).reshape(4 * outer, inner, 2, 2)
