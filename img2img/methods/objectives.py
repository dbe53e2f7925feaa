"""Adversarial objectives: what the discriminator and the generator minimise, no networks inside.

Logits (or critic scores) have any shape [N, ...]; every loss is their mean, in full precision.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Critic = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Adversarial:
    """One objective, as functions of a logit: what the discriminator loses by a real and by a fake
    one, what the generator loses by a fake one; and the penalty on the critic, if there is one.
    """

    real: Callable[[Tensor], Tensor]
    fake: Callable[[Tensor], Tensor]
    generator: Callable[[Tensor], Tensor]
    penalty: Callable[[Critic, Tensor, Tensor, Tensor], Tensor] | None = None
    scores: bool = False  # a critic's scores, whose distance is the point: no right and wrong

    def d_terms(self, real: Tensor, fake: Tensor) -> dict[str, Tensor]:
        """The discriminator's loss in named parts; their sum is the loss."""
        return {"real": self.real(wide(real)).mean(), "fake": self.fake(wide(fake)).mean()}

    def g_loss(self, fake: Tensor) -> Tensor:
        return self.generator(wide(fake)).mean()


def gradient_penalty(critic: Critic, real: Tensor, fake: Tensor, mix: Tensor) -> Tensor:
    """How far the critic's slope is from 1 between real and fake, squared, without a weight.

    real, fake: images [N, C, H, W], no gradient flows into them; mix: [N, 1, 1, 1] in [0, 1].
    """
    # In full precision: a second derivative loses too much in bf16.
    with torch.autocast(real.device.type, enabled=False):
        between = (mix * real + (1 - mix) * wide(fake)).detach().requires_grad_()
        (slope,) = torch.autograd.grad(critic(between).sum(), between, create_graph=True)
        return (slope.flatten(1).norm(dim=1) - 1).square().mean()


def wide(x: Tensor) -> Tensor:
    """Half-precision values as float32: losses are computed in full precision."""
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x


ObjectiveName = Literal["bce", "lsgan", "hinge", "wgan-gp"]
OBJECTIVES: dict[ObjectiveName, Adversarial] = {
    # Non-saturating cross-entropy (Goodfellow et al. 2014, section 3).
    "bce": Adversarial(lambda x: F.softplus(-x), F.softplus, lambda x: F.softplus(-x)),
    # Least squares with targets 1 and 0 (Mao et al. 2017, equation 9).
    "lsgan": Adversarial(lambda x: (x - 1) ** 2, lambda x: x**2, lambda x: (x - 1) ** 2),
    # Hinge (Lim and Ye 2017; Miyato et al. 2018, equations 16 and 17).
    "hinge": Adversarial(lambda x: F.relu(1 - x), lambda x: F.relu(1 + x), lambda x: -x),
    # Wasserstein distance with gradient penalty (Gulrajani et al. 2017, equation 3).
    "wgan-gp": Adversarial(lambda x: -x, lambda x: x, lambda x: -x, gradient_penalty, scores=True),
}
