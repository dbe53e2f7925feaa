"""The memory that a large picture needs, told before it is run: afterwards it is the system that
ends the program, without a word.
"""

import subprocess
import sys
from functools import cached_property

import numpy as np

from img2img import memory
from img2img.infer.session import ON_CPU
from img2img.infer.translator import Translator

LARGE = 2048 * 2048  # pixels from which it is worth a look
PROBE = 1024  # side, px, of the picture that it is measured with
MARGIN = 1.1  # bytes a pixel differ by this much between sizes


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
        need, have = self.bytes_per_pixel * height * width, max(0, memory.available()) + self.held
        if need <= have:
            self.held = max(self.held, need)
            return None
        side = int(max(height, width) * (have / need) ** 0.5 * 0.95) // 64 * 64
        ways = [f"--max-side {side} makes it smaller"] if side else []
        if self.translator.manifest.reach is not None:
            ways.append("--tile 1024 runs it in parts")
        return (
            f"{width}x{height} needs about {need / 2**30:.1f} GiB of memory, {have / 2**30:.1f} "
            f"are there{': ' if ways else ''}{', '.join(ways)}"
        )


def measured(translator: Translator) -> float | None:
    """Bytes that running a picture adds for a pixel, by a process of its own; None where that
    can't be told.
    """
    # Safe (-P): no module of the folder that the user happens to stand in.
    line = [sys.executable, "-P", "-m", "img2img.infer.room", str(translator.path)]
    try:
        done = subprocess.run([*line, translator.provider], capture_output=True)
        each = float(done.stdout)
    except (OSError, ValueError):
        return None
    return each * MARGIN if each > 0 else None


def _probe(path: str, provider: str) -> float:
    translator = Translator(path, provider)
    labels = translator.manifest.labels
    before = memory.forget_peak()
    picture = np.zeros((PROBE, PROBE, translator.manifest.in_channels), np.uint8)
    translator(picture, labels.names[0] if labels.sets else None)
    after = memory.peak()
    return 0.0 if before is None or after is None else (after - before) / PROBE**2


if __name__ == "__main__":
    print(_probe(*sys.argv[1:]))
