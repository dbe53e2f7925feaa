"""What memory is left, and the most that this process has held."""

import sys
from pathlib import Path

import psutil

CGROUPS = Path("/sys/fs/cgroup")
OWN_GROUPS = Path("/proc/self/cgroup")
FILES = {  # of a control group's limit, what it uses, and what of that can be taken back
    "": ("memory.max", "memory.current", "inactive_file"),  # version 2
    "memory": ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
}


def available() -> int:
    """Bytes that the system, or a container's limit, still has for this process."""
    return min([psutil.virtual_memory().available, *_left_by_groups()])


def peak() -> int | None:
    """Most bytes that this process has held. On Linux getrusage would start with the peak of the
    process that spawned it.
    """
    if sys.platform == "win32":
        return psutil.Process().memory_info().peak_wset
    try:
        if sys.platform == "linux":
            lines = Path("/proc/self/status").read_text().splitlines()
            [found] = [line.split()[1] for line in lines if line.startswith("VmHWM:")]
            return int(found) * 2**10
        import resource
    except (ImportError, OSError, ValueError):  # a system without /proc
        return None
    found = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return found if sys.platform == "darwin" else found * 2**10


def forget_peak() -> int | None:
    """What is held now, which is the peak from now on where the system can forget the old one, that
    of loading.
    """
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return peak()
    return psutil.Process().memory_info().rss


def _left_by_groups() -> list[int]:
    """What the limits of this process's control groups, and of those above, leave it."""
    left = []
    try:
        lines = OWN_GROUPS.read_text().splitlines()
    except OSError:
        return []
    for line in lines:
        _, controllers, own = line.split(":", 2)
        if controllers not in FILES:
            continue
        top, (limit, used, cached) = CGROUPS / controllers, FILES[controllers]
        group = top / own.lstrip("/")
        for folder in (group, *group.parents):
            if folder == top.parent:
                break
            try:
                stat = (folder / "memory.stat").read_text().splitlines()
                back = [int(row.split()[1]) for row in stat if row.split()[0] == cached]
                most, now = (int((folder / name).read_text()) for name in (limit, used))
            except (OSError, ValueError, IndexError):  # no limit here
                continue
            left.append(most - now + sum(back))
    return left
