"""The number format of a run with `--precision auto`, which is chosen when the run starts."""

import math
import platform
import time
from collections.abc import Callable, Mapping

import torch
from torch import nn

from img2img.training.config import NumberFormat, RunConfig
from img2img.training.ranks import Ranks
from img2img.training.runtime import Runtime

SECONDS = 0.5  # that the comparison takes
GAIN = 1.1  # by which bf16 must be faster, so that a tie stays fp32
WORK = 2e8  # multiplications of the compared convolution for each thread: 10 to 40 ms in fp32


def settled(config: RunConfig, ranks: Ranks) -> RunConfig:
    """The config of a new run with its number format, which stays when the run is resumed.

    The first rank chooses for all. Raises DeviceError if the device is not available.
    """
    if config.precision != "auto" or config.number_format:
        return config
    runtime = Runtime.of(config, ranks)
    chosen: NumberFormat = "bf16" if runtime.bf16 else "fp32"
    if runtime.device.type == "cpu" and ranks.first:
        chosen = _of_cpu(config, ranks)
    return config.model_copy(update={"number_format": ranks.from_first(chosen)})


def has_bf16() -> bool:
    """Whether the CPU has instructions that multiply bf16."""
    if platform.machine() in ("arm64", "aarch64"):
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


def faster(
    steps: Mapping[NumberFormat, Callable[[], object]],
    clock: Callable[[], float] = time.perf_counter,
) -> NumberFormat:
    """The format whose step takes less time: fp32, unless bf16 is faster by GAIN.

    The formats take turns, and the shortest time of each counts, since whatever else the machine
    computes can only make a step longer. The first step of each, which sets up, does not count.
    """
    for step in steps.values():
        step()
    shortest, end = dict.fromkeys(steps, float("inf")), clock() + SECONDS
    while True:
        for name, step in steps.items():
            before = clock()
            step()
            shortest[name] = min(shortest[name], clock() - before)
        if clock() >= end:
            return "bf16" if GAIN * shortest["bf16"] < shortest["fp32"] else "fp32"


def _of_cpu(config: RunConfig, ranks: Ranks) -> NumberFormat:
    if not has_bf16():
        return "fp32"
    layout = config.in_channels_last
    shape = _shape(config, ranks)
    return faster(
        {
            "fp32": _convolution(Runtime("cpu", "fp32", layout), shape),
            "bf16": _convolution(Runtime("cpu", "bf16", layout), shape),
        }
    )


def _shape(config: RunConfig, ranks: Ranks) -> tuple[int, int, int, int]:
    """[N, C, H, W] of features as in the middle of the run's generators, with at most 256 channels,
    and fewer or smaller maps where they would take too long.
    """
    c = config.method
    width = c.flat().get("width", 64)  # of the generators; those of other packages may have none
    channels, side = min(4 * int(width), 256), max(min(c.size) // 4, 8)
    most = max(1, int(WORK * torch.get_num_threads() / (9 * channels**2)))  # positions
    pictures = max(1, min(c.batch // (ranks.count * c.accumulate), most // side**2))
    side = min(side, max(8, math.isqrt(most // pictures)))
    return pictures, channels, side, side


def _convolution(runtime: Runtime, shape: tuple[int, int, int, int]) -> Callable[[], object]:
    """A 3x3 convolution of features of that shape, forward and backward, as the runtime does it."""
    layer = runtime.place_module(nn.Conv2d(shape[1], shape[1], 3, padding=1))
    kind = torch.bfloat16 if runtime.bf16 else torch.float32
    features = torch.rand(shape, dtype=kind).contiguous(memory_format=runtime.layout)
    features.requires_grad_()

    def step() -> None:
        with runtime.autocast():
            output = layer(features)
        output.backward(torch.ones_like(output))

    return step
