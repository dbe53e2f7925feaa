"""Whether a large picture fits into memory, checked before it is run: a system that is out of
memory kills the program without a message.
"""

import subprocess
import sys
from functools import cached_property

import numpy as np

from img2img import memory
from img2img.infer.session import ON_CPU
from img2img.infer.translator import Translator

LARGE = 2048 * 2048  # pixels; smaller pictures are not checked
PROBE = 1024  # side, px, of the picture that memory is measured with
MARGIN = 1.1  # because bytes per pixel differ a little between sizes
TILES = (2048, 1024, 512, 256)  # sides, px, of which one is chosen by the memory that a tile takes
TILE = 2**30  # bytes that a tile may take, and half of what is available at most


class Room:
    """The memory for the pictures that one translator runs whole, one after the other."""

    def __init__(self, translator: Translator):
        self.translator = translator
        self.held = 0.0  # bytes that the runtime keeps from earlier pictures and uses again

    @cached_property
    def bytes_per_pixel(self) -> float | None:
        """Measured for the first large picture; None where that fails."""
        return measured(self.translator)

    def refusal(self, height: int, width: int) -> str | None:
        """Why a picture of this size can't be run; None where it can, or where that is unknown."""
        if height * width < LARGE or self.translator.provider not in ON_CPU:
            return None  # a GPU that is out of memory reports it
        if self.bytes_per_pixel is None:
            return None
        need, have = self.bytes_per_pixel * height * width, max(0, memory.available()) + self.held
        if need <= have:
            self.held = max(self.held, need)
            return None
        side = int(max(height, width) * (have / need) ** 0.5 * 0.95) // 64 * 64
        advice = f": --max-side {side} makes it smaller" if side else ""
        return (
            f"{width}x{height} needs about {need / 2**30:.1f} GiB of memory, of which "
            f"{have / 2**30:.1f} are available{advice}"
        )

    def tile_side(self, margin: int) -> int:
        """The side, px, of tiles that fit into memory with their margin."""
        if self.translator.provider not in ON_CPU or self.bytes_per_pixel is None:
            return 1024
        most = min(TILE, memory.available() / 2)
        fitting = [
            side for side in TILES if self.bytes_per_pixel * (side + 2 * margin) ** 2 <= most
        ]
        return max(fitting, default=min(TILES))


def measured(translator: Translator) -> float | None:
    """Bytes of memory per pixel that running a picture takes, measured in a separate process; None
    where they can't be measured.
    """
    # -P: no module is imported from the current folder, which may hold anything.
    line = [sys.executable, "-P", "-m", "img2img.infer.room", str(translator.path)]
    try:
        done = subprocess.run(  # noqa: S603, no shell
            [*line, translator.provider], capture_output=True
        )
        each = float(done.stdout)
    except (OSError, ValueError):
        return None
    return each * MARGIN if each > 0 else None


def _probe(path: str, provider: str) -> float:
    translator = Translator(path, provider)
    manifest = translator.manifest
    labels = manifest.labels
    before = memory.forget_peak()
    picture = np.zeros((PROBE, PROBE, manifest.in_channels), manifest.dtype_in)
    translator(picture, labels.names[0] if labels.sets else None)
    after = memory.peak()
    return 0.0 if before is None or after is None else (after - before) / PROBE**2


if __name__ == "__main__":
    print(_probe(*sys.argv[1:]))
