"""The memory that a large picture needs, told before it is run: afterwards it is the system that
ends the program, without a word.
"""

import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np
import psutil

LARGE = 2048 * 2048  # pixels from which it is worth a look
PROBE = 768  # side, px, of the picture that it is measured with
MARGIN = 1.1  # bytes a pixel differ by this much between sizes
CGROUPS = Path("/sys/fs/cgroup")


def refusal(path: Path, provider: str, size_multiple: int, height: int, width: int) -> str | None:
    """Why a picture of so many pixels can't be run whole by the bundle; None where it can."""
    if height * width < LARGE or provider not in ("cpu", "openvino"):
        return None  # a GPU says by itself that it is out of memory
    each = bytes_per_pixel(path, provider)
    if each is None:
        return None
    # What this process holds of earlier pictures serves for the next.
    need, have = each * height * width, available() + psutil.Process().memory_info().rss
    if need <= have:
        return None
    side = int(max(height, width) * (have / need) ** 0.5 * 0.95) // 64 * 64
    tiles = ", or --tile 1024 runs it in parts" if size_multiple <= 4 else ""
    return (
        f"{width}x{height} needs about {need / 2**30:.1f} GiB of memory, {have / 2**30:.1f} are "
        f"there: --max-side {side} makes it smaller{tiles}"
    )


def available() -> int:
    """Bytes that the system, or the container's limit, still has for this process."""
    free = psutil.virtual_memory().available
    try:
        own = Path("/proc/self/cgroup").read_text().split("::")[1].strip()
        group = CGROUPS / own.lstrip("/")
        limit, used = (int((group / f"memory.{name}").read_text()) for name in ("max", "current"))
        stat = (group / "memory.stat").read_text().splitlines()
        [cached] = [line.split()[1] for line in stat if line.startswith("inactive_file ")]
    except (OSError, ValueError, IndexError):  # no such limit here
        return free
    return min(free, limit - used + int(cached))


def peak() -> int | None:
    """Most bytes that this process has held. On Linux getrusage would start with the peak of the
    process that spawned it.
    """
    try:
        if sys.platform == "linux":
            lines = Path("/proc/self/status").read_text().splitlines()
            [found] = [line.split()[1] for line in lines if line.startswith("VmHWM:")]
            return int(found) * 2**10
        import resource
    except (ImportError, OSError, ValueError):  # Windows, or a system without /proc
        return None
    found = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return found if sys.platform == "darwin" else found * 2**10


@cache
def bytes_per_pixel(path: Path, provider: str) -> float | None:
    """What running a picture adds, measured in a process of its own; None where it can't be."""
    line = [sys.executable, "-m", "img2img.infer.memory", str(path), provider]
    done = subprocess.run(line, capture_output=True, text=True)
    try:
        return float(done.stdout) * MARGIN
    except ValueError:
        return None


def _measured(path: str, provider: str) -> float:
    from img2img.infer.translator import Translator

    translator = Translator(path, provider)
    labels = translator.manifest.labels
    before = peak()
    picture = np.zeros((PROBE, PROBE, translator.manifest.in_channels), np.uint8)
    translator(picture, labels.names[0] if labels.sets else None)
    return (peak() - before) / PROBE**2


if __name__ == "__main__":
    print(_measured(*sys.argv[1:]))
