"""Adversarial objectives: what the discriminator and the generator minimise, no networks inside.

Logits (or critic scores) have any shape [N, ...]; every loss is in full precision.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from img2img.table import Table

Critic = Callable[[Tensor], Tensor]
Loss = Callable[[Tensor], Tensor]  # element by element


@dataclass(frozen=True, kw_only=True)
class Adversarial(ABC):
    """One objective: what discriminator and generator lose by answers to real and fake pictures."""

    formula: str  # D: ...; G: ... in one line; r, f: the logits of a real and a fake picture
    paper: str
    answers: int = 1  # channels that the discriminator gives
    compares: bool = False  # the generator's loss looks at real pictures, too
    interpolates: float = 0.0  # weight of WGAN-GP's penalty where the config gives none
    clips: float = 0.0  # bound of the critic's weights where the config gives none; 0: none
    zero_centred: float = 0.0  # weight of R1 and R2 where the config gives none
    smooths: bool = False  # has labels, of which the real one can be smoothed
    energy: bool = False  # the discriminator is an autoencoder; its logit is minus its error
    scores: bool = False  # a critic's scores, whose distance is the point: no right and wrong

    @abstractmethod
    def d_terms(self, real: Tensor, fake: Tensor, smooth: float = 0.0) -> dict[str, Tensor]:
        """The discriminator's loss in named parts; their sum is the loss. real, fake: the answers
        to as many pictures of both, or to a multiple of fakes.

        smooth: real pictures are labelled 1 - smooth, where there are labels.
        """

    @abstractmethod
    def g_loss(self, fake: Tensor, real: Tensor | None = None) -> Tensor:
        """real: the answers to real pictures, for objectives that compare."""

    def witness(self, critic: Critic, real: Tensor, fake: Tensor) -> Critic:
        """The function of a picture whose slope WGAN-GP's penalty holds near 1."""
        return critic

    def needs(self) -> str:
        """What comes with it, in words."""
        parts = {
            f"gradient penalty (--gradient-penalty {self.interpolates:g})": self.interpolates,
            f"weight clipping (--clip {self.clips:g})": self.clips,
            "an autoencoder as discriminator": self.energy,
            f"R1 and R2 (--r1 {self.zero_centred:g} --r2 {self.zero_centred:g})": self.zero_centred,
        }
        return ", ".join(text for text, there in parts.items() if there) or "-"


@dataclass(frozen=True, kw_only=True)
class Pointwise(Adversarial):
    """Means of functions of one logit, or of the difference of two where it compares."""

    real: Loss  # of r (of r - f: the discriminator's whole loss)
    fake: Loss
    generator: Loss  # of f (of f - r)

    def d_terms(self, real: Tensor, fake: Tensor, smooth: float = 0.0) -> dict[str, Tensor]:
        """Smoothing is by Salimans et al. 2016, section 3.4; for least squares it is
        (r - 1 + smooth)^2 up to a constant.
        """
        real, fake = wide(real), wide(fake)
        if self.compares:
            return {"relative": self.real(_opposite(real, fake) - fake).mean()}
        loss = self.real(real)
        if smooth:
            loss = (1 - smooth) * loss + smooth * self.fake(real)
        return {"real": loss.mean(), "fake": self.fake(fake).mean()}

    def g_loss(self, fake: Tensor, real: Tensor | None = None) -> Tensor:
        fake = wide(fake)
        return self.generator(fake if real is None else fake - _opposite(wide(real), fake)).mean()


def _opposite(real: Tensor, fake: Tensor) -> Tensor:
    """An answer to a real picture for each fake; where there are more fakes, each several times."""
    times = len(fake) // len(real)
    return torch.cat([real] * times) if times > 1 else real


@dataclass(frozen=True, kw_only=True)
class Discrepancy(Adversarial):
    """The squared maximum mean discrepancy of two sets of features (Binkowski et al. 2018).

    The critic's answers to a picture are features of its patches, [N, answers, h, w]. A patch is
    one member of the set, as for a Markovian discriminator, so that batches may be small.
    """

    def d_terms(self, real: Tensor, fake: Tensor, smooth: float = 0.0) -> dict[str, Tensor]:
        return {"discrepancy": -mmd2(_patches(real), _patches(fake))}

    def g_loss(self, fake: Tensor, real: Tensor | None = None) -> Tensor:
        if real is None:
            raise TypeError("a discrepancy is between fakes and real pictures: give real")
        return mmd2(_patches(real), _patches(fake))

    def witness(self, critic: Critic, real: Tensor, fake: Tensor) -> Critic:
        """How much more a patch is like the real ones than like the fakes (section 3)."""

        def score(image: Tensor) -> Tensor:
            features = wide(critic(image)).movedim(1, -1)
            towards = (
                kernel(features.flatten(0, -2), _patches(critic(wide(of)))).mean(1)
                for of in (real, fake)
            )
            more_real, more_fake = towards
            return (more_real - more_fake).reshape(len(image), -1)

        return score


def mmd2(x: Tensor, y: Tensor) -> Tensor:
    """The unbiased estimate of MMD^2 of two sets of features [n, K], n >= 2
    (Gretton et al. 2012, lemma 6).
    """

    def among(z: Tensor) -> Tensor:
        values = kernel(z, z)
        return (values.sum() - values.diagonal().sum()) / (len(z) * (len(z) - 1))

    return among(x) + among(y) - 2 * kernel(x, y).mean()


def kernel(x: Tensor, y: Tensor) -> Tensor:
    """[n, K], [m, K] -> [n, m]: a mixture of rational quadratic kernels, and the linear one, which
    still has a slope where the others have none (Binkowski et al. 2018, section 2.1).
    """
    with torch.autocast(x.device.type, enabled=False):  # a difference of large numbers follows
        products = x @ y.T
    squares = x.square().sum(1)[:, None] + y.square().sum(1) - 2 * products
    squares = squares.clamp(min=0)
    return products + sum((1 + squares / (2 * a)) ** -a for a in (0.2, 0.5, 1.0, 2.0, 5.0))


def _patches(features: Tensor, most: int = 512) -> Tensor:
    """[N, K, h, w] -> [n, K]: every place of every picture; of many, so many drawn at random."""
    found = wide(features).movedim(1, -1).flatten(0, -2)
    if len(found) <= most:
        return found
    return found[torch.randperm(len(found), device=found.device)[:most]]


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
        norms: Tensor = slope.flatten(1).norm(dim=1)
        return norms


def wide(x: Tensor) -> Tensor:
    """Half-precision values as float32: losses are computed in full precision."""
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x


BCE = Pointwise(
    formula="D: -log s(r) - log(1 - s(f)); G: -log s(f)",
    paper="Goodfellow et al. 2014, section 3, non-saturating",
    real=lambda r: F.softplus(-r),
    fake=F.softplus,
    generator=lambda f: F.softplus(-f),
    smooths=True,
)
MINIMAX = Pointwise(
    formula="D: -log s(r) - log(1 - s(f)); G: log(1 - s(f))",
    paper="Goodfellow et al. 2014, equation 1",
    real=lambda r: F.softplus(-r),
    fake=F.softplus,
    generator=lambda f: -F.softplus(f),
    smooths=True,
)
LSGAN = Pointwise(
    formula="D: (r - 1)^2 + f^2; G: (f - 1)^2",
    paper="Mao et al. 2017, equation 9",
    real=lambda r: (r - 1) ** 2,
    fake=lambda f: f**2,
    generator=lambda f: (f - 1) ** 2,
    smooths=True,
)
HINGE = Pointwise(
    formula="D: max(0, 1 - r) + max(0, 1 + f); G: -f",
    paper="Lim and Ye 2017; Miyato et al. 2018, equations 16 and 17",
    real=lambda r: F.relu(1 - r),
    fake=lambda f: F.relu(1 + f),
    generator=lambda f: -f,
)
WGAN = Pointwise(
    formula="D: f - r, weights within c; G: -f",
    paper="Arjovsky et al. 2017, algorithm 1",
    real=lambda r: -r,
    fake=lambda f: f,
    generator=lambda f: -f,
    clips=0.01,
    scores=True,
)
WGAN_GP = Pointwise(
    formula="D: f - r + w (|grad D| - 1)^2; G: -f",
    paper="Gulrajani et al. 2017, equation 3",
    real=lambda r: -r,
    fake=lambda f: f,
    generator=lambda f: -f,
    interpolates=10.0,
    scores=True,
)
RPGAN = Pointwise(
    formula="D: -log s(r - f) + R1 + R2; G: -log s(f - r)",
    paper="Huang et al. 2024 (R3GAN), section 2",
    real=lambda d: F.softplus(-d),
    fake=F.softplus,
    generator=lambda d: F.softplus(-d),
    compares=True,
    zero_centred=1.0,
)
EBGAN = Pointwise(
    formula="D: E(r) + max(0, 1 - E(f)); G: E(f); E: the autoencoder's error, r = -E",
    paper="Zhao et al. 2017, equations 1 and 2, margin 1",
    real=lambda r: -r,
    fake=lambda f: F.relu(1 + f),
    generator=lambda f: -f,
    energy=True,
    scores=True,
)
MMD = Discrepancy(
    formula="D: -MMD^2(h(r), h(f)) + w (|grad witness| - 1)^2; G: MMD^2(h(r), h(f))",
    paper="Binkowski et al. 2018, sections 2.1 and 3, rq* kernel",
    answers=16,
    compares=True,
    interpolates=1.0,
    scores=True,
)

OBJECTIVES: Table[Adversarial] = Table(
    "objective",
    "img2img.objectives",
    {
        "bce": "img2img.methods.objectives:BCE",
        "minimax": "img2img.methods.objectives:MINIMAX",
        "lsgan": "img2img.methods.objectives:LSGAN",
        "hinge": "img2img.methods.objectives:HINGE",
        "wgan": "img2img.methods.objectives:WGAN",
        "wgan-gp": "img2img.methods.objectives:WGAN_GP",
        "rpgan": "img2img.methods.objectives:RPGAN",
        "ebgan": "img2img.methods.objectives:EBGAN",
        "mmd": "img2img.methods.objectives:MMD",
    },
)
