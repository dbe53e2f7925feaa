"""Darken photographs, for models that light them.

    python examples/photos/darken.py data/photos256 data/photos512 --out data/dark

reads what build.py made, in one size or several, and gives {train,test}/dark, each crop as a camera
may take it with far too little light, several times, and {train,test}/clean, the crop well exposed.
"""

import cv2
import numpy as np
from degrade import as_jpeg, noise, write_pairs

GAMMA = 2.2  # of stored values: value ** GAMMA is light
STOPS = (1.5, 4.5)  # too little light, each stop half as much
FULL_WELL = (3.0, 4.5)  # photons that make white, as powers of ten: the fewer, the noisier
READOUT = (0.0002, 0.0015)  # noise of the sensor, as a part of white
MEDIANS = (0.38, 0.6)  # of the lightness of a well exposed picture


def main() -> None:
    # No paintings: a model would make brush strokes of noise.
    write_pairs(__doc__ or "", "dark", ("photo",), cv2.IMREAD_COLOR, exposed, darkened)


def exposed(picture: np.ndarray) -> np.ndarray:
    """The picture, uint8 [H, W, 3], from black to white and neither dim nor pale, so that a model
    knows how far to go.
    """
    low, high = np.percentile(picture, (0.5, 99.5))
    stretched = np.clip((picture.astype(np.float32) - low) / max(high - low, 1.0), 0, 1)
    median = float(np.median(stretched.max(axis=2)))
    wanted = np.clip(median, *MEDIANS)
    exponent = np.log(wanted) / np.log(np.clip(median, 0.02, 0.98))
    return np.rint(stretched**exponent * 255).astype(np.uint8)


def darkened(picture: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """The picture with too little light, of another color, and noise, uint8 [H, W, 3]."""
    light = (picture.astype(np.float32) / 255) ** GAMMA
    light *= random.uniform(0.85, 1.18, 3).astype(np.float32)
    light *= 2.0 ** -random.uniform(*STOPS)
    variance = light / 10 ** random.uniform(*FULL_WELL) + random.uniform(*READOUT) ** 2
    light += noise(picture.shape, random) * np.sqrt(variance)
    return as_jpeg(np.clip(light, 0, 1) ** (1 / GAMMA) * 255, random)


if __name__ == "__main__":
    main()
