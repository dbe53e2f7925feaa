"""Draw the emoji as a hand would, for models that colour what someone draws.

    python examples/emoji/strokes.py data/emoji

reads {train,test}/{lineart,flat,3d} and gives {train,test}/strokes, pictures that a pen could have
drawn, and {train,test}/strokes-3d, what each of them shows in 3D. An emoji is there four times:
its line art as it is, and the outlines of its flat picture drawn three times by shaky hands.
"""

import argparse
import sys
import zlib
from pathlib import Path

try:
    import cv2
    import numpy as np
except ImportError as error:
    sys.exit(f"{error.name} is missing: pip install opencv-python-headless")

HANDS = 3
SUPERSAMPLE = 4  # lines are found and drawn this much larger, then averaged down
WOBBLE = (0.004, 0.02)  # how far a hand strays, as a share of the side
PEN = (0.012, 0.04)  # thickness, as a share of the side
CONTRAST = (20, 90)  # where a shaky hand sees an edge: steps of grey between two areas
GAPS = (0.0, 0.06)  # share of the line that is missing


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("emoji", type=Path, metavar="EMOJI", help="folder that build.py made")
    folder = parser.parse_args().emoji
    for split in ("train", "test"):
        inputs, truths = folder / split / "strokes", folder / split / "strokes-3d"
        styles = [folder / split / style for style in ("lineart", "flat", "3d")]
        names, *others = (sorted(path.stem for path in style.glob("*.png")) for style in styles)
        if not names or others != [names, names]:
            sys.exit(f"{folder / split} needs the styles lineart, flat and 3d of build.py, whole.")
        inputs.mkdir(exist_ok=True)
        truths.mkdir(exist_ok=True)
        for name in names:
            flat, lineart, truth = (
                cv2.imread(str(folder / split / style / f"{name}.png"))
                for style in ("flat", "lineart", "3d")
            )
            random = np.random.default_rng(zlib.crc32(name.encode()))
            drawings = [lineart, *(drawn(flat, random) for _ in range(HANDS))]
            for number, drawing in enumerate(drawings):
                cv2.imwrite(str(inputs / f"{name}-{number}.png"), drawing)
                cv2.imwrite(str(truths / f"{name}-{number}.png"), truth)
        print(f"{split}: {len(names)} emoji, {len(names) * (HANDS + 1)} drawings", flush=True)


def drawn(flat: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """The outlines of a flat picture, uint8 [H, W, 3], in black on white by a shaky hand."""
    side = flat.shape[0] * SUPERSAMPLE
    large = cv2.resize(flat, (side, side), interpolation=cv2.INTER_CUBIC)
    high = random.uniform(*CONTRAST)
    # Of every colour: orange and blue may be the same grey.
    found = [
        cv2.Canny(cv2.GaussianBlur(channel, (0, 0), 2), high / 2, high)
        for channel in cv2.split(large)
    ]
    lines = np.maximum.reduce(found)
    thick = max(2, round(side * random.uniform(*PEN)))
    lines = cv2.dilate(lines, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (thick, thick)))
    field = _smooth(side, 24, random)
    lines[field < np.quantile(field, random.uniform(*GAPS))] = 0
    across, down = np.meshgrid(np.arange(side, dtype=np.float32), np.arange(side, dtype=np.float32))
    far = side * random.uniform(*WOBBLE)
    lines = cv2.remap(
        lines,
        across + far * _smooth(side, 6, random),
        down + far * _smooth(side, 6, random),
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_CONSTANT,
    )
    small = cv2.resize(255 - lines, flat.shape[1::-1], interpolation=cv2.INTER_AREA)
    return cv2.cvtColor(small, cv2.COLOR_GRAY2BGR)


def _smooth(side: int, cells: int, random: np.random.Generator) -> np.ndarray:
    """A random field, float32 [side, side] of about unit deviation, that turns `cells` times."""
    grid = random.standard_normal((cells, cells)).astype(np.float32)
    return cv2.resize(grid, (side, side), interpolation=cv2.INTER_CUBIC)


if __name__ == "__main__":
    main()
