"""Devices and number formats, which no other module deals with."""

import os
import shutil
from contextlib import AbstractContextManager, nullcontext
from importlib.util import find_spec
from typing import Any, Self, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from img2img import memory
from img2img.errors import DeviceError
from img2img.files import usable_cores
from img2img.training.config import Precision, RunConfig
from img2img.training.determinism import deterministic_algorithms, prepare_cuda
from img2img.training.ranks import Ranks

M = TypeVar("M", bound=nn.Module)


class Runtime:
    """The device and the precision of a run."""

    def __init__(
        self,
        device: str = "auto",
        precision: Precision = "auto",
        channels_last: bool = False,
        ranks: Ranks = Ranks(),  # noqa: B008, it is immutable
        deterministic: bool = False,
    ):
        """channels_last: use this memory layout with bf16. Each rank of a machine uses another GPU.
        deterministic: `algorithms` gives results that are equal to the last bit on GPUs, too.

        Raises DeviceError if the device is not available.
        """
        self.deterministic = deterministic
        if deterministic:
            prepare_cuda()
        self.device = _device(device, ranks)
        # Torch does not know the quota of a container.
        torch.set_num_threads(min(torch.get_num_threads(), usable_cores()))
        self.bf16 = precision == "bf16" or (precision == "auto" and _fast_bf16(self.device))
        self.layout = (
            torch.channels_last if channels_last and self.bf16 else torch.contiguous_format
        )

    @classmethod
    def of(cls, config: RunConfig, ranks: Ranks = Ranks()) -> Self:  # noqa: B008, it is immutable
        """The device and the precision that a run's config asks for. Errors as above."""
        layout = config.in_channels_last
        return cls(config.device, config.computed_in, layout, ranks, config.deterministic)

    def describe(self) -> str:
        """The device and the number format, for messages."""
        name = self.device.type
        if name == "cuda":
            name = torch.cuda.get_device_name(self.device)
        remark = ", deterministic" if self.deterministic else ""
        if self.deterministic and self.device.type != "cpu":
            remark += " (which takes longer)"
        return f"{name}, {'bf16' if self.bf16 else 'fp32'}{remark}"

    def algorithms(self) -> AbstractContextManager[None]:
        """A context in which torch uses deterministic algorithms alone, if the run is to be
        deterministic. Raises UsageError for an operation of which there is none.
        """
        return deterministic_algorithms() if self.deterministic else nullcontext()

    def autocast(self) -> AbstractContextManager[Any]:
        """A context in which torch computes in bf16, if the run does."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16)

    @property
    def compiles(self) -> bool:
        """Whether to compile networks by default. On CPUs that is hardly faster, and in a
        deterministic run other code may result from the next compilation.
        """
        fast = self.device.type == "cuda" and find_spec("triton") is not None
        return fast and not self.deterministic

    @property
    def miscompiles(self) -> bool:
        """Whether compiled code is known to be wrong: with torch 2.15, bf16 gradients of a ResNet
        for a batch of two are NaN on CPUs, without an error.
        """
        return self.device.type == "cpu" and self.bf16

    @property
    def lacks_compiler(self) -> bool:
        """Whether Triton, which compiles for GPUs, finds no C compiler."""
        there = os.environ.get("CC") or shutil.which("gcc") or shutil.which("clang")
        return self.device.type == "cuda" and not there

    def peak_memory(self) -> int:
        """Peak memory in bytes, of the GPU if the run uses one; 0 if it is not known."""
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device)
        return memory.peak() or 0

    def place_module(self, module: M) -> M:
        """Move the module to the device, in the memory layout of the run."""
        return module.to(self.device).to(memory_format=self.layout)

    def move(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """Move tensors to the device as they are."""
        return {name: t.to(self.device, non_blocking=True) for name, t in tensors.items()}

    def place(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """A copy of a batch on the device: pictures [N, H, W, C] become floats [N, C, H, W], of
        uint8 in [-1, 1]; other tensors keep their values.
        """
        return {name: self._place(tensor) for name, tensor in batch.items()}

    def _place(self, tensor: Tensor) -> Tensor:
        if tensor.ndim == 4 and tensor.dtype == torch.float32:
            tensor = tensor.to(self.device, non_blocking=True).permute(0, 3, 1, 2)
            return tensor.to(memory_format=self.layout, copy=True)
        if tensor.dtype != torch.uint8:
            # A copy even of what is on the device: it may be a view at any alignment in memory, on
            # which the rounding of some matrix products depends.
            return tensor.to(self.device, non_blocking=True, copy=True)
        tensor = tensor.to(self.device, non_blocking=True)
        image = tensor.permute(0, 3, 1, 2).to(torch.float32, memory_format=self.layout)
        return image.div_(127.5).sub_(1)


def to_uint8(images: Tensor) -> np.ndarray:
    """Float [N, C, H, W] in [-1, 1] -> uint8 [N, H, W, C]."""
    levels = images.detach().float().add(1).mul(127.5).round().clamp(0, 255)
    return levels.to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()


def seed_step(seed: int, step: int, *others: int) -> None:
    """Seed torch on all devices, so that the random numbers of a step only depend on the seed of
    the run, the step, and `others`, such as the rank.
    """
    torch.manual_seed(int(np.random.SeedSequence((seed, step, *others)).generate_state(1)[0]))


def default_workers(device: torch.device, ranks: Ranks) -> int:
    """The default number of processes that decode pictures: enough to keep a GPU busy, and one on
    CPUs, where they compete with training.
    """
    if device.type == "cpu":
        return 1
    return max(1, min(8, usable_cores() // ranks.local_count - 1))


def _device(name: str, ranks: Ranks) -> torch.device:
    """The device of that name, or the best one for "auto". Raises DeviceError if it is not
    there.
    """
    if ranks.count > 1 and name in ("auto", "cuda") and torch.cuda.is_available():
        name = f"cuda:{ranks.local}"
    if name == "auto" and not torch.cuda.is_available():
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    name = "cuda" if name == "auto" else name
    try:
        if name.partition(":")[0] not in ("cpu", "cuda", "mps"):
            raise RuntimeError("there are cpu, cuda and mps")
        device = torch.device(name)
        if device.type == "cuda" and device.index is None:
            device = torch.device("cuda", torch.cuda.current_device())
        torch.empty(1, device=device)
        if device.type == "cuda":
            torch.cuda.set_device(device)  # also for code that names no device
            torch.backends.cudnn.benchmark = True  # a run has few shapes
    except (RuntimeError, AssertionError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise DeviceError(
            f"The device {name} is not available ({reason}). Use --device auto or cpu."
        ) from None
    return device


def _fast_bf16(device: torch.device) -> bool:
    """Whether the hardware multiplies bf16 matrices natively. On CPUs it decides only where nothing
    is measured (img2img.training.precision), such as in runs from before that.
    """
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    return device.type == "cpu" and torch.cpu._is_amx_tile_supported()
