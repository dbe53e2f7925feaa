"""CutMix of real and generated pictures, for discriminators that judge every pixel
(Schönfeld et al. 2020, section 3.2).
"""

import torch
from torch import Tensor

from img2img.methods.objectives import OBJECTIVES, Pointwise

WARM_UP = 0.5  # fraction of training


def random_masks(image: Tensor) -> Tensor:
    """A mask [N, 1, H, W] for each of the images [N, C, H, W]: 1 where the mixed picture is real,
    0 where it is generated.

    A rectangle of the picture's aspect ratio lies anywhere within it. Its area is uniform in [0, 1]
    of the picture; it is real or generated with equal probability.
    """
    count, _, height, width = image.shape
    area, top, left, coin = torch.rand(4, count, 1, 1, 1, device=image.device, dtype=torch.float32)
    side = area.sqrt()
    inside = torch.ones((), dtype=torch.bool, device=image.device)
    for start, size, axis in ((top, height, 2), (left, width, 3)):
        shape = [size if each == axis else 1 for each in range(4)]
        at = (torch.arange(size, device=image.device).view(shape) + 0.5) / size
        first = start * (1 - side)
        inside = inside & (at >= first) & (at < first + side)
    mask: Tensor = inside ^ (coin < 0.5)
    return mask.to(image.dtype)


def mixed(real: Tensor, fake: Tensor, mask: Tensor) -> Tensor:
    """Images, or maps of logits, [N, C, H, W], that are `real` where the mask is 1."""
    return mask * real + (1 - mask) * fake


def warm_up(progress: Tensor) -> Tensor:
    """The factor of the losses on mixed pictures, a scalar in [0, 1]: it rises linearly over the
    first half of training, so that the discriminators are not too good at the start. The paper
    lets the probability of mixing rise in this way.
    """
    return (progress / WARM_UP).clamp(max=1)


def require_fitting(name: str, augments: bool) -> None:
    """Raise ValueError if CutMix does not go together with the objective of that name, or with
    augmentation.
    """
    objective = OBJECTIVES[name]
    if objective.compares or not isinstance(objective, Pointwise):
        raise ValueError(
            f"d_cutmix has a target for each pixel, and {name} compares real pictures with fakes; "
            "choose another objective (such as hinge), or set d_cutmix=0"
        )
    if augments:
        raise ValueError(
            "d_cutmix compares the scores of pictures pixel by pixel, and augment changes each of "
            "them differently; leave out one of the two"
        )
