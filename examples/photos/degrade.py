"""Degrade photographs as small, compressed files are, for models that restore them.

    python examples/photos/degrade.py data/photos

reads {train,test}/{photo,painting} of build.py and gives {train,test}/degraded, what a small JPEG
of each shows when it is enlarged again, and {train,test}/sharp, the crops that they are made of.
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

VERSIONS = 3  # of each crop, each degraded in another way
REDUCTION = (1.25, 3.5)  # how many times smaller the JPEG is than the crop
QUALITY = (20, 75)  # of the JPEG, as libjpeg counts
NOISE = 5.0  # largest standard deviation of the sensor's noise, of 255


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("photos", type=Path, metavar="PHOTOS", help="folder that build.py made")
    root = parser.parse_args().photos
    for split in ("train", "test"):
        crops = sorted(
            file for style in ("photo", "painting") for file in (root / split / style).glob("*.png")
        )
        if not crops:
            sys.exit(f"{root / split} has no crops: build.py makes them.")
        inputs, truths = root / split / "degraded", root / split / "sharp"
        inputs.mkdir(exist_ok=True)
        truths.mkdir(exist_ok=True)
        for crop in crops:
            truth = cv2.imread(str(crop))
            random = np.random.default_rng(zlib.crc32(crop.stem.encode()))
            for version in range(VERSIONS):
                name = f"{version}{crop.stem}.png"  # sources.csv has what follows the number
                cv2.imwrite(str(inputs / name), degraded(truth, random))
                cv2.imwrite(str(truths / name), truth)
        print(f"{split}: {len(crops)} crops, {len(crops) * VERSIONS} degraded ones", flush=True)


def degraded(picture: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """What is left of a picture, uint8 [H, W, 3], of the same size."""
    height, width = picture.shape[:2]
    reduction = random.uniform(*REDUCTION)
    size = (max(1, round(width / reduction)), max(1, round(height / reduction)))
    small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA).astype(np.float32)
    small += random.uniform(0, NOISE) * random.standard_normal(small.shape)
    quality = [cv2.IMWRITE_JPEG_QUALITY, round(random.uniform(*QUALITY))]
    _, file = cv2.imencode(".jpg", np.clip(np.rint(small), 0, 255).astype(np.uint8), quality)
    compressed = cv2.imdecode(file, cv2.IMREAD_COLOR)
    return cv2.resize(compressed, (width, height), interpolation=cv2.INTER_CUBIC)


if __name__ == "__main__":
    main()
