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
Loss = Callable[[Tensor], Tensor]  # element by element


@dataclass(frozen=True)
class Adversarial:
    """One objective, as functions of a logit: what the discriminator loses by a real and by a fake
    one, what the generator loses by a fake one; of differences of logits where it is relative.
    """

    formula: str  # D: ...; G: ... in one line; r, f: the logits of a real and a fake picture
    paper: str
    real: Loss
    fake: Loss
    generator: Loss
    relative: bool = False  # real(r - f) alone is D's loss, generator(f - r) is G's
    interpolates: bool = False  # has WGAN-GP's penalty, of weight gradient_penalty
    clips: bool = False  # keeps the critic's weights within clip
    zero_centred: float = 0.0  # weight of R1 and R2 where the config gives none
    smooths: bool = False  # has labels, of which the real one can be smoothed
    energy: bool = False  # the discriminator is an autoencoder; its logit is minus its error
    scores: bool = False  # a critic's scores, whose distance is the point: no right and wrong

    def d_terms(self, real: Tensor, fake: Tensor, smooth: float = 0.0) -> dict[str, Tensor]:
        """The discriminator's loss in named parts; their sum is the loss.

        smooth: real pictures are labelled 1 - smooth (Salimans et al. 2016, section 3.4); for
        least squares this is (r - 1 + smooth)^2 up to a constant.
        """
        real, fake = wide(real), wide(fake)
        if self.relative:
            return {"relative": self.real(real - fake).mean()}
        loss = self.real(real)
        if smooth:
            loss = (1 - smooth) * loss + smooth * self.fake(real)
        return {"real": loss.mean(), "fake": self.fake(fake).mean()}

    def g_loss(self, fake: Tensor, real: Tensor | None = None) -> Tensor:
        """real: the logits of real pictures, for objectives that are relative."""
        fake = wide(fake)
        return self.generator(fake if real is None else fake - wide(real)).mean()

    def needs(self) -> str:
        """What comes with it, in words."""
        parts = {
            "gradient penalty (--gradient-penalty 10)": self.interpolates,
            "weight clipping (--clip 0.01)": self.clips,
            "an autoencoder as discriminator": self.energy,
            f"R1 and R2 (--r1 {self.zero_centred:g} --r2 {self.zero_centred:g})": self.zero_centred,
        }
        return ", ".join(text for text, there in parts.items() if there) or "-"


def gradient_penalty(critic: Critic, real: Tensor, fake: Tensor, mix: Tensor) -> Tensor:
    """How far the critic's slope is from 1 between real and fake, squared, without a weight
    (Gulrajani et al. 2017, equation 3).

    real, fake: images [N, C, H, W], no gradient flows into them; mix: [N, 1, 1, 1] in [0, 1].
    """
    return (_slopes(critic, mix * real + (1 - mix) * wide(fake), "sum") - 1).square().mean()


def zero_centred_penalty(critic: Critic, images: Tensor) -> Tensor:
    """E |grad D|^2 / 2 at the images [N, C, H, W]: R1 at real ones, R2 at fakes, without a weight
    (Mescheder et al. 2018, equation 9). D is the mean over a picture's patches.
    """
    return _slopes(critic, images, "mean").square().mean() / 2


def _slopes(critic: Critic, images: Tensor, over: Literal["sum", "mean"]) -> Tensor:
    """[N]: the gradient's norm at each picture, of the sum or the mean of its patches' scores."""
    # In full precision: a second derivative loses too much in bf16.
    with torch.autocast(images.device.type, enabled=False):
        at = wide(images).detach().requires_grad_()
        scores = critic(at).reshape(len(at), -1)
        total = scores.sum() if over == "sum" else scores.mean(1).sum()
        (slope,) = torch.autograd.grad(total, at, create_graph=True)
        return slope.flatten(1).norm(dim=1)


def wide(x: Tensor) -> Tensor:
    """Half-precision values as float32: losses are computed in full precision."""
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x


ObjectiveName = Literal["bce", "minimax", "lsgan", "hinge", "wgan", "wgan-gp", "rpgan", "ebgan"]
OBJECTIVES: dict[ObjectiveName, Adversarial] = {
    "bce": Adversarial(
        "D: -log s(r) - log(1 - s(f)); G: -log s(f)",
        "Goodfellow et al. 2014, section 3, non-saturating",
        real=lambda r: F.softplus(-r),
        fake=F.softplus,
        generator=lambda f: F.softplus(-f),
        smooths=True,
    ),
    "minimax": Adversarial(
        "D: -log s(r) - log(1 - s(f)); G: log(1 - s(f))",
        "Goodfellow et al. 2014, equation 1",
        real=lambda r: F.softplus(-r),
        fake=F.softplus,
        generator=lambda f: -F.softplus(f),
        smooths=True,
    ),
    "lsgan": Adversarial(
        "D: (r - 1)^2 + f^2; G: (f - 1)^2",
        "Mao et al. 2017, equation 9",
        real=lambda r: (r - 1) ** 2,
        fake=lambda f: f**2,
        generator=lambda f: (f - 1) ** 2,
        smooths=True,
    ),
    "hinge": Adversarial(
        "D: max(0, 1 - r) + max(0, 1 + f); G: -f",
        "Lim and Ye 2017; Miyato et al. 2018, equations 16 and 17",
        real=lambda r: F.relu(1 - r),
        fake=lambda f: F.relu(1 + f),
        generator=lambda f: -f,
    ),
    "wgan": Adversarial(
        "D: f - r, weights within c; G: -f",
        "Arjovsky et al. 2017, algorithm 1",
        real=lambda r: -r,
        fake=lambda f: f,
        generator=lambda f: -f,
        clips=True,
        scores=True,
    ),
    "wgan-gp": Adversarial(
        "D: f - r + w (|grad D| - 1)^2; G: -f",
        "Gulrajani et al. 2017, equation 3",
        real=lambda r: -r,
        fake=lambda f: f,
        generator=lambda f: -f,
        interpolates=True,
        scores=True,
    ),
    "rpgan": Adversarial(
        "D: -log s(r - f) + R1 + R2; G: -log s(f - r)",
        "Huang et al. 2024 (R3GAN), section 2",
        real=lambda d: F.softplus(-d),
        fake=F.softplus,
        generator=lambda d: F.softplus(-d),
        relative=True,
        zero_centred=1.0,
    ),
    "ebgan": Adversarial(
        "D: E(r) + max(0, 1 - E(f)); G: E(f); E: the autoencoder's error, r = -E",
        "Zhao et al. 2017, equations 1 and 2, margin 1",
        real=lambda r: -r,
        fake=lambda f: F.relu(1 + f),
        generator=lambda f: -f,
        energy=True,
        scores=True,
    ),
}
