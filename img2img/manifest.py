"""The manifest of an exported model: JSON in the ONNX file's `metadata_props`."""

from collections.abc import Collection
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from img2img.errors import DataError
from img2img.intensity import Intensity
from img2img.sizes import Size

METADATA_KEY = "img2img"
Precision = Literal["fp32", "fp16", "int8"]
Palette = tuple[tuple[int, ...], ...]  # the colors of label maps, 0 to 255 for each channel
NEAR_DB = 45.0  # PSNR, dB, from which rounding to bf16 or fp16 is invisible
# CelebA's hair colors. A picture has at most one of them, so choosing one removes the others.
HAIR_COLOURS = frozenset({"Black_Hair", "Blond_Hair", "Brown_Hair", "Gray_Hair"})


class LabelSet(BaseModel):
    """The domains of one labelled data set. A picture has exactly one class, or any attributes."""

    model_config = ConfigDict(frozen=True)

    kind: Literal["classes", "attributes"]
    domains: tuple[str, ...]


class Labels(BaseModel):
    """The layout of a label vector: 0 or 1 for each domain of each data set in turn.

    With several data sets, a one-hot mask follows that marks the data set whose labels are given;
    those of the others are 0 (Choi et al. 2018, section 3.2).
    """

    model_config = ConfigDict(frozen=True)

    sets: tuple[LabelSet, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """All domains, in the order of the vector."""
        return tuple(name for labels in self.sets for name in labels.domains)

    def of_kind(self, kind: Literal["classes", "attributes"]) -> list[str]:
        """The names of all classes, or of all attributes."""
        return [name for labels in self.sets if labels.kind == kind for name in labels.domains]

    @property
    def width(self) -> int:
        """Length of the vector."""
        return len(self.names) + (len(self.sets) if len(self.sets) > 1 else 0)

    @property
    def parts(self) -> tuple[slice, ...]:
        """The slice of each data set's domains in the vector."""
        counts = [len(labels.domains) for labels in self.sets]
        ends = np.cumsum(counts).tolist()
        return tuple(slice(end - count, end) for count, end in zip(counts, ends, strict=True))

    def vector(self, which: int, domains: Collection[str]) -> np.ndarray:
        """The label vector, float32 [width], of these domains of data set number `which`."""
        vector = np.zeros(self.width, np.float32)
        vector[self.parts[which]] = [name in domains for name in self.sets[which].domains]
        if len(self.sets) > 1:
            vector[len(self.names) + which] = 1
        return vector

    def towards(self, which: int, domains: Collection[str], name: str) -> frozenset[str]:
        """The target domains of a picture of data set `which` that has `domains`, when `name` is
        chosen: that class alone, or its attributes with this one flipped.
        """
        if self.sets[which].kind == "classes":
            return frozenset({name})
        others = HAIR_COLOURS if name in HAIR_COLOURS else frozenset()
        kept = frozenset(domains) - others - {name}
        return kept if name in domains and not others else kept | {name}


class Manifest(BaseModel):
    """The description that is stored in a bundle. Unknown fields of later versions are ignored.

    A bundle's input is `image`, uint8 [N, H, W, in_channels] in sRGB with any N, H and W, and its
    output `translated`, uint8 [N, H, W, out_channels]. With an intensity, they have its type, and
    the stored values of its bands; where it has parts, those of one file for each of them. With
    labels, there is another input, `domain`, float32 [N, labels.width].
    """

    model_config = ConfigDict(frozen=True)

    schema_version: Literal[1] = 1
    name: str
    method: str
    direction: str  # "ab", "ba", or "to" where the target is one of the domains
    in_channels: int = Field(3, ge=1)
    out_channels: int = Field(3, ge=1)
    # What the values of the input and the output mean, if they are not photographs.
    intensity_in: Intensity | None = None
    intensity_out: Intensity | None = None
    size_multiple: int  # the graph pads both sides to multiples of it, and crops the output
    min_size: int = 1  # px, to which the graph pads, too
    reach: int | None = None  # px, radius of the receptive field; None: unbounded, so no tiles
    trained_size: Size  # of the training crops, pixels
    labels: Labels = Labels()  # of the domains that it translates to
    palette: Palette = ()  # of a label map that it gives: no pixel has another color
    statistics: Literal["image", "running"] = "image"  # of the normalization layers
    weights: Literal["ema", "plain"] = "plain"
    precision: Precision = "fp32"
    half_weights: bool = False  # the large ones are stored in fp16 and computed with in fp32
    licence: str | None = None
    step: int = 0
    seed: int = 0
    config: dict[str, object] = {}  # the method's settings; no paths of the training machine
    # SHA-256 of the feature networks that took part in training, by name without folders
    feature_networks: dict[str, str] = {}
    feature_weights: dict[str, str] = {}  # the same of the file of perceptual_weights
    data: dict[str, object] = {}  # counts and fingerprint of the training pictures
    metrics: dict[str, float] = {}
    # Differences to torch at export, in grey levels and dB. bf16_psnr_mean and bf16_psnr_worst are
    # the PSNR of computing in bf16, and those with fp16 the PSNR of computing in fp16.
    parity: dict[str, float] = {}
    created_with: str = ""
    created: str = ""

    @property
    def dtype_in(self) -> str:
        """The type of the input's values."""
        return self.intensity_in.dtype if self.intensity_in else "uint8"

    @property
    def dtype_out(self) -> str:
        """The type of the output's values."""
        return self.intensity_out.dtype if self.intensity_out else "uint8"

    @property
    def has_values(self) -> bool:
        """Whether inputs or outputs are no photographs."""
        return bool(self.intensity_in or self.intensity_out)

    @property
    def is_exact(self) -> bool:
        """Whether outputs are values to compute with, and not photographs to look at."""
        return self.intensity_out is not None

    @property
    def is_near_in_bf16(self) -> bool:
        """Whether "auto" may compute in bf16, by the mean PSNR of the pictures at export; False
        where it was not measured, and where pictures are not photographs.
        """
        return not self.has_values and self.parity.get("bf16_psnr_mean", 0.0) >= NEAR_DB

    @property
    def is_near_in_fp16(self) -> bool:
        """Whether "auto" may compute in fp16 on a GPU, by the worst PSNR of a picture at export,
        because values beyond the range of fp16 spoil single pictures; False where it was not
        measured, and where pictures are not photographs.
        """
        return not self.has_values and self.parity.get("fp16_psnr_worst", 0.0) >= NEAR_DB

    @classmethod
    def parse(cls, metadata: dict[str, str], source: str) -> "Manifest":
        """Read the manifest from a model's metadata. Raises DataError, which names `source`."""
        if METADATA_KEY not in metadata:
            raise DataError(
                f"{source} is an ONNX model, but not one of img2img (it has no manifest). "
                "Create one with: img2img export RUN"
            )
        try:
            return cls.model_validate_json(metadata[METADATA_KEY])
        except ValidationError as error:
            first = error.errors()[0]
            raise DataError(
                f"The manifest of {source} can't be read ({first['loc']}: {first['msg']}). "
                "If the model comes from a later version, update img2img."
            ) from None
