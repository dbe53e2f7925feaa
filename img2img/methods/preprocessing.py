"""The settings of how pictures become training pictures, which all methods share."""

from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from img2img.intensity import Intensity
from img2img.manifest import Palette
from img2img.ranges import GRAMMAR
from img2img.show import USE
from img2img.sizes import Fit, Margin, Size, TrainingSize

# 0: do not resize. None: the method's default.
LoadSize = Annotated[
    Literal[0] | Size | None, BeforeValidator(lambda value: 0 if value == "0" else value)
]


class Preprocessing(BaseModel):
    """The channels of the pictures, and how they are resized, cropped and flipped."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    size: TrainingSize = Field(
        Size(256, 256),
        description="Size of the training crops in pixels: 256, or 512x256 (width x height).",
    )
    resize: LoadSize = Field(
        None,
        description="Size to which pictures are resized before they are cropped; 0 keeps their "
        "size. By default the paper's, in proportion to size.",
    )
    margin: Margin = Field(
        "enlarge",
        description="Where random crops find room in pictures smaller than the default of resize. "
        "enlarge: the pictures are enlarged to it, as in the papers. The others keep their size, "
        "and add a margin: reflect mirrors the picture, edge repeats its border, auto continues "
        "the color of a plain border and mirrors all other pictures.",
    )
    fit: Fit = Field(
        "squash",
        description="How a picture of another aspect ratio is resized. squash: to exactly that "
        "size. crop: its shorter side is scaled, and its longer side cropped. pad: its longer side "
        "is scaled, and its border repeated.",
    )
    centre_crop: TrainingSize | None = Field(
        None, description="Size of a crop from the center that is taken before resizing."
    )
    labels_in: Literal["color", "one-hot"] | None = Field(
        None,
        description="The inputs are label maps, and are resized without mixing their colors. "
        "color: the generator sees the colors. one-hot: it sees one channel for each color.",
    )
    labels_out: bool = Field(
        False,
        description="The outputs are label maps: every pixel has one of the colors in the data.",
    )
    palettes: dict[str, Palette] = Field(
        {}, description="The colors of the label maps, which are read from the data."
    )
    flip: bool = Field(True, description="Mirror half of the pictures horizontally, at random.")
    in_channels: int = Field(
        3,
        ge=1,
        description="Channels of the inputs: 1 (gray), 3 (RGB) or 4 (RGB and alpha); of pictures "
        "that are not photographs, the number of bands in the data.",
    )
    out_channels: int = Field(
        3,
        ge=1,
        description="Channels of the outputs: 1 (gray), 3 (RGB) or 4 (RGB and alpha); of pictures "
        "that are not photographs, the number of bands in the data.",
    )
    range: tuple[str, ...] = Field(
        (),
        description="What becomes black and white, of pictures that are not photographs: "
        f"{GRAMMAR}. For both sides, or for each: a=0:10000,b=hu; of several inputs for each by "
        "its folder's name: optical=0:10000,sar=-25dB:5dB. By default auto.",
    )
    bands: tuple[str, ...] = Field(
        (),
        description="The bands that are used, by name or by number from 1 on, of pictures that are "
        "not photographs: 4,3,2, or for each side a=4,3,2,b=1; of several inputs for each by its "
        "folder's name: optical=4,3,2,sar=1. By default all.",
    )
    show: tuple[str, ...] = Field(
        (),
        description="How pictures that are not photographs are shown, in samples, reports and the "
        f"demo, and to the networks that measure distances: {USE}. For both sides, or for each: "
        "a=4,3,2@0:3000,b=1; of several inputs also by their folders' names. By default the first "
        "three bands, or the first of fewer, in their range.",
    )
    intensities: dict[str, Intensity] = Field(
        {},
        description="What the values of sides mean whose pictures are not photographs; read from "
        "the data.",
    )

    @property
    def load_size(self) -> Size | None:
        """The size to which pictures are resized before they are cropped; None to keep their size.
        The default is that of the papers, 286/256 of the crop.
        """
        return (self.size.scaled(286 / 256) if self.resize is None else self.resize) or None

    @property
    def margin_of_crops(self) -> Margin:
        """The setting `margin`, unless an explicit `resize` resizes all pictures to its size."""
        return self.margin if self.resize is None else "enlarge"

    def without_effect(self) -> dict[str, str]:
        """Settings that have no effect together with the others, each with the reason."""
        if self.load_size is None:
            reason = "pictures are not resized (resize=0)"
            return {"fit": reason, "margin": reason}
        if self.resize:
            return {"margin": f"resize={self.resize} resizes smaller pictures, too"}
        return {}
