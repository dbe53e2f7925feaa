"""The memory that a large picture needs, told before it is run: afterwards it is the system that
ends the program, without a word.
"""

import subprocess
import sys
from functools import cached_property
from pathlib import Path

import numpy as np
import psutil

from img2img.infer.session import ON_CPU
from img2img.infer.translator import Translator

LARGE = 2048 * 2048  # pixels from which it is worth a look
PROBE = 1024  # side, px, of the picture that it is measured with
MARGIN = 1.1  # bytes a pixel differ by this much between sizes
CGROUPS = Path("/sys/fs/cgroup")
OWN_GROUPS = Path("/proc/self/cgroup")
FILES = {  # of a control group's limit, what it uses, and what of that can be taken back
    "": ("memory.max", "memory.current", "inactive_file"),  # version 2
    "memory": ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
}


class Room:
    """Whether pictures fit into memory, for one translator's whole pictures in turn."""

    def __init__(self, translator: Translator):
        self.translator = translator
        self.held = 0.0  # bytes that earlier pictures took and the next can use again

    @cached_property
    def bytes_per_pixel(self) -> float | None:
        """Measured when the first large picture comes."""
        return measured(self.translator)

    def refusal(self, height: int, width: int) -> str | None:
        """Why a picture of so many pixels can't be run; None where it can, or nobody knows."""
        if height * width < LARGE or self.translator.provider not in ON_CPU:
            return None  # a GPU says by itself that it is out of memory
        if self.bytes_per_pixel is None:
            return None
        need, have = self.bytes_per_pixel * height * width, max(0, available()) + self.held
        if need <= have:
            self.held = max(self.held, need)
            return None
        side = int(max(height, width) * (have / need) ** 0.5 * 0.95) // 64 * 64
        ways = [f"--max-side {side} makes it smaller"] if side else []
        if self.translator.manifest.size_multiple <= 4:
            ways.append("--tile 1024 runs it in parts")
        return (
            f"{width}x{height} needs about {need / 2**30:.1f} GiB of memory, {have / 2**30:.1f} "
            f"are there{': ' if ways else ''}{', '.join(ways)}"
        )


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


def measured(translator: Translator) -> float | None:
    """Bytes that running a picture adds for a pixel, by a process of its own; None where that
    can't be told.
    """
    # Safe (-P): no module of the folder that the user happens to stand in.
    line = [sys.executable, "-P", "-m", "img2img.infer.memory", str(translator.path)]
    try:
        done = subprocess.run([*line, translator.provider], capture_output=True)
        each = float(done.stdout)
    except (OSError, ValueError):
        return None
    return each * MARGIN if each > 0 else None


def _probe(path: str, provider: str) -> float:
    translator = Translator(path, provider)
    labels = translator.manifest.labels
    before = _forgotten()
    picture = np.zeros((PROBE, PROBE, translator.manifest.in_channels), np.uint8)
    translator(picture, labels.names[0] if labels.sets else None)
    after = peak()
    return 0.0 if before is None or after is None else (after - before) / PROBE**2


def _forgotten() -> int | None:
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


if __name__ == "__main__":
    print(_probe(*sys.argv[1:]))
