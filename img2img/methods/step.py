"""What a training step is computed from: a batch, draws, and the scene that is made of both."""

from dataclasses import dataclass, field, replace
from typing import Any, Literal, Self

from torch import Tensor

Side = Literal["generators", "discriminators"]
Batch = dict[str, Tensor]  # images [N, C, H, W] in [-1, 1], and labels [N, D], by name
Scene = dict[str, Tensor]  # the images that are generated in one step, by name


@dataclass(frozen=True)
class Draws:
    """The inputs of a step beside its batch: random tensors, and the progress of training.

    A method that needs more random tensors adds them in a subclass, as tensors [N, ...] or scalars.
    """

    mix: Tensor  # [N, 1, 1, 1] in [0, 1], WGAN-GP's position between a real picture and a fake
    progress: Tensor  # fraction of training that is done, a scalar on the device
    penalty_scale: float  # factor of R1 and R2; not a tensor, since 0 skips their computation
    # [N]: weights of the pictures in a mean over those that have a target, so that the mean over
    # all is 1 (all 0 if none has one); None if the batch does not tell which pictures have one.
    truths: Tensor | None = field(default=None, kw_only=True)
    # [N, 1, H, W]: 1 where a CutMix picture is real, 0 where it is a fake; None without CutMix.
    mask: Tensor | None = field(default=None, kw_only=True)

    def split(self, count: int) -> list[Self]:
        """Split into `count` equal parts along the batch; every part gets the scalars."""
        chunks = {
            name: value.chunk(count)
            for name, value in vars(self).items()
            if isinstance(value, Tensor) and value.ndim
        }
        parts: list[dict[str, Any]] = [
            {name: chunk[number] for name, chunk in chunks.items()} for number in range(count)
        ]
        return [replace(self, **part) for part in parts]


def truth_weights(paired: Tensor, share: Tensor) -> Tensor:
    """`Draws.truths` from flags [N]. share: the mean of the flags over the whole batch, a scalar,
    so that the parts of the batch add up.
    """
    return paired / share.clamp(min=1e-12)  # without pairs 0
