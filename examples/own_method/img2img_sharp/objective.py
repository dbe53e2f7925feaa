"""The smooth hinge: the hinge loss with softplus in place of max(0, x)."""

import torch.nn.functional as F

from img2img.methods.objectives import Pointwise

SOFTPLUS_MARGIN = Pointwise(
    formula="D: softplus(1 - r) + softplus(1 + f); G: -f",
    paper="the hinge of Lim and Ye 2017, made smooth",
    real=lambda r: F.softplus(1 - r),
    fake=lambda f: F.softplus(1 + f),
    generator=lambda f: -f,
)
