"""What an exported model says of itself: JSON inside the ONNX file's `metadata_props`."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from img2img.errors import DataError

METADATA_KEY = "img2img"


class Manifest(BaseModel):
    """The description that travels in a bundle; unknown fields of later versions are ignored.

    A bundle takes `image` uint8 [N, H, W, in_channels] in sRGB, any N, H and W, and gives
    `translated` uint8 [N, H, W, out_channels]; with domains it also takes `domain` float32
    [N, len(domains)].
    """

    model_config = ConfigDict(frozen=True)

    schema_version: Literal[1] = 1
    name: str
    method: str
    direction: str  # "ab", "ba", or "to" where the target is one of the domains
    in_channels: int = 3
    out_channels: int = 3
    size_multiple: int  # the graph pads to it and crops back
    trained_size: int  # side of the training crops, pixels
    domains: tuple[str, ...] = ()
    labels: Literal["classes", "attributes"] | None = None  # one domain at a time, or any set
    statistics: Literal["image", "running"] = "image"  # of the normalisation layers
    weights: Literal["ema", "plain"] = "plain"
    precision: Literal["fp32", "fp16", "int8"] = "fp32"
    licence: str | None = None
    step: int = 0
    seed: int = 0
    config: dict[str, object] = {}  # the method's settings; no paths of the training machine
    data: dict[str, object] = {}  # counts and fingerprint of the training pictures
    metrics: dict[str, float] = {}
    parity: dict[str, float] = {}  # against torch at export, grey levels
    created_with: str = ""
    created: str = ""

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
                "The model may come from a later version: pip install --upgrade img2img"
            ) from None
