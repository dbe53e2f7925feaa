"""What an exported model says of itself: JSON inside the ONNX file's `metadata_props`."""

from collections.abc import Collection
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from img2img.errors import DataError
from img2img.sizes import Size

METADATA_KEY = "img2img"
Precision = Literal["fp32", "fp16", "int8"]
Palette = tuple[tuple[int, ...], ...]  # the colors of label maps, 0 to 255 for each channel
BF16_DB = 45.0  # PSNR from which rounding to bf16 is not seen, dB
# CelebA's, of which a picture has at most one: to choose one takes the others away.
HAIR_COLOURS = frozenset({"Black_Hair", "Blond_Hair", "Brown_Hair", "Gray_Hair"})


class LabelSet(BaseModel):
    """The domains of one labelled data set: a picture has one of them, or any."""

    model_config = ConfigDict(frozen=True)

    kind: Literal["classes", "attributes"]
    domains: tuple[str, ...]


class Labels(BaseModel):
    """What a label vector means: 0 or 1 for each domain of each data set in turn.

    With several data sets a one-hot mask over them follows, which tells whose part is known; the
    other parts are 0 (StarGAN, section 3.2).
    """

    model_config = ConfigDict(frozen=True)

    sets: tuple[LabelSet, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(name for labels in self.sets for name in labels.domains)

    def of_kind(self, kind: Literal["classes", "attributes"]) -> list[str]:
        """Those names that are one of classes, or attributes that add up."""
        return [name for labels in self.sets if labels.kind == kind for name in labels.domains]

    @property
    def width(self) -> int:
        """Length of the vector."""
        return len(self.names) + (len(self.sets) if len(self.sets) > 1 else 0)

    @property
    def parts(self) -> tuple[slice, ...]:
        """Where each data set's domains are in the vector."""
        counts = [len(labels.domains) for labels in self.sets]
        ends = np.cumsum(counts).tolist()
        return tuple(slice(end - count, end) for count, end in zip(counts, ends, strict=True))

    def vector(self, which: int, domains: Collection[str]) -> np.ndarray:
        """float32 [width], of a picture that has these domains of data set number `which`."""
        vector = np.zeros(self.width, np.float32)
        vector[self.parts[which]] = [name in domains for name in self.sets[which].domains]
        if len(self.sets) > 1:
            vector[len(self.names) + which] = 1
        return vector

    def towards(self, which: int, domains: Collection[str], name: str) -> frozenset[str]:
        """What a picture of data set `which` with these domains has once `name` is chosen: that
        one class alone, or its attributes with this one switched over.
        """
        if self.sets[which].kind == "classes":
            return frozenset({name})
        others = HAIR_COLOURS if name in HAIR_COLOURS else frozenset()
        kept = frozenset(domains) - others - {name}
        return kept if name in domains and not others else kept | {name}


class Manifest(BaseModel):
    """The description that travels in a bundle; unknown fields of later versions are ignored.

    A bundle takes `image` uint8 [N, H, W, in_channels] in sRGB, any N, H and W, and gives
    `translated` uint8 [N, H, W, out_channels]; with labels it also takes `domain` float32
    [N, labels.width].
    """

    model_config = ConfigDict(frozen=True)

    schema_version: Literal[1] = 1
    name: str
    method: str
    direction: str  # "ab", "ba", or "to" where the target is one of the domains
    in_channels: Literal[1, 3, 4] = 3
    out_channels: Literal[1, 3, 4] = 3
    size_multiple: int  # the graph pads both sides to it, and to min_size, and crops back
    min_size: int = 1
    reach: int | None = None  # px from an output pixel to what it depends on; None: all, no tiles
    trained_size: Size  # of the training crops, pixels
    labels: Labels = Labels()  # of the domains it translates to
    palette: Palette = ()  # of a label map that it gives: no pixel has another color
    statistics: Literal["image", "running"] = "image"  # of the normalisation layers
    weights: Literal["ema", "plain"] = "plain"
    precision: Precision = "fp32"
    licence: str | None = None
    step: int = 0
    seed: int = 0
    config: dict[str, object] = {}  # the method's settings; no paths of the training machine
    data: dict[str, object] = {}  # counts and fingerprint of the training pictures
    metrics: dict[str, float] = {}
    # Against torch at export: grey levels, dB; bf16_psnr_mean and -_worst: of computing in bf16.
    parity: dict[str, float] = {}
    created_with: str = ""
    created: str = ""

    @property
    def is_near_in_bf16(self) -> bool:
        """Whether it may be computed in bf16 without being asked for: on the mean of the pictures
        that were tried at export. Where none were, it may not.
        """
        return self.parity.get("bf16_psnr_mean", 0.0) >= BF16_DB

    @classmethod
    def parse(cls, metadata: dict[str, str], source: str) -> "Manifest":
        """Read the manifest out of an ONNX model's metadata; `source` names the file in errors."""
        if METADATA_KEY not in metadata:
            raise DataError(
                f"{source} is an ONNX model but not an img2img bundle (it has no manifest). "
                "Make one with: img2img export RUN"
            )
        try:
            return cls.model_validate_json(metadata[METADATA_KEY])
        except ValidationError as error:
            first = error.errors()[0]
            raise DataError(
                f"The manifest of {source} can't be read ({first['loc']}: {first['msg']}). "
                "The model may come from a later version: get a newer img2img"
            ) from None
