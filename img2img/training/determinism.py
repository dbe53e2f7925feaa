"""Runs that are equal to the last bit on GPUs, too (`--deterministic`)."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from img2img.errors import UsageError

CUBLAS = "CUBLAS_WORKSPACE_CONFIG"
REPEATABLE = (":4096:8", ":16:8")  # its values with which cuBLAS gives the same results each time
REFUSAL = re.compile(r"^(.+) does not have a deterministic implementation", re.MULTILINE)


def prepare_cuda() -> None:
    """Have cuBLAS give the same results each time, which it decides when CUDA starts."""
    if os.environ.get(CUBLAS) not in REPEATABLE:
        os.environ[CUBLAS] = REPEATABLE[0]


@contextmanager
def deterministic_algorithms() -> Iterator[None]:
    """Have torch use deterministic algorithms alone, until the end of the block.

    Raises UsageError, within the block, for an operation of which torch has none on the device.
    """
    cudnn = torch.backends.cudnn
    memory: Any = torch.utils.deterministic  # its property is one of the module's class
    enabled = torch.are_deterministic_algorithms_enabled()
    warns = torch.is_deterministic_algorithms_warn_only_enabled()
    before = cudnn.benchmark, cudnn.deterministic, memory.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True)
    cudnn.benchmark, cudnn.deterministic = False, True  # the fastest algorithm depends on the day
    memory.fill_uninitialized_memory = False  # no operation of ours reads what it has not written
    try:
        yield
    except RuntimeError as error:
        refused = REFUSAL.search(str(error))
        if not refused:
            raise
        raise UsageError(
            "--deterministic is not possible here: torch has no deterministic form of "
            f"{refused[1]}. Start a new run without --deterministic, or without what needs that "
            "operation, which can only be a network from a file (--d-network, "
            "--perceptual-network) or from another package."
        ) from None
    finally:
        torch.use_deterministic_algorithms(enabled, warn_only=warns)
        cudnn.benchmark, cudnn.deterministic, memory.fill_uninitialized_memory = before
