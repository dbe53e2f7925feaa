"""Resize, crop and flip, the same for all pictures of a sample, through albumentations."""

import os

os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"  # before the import: it would ask a server for news

import albumentations as A
import cv2
import numpy as np

from img2img.errors import DataError

cv2.setNumThreads(0)  # the data workers are the parallelism


class Augment:
    """Pictures uint8 [H, W, C] of any size -> uint8 [size, size, C].

    Training: cut from the middle where asked, resize to load_size (0: not at all), crop at random,
    flip half of them. Otherwise: the same cut, then resized to size (0: cropped in the middle).
    """

    def __init__(
        self, size: int, load_size: int, centre_crop: int | None, flip: bool, training: bool
    ):
        self.size, self.training = size, training
        self.resizes_first = bool(load_size) and not centre_crop
        steps: list[A.BasicTransform] = []
        if centre_crop:
            steps.append(A.CenterCrop(centre_crop, centre_crop))
        if load_size:
            side = load_size if training else size
            # Area when shrinking: bicubic alone would alias.
            steps.append(
                A.Resize(side, side, interpolation=cv2.INTER_CUBIC, area_for_downscale="image")
            )
        crop = A.RandomCrop if training else A.CenterCrop
        if not load_size or (training and load_size != size):
            steps.append(crop(size, size))
        if training and flip:
            steps.append(A.HorizontalFlip(p=0.5))
        self._steps = steps
        self._compose: dict[tuple[str, ...], A.Compose] = {}

    def __call__(
        self, random: np.random.Generator, pictures: dict[str, np.ndarray]
    ) -> dict[str, np.ndarray]:
        """Transform all pictures alike, as the generator's next draw says."""
        names = tuple(pictures)
        if names not in self._compose:
            self._compose[names] = A.Compose(
                self._steps,
                additional_targets=dict.fromkeys(names[1:], "image"),
                is_check_shapes=False,  # the two of a pair may differ in size until resized
            )
        compose = self._compose[names]
        compose.set_random_seed(int(random.integers(2**31)))
        first, *others = names
        try:
            done = compose(image=pictures[first], **{name: pictures[name] for name in others})
        except Exception as error:
            sizes = ", ".join(f"{p.shape[1]}x{p.shape[0]}" for p in pictures.values())
            raise DataError(f"A picture of {sizes} px can't be cropped to size: {error}") from error
        return {
            name: np.require(done["image" if name == first else name], requirements="CW").reshape(
                self.size, self.size, -1
            )
            for name in names
        }
