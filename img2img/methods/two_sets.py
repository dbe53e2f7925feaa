"""What the methods of two sets of pictures share: the use of those pictures that have a partner."""

from pydantic import Field
from torch import Tensor

from img2img.methods.base import Batch, Draws, Method
from img2img.methods.config import MethodConfig
from img2img.methods.objectives import wide


class TwoSetsConfig(MethodConfig):
    """Settings of methods that train on two sets, no picture of which needs a partner."""

    paired: float = Field(
        0.0,
        ge=0,
        description="weight of L1 to the truth, of pictures that have a partner of the same name "
        "in the other set; 0: no names are compared",
    )


class TwoSets(Method):
    """A method of two sets, of which a part may be pairs."""

    layouts = ("unpaired",)
    config: TwoSetsConfig

    @classmethod
    def layouts_for(cls, config: MethodConfig) -> tuple[str, ...]:
        assert isinstance(config, TwoSetsConfig)
        return ("partly-paired",) if config.paired else cls.layouts

    def truth_term(self, output: Tensor, truth: Tensor, draws: Draws) -> Tensor:
        """The weighted L1 between translations and what the batch has beside them [N, C, H, W],
        averaged over the pictures whose truth that is; 0 where there are none.
        """
        assert draws.truths is not None  # the batch is of a partly paired layout
        off = (wide(output) - wide(truth)).abs().mean((1, 2, 3))
        return self.config.paired * (draws.truths * off).mean()


def all_paired(batch: Batch) -> bool:
    """Whether each b of the batch is the truth of its a. It waits for the device."""
    return "paired" in batch and bool(batch["paired"].all())
