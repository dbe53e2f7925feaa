"""pix2pix with an image gradient difference loss (Mathieu et al. 2016, section 3.2)."""

from typing import Any, ClassVar

from pydantic import Field
from torch import Tensor

from img2img.methods.fidelity import l1
from img2img.methods.pix2pix import Pix2Pix, Pix2PixConfig
from img2img.methods.step import Batch, Draws, Scene


class SharpConfig(Pix2PixConfig):
    """The settings of pix2pix, and one more. A field is an option of its name: --gradient 10."""

    gradient: float = Field(50.0, ge=0, description="weight of the gradient difference loss")


class Sharp(Pix2Pix):
    """pix2pix that is also penalized where the edges of its output are not those of the truth."""

    name = "sharp"
    Config = SharpConfig
    layouts = ("suffixed", "pairs")  # the first that accepts the given folders is opened
    sources_hint = (
        "sharp needs --pairs DIR with files named NAME_a and NAME_b, or --a DIR and --b DIR."
    )
    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "paper": {},
        "light": {
            "generator": "shallow",
            "discriminator": "edges",
            "objective": "softplus-margin",
        },
    }
    config: SharpConfig

    def g_terms(self, batch: Batch, scene: Scene, draws: Draws) -> dict[str, Tensor]:
        terms = super().g_terms(batch, scene, draws)
        difference = gradient_difference(scene["fake_b"], batch["b"])
        return {**terms, "gradient": self.config.gradient * difference}


def gradient_difference(output: Tensor, truth: Tensor) -> Tensor:
    """The mean difference of the absolute gradients of images [N, C, H, W], a scalar (equation 6
    with alpha = 1, as a mean over the pixels of each direction).
    """
    total = output.new_zeros(())
    for axis in (2, 3):
        total = total + l1(output.diff(dim=axis).abs(), truth.diff(dim=axis).abs())
    return total
