"""Make the sample that `img2img quickstart` trains on, from the 64 px data set.

    python examples/emoji/build.py data/emoji64 --size 64 --styles flat,3d
    python examples/emoji/quickstart_sample.py data/emoji64 examples/quickstart

Every second training pair and every second test pair, as lossless WebP.
"""

import sys
from pathlib import Path

from PIL import Image

KEEP_EVERY = 2


def main(source: Path, target: Path) -> None:
    for part in ("train", "test"):
        for style in ("flat", "3d"):
            folder = target / part / style
            folder.mkdir(parents=True, exist_ok=True)
            for path in sorted((source / part / style).glob("*.png"))[::KEEP_EVERY]:
                with Image.open(path) as image:
                    image.save(folder / f"{path.stem}.webp", lossless=True, quality=100, method=6)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
