"""The available memory, the peak memory of this process, and errors of memory that is missing."""

import re
import sys
from pathlib import Path

import psutil

from img2img import control_groups

# What torch, onnxruntime, CUDA with its libraries, DirectML and OpenVINO say, which have errors of
# their own for this, or one for everything.
EXHAUSTED = re.compile(
    r"bad.?alloc|out of memory|(failed to|unable to|could not|cannot|can't) allocate"
    r"|not enough memory|available memory of \d+ is smaller than|alloc(ation)?_failed|8007000e",
    re.IGNORECASE,
)


def available() -> int:
    """Bytes that this process can still allocate, by the system's memory or a container's limit."""
    return min([psutil.virtual_memory().available, *control_groups.memory_left()])


def peak() -> int | None:
    """The largest resident memory of this process so far, bytes; None where it is unknown.

    Not from getrusage on Linux, where it starts with the peak of the parent process.
    """
    if sys.platform == "win32":
        return psutil.Process().memory_info().peak_wset
    try:
        if sys.platform == "linux":
            lines = Path("/proc/self/status").read_text().splitlines()
            [kibibytes] = [line.split()[1] for line in lines if line.startswith("VmHWM:")]
            return int(kibibytes) * 2**10
        import resource
    except (ImportError, OSError, ValueError):  # a system without /proc
        return None
    maximum = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return maximum if sys.platform == "darwin" else maximum * 2**10


def forget_peak() -> int | None:
    """Reset the peak to the current memory, and return that; where the system can't reset it,
    return the old peak.
    """
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return peak()
    return psutil.Process().memory_info().rss


def is_exhausted(error: Exception) -> bool:
    """Whether an error, of whichever library, says that memory is not sufficient."""
    return isinstance(error, MemoryError) or bool(EXHAUSTED.search(str(error)))
