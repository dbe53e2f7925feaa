"""The FCN score (Isola et al. 2017, section 4.1): whether a segmenter that was trained on real
pictures sees in translated ones the label maps that they were made from.
"""

import hashlib
import json
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np

from img2img import images
from img2img.errors import DataError
from img2img.files import by_name
from img2img.infer.session import open_session

Scale = Literal["imagenet", "unit", "signed", "raw"]
UNKNOWN = 255  # classes that a segmenter of labels may have; the value 255 is no class
MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])  # of ImageNet


def pixel_accuracy(confusion: np.ndarray) -> float:
    """The share of pixels that get their label; confusion [K, K + 1]: true label, seen label;
    the last is none of them.
    """
    return float(np.trace(confusion) / confusion.sum())


def class_accuracy(confusion: np.ndarray) -> float:
    """The mean over the classes that there are of the share of their pixels that get the label."""
    with np.errstate(invalid="ignore"):
        return float(np.nanmean(np.diag(confusion) / confusion.sum(1)))


def class_iou(confusion: np.ndarray) -> float:
    """The mean over the classes of intersection over union, all pictures together."""
    hit = np.diag(confusion)
    with np.errstate(invalid="ignore"):
        return float(np.nanmean(hit / (confusion.sum(0)[: len(hit)] + confusion.sum(1) - hit)))


class Segmenter:
    """Any ONNX segmenter with one picture in, and scores [N, K, H, W] or labels [N, H, W] out.

    It takes uint8 or float, channels first or last (and gives scores alike), any size or one.
    labels: a folder of label maps by the pictures' names, grey or palette PNG with the class as
    value, or colours that the palette (a JSON list of [r, g, b], class by class) turns into
    classes; values from K on count as not labelled.
    """

    METRICS: ClassVar = {
        "pixel_accuracy": pixel_accuracy,
        "class_accuracy": class_accuracy,
        "class_iou": class_iou,
    }

    def __init__(
        self,
        model: Path,
        labels: Path,
        scale: Scale = "imagenet",
        palette: Path | None = None,
    ):
        """scale: of float inputs: ImageNet's mean and deviation, 0..1, -1..1, or 0..255."""
        self.session, content = open_session(model)
        self.name, self.sha256 = model.name, hashlib.sha256(content).hexdigest()
        self.scale, self.labels = scale, by_name(labels)
        self.palette = None if palette is None else _read_palette(palette)
        inputs = self.session.get_inputs()
        if len(inputs) != 1 or len(inputs[0].shape) != 4 or 3 not in inputs[0].shape[1::2]:
            raise DataError(
                f"{model} is no segmenter: it needs one input of pictures, [N, 3, H, W] or "
                "[N, H, W, 3]."
            )
        if isinstance(inputs[0].shape[0], int) and inputs[0].shape[0] != 1:
            raise DataError(f"{model} takes {inputs[0].shape[0]} pictures at once; one is needed.")
        self.input = inputs[0]
        self.channels_first = self.input.shape[1] == 3
        sides = self.input.shape[2:] if self.channels_first else self.input.shape[1:3]
        self.size = tuple(sides) if all(isinstance(side, int) for side in sides) else None

    def describe(self) -> str:
        floats = "" if self.input.type == "tensor(uint8)" else f", input scaled as {self.scale}"
        size = "the label map's size" if self.size is None else f"{self.size[1]}x{self.size[0]}"
        return f"{self.name} (sha256 {self.sha256[:16]}){floats}, pictures resized to {size}"

    def confusion(self, name: str, picture: np.ndarray) -> np.ndarray:
        """uint8 [H, W, C] -> counts [K, K + 1] of (true label, seen label or none of
        them); DataError without a map.
        """
        if name not in self.labels:
            raise DataError(f"There is no label map for {name}.")
        truth = self._read_labels(self.labels[name])
        height, width = self.size or truth.shape
        fitted = images.resize(picture, width, height)
        scores = self.session.run(None, {self.input.name: self._fed(fitted)})[0][0]
        axis = 0 if self.channels_first else 2
        if scores.ndim == 3 and scores.shape[axis] == 1 and scores.dtype.kind in "iu":
            scores = scores.squeeze(axis)
        if scores.ndim == 3:
            if scores.shape[axis] < 2:
                raise DataError(f"{self.name} gives one score a pixel; labels need two classes.")
            classes, seen = scores.shape[axis], scores.argmax(axis)
        else:
            classes, seen = UNKNOWN if self.palette is None else len(self.palette), scores
        rows, columns = (
            np.arange(side) * have // side
            for side, have in zip(truth.shape, seen.shape, strict=True)
        )
        seen = seen[np.ix_(rows, columns)].astype(int)
        seen[(seen < 0) | (seen > classes)] = classes
        known = truth < classes
        if not known.any():
            raise DataError(f"{self.labels[name]} has no pixel with one of {classes} labels.")
        pairs = truth[known] * (classes + 1) + seen[known]
        counts = np.bincount(pairs, minlength=classes * (classes + 1))
        return counts.reshape(classes, classes + 1)

    def _fed(self, picture: np.ndarray) -> np.ndarray:
        pixels = np.broadcast_to(picture[..., :3], (*picture.shape[:2], 3))
        if self.input.type != "tensor(uint8)":
            unit = pixels / 255
            scaled = {
                "imagenet": lambda: (unit - MEAN) / STD,
                "unit": lambda: unit,
                "signed": lambda: unit * 2 - 1,
                "raw": lambda: pixels,
            }[self.scale]()
            pixels = scaled.astype(np.float16 if "float16" in self.input.type else np.float32)
        return np.ascontiguousarray(pixels.transpose(2, 0, 1) if self.channels_first else pixels)[
            None
        ]

    def _read_labels(self, path: Path) -> np.ndarray:
        """int [H, W]: the values of a grey or palette file as they are, colours by the palette."""
        if self.palette is None:
            with images.open_header(path) as image:
                if image.mode not in ("L", "P", "I;16"):
                    raise DataError(
                        f"{path} shows its labels in colours ({image.mode}); --palette FILE tells "
                        "which colour is which class."
                    )
                try:
                    return np.asarray(image).astype(int)
                except OSError as error:
                    raise DataError(f"{path}: the labels can't be decoded ({error}).") from None
        pixels = images.read(path).pixels.astype(int)
        off = np.stack([np.abs(pixels - colour).sum(-1) for colour in self.palette])
        return off.argmin(0)  # the nearest, since JPEG moves colours a little


def _read_palette(path: Path) -> np.ndarray:
    try:
        palette = np.array(json.loads(path.read_text()), int)
    except (OSError, ValueError, TypeError) as error:
        raise DataError(f"The palette {path} can't be read ({error}).") from None
    if palette.ndim != 2 or palette.shape[1] != 3 or not len(palette):
        raise DataError(f"The palette {path} must be a list of [red, green, blue], class by class.")
    return palette
