"""The processes that train one run together, as torchrun starts them; a run alone is one of one."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from img2img.errors import Img2ImgError, UsageError

PATIENCE = timedelta(minutes=30)  # the others wait while the first one looks at the run and saves


class LostRank(Img2ImgError):
    """Another process of the run ended, or can't be reached any more."""


@dataclass(frozen=True)
class Ranks:
    """This process's place among all: all hold the same weights, each has its own pictures."""

    rank: int = 0
    count: int = 1

    @property
    def first(self) -> bool:
        """Whether this is the one that writes files and talks."""
        return self.rank == 0

    @property
    def local(self) -> int:
        """The place among the processes of this machine."""
        return int(os.environ.get("LOCAL_RANK", 0)) if self.count > 1 else 0

    @property
    def local_count(self) -> int:
        return int(os.environ.get("LOCAL_WORLD_SIZE", 1)) if self.count > 1 else 1

    def share(self, batch: int) -> int:
        """Pictures of a batch that are this process's."""
        if batch % self.count:
            raise UsageError(
                f"A batch of {batch} can't be shared by {self.count} processes. "
                f"Use --batch {-(-batch // self.count) * self.count}."
            )
        return batch // self.count

    def copy_first(self, module: nn.Module) -> None:
        """Give the first one's parameters and buffers to all."""
        self.any(False)  # all are there: waiting for a device would not notice who is not
        if self.count > 1:
            with _lost():
                for tensor in module.state_dict().values():
                    dist.broadcast(tensor, 0)

    def average(self, tensors: list[Tensor]) -> None:
        """Replace each tensor by its mean over the processes, which all give the same ones."""
        if self.count == 1 or not tensors:
            return
        together = torch.cat([tensor.reshape(-1) for tensor in tensors])  # one message for all
        with _lost():
            dist.all_reduce(together)
        parts = torch.split(together.div_(self.count), [tensor.numel() for tensor in tensors])
        for tensor, part in zip(tensors, parts, strict=True):
            tensor.copy_(part.view_as(tensor))

    def any(self, *flags: bool) -> tuple[bool, ...]:
        """Which of the flags are up anywhere. All wait here for the slowest, but for no device."""
        if self.count == 1:
            return flags
        raised = torch.tensor(flags, dtype=torch.uint8)
        with _lost():
            dist.all_reduce(raised, dist.ReduceOp.MAX)
        return tuple(bool(flag) for flag in raised)

    def gather(self, state: Any) -> list[Any]:
        """Everyone's plain values and tensors of the CPU, in order, on the first; else empty."""
        if self.count == 1:
            return [state]
        found: list[Any] = [None] * self.count if self.first else []
        with _lost():
            dist.gather_object(state, found or None)
        return found

    def from_first(self, value: Any) -> Any:
        """The first one's plain value."""
        if self.count == 1:
            return value
        told = [value]
        with _lost():
            dist.broadcast_object_list(told)
        return told[0]


@contextmanager
def joined() -> Iterator[Ranks]:
    """This process's ranks, connected where a launcher such as torchrun started several."""
    told = {"RANK", "WORLD_SIZE", "MASTER_ADDR"} <= os.environ.keys()
    count = int(os.environ["WORLD_SIZE"]) if told else 1
    if count == 1:
        yield Ranks()
        return
    # Words between hosts go over gloo: they wait for no device, and notice who has gone.
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    try:
        dist.init_process_group(backend, timeout=PATIENCE)
    except (RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise LostRank(
            f"The {count} processes did not find each other ({reason}). Start them all with "
            "torchrun, with the same --rdzv-endpoint on every machine."
        ) from None
    yield Ranks(dist.get_rank(), count)
    # Not after an error: it would wait for those who wait for this one. They see it end.
    dist.destroy_process_group()


@contextmanager
def _lost() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise LostRank(f"Another process of this run is gone ({reason}).") from None
