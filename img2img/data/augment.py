"""Resize, crop and flip, the same for all pictures of a sample, through albumentations."""

from collections.abc import Callable
from random import Random

import albumentations as A
import cv2
import numpy as np

from img2img.data.cache import Cache
from img2img.errors import DataError

Pictures = dict[str, np.ndarray]
cv2.setNumThreads(0)  # the data workers are the parallelism


class Augment:
    """Pictures uint8 [H, W, C] of any size -> uint8 [size, size, C], in two stages.

    Always the same: cut from the middle where asked, resized to load_size (0: not at all), to size
    where it is not for training. Then the crop, in training at random, and half of them flipped.
    """

    def __init__(
        self,
        size: int,
        load_size: int,
        centre_crop: int | None,
        flip: bool,
        training: bool,
        cache: Cache | None = None,
    ):
        """cache: what the first stage makes is kept there; only where it resizes."""
        self.size, self.training, self.cache = size, training, cache
        self.resizes_first = bool(load_size) and not centre_crop
        self.side = side = load_size if training else size
        crop = A.RandomCrop if training else A.CenterCrop
        self._first: list[A.BasicTransform] = []
        self._then: list[A.BasicTransform] = []
        if centre_crop:
            self._first.append(A.CenterCrop(centre_crop, centre_crop))
        if load_size:
            # Area when shrinking: bicubic alone would alias.
            self._first.append(
                A.Resize(side, side, interpolation=cv2.INTER_CUBIC, area_for_downscale="image")
            )
        if not load_size or (training and load_size != size):
            self._then.append(crop(size, size))
        if training and flip:
            self._then.append(A.HorizontalFlip(p=0.5))
        self._compose: dict[tuple[str, ...], A.Compose] = {}

    def prepared(
        self, record: int, channels: dict[str, int], read: Callable[[], Pictures]
    ) -> Pictures:
        """The first stage of what `read` gives: pictures by name, of so many channels each.

        record: its number in the cache.
        """
        side = self.side
        length = side * side * sum(channels.values())
        kept = self.cache.get(record, length) if self.cache else None
        if kept is not None:
            ends = np.cumsum([side * side * count for count in channels.values()])[:-1]
            parts = zip(channels, np.split(kept, ends), strict=True)
            return {name: part.reshape(side, side, channels[name]) for name, part in parts}
        pictures = {name: self._prepare(picture) for name, picture in read().items()}
        if self.cache:
            self.cache.put(record, np.concatenate([p.ravel() for p in pictures.values()]))
        return pictures

    def _prepare(self, picture: np.ndarray) -> np.ndarray:
        height, width = picture.shape[:2]
        try:
            for step in self._first:
                picture = step(image=picture)["image"]
        except Exception as error:
            raise DataError(f"A picture of {width}x{height} px can't be cut: {error}") from error
        return picture

    def __call__(self, random: np.random.Generator, pictures: Pictures) -> Pictures:
        """The second stage, for all pictures alike, as the generator's next draw says."""
        names = tuple(pictures)
        if names not in self._compose:
            self._compose[names] = A.Compose(
                self._then,
                additional_targets=dict.fromkeys(names[1:], "image"),
            )
        compose = self._compose[names]
        # One stream for all: set_random_seed gives each step the same one, so that the flip would
        # be the crop's draw once more.
        seed = int(random.integers(2**31))
        compose.set_random_state(np.random.default_rng(seed), Random(seed))
        first, *others = names
        try:
            done = compose(image=pictures[first], **{name: pictures[name] for name in others})
        except Exception as error:
            sizes = ", ".join(f"{p.shape[1]}x{p.shape[0]}" for p in pictures.values())
            raise DataError(f"A picture of {sizes} px can't be cropped to size: {error}") from error
        done[first] = done.pop("image")
        arrays = {name: np.require(done[name], requirements=("C", "W")) for name in names}
        return {name: array.reshape(self.size, self.size, -1) for name, array in arrays.items()}
