"""What the API says about its models."""

from pydantic import BaseModel, Field
from pydantic.json_schema import SkipJsonSchema

from img2img.app.values import ONE
from img2img.infer.translator import Translator
from img2img.intensity import Intensity
from img2img.sizes import Size


class PictureInfo(BaseModel):
    """What the files of an input, or of the output, contain."""

    name: str  # of an input: the field of a form that takes its file
    photographs: bool  # of 8 bits, in any format; else files of exact values
    dtype: str  # uint8, uint16, int16, int32 or float32
    bands: list[str]  # names or numbers of those that the model uses
    low: list[float]  # of each band: values below it are clipped
    high: list[float]  # of each band: values above it are clipped
    unit: str


class ModelInfo(BaseModel):
    """A model that can be requested."""

    name: str
    method: str
    direction: str
    trained_size: Size  # 256, or width x height as "512x256"
    domains: list[str]
    several: bool  # whether `to` may name several attributes, separated by commas
    inputs: list[PictureInfo]
    output: PictureInfo
    licence: str | SkipJsonSchema[None] = Field(json_schema_extra={"nullable": True})
    provider: str


def describe(name: str, translator: Translator) -> ModelInfo:
    manifest = translator.manifest
    taken = manifest.intensity_in or _photographs(manifest.in_channels)
    given = manifest.intensity_out or _photographs(manifest.out_channels)
    return ModelInfo(
        name=name,
        method=manifest.method,
        direction=manifest.direction,
        trained_size=manifest.trained_size,
        domains=list(manifest.labels.names),
        several=any(labelled.kind == "attributes" for labelled in manifest.labels.sets),
        inputs=[_picture(part, part.name or ONE) for part in taken.inputs],
        output=_picture(given, "translated"),
        licence=manifest.licence,
        provider=translator.provider,
    )


def _picture(intensity: Intensity, name: str) -> PictureInfo:
    return PictureInfo(
        name=name,
        photographs=intensity.photographs,
        dtype=intensity.dtype,
        bands=list(intensity.bands),
        low=list(intensity.low),
        high=list(intensity.high),
        unit="dB" if intensity.decibels else intensity.unit,
    )


def _photographs(channels: int) -> Intensity:
    names = tuple(str(number + 1) for number in range(channels))
    low, high = (0.0,) * channels, (255.0,) * channels
    return Intensity(dtype="uint8", bands=names, low=low, high=high, photographs=True)
