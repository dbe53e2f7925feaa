"""The only place that knows devices and precision."""

from contextlib import AbstractContextManager
from importlib.util import find_spec
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from img2img import memory
from img2img.errors import DeviceError
from img2img.files import usable_cores
from img2img.training.config import Precision
from img2img.training.ranks import Ranks

M = TypeVar("M", bound=nn.Module)


class Runtime:
    """A device and a precision, chosen once for a run."""

    def __init__(
        self,
        device: str = "auto",
        precision: Precision = "auto",
        channels_last: bool = False,
        ranks: Ranks = Ranks(),  # noqa: B008, it is immutable
    ):
        """channels_last: lay images out so under bf16. Each rank of a machine takes a GPU of its
        own. Raises DeviceError for a missing device.
        """
        self.device = _device(device, ranks)
        self.bf16 = precision == "bf16" or (precision == "auto" and _fast_bf16(self.device))
        last = channels_last and self.bf16
        self.layout = torch.channels_last if last else torch.contiguous_format

    def describe(self) -> str:
        name = self.device.type
        if name == "cuda":
            name = torch.cuda.get_device_name(self.device)
        return f"{name}, {'bf16' if self.bf16 else 'fp32'}"

    def autocast(self) -> AbstractContextManager[Any]:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16)

    @property
    def compiles(self) -> bool:
        """Whether compiled networks train faster: on a CPU they do not, or hardly."""
        return self.device.type == "cuda" and find_spec("triton") is not None

    @property
    def miscompiles(self) -> bool:
        """Whether compiled code is known to be wrong: with torch 2.15 a ResNet's gradients of two
        pictures are NaN, without any error.
        """
        return self.device.type == "cpu" and self.bf16

    def peak_memory(self) -> int:
        """Most bytes that were held, of the GPU's where there is one; 0 where nobody knows."""
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device)
        return memory.peak() or 0

    def place_module(self, module: M) -> M:
        return module.to(self.device).to(memory_format=self.layout)

    def place(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Uint8 pictures [N, H, W, C] become floats [N, C, H, W] in [-1, 1]; all on the device."""
        return {name: self._place(tensor) for name, tensor in batch.items()}

    def _place(self, tensor: Tensor) -> Tensor:
        tensor = tensor.to(self.device, non_blocking=True)
        if tensor.dtype != torch.uint8:
            return tensor
        image = tensor.permute(0, 3, 1, 2).to(torch.float32, memory_format=self.layout)
        return image.div_(127.5).sub_(1)


def to_uint8(images: Tensor) -> np.ndarray:
    """Float [N, C, H, W] in [-1, 1] -> uint8 [N, H, W, C]."""
    levels = images.detach().float().add(1).mul(127.5).round().clamp(0, 255)
    return levels.to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()


def seed_step(seed: int, step: int, *others: int) -> None:
    """Seed torch everywhere, so that every draw of a step is a function of these numbers alone: the
    run's seed, the step, and of whatever draws for itself in it.
    """
    torch.manual_seed(int(np.random.SeedSequence((seed, step, *others)).generate_state(1)[0]))


def default_workers(device: torch.device, ranks: Ranks) -> int:
    """Enough to decode while the device computes; on a CPU they take cores from the training."""
    if device.type == "cpu":
        return 1
    return max(1, min(8, usable_cores() // ranks.local_count - 1))


def _device(wanted: str, ranks: Ranks) -> torch.device:
    if ranks.count > 1 and wanted in ("auto", "cuda") and torch.cuda.is_available():
        wanted = f"cuda:{ranks.local}"
    if wanted == "auto" and not torch.cuda.is_available():
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    wanted = "cuda" if wanted == "auto" else wanted
    try:
        if wanted.partition(":")[0] not in ("cpu", "cuda", "mps"):
            raise RuntimeError("there are cpu, cuda and mps")
        device = torch.device(wanted)
        if device.type == "cuda" and device.index is None:
            device = torch.device("cuda", torch.cuda.current_device())
        torch.empty(1, device=device)
        if device.type == "cuda":
            torch.cuda.set_device(device)  # what asks for no device in particular goes there, too
            torch.backends.cudnn.benchmark = True  # the shapes of a run are few
    except (RuntimeError, AssertionError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise DeviceError(
            f"The device {wanted} is not available ({reason}). Use --device auto or cpu."
        ) from None
    return device


def _fast_bf16(device: torch.device) -> bool:
    """Whether the hardware multiplies bf16 matrices natively."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    return device.type == "cpu" and torch.cpu._is_amx_tile_supported()
