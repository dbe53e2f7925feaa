"""Degrade photographs as small, compressed files are, for models that restore them.

    python examples/photos/degrade.py data/photos256 data/photos512 --out data/restore

reads {train,test}/{photo,painting} of what build.py made, in one size or several, and gives
{train,test}/degraded, what a small JPEG of each crop shows when it is enlarged again, and
{train,test}/sharp, the crops.
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
REDUCTION = (1, 3.5)  # how many times smaller the JPEG is than the crop
QUALITY = (20, 75)  # of the JPEG, as libjpeg counts
NOISE = 5.0  # largest standard deviation of the sensor's noise, of 255


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("photos", type=Path, nargs="+", metavar="PHOTOS", help="of build.py")
    parser.add_argument("--out", type=Path, required=True, help="folder to be made")
    given = parser.parse_args()
    for split in ("train", "test"):
        inputs, truths = given.out / split / "degraded", given.out / split / "sharp"
        inputs.mkdir(parents=True, exist_ok=True)
        truths.mkdir(exist_ok=True)
        number = 0
        for photos in given.photos:
            crops = [*photos.glob(f"{split}/photo/*.png"), *photos.glob(f"{split}/painting/*.png")]
            if not crops and split == "train":
                sys.exit(f"{photos / split} has no crops: build.py makes them.")
            number += len(crops)
            for crop in sorted(crops):
                degrade(crop, inputs, truths)
        print(f"{split}: {number} crops, {number * VERSIONS} degraded ones", flush=True)


def degrade(crop: Path, inputs: Path, truths: Path) -> None:
    """Write the versions of a crop, each beside its truth."""
    truth = cv2.imread(str(crop))
    random = np.random.default_rng(zlib.crc32(crop.stem.encode()))
    for version in range(VERSIONS):
        name = f"{version}-{len(truth)}-{crop.stem}.png"
        cv2.imwrite(str(inputs / name), degraded(truth, random))
        cv2.imwrite(str(truths / name), truth)


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
