"""The base class of methods that train on two sets, with an optional loss for pairs in them."""

from pydantic import Field
from torch import Tensor

from img2img.methods.base import Method
from img2img.methods.config import MethodConfig
from img2img.methods.objectives import wide
from img2img.methods.step import Batch, Draws


class TwoSetsConfig(MethodConfig):
    """The settings of methods that train on two sets of pictures without pairs."""

    paired: float = Field(
        0.0,
        ge=0,
        description="Weight of the L1 loss between the translation of a picture and its partner, "
        "the picture of the same name in the other set, if it has one; 0 uses no partners.",
    )


class TwoSets(Method):
    """A method of two sets of pictures, a part of which may be pairs."""

    layouts = ("unpaired",)
    config: TwoSetsConfig

    @classmethod
    def layouts_for(cls, config: MethodConfig) -> tuple[str, ...]:
        assert isinstance(config, TwoSetsConfig)
        return ("partly-paired",) if config.paired else cls.layouts

    def truth_term(self, output: Tensor, truth: Tensor, draws: Draws) -> Tensor:
        """The weighted L1 distance between translations and the pictures of the batch beside them,
        [N, C, H, W], averaged over those that are pairs; 0 if there are none.
        """
        assert draws.truths is not None  # the layout is partly-paired
        distances = (wide(output) - wide(truth)).abs().mean((1, 2, 3))
        return self.config.paired * (draws.truths * distances).mean()


def all_paired(batch: Batch) -> bool:
    """Whether all samples of the batch are pairs. It waits for the device."""
    return "paired" in batch and bool(batch["paired"].all())
