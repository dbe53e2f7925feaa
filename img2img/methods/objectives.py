"""Adversarial objectives: what the discriminator and the generator minimise, no networks inside.

`real` and `fake` are logits (or critic scores) of any shape [N, ...]; every loss is their mean.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor


class Adversarial(ABC):
    """One objective. Terms come named, so that the log shows real and fake apart."""

    penalised: ClassVar[bool] = False  # whether `penalty` is part of the objective

    @abstractmethod
    def d_terms(self, real: Tensor, fake: Tensor) -> dict[str, Tensor]:
        """The discriminator's loss in named parts; their sum is the loss."""

    @abstractmethod
    def g_loss(self, fake: Tensor, real: Tensor | None = None) -> Tensor:
        """The generator's loss; relativistic objectives need `real`, too."""

    def penalty(
        self, critic: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor, mix: Tensor
    ) -> Tensor:
        """The unweighted penalty on the critic's gradient, zero where there is none.

        real, fake: images [N, C, H, W], no gradient flows into them; mix: [N, 1, 1, 1] in [0, 1].
        """
        return real.new_zeros(())


class Bce(Adversarial):
    """Non-saturating cross-entropy (Goodfellow et al. 2014, section 3)."""

    def d_terms(self, real: Tensor, fake: Tensor) -> dict[str, Tensor]:
        real, fake = wide(real), wide(fake)
        return {"real": F.softplus(-real).mean(), "fake": F.softplus(fake).mean()}

    def g_loss(self, fake: Tensor, real: Tensor | None = None) -> Tensor:
        return F.softplus(-wide(fake)).mean()


class LeastSquares(Adversarial):
    """Least squares with targets 1 and 0 (Mao et al. 2017, equation 9)."""

    def d_terms(self, real: Tensor, fake: Tensor) -> dict[str, Tensor]:
        real, fake = wide(real), wide(fake)
        return {"real": (real - 1).square().mean(), "fake": fake.square().mean()}

    def g_loss(self, fake: Tensor, real: Tensor | None = None) -> Tensor:
        return (wide(fake) - 1).square().mean()


class Hinge(Adversarial):
    """Hinge (Lim and Ye 2017; Miyato et al. 2018, equations 16 and 17)."""

    def d_terms(self, real: Tensor, fake: Tensor) -> dict[str, Tensor]:
        real, fake = wide(real), wide(fake)
        return {"real": F.relu(1 - real).mean(), "fake": F.relu(1 + fake).mean()}

    def g_loss(self, fake: Tensor, real: Tensor | None = None) -> Tensor:
        return -wide(fake).mean()


class WassersteinGP(Adversarial):
    """Wasserstein distance with gradient penalty (Gulrajani et al. 2017, equation 3)."""

    penalised = True

    def d_terms(self, real: Tensor, fake: Tensor) -> dict[str, Tensor]:
        return {"real": -wide(real).mean(), "fake": wide(fake).mean()}

    def g_loss(self, fake: Tensor, real: Tensor | None = None) -> Tensor:
        return -wide(fake).mean()

    def penalty(
        self, critic: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor, mix: Tensor
    ) -> Tensor:
        # In full precision: a second derivative loses too much in bf16.
        with torch.autocast(real.device.type, enabled=False):
            between = (mix * real + (1 - mix) * wide(fake)).detach().requires_grad_()
            scores = critic(between)
            (slope,) = torch.autograd.grad(scores.sum(), between, create_graph=True)
            return (slope.flatten(1).norm(dim=1) - 1).square().mean()


ObjectiveName = Literal["bce", "lsgan", "hinge", "wgan-gp"]
OBJECTIVES: dict[ObjectiveName, Adversarial] = {
    "bce": Bce(),
    "lsgan": LeastSquares(),
    "hinge": Hinge(),
    "wgan-gp": WassersteinGP(),
}


def wide(x: Tensor) -> Tensor:
    """Half-precision values as float32: losses are computed in full precision."""
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x
