"""Resize, crop and flip, the same for all pictures of a sample, through albumentations."""

from collections.abc import Callable, Collection
from functools import lru_cache
from random import Random
from typing import Literal

import albumentations as A
import cv2
import numpy as np

from img2img.data.cache import Cache
from img2img.errors import DataError
from img2img.sizes import Size

Pictures = dict[str, np.ndarray]
Fit = Literal["squash", "crop", "pad"]
cv2.setNumThreads(0)  # the data workers are the parallelism


class Augment:
    """Pictures uint8 [H, W, C] of any size -> uint8 [height, width, C] of `size`, in two stages.

    Always the same: cut from the middle where asked, resized to load_size (None: not at all), to
    size where it is not for training. Then the crop, in training at random, and half of them
    flipped.

    fit: how a picture of another shape is resized. squash: to that size. crop: until it covers it;
    what is too long is cropped, in training at random. pad: until it fits into it; right of and
    below it the border is repeated, as an exported model pads.
    """

    def __init__(
        self,
        size: Size | int,
        load_size: Size | int | None,
        centre_crop: Size | int | None,
        flip: bool,
        training: bool,
        cache: Cache | None = None,
        fit: Fit = "squash",
        labels: Collection[str] = (),
    ):
        """cache: what the first stage makes is kept there; only where it is of one size.

        labels: the names of pictures that are label maps, whose colors must not mix.
        """
        self.size = Size.of(size)
        self.training, self.cache, self.fit, self.labels = training, cache, fit, frozenset(labels)
        self.cut = Size.of(centre_crop) if centre_crop else None
        load = Size.of(load_size) if load_size else None
        self.resized = load and (load if training else self.size)
        # Then pictures of any two sizes become alike, and both of a pair can be read as they are.
        self.resizes_first = bool(load) and not centre_crop and fit == "squash"
        crop = A.RandomCrop if training else A.CenterCrop
        self._then: list[A.BasicTransform] = []
        if not load or (training and load != self.size) or fit == "crop":
            self._then.append(crop(*self.size.shape))
        if training and flip:
            self._then.append(A.HorizontalFlip(p=0.5))
        self._compose: dict[tuple[str, ...], A.Compose] = {}

    def prepared(
        self, record: int, channels: dict[str, int], read: Callable[[], Pictures]
    ) -> Pictures:
        """The first stage of what `read` gives: pictures by name, of so many channels each.

        record: its number in the cache.
        """
        if not (self.cache and self.resized):
            return {name: self._prepare(name, picture) for name, picture in read().items()}
        area = self.resized.width * self.resized.height
        kept = self.cache.get(record, area * sum(channels.values()))
        if kept is not None:
            ends = np.cumsum([area * count for count in channels.values()])[:-1]
            parts = zip(channels, np.split(kept, ends), strict=True)
            return {n: part.reshape(*self.resized.shape, channels[n]) for n, part in parts}
        pictures = {name: self._prepare(name, picture) for name, picture in read().items()}
        self.cache.put(record, np.concatenate([p.ravel() for p in pictures.values()]))
        return pictures

    def _prepare(self, name: str, picture: np.ndarray) -> np.ndarray:
        height, width = picture.shape[:2]
        try:
            if self.cut:
                picture = A.CenterCrop(*self.cut.shape)(image=picture)["image"]
            if self.resized:
                picture = self._fitted(picture, self.resized, name in self.labels)
        except Exception as error:
            raise DataError(f"A picture of {width}x{height} px can't be cut: {error}") from error
        return picture

    def _fitted(self, picture: np.ndarray, wanted: Size, is_labels: bool) -> np.ndarray:
        """The picture, resized as `fit` says: of the wanted size, or where it is to be cropped, of
        one that covers it.
        """
        height, width = picture.shape[:2]
        size = wanted
        if self.fit != "squash":
            choose = max if self.fit == "crop" else min
            scale = choose(wanted.width / width, wanted.height / height)
            # The wanted sides bound what rounding makes of them.
            width, height = map(choose, Size(width, height).scaled(scale), wanted)
            size = Size(max(width, 1), max(height, 1))
        picture = _resizing(size, is_labels)(image=picture)["image"]
        if self.fit == "pad":
            edges = ((0, wanted.height - size.height), (0, wanted.width - size.width), (0, 0))
            picture = np.pad(picture, edges, mode="edge")
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
        return {name: array.reshape(*self.size.shape, -1) for name, array in arrays.items()}


@lru_cache(maxsize=64)
def _resizing(size: Size, is_labels: bool) -> A.BasicTransform:
    if is_labels:
        return A.Resize(*size.shape, interpolation=cv2.INTER_NEAREST_EXACT)
    # Area when shrinking: bicubic alone would alias.
    return A.Resize(*size.shape, interpolation=cv2.INTER_CUBIC, area_for_downscale="image")
