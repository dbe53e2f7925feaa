"""Quantization to 8-bit integers for CPUs: static, per channel, calibrated on a run's pictures."""

import logging
from collections.abc import Iterator, Sequence

import numpy as np
import onnx
import onnxruntime as ort
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantType,
    quantize_static,
)

from img2img.errors import UsageError
from img2img.export.parity import psnr
from img2img.writing import scratch_folder

Feed = dict[str, np.ndarray]  # the inputs of a session
MEAN_DB, WORST_DB = 38.0, 33.0  # target PSNR against the float graph


class _Feeds(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime has no types
    """An iterator with onnxruntime's interface."""

    def __init__(self, feeds: Sequence[Feed]):
        self.left: Iterator[Feed] = iter(feeds)

    def get_next(self) -> Feed | None:
        return next(self.left, None)


def quantized(
    model: onnx.ModelProto, calibration: Sequence[Feed], judged: Sequence[Feed]
) -> tuple[onnx.ModelProto, int]:
    """Quantize the model's convolutions; returns it with the number of convolutions left in float.

    The first and the last convolution stay in float, because their rounding errors are errors of
    pixels. If the PSNR on the judged inputs is too low, those that cost most by themselves stay in
    float as well, one after the other, until it is high enough.
    """
    convolutions, left = _edges(model)
    result = quantized_but_edges(model, calibration)
    if not _near_enough(psnrs(model, result, judged)):
        alone = {}
        for name in set(convolutions) - left:
            others = set(convolutions) - {name}
            alone[name] = min(psnrs(model, _quantize(model, calibration, others), judged))
        for name in sorted(alone, key=alone.__getitem__):
            if len(left) + 1 == len(convolutions):
                raise UsageError(
                    f"No part of this model can be run in 8 bits at {MEAN_DB:.0f} dB: export it in "
                    "fp32 or fp16."
                )
            left.add(name)
            result = _quantize(model, calibration, left)
            if _near_enough(psnrs(model, result, judged)):
                break
    return result, len(left)


def quantized_but_edges(model: onnx.ModelProto, calibration: Sequence[Feed]) -> onnx.ModelProto:
    """The model with all convolutions in 8 bits, except the first and the last."""
    return _quantize(model, calibration, _edges(model)[1])


def _edges(model: onnx.ModelProto) -> tuple[list[str], set[str]]:
    """The names of all convolutions, and those of the first and the last."""
    names = [node.name for node in model.graph.node if node.op_type == "Conv"]
    return names, {names[0], names[-1]}


def psnrs(reference: onnx.ModelProto, other: onnx.ModelProto, feeds: Sequence[Feed]) -> list[float]:
    """PSNR in dB of each output against the reference's."""
    sessions = [
        ort.InferenceSession(m.SerializeToString(), providers=["CPUExecutionProvider"])
        for m in (reference, other)
    ]
    decibels = []
    for feed in feeds:
        first, second = (session.run(None, feed)[0].astype(np.float64) for session in sessions)
        decibels.append(psnr(first - second))
    return decibels


def _near_enough(decibels: list[float]) -> bool:
    return float(np.mean(decibels)) >= MEAN_DB and min(decibels) >= WORST_DB


def _quantize(
    model: onnx.ModelProto, calibration: Sequence[Feed], left: set[str]
) -> onnx.ModelProto:
    root = logging.getLogger()
    before = root.level
    root.setLevel(logging.ERROR)  # it recommends a preprocessing that was done already
    try:
        with scratch_folder() as folder:
            path = folder / "int8.onnx"
            quantize_static(
                onnx.ModelProto.FromString(model.SerializeToString()),  # it changes its argument
                path,
                _Feeds(calibration),
                op_types_to_quantize=["Conv"],
                per_channel=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                nodes_to_exclude=sorted(left),
                calibrate_method=CalibrationMethod.MinMax,
            )
            return onnx.load(path)
    finally:
        root.setLevel(before)
