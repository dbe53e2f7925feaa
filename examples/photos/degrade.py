"""Pairs of a degraded crop and a clean one, from what build.py made: for age.py and darken.py."""

import argparse
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

try:
    import cv2
    import numpy as np
except ImportError as error:
    sys.exit(f"{error.name} is missing: pip install opencv-python-headless")

VERSIONS = 8  # of each crop, each degraded in another way


def write_pairs(
    description: str,
    name: str,
    styles: tuple[str, ...],
    flag: int,
    clean: Callable[[np.ndarray], np.ndarray],
    degraded: Callable[[np.ndarray, np.random.Generator], np.ndarray],
) -> None:
    """Run as a command: write {train,test}/NAME and {train,test}/clean for the folders given.

    styles: the folders of crops to train on. flag: how cv2.imread reads them. Paintings and further
    sizes are for training only: test has the photographs of the first folder.
    """
    parser = argparse.ArgumentParser(description=description.partition("\n")[0])
    parser.add_argument("photos", type=Path, nargs="+", metavar="PHOTOS", help="of build.py")
    parser.add_argument("--out", type=Path, required=True, help="folder to be made")
    given = parser.parse_args()
    for split in ("train", "test"):
        inputs, truths = given.out / split / name, given.out / split / "clean"
        inputs.mkdir(parents=True, exist_ok=True)
        truths.mkdir(exist_ok=True)
        training = split == "train"
        folders = [
            photos / split / style
            for photos in (given.photos if training else given.photos[:1])
            for style in (styles if training else ("photo",))
        ]
        crops = [crop for folder in folders for crop in sorted(folder.glob("*.png"))]
        if not crops:
            sys.exit(f"{folders[0]} has no crops: build.py makes them.")
        for crop in crops:
            truth = clean(cv2.imread(str(crop), flag))
            random = np.random.default_rng(zlib.crc32(crop.stem.encode()))
            for version in range(VERSIONS):
                file = f"{version}-{len(truth)}-{crop.stem}.png"
                cv2.imwrite(str(inputs / file), degraded(truth, random))
                cv2.imwrite(str(truths / file), truth)
        print(f"{split}: {len(crops)} crops, {len(crops) * VERSIONS} {name} ones", flush=True)


def noise(shape: tuple[int, ...], random: np.random.Generator) -> np.ndarray:
    """Noise of a standard deviation of 1, finer or coarser, float32."""
    values = random.standard_normal(shape).astype(np.float32)
    values = cv2.GaussianBlur(values, (0, 0), random.uniform(0.2, 0.8))
    return values / values.std()


def as_jpeg(picture: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """The picture, blue first, of values 0 to 255, after JPEG of a random quality: uint8."""
    rounded = np.clip(np.rint(picture), 0, 255).astype(np.uint8)
    quality = [cv2.IMWRITE_JPEG_QUALITY, int(random.integers(60, 98))]
    return cv2.imdecode(cv2.imencode(".jpg", rounded, quality)[1], cv2.IMREAD_COLOR)
