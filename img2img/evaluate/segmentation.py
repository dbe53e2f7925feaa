"""The FCN score (Isola et al. 2017, section 4.1): how well a segmenter that was trained on real
pictures recovers the label maps from the pictures that were translated from them.
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
UNKNOWN = 255  # classes, of a model that outputs labels: values from 255 on are no class
MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])  # of ImageNet


def pixel_accuracy(confusion: np.ndarray) -> float:
    """The share of pixels with the right label; confusion: [K, K + 1] by true and predicted label,
    the last column for predictions that are no class.
    """
    return float(np.trace(confusion) / confusion.sum())


def class_accuracy(confusion: np.ndarray) -> float:
    """The share of each class's pixels with the right label, averaged over the classes present."""
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
        """Compare the model's labels for the picture uint8 [H, W, C] with its label map.

        Returns counts int [K, K + 1] by true label and predicted label; the last column counts
        predictions that are no class. Raises DataError where the picture has no label map.
        """
        if name not in self.labels:
            raise DataError(f"There is no label map for {name}.")
        truth = self._read_labels(self.labels[name])
        height, width = self.size or truth.shape
        fitted = images.resize(picture, width, height)
        scores = self.session.run(None, {self.input.name: self._network_input(fitted)})[0][0]
        axis = 0 if self.channels_first else 2
        if scores.ndim == 3 and scores.shape[axis] == 1 and scores.dtype.kind in "iu":
            scores = scores.squeeze(axis)
        if scores.ndim == 3:
            if scores.shape[axis] < 2:
                raise DataError(f"{self.name} gives one score a pixel; labels need two classes.")
            classes, predicted = scores.shape[axis], scores.argmax(axis)
        else:
            classes = UNKNOWN if self.palette is None else len(self.palette)
            predicted = scores
        rows, columns = (
            np.arange(side) * predicted_side // side
            for side, predicted_side in zip(truth.shape, predicted.shape, strict=True)
        )
        predicted = predicted[np.ix_(rows, columns)].astype(int)
        predicted[(predicted < 0) | (predicted > classes)] = classes
        labelled = truth < classes
        if not labelled.any():
            raise DataError(f"{self.labels[name]} has no pixel with one of {classes} labels.")
        pairs = truth[labelled] * (classes + 1) + predicted[labelled]
        counts = np.bincount(pairs, minlength=classes * (classes + 1))
        return counts.reshape(classes, classes + 1)

    def _network_input(self, picture: np.ndarray) -> np.ndarray:
        """uint8 [H, W, C] -> the scale, type and layout that the model takes, with N = 1."""
        pixels = np.broadcast_to(picture[..., :3], (*picture.shape[:2], 3))
        if self.input.type != "tensor(uint8)":
            match self.scale:
                case "imagenet":
                    pixels = (pixels / 255 - MEAN) / STD
                case "unit":
                    pixels = pixels / 255
                case "signed":
                    pixels = pixels / 255 * 2 - 1
            pixels = pixels.astype(np.float16 if "float16" in self.input.type else np.float32)
        if self.channels_first:
            pixels = pixels.transpose(2, 0, 1)
        return np.ascontiguousarray(pixels)[None]

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
                    labels: np.ndarray = np.asarray(image).astype(int)
                except OSError as error:
                    raise DataError(f"{path}: the labels can't be decoded ({error}).") from None
            return labels
        pixels = images.read(path).pixels.astype(int)
        errors = np.stack([np.abs(pixels - colour).sum(-1) for colour in self.palette])
        nearest: np.ndarray = errors.argmin(0)  # JPEG changes colours a little
        return nearest


def _read_palette(path: Path) -> np.ndarray:
    try:
        palette = np.array(json.loads(path.read_text()), int)
    except (OSError, ValueError, TypeError) as error:
        raise DataError(f"The palette {path} can't be read ({error}).") from None
    if palette.ndim != 2 or palette.shape[1] != 3 or not len(palette):
        raise DataError(f"The palette {path} must be a list of [red, green, blue], class by class.")
    return palette
