"""The processes that train a run together, started by torchrun, or a single one."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist

# Its functions have the default process group at the time of the import as a default argument. If
# torch imported it after the group is created, the group could never be freed, and its threads
# would sometimes abort the process when the interpreter exits.
import torch.distributed.nn
from torch import Tensor, nn

from img2img.errors import Img2ImgError, UsageError

PATIENCE = timedelta(
    minutes=30
)  # the others wait while the first process looks at the run and saves


class LostRank(Img2ImgError):
    """Another process of the run has ended, or can't be reached."""


@dataclass(frozen=True)
class Ranks:
    """This process among all of a run. All have the same weights, and each its share of a batch."""

    rank: int = 0
    count: int = 1

    @property
    def first(self) -> bool:
        """Whether this is the process that writes files and messages."""
        return self.rank == 0

    @property
    def local(self) -> int:
        """The number of this process among those of this machine."""
        return int(os.environ.get("LOCAL_RANK", 0)) if self.count > 1 else 0

    @property
    def local_count(self) -> int:
        """The number of processes on this machine."""
        return int(os.environ.get("LOCAL_WORLD_SIZE", 1)) if self.count > 1 else 1

    def share(self, batch: int) -> int:
        """The number of pictures of a batch that this process computes.

        Raises UsageError if the batch can't be divided equally.
        """
        if batch % self.count:
            raise UsageError(
                f"A batch of {batch} can't be divided between {self.count} processes. "
                f"Use --batch {-(-batch // self.count) * self.count}."
            )
        return batch // self.count

    def copy_first(self, module: nn.Module) -> None:
        """Copy the parameters and buffers of the first process to all others."""
        self.any(False)  # wait for all: NCCL would not notice that a process is missing
        if self.count > 1:
            with _lost():
                for tensor in module.state_dict().values():
                    dist.broadcast(tensor, 0)

    def average(self, tensors: list[Tensor]) -> None:
        """Replace each tensor by its mean over the processes; all pass the same shapes, in
        order.
        """
        if self.count == 1 or not tensors:
            return
        together = torch.cat([tensor.reshape(-1) for tensor in tensors])  # one message for all
        with _lost():
            dist.all_reduce(together)
        parts = torch.split(together.div_(self.count), [tensor.numel() for tensor in tensors])
        for tensor, part in zip(tensors, parts, strict=True):
            tensor.copy_(part.view_as(tensor))

    def any(self, *flags: bool) -> tuple[bool, ...]:
        """For each flag, whether it is True in any process. Waits for all processes, but for no
        device.
        """
        if self.count == 1:
            return flags
        raised = torch.tensor(flags, dtype=torch.uint8)
        with _lost():
            dist.all_reduce(raised, dist.ReduceOp.MAX)
        return tuple(bool(flag) for flag in raised)

    def gather(self, state: Any) -> list[Any]:
        """The values of all processes, in order, in the first one; in the others an empty list.

        state: plain values and tensors on the CPU.
        """
        if self.count == 1:
            return [state]
        states: list[Any] = [None] * self.count if self.first else []
        with _lost():
            dist.gather_object(state, states or None)
        return states

    def from_first(self, value: Any) -> Any:
        """The value that the first process passes; plain values only."""
        if self.count == 1:
            return value
        values = [value]
        with _lost():
            dist.broadcast_object_list(values)
        return values[0]


@contextmanager
def joined() -> Iterator[Ranks]:
    """The ranks of this run, connected if a launcher such as torchrun started several processes.

    Raises LostRank if they can't connect.
    """
    launched = {"RANK", "WORLD_SIZE", "MASTER_ADDR"} <= os.environ.keys()
    count = int(os.environ["WORLD_SIZE"]) if launched else 1
    if count == 1:
        yield Ranks()
        return
    # CPU tensors go over gloo, which waits for no device and notices a lost process.
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    try:
        dist.init_process_group(backend, timeout=PATIENCE)
    except (RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise LostRank(
            f"The {count} processes can't connect to each other ({reason}). Start all of them with "
            "torchrun, with the same --rdzv-endpoint on every machine."
        ) from None
    yield Ranks(dist.get_rank(), count)
    # Not after an error, when the others may wait for this process: they notice that it ends.
    dist.destroy_process_group()


@contextmanager
def _lost() -> Iterator[None]:
    """Turn errors of communication into LostRank."""
    try:
        yield
    except RuntimeError as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise LostRank(f"Another process of this run is gone ({reason}).") from None
