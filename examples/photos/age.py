"""Age photographs, for models that repair old ones.

    python examples/photos/age.py data/photos256 data/photos512 --out data/aged

reads what build.py made, in one size or several, and gives {train,test}/aged, each crop in black
and white as an old print of it may look today, several times, and {train,test}/clean, the crop in
black and white.
"""

import cv2
import numpy as np
from degrade import as_jpeg, noise, write_pairs

SHARPER = 4  # how many times larger scratches are drawn than they are: smooth lines
PAPERS = (  # what gray of 1 looks like: neutral, ivory, sepia, green and pink casts
    (1.0, 1.0, 1.0),
    (1.0, 0.96, 0.86),
    (0.98, 0.88, 0.70),
    (0.95, 0.99, 0.90),
    (1.0, 0.93, 0.92),
)


def main() -> None:
    write_pairs(__doc__ or "", "aged", ("photo", "painting"), cv2.IMREAD_GRAYSCALE, clean, aged)


def clean(gray: np.ndarray) -> np.ndarray:
    """The picture, uint8 [H, W], from black to white, so that a model knows how far to go."""
    low, high = np.percentile(gray, (0.5, 99.5))
    stretched = (gray - low) * (255 / max(high - low, 1.0))
    return np.clip(np.rint(stretched), 0, 255).astype(np.uint8)


def aged(picture: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """An old print of a picture, uint8 [H, W] -> uint8 [H, W, 3], of the same size."""
    shape, unit = picture.shape, len(picture) / 256  # scratches are as long as pictures are large
    print_ = picture.astype(np.float32) / 255
    print_ = cv2.GaussianBlur(print_, (0, 0), random.uniform(0.3, 1.0))
    print_ += noise(shape, random) * random.uniform(0.01, 0.06)
    print_ = faded(print_, random)
    light, dark = damage(shape, unit, random)
    print_ = print_ * (1 - light) + light * random.uniform(0.85, 1.0)
    print_ = print_ * (1 - dark) + dark * random.uniform(0.0, 0.25)
    paper = np.array(PAPERS[random.integers(len(PAPERS))]) ** random.uniform(0.5, 1.5)
    toned = print_[..., None] * paper + (1 - print_[..., None]) * (1 - paper) * 0.25
    toned *= 1 - stains(shape, random)[..., None] * (1 - paper * (0.9, 0.8, 0.6))
    return as_jpeg(toned[..., ::-1] * 255, random)


def cloud(shape: tuple[int, ...], coarse: int, random: np.random.Generator) -> np.ndarray:
    """Smooth values from 0 to 1, float32 [H, W]: `coarse` of them along a side, enlarged."""
    small = random.uniform(0, 1, (coarse, coarse)).astype(np.float32)
    return np.clip(cv2.resize(small, shape[::-1], interpolation=cv2.INTER_CUBIC), 0, 1)


def faded(print_: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Black becomes gray and white dull, here more than there."""
    uneven = cloud(print_.shape, int(random.integers(2, 5)), random)
    strength = random.uniform(0, 1)
    black = random.uniform(0.02, 0.30) + 0.15 * strength * uneven
    white = random.uniform(0.70, 1.0) - 0.10 * strength * uneven
    gamma = random.uniform(0.8, 1.3)
    return black + (white - black) * np.clip(print_, 0, 1) ** gamma


def stains(shape: tuple[int, ...], random: np.random.Generator) -> np.ndarray:
    """How much of the stains' color is where, 0 to 1."""
    if random.uniform() < 0.6:
        return np.zeros(shape, np.float32)
    edge, spread = random.uniform(0.5, 0.8), random.uniform(0.05, 0.5)
    fine = 0.15 * cloud(shape, 24, random)  # a ragged border
    coarse = cloud(shape, int(random.integers(3, 6)), random)
    return random.uniform(0.2, 0.8) * np.clip((coarse + fine - edge) / spread, 0, 1)


def damage(
    shape: tuple[int, ...], unit: float, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Where the print is scraped to the paper, and where dirt lies on it: 0 to 1, [H, W] each."""
    masks = [np.zeros([side * SHARPER for side in shape], np.uint8) for _ in range(2)]
    large = np.array(masks[0].shape[::-1])
    worn = random.uniform(0, 1)
    for _ in range(random.poisson(14 * worn)):  # scratches
        mask = masks[random.uniform() < 0.25]
        start, angle = random.uniform(0, 1, 2) * large, random.normal(np.pi / 2, 0.5)
        line = wander(start, angle, random.uniform(10, 200) * unit * SHARPER, 0.03, random)
        draw(mask, line, random.uniform(0.4, 1.6), random.integers(90, 256))
    for _ in range(random.poisson(1.2 * worn)):  # folds and cracks through the whole print
        start = random.uniform(0, 1, 2) * large
        angle, length = random.uniform(0, 2 * np.pi), 2.0 * large.max()
        for turn in (0, np.pi):
            line = wander(start, angle + turn, length, 0.12, random)
            draw(masks[0], line, random.uniform(1, 3), 255)
    for _ in range(random.poisson(60 * worn)):  # dust
        mask = masks[random.uniform() < 0.35]
        center, size = random.uniform(0, 1, 2) * large, random.exponential(0.8) + 0.4
        spot(mask, center, min(size, 6) * SHARPER, random)
    for _ in range(random.poisson(1.0 * worn)):  # where the emulsion has come off
        spot(masks[0], random.uniform(0, 1, 2) * large, random.uniform(4, 11) * SHARPER, random)
    soft = random.uniform(0.3, 0.7)
    small = [cv2.resize(mask, shape[::-1], interpolation=cv2.INTER_AREA) for mask in masks]
    light, dark = (cv2.GaussianBlur(m.astype(np.float32) / 255, (0, 0), soft) for m in small)
    return light, dark


def wander(
    start: np.ndarray, angle: float, length: float, bend: float, random: np.random.Generator
) -> np.ndarray:
    """Points of a line that changes its direction a little at each step, int32 [N, 2]."""
    step = 6.0 * SHARPER
    turns = angle + np.cumsum(random.normal(0, bend, max(2, int(length / step))))
    steps = np.stack([np.cos(turns), np.sin(turns)], 1) * step
    return np.rint(start + np.cumsum(steps, 0)).astype(np.int32)


def draw(mask: np.ndarray, line: np.ndarray, width: float, strength: int) -> None:
    thickness = max(1, round(width * SHARPER))
    cv2.polylines(mask, [line], False, int(strength), thickness, cv2.LINE_AA)


def spot(mask: np.ndarray, center: np.ndarray, radius: float, random: np.random.Generator) -> None:
    """A spot with a ragged outline."""
    angles = np.linspace(0, 2 * np.pi, 14, endpoint=False)
    radii = radius * random.uniform(0.5, 1.2, len(angles))
    outline = center + np.stack([np.cos(angles), np.sin(angles)], 1) * radii[:, None]
    cv2.fillPoly(mask, [np.rint(outline).astype(np.int32)], int(random.integers(140, 256)))


if __name__ == "__main__":
    main()
