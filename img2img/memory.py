"""The available memory, and the peak memory of this process."""

import sys
from pathlib import Path

import psutil

CGROUPS = Path("/sys/fs/cgroup")
PROCESS_GROUPS = Path("/proc/self/cgroup")
FILES = {  # of a control group: its limit, its usage, and the reclaimable part of the usage
    "": ("memory.max", "memory.current", "inactive_file"),  # version 2
    "memory": ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
}


def available() -> int:
    """Bytes that this process can still allocate, by the system's memory or a container's limit."""
    return min([psutil.virtual_memory().available, *_available_in_groups()])


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


def _available_in_groups() -> list[int]:
    """Bytes left below the limits of this process's control groups and of their parents."""
    available = []
    try:
        lines = PROCESS_GROUPS.read_text().splitlines()
    except OSError:
        return []
    for line in lines:
        _, controllers, name = line.split(":", 2)
        if controllers not in FILES:
            continue
        top, (limit, used, cached) = CGROUPS / controllers, FILES[controllers]
        group = top / name.lstrip("/")
        for folder in (group, *group.parents):
            if folder == top.parent:
                break
            try:
                stat = (folder / "memory.stat").read_text().splitlines()
                reclaimable = [int(row.split()[1]) for row in stat if row.split()[0] == cached]
                maximum, usage = (int((folder / file).read_text()) for file in (limit, used))
            except (OSError, ValueError, IndexError):  # this group has no limit
                continue
            available.append(maximum - usage + sum(reclaimable))
    return available
