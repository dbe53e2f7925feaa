"""Resizing, cropping and flipping of the pictures of a sample alike."""

from collections.abc import Callable, Collection
from fractions import Fraction
from functools import lru_cache
from random import Random
from typing import Literal

import albumentations as A
import cv2
import numpy as np

from img2img.data.cache import Cache
from img2img.data.dataset import Form
from img2img.errors import DataError
from img2img.sizes import Fit, Margin, Size

Pictures = dict[str, np.ndarray]
PadMode = Literal["constant", "reflect", "edge"]
cv2.setNumThreads(0)  # data workers run in parallel instead


class Augment:
    """Pictures [H, W, C] of any size -> [height, width, C] of `size`, of the same type, in two
    stages.

    The first stage is deterministic: a center crop, if there is one, and resizing to load_size, or
    outside of training to size; training pictures that are smaller than load_size can get a margin
    instead of being enlarged. The second stage is the crop to size, at random in training, and a
    horizontal flip of half of the samples in training.
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
        margin: Margin = "enlarge",
    ):
        """
        Args:
            load_size: size to which training pictures are resized; None to keep their size.
            fit: how a picture of another aspect ratio is resized. squash: to exactly that size.
                crop: to the smallest size that covers it, and cropped, in training at random. pad:
                to the largest size within it; the border is repeated on the right and below, as
                exported models pad.
            cache: stores the results of the first stage, which must be of one size.
            labels: names of pictures that are label maps, whose colors must not mix.
            margin: how training pictures smaller than load_size reach it. enlarge: by resizing.
                Otherwise they keep their size (or are resized to `size`, as outside of training,
                if they are smaller than that), and a margin is added on all sides. reflect: it
                mirrors the picture. edge: it repeats the border. auto: it has the color of the
                border if that is plain in all pictures of the sample, else it mirrors them.
        """
        self.size = Size.of(size)
        self.training, self.cache, self.fit, self.labels = training, cache, fit, frozenset(labels)
        self.cut = Size.of(centre_crop) if centre_crop else None
        load = Size.of(load_size) if load_size else None
        self.resized = load and (load if training else self.size)
        self.margin = margin
        self.adds_margin = training and margin != "enlarge" and load not in (None, self.size)
        # If so, both pictures of a pair become equal in size, whatever their sizes are.
        self.resizes_first = bool(load) and not centre_crop and fit == "squash"
        self.moves = training and (load != self.size or fit == "crop")  # where it crops
        self.flips = training and flip

    def prepared(
        self, record: int, forms: dict[str, Form], read: Callable[[], Pictures]
    ) -> Pictures:
        """The pictures that `read` returns, after the first stage, from the cache if possible.

        record: index in the cache. forms: of each picture by name; further pictures that `read`
        returns are partners, of the same crop, and not returned. Those from the cache may be views
        of it, and read-only. Raises DataError for a picture that is too small.
        """
        if not (self.cache and self.resized):
            return self._first_stage(forms, read())
        area = self.resized.width * self.resized.height
        cached = self.cache.get(record, area * sum(form.pixel_bytes for form in forms.values()))
        if cached is not None:
            pictures, end = {}, 0
            for name, form in forms.items():
                start, end = end, end + area * form.pixel_bytes
                content = cached[start:end]
                if form.dtype != "uint8":  # which may be anywhere in memory
                    content = content.copy().view(form.dtype)
                pictures[name] = content.reshape(*self.resized.shape, form.channels)
            return pictures
        pictures = self._first_stage(forms, read())
        flat = [np.ascontiguousarray(p).reshape(-1).view(np.uint8) for p in pictures.values()]
        self.cache.put(record, np.concatenate(flat))
        return pictures

    def _first_stage(self, names: Collection[str], pictures: Pictures) -> Pictures:
        """The named pictures after the first stage. The others are their partners, which have a say
        in the size and the margin.
        """
        if not self.adds_margin:
            return {name: self._prepare(name, pictures[name], self.resized) for name in names}
        assert self.resized
        size = self._size_without_enlarging(pictures)
        ready = {name: self._prepare(name, picture, size) for name, picture in pictures.items()}
        mode: PadMode = "edge" if self.margin == "edge" else "reflect"
        if self.margin == "auto" and all(map(_has_plain_border, ready.values())):
            mode = "constant"
        return {name: _padded(ready[name], self.resized, mode) for name in names}

    def _prepare(self, name: str, picture: np.ndarray, size: Size | None) -> np.ndarray:
        height, width = picture.shape[:2]
        if self.cut:
            if not self.cut.fits_in(Size(width, height)):
                raise DataError(
                    f"A picture of {width}x{height} px is smaller than its center crop, of "
                    f"{self.cut} px."
                )
            top, left = (height - self.cut.height) // 2, (width - self.cut.width) // 2
            picture = picture[top : top + self.cut.height, left : left + self.cut.width]
        try:
            return self._fitted(picture, size, name in self.labels) if size else picture
        except Exception as error:
            raise DataError(
                f"A picture of {width}x{height} px can't be resized: {error}"
            ) from error

    def _size_without_enlarging(self, pictures: Pictures) -> Size:
        """The largest size from `size` to load_size to which none of the pictures is enlarged;
        `size` if they are too small for any. The sizes between them lie on a line.
        """
        assert self.resized
        sides = list(zip(self.size, self.resized, strict=True))
        share = Fraction(1)  # exact: a pixel less because of rounding would blur the picture
        for picture in pictures.values():
            has = self.cut or Size(picture.shape[1], picture.shape[0])
            shares = [
                Fraction(side - low, high - low)
                for side, (low, high) in zip(has, sides, strict=True)
                if low < high
            ]
            # With fit=pad, the side that needs the smaller scale determines it.
            share = min(share, max(shares) if self.fit == "pad" else min(shares))
        share = max(share, Fraction(0))
        return Size(*(low + int(share * (high - low)) for low, high in sides))

    def _fitted(self, picture: np.ndarray, wanted: Size, is_labels: bool) -> np.ndarray:
        """The picture, resized by the rule of `fit`: to the wanted size, or, if it is cropped
        later, to a size that covers it.
        """
        height, width = picture.shape[:2]
        size = wanted
        if self.fit != "squash":
            choose = max if self.fit == "crop" else min
            scale = choose(wanted.width / width, wanted.height / height)
            # Rounding must not make a side smaller (crop) or larger (pad) than wanted.
            width, height = map(choose, Size(width, height).scaled(scale), wanted)
            size = Size(max(width, 1), max(height, 1))
        picture = resized(picture, size, is_labels)
        if self.fit == "pad":
            edges = ((0, wanted.height - size.height), (0, wanted.width - size.width), (0, 0))
            picture = np.pad(picture, edges, mode="edge")
        return picture

    def __call__(self, random: np.random.Generator, pictures: Pictures) -> Pictures:
        """The second stage, alike for all pictures, by the next draw of the generator. Raises
        DataError for a picture that is smaller than the crop.

        The pictures must be of one size; the results are copies. The draws, in their order, are
        those of albumentations 2.0.8 (Compose of RandomCrop and HorizontalFlip, which share one
        generator), with which runs were trained that can still be resumed.
        """
        draws = Random(int(random.integers(2**31)))  # noqa: S311, no secret
        draws.random()  # Compose: whether to do anything, which is always so
        [shape] = {picture.shape[:2] for picture in pictures.values()}
        height, width = self.size.shape
        rest = shape[0] - height, shape[1] - width
        if min(rest) < 0:
            raise DataError(
                f"A picture of {shape[1]}x{shape[0]} px can't be cropped to {self.size} px."
            )
        top, left = (int((n + 1) * draws.random()) if self.moves else n // 2 for n in rest)
        window = np.s_[top : top + height, left : left + width]
        if self.flips and draws.random() < 0.5:
            return {name: _flipped(picture[window]) for name, picture in pictures.items()}
        return {name: picture[window].copy() for name, picture in pictures.items()}


def _flipped(picture: np.ndarray) -> np.ndarray:
    """A mirrored copy of [H, W, C]."""
    if picture.shape[2] > 4:  # OpenCV has a limit of 128
        return np.ascontiguousarray(picture[:, ::-1])
    # By OpenCV, since NumPy copies pixels one by one where their order changes.
    return cv2.flip(picture, 1).reshape(picture.shape)


def resized(picture: np.ndarray, size: Size, is_labels: bool) -> np.ndarray:
    """The picture [H, W, C], of any type, at that size. Integers are rounded."""
    resize = _resizing(size, is_labels)
    if picture.dtype == np.int32 and not is_labels:  # which OpenCV can't interpolate
        result: np.ndarray = np.rint(resize(image=picture.astype(np.float64))["image"])
        limits = np.iinfo(np.int32)
        return result.clip(limits.min, limits.max).astype(np.int32)
    return np.asarray(resize(image=picture)["image"])


@lru_cache(maxsize=64)
def _resizing(size: Size, is_labels: bool) -> A.BasicTransform:
    if is_labels:
        return A.Resize(*size.shape, interpolation=cv2.INTER_NEAREST_EXACT)
    # Area interpolation when shrinking, since bicubic interpolation alone would alias.
    return A.Resize(*size.shape, interpolation=cv2.INTER_CUBIC, area_for_downscale="image")


def _has_plain_border(picture: np.ndarray) -> bool:
    """Whether the corners of a picture [H, W, C] have one color, and at least half of the pixels of
    its border have it.
    """
    corner = picture[0, 0]
    border = np.concatenate([picture[0], picture[-1], picture[:, 0], picture[:, -1]])
    share = (border == corner).all(-1).mean()
    return bool(share >= 0.5 and (picture[[0, -1, -1], [-1, 0, -1]] == corner).all())


def _padded(picture: np.ndarray, size: Size, mode: PadMode) -> np.ndarray:
    """The picture [H, W, C] in the middle of one that is at least as large as `size`. constant: the
    margin has the color of the first pixel.
    """
    height, width, channels = picture.shape
    lacking = [max(want - has, 0) for want, has in zip(size.shape, (height, width), strict=True)]
    (top, bottom), (left, right) = edges = [(n // 2, n - n // 2) for n in lacking]
    if mode != "constant":
        return np.pad(picture, (*edges, (0, 0)), mode=mode)
    padded = np.empty((top + height + bottom, left + width + right, channels), picture.dtype)
    padded[:] = picture[0, 0]
    padded[top : top + height, left : left + width] = picture
    return padded
