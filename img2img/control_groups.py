"""The limits that a container or a service has: Linux' control groups, of version 1 and 2."""

from collections.abc import Iterator
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
OF_PROCESS = Path("/proc/self/cgroup")
PERIOD = "cpu.cfs_period_us"  # of version 1, microseconds


def memory_left() -> list[int]:
    """Bytes left below the limits of this process's groups and of their parents; empty without
    limits.
    """
    left = []
    for version, folder in _folders("memory"):
        limit, used, cached = {
            2: ("memory.max", "memory.current", "inactive_file"),
            1: ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
        }[version]
        try:
            stat = (folder / "memory.stat").read_text().splitlines()
            reclaimable = [int(row.split()[1]) for row in stat if row.split()[0] == cached]
            maximum, usage = (int((folder / file).read_text()) for file in (limit, used))
        except (OSError, ValueError, IndexError):  # this group has no limit
            continue
        left.append(maximum - usage + sum(reclaimable))
    return left


def cores() -> float | None:
    """The cores that this process may keep busy by the quotas of its groups and of their parents,
    such as 0.5; None without a quota.
    """
    quotas = []
    for version, folder in _folders("cpu"):
        try:
            if version == 2:
                quota, period = (folder / "cpu.max").read_text().split()
            else:
                quota = (folder / "cpu.cfs_quota_us").read_text()
                period = (folder / PERIOD).read_text()
            share = int(quota) / int(period)
        except (OSError, ValueError, ZeroDivisionError):  # no quota, or "max"
            continue
        if share > 0:  # -1 in version 1: none
            quotas.append(share)
    return min(quotas, default=None)


def _folders(controller: str) -> Iterator[tuple[int, Path]]:
    """The version and folder of each group that the process is in, and of the groups around it."""
    try:
        lines = OF_PROCESS.read_text().splitlines()
    except OSError:  # not Linux
        return
    for line in lines:
        _, controllers, name = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        top = ROOT / controllers
        group = top / name.lstrip("/")
        for folder in (group, *group.parents):
            if folder == top.parent:
                break
            yield (1 if controllers else 2), folder
