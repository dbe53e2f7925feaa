"""The settings of generators that halve the size of feature maps, and double it again."""

from typing import Annotated, Literal

from pydantic import Field

from img2img.nets.generator import GeneratorConfig
from img2img.nets.resample import Upsample
from img2img.nets.residual import Residual

# Not by reflection, which needs two pixels: the innermost feature maps may have one.
Padding = Annotated[
    Literal["zeros", "replicate"],
    Field(
        description="Padding of the generators' convolutions: zeros, which may show as a dark "
        "frame, or replicate (the border is repeated). Transposed convolutions have none; see "
        "upsample."
    ),
]


class EncoderDecoderConfig(GeneratorConfig):
    """The settings that these generators share."""

    upsample: Upsample = Field(
        "transposed",
        description="How the generators double the size: transposed (convolution), nearest or "
        "bilinear (interpolation, followed by a convolution), or subpixel (a convolution to four "
        "times the channels, which become pixels). All but transposed avoid checkerboards.",
    )
    antialias: bool = Field(
        False,
        description="The generators downsample with a blur, to avoid aliasing (Zhang 2019).",
    )
    residual: Residual = Field(
        "off",
        description="The generators change their input, and training starts with no change. plain: "
        "output = input + network. gated: the network also gives a gate for each pixel, by which "
        "the input can be faded out. Needs as many output as input channels.",
    )

    def require_channels(self, in_channels: int, out_channels: int, one_hot: bool) -> None:
        if self.residual == "off":
            return
        if one_hot:
            raise ValueError(
                f"residual={self.residual} changes the input picture, and one-hot labels are none; "
                "set labels_in=color or residual=off"
            )
        if in_channels != out_channels:
            raise ValueError(
                f"residual={self.residual} changes the input picture, so it needs in_channels "
                "equal to out_channels; set residual=off"
            )
