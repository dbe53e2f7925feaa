"""Adversarial objectives: the losses of discriminator and generator as functions of logits.

Logits, or scores of a critic, have any shape [N, ...]. Losses are computed in full precision.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from img2img.nets.discriminator import Scores
from img2img.table import Table

Critic = Callable[[Tensor], Tensor | Scores]
Loss = Callable[[Tensor], Tensor]  # elementwise


@dataclass(frozen=True, kw_only=True)
class Adversarial(ABC):
    """An objective: the losses of discriminator and generator, given logits of real pictures and
    fakes, and what it needs of the discriminator.
    """

    formula: str  # "D: ...; G: ..." with r and f for the logits of a real picture and of a fake
    paper: str
    answers: int = 1  # channels of the discriminator's logits
    compares: bool = False  # the generator's loss depends on real pictures, too
    interpolates: float = 0.0  # default weight of WGAN-GP's gradient penalty; 0 for none
    clips: float = 0.0  # default bound to which the critic's weights are clipped; 0 for none
    zero_centered: float = 0.0  # default weight of R1 and R2
    smooths: bool = False  # has labels, so that label smoothing applies
    energy: bool = False  # the discriminator is an autoencoder; its logit is its negative error
    scores: bool = False  # outputs are scores of a critic, not logits of a classifier
    boundary: float = 0.0  # the logit halfway between real and fake, unless outputs are scores

    @abstractmethod
    def d_terms(self, real: Tensor, fake: Tensor, smooth: float = 0.0) -> dict[str, Tensor]:
        """The discriminator's loss as named scalars, whose sum is the loss. real, fake: the logits
        of equally many pictures of both, or of a multiple of fakes.

        smooth: label smoothing; real pictures have the label 1 - smooth, if the objective has
        labels.
        """

    @abstractmethod
    def g_loss(self, fake: Tensor, real: Tensor | None = None) -> Tensor:
        """The generator's loss, a scalar. real: logits of real pictures, if the objective
        `compares`.
        """

    def margins(self, real: Tensor, fake: Tensor) -> Tensor:
        """How far the logits of real pictures are on the side of real ones, negative if on the
        other; if the objective `compares`, how far they are above those of the fakes.
        """
        real, fake = wide(real), wide(fake)
        return _opposite(real, fake) - fake if self.compares else real - self.boundary

    def witness(self, critic: Critic, real: Tensor, fake: Tensor) -> Critic:
        """The function of pictures whose gradient norm WGAN-GP's penalty keeps near 1."""
        return critic

    def needs(self) -> str:
        """What the objective is used with, in words, for --list-objectives."""
        r1_r2 = self.zero_centered
        parts = {
            f"gradient penalty (--gradient-penalty {self.interpolates:g})": self.interpolates,
            f"weight clipping (--clip {self.clips:g})": self.clips,
            "an autoencoder as discriminator": self.energy,
            f"R1 and R2 (--r1 {r1_r2:g} --r2 {r1_r2:g})": r1_r2,
        }
        return ", ".join(text for text, applies in parts.items() if applies) or "-"


@dataclass(frozen=True, kw_only=True)
class Pointwise(Adversarial):
    """Losses that are means of functions of one logit, or, if it `compares`, of the difference of a
    real and a fake logit.
    """

    real: Loss  # of r (of r - f: the discriminator's whole loss)
    fake: Loss
    generator: Loss  # of f (of f - r)

    def d_terms(self, real: Tensor, fake: Tensor, smooth: float = 0.0) -> dict[str, Tensor]:
        """The terms "real" and "fake", or "relative" if it `compares`.

        Label smoothing follows Salimans et al. 2016, section 3.4. For least squares it equals
        (r - 1 + smooth)^2 up to a constant.
        """
        real, fake = wide(real), wide(fake)
        if self.compares:
            return {"relative": self.real(_opposite(real, fake) - fake).mean()}
        return {"real": self._real_loss(real, smooth).mean(), "fake": self.fake(fake).mean()}

    def mixed_loss(self, logits: Tensor, mask: Tensor, smooth: float = 0.0) -> Tensor:
        """The discriminator's loss of logits that are of real pixels where the mask is 1, and of
        fakes where it is 0, a scalar. Not defined if the objective `compares`.
        """
        logits = wide(logits)
        return (mask * self._real_loss(logits, smooth) + (1 - mask) * self.fake(logits)).mean()

    def _real_loss(self, real: Tensor, smooth: float) -> Tensor:
        loss = self.real(real)
        return (1 - smooth) * loss + smooth * self.fake(real) if smooth else loss

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

    The critic's outputs [N, answers, h, w] are features of patches. Every patch is an element of
    the set, as in a patch discriminator, so that batches may be small.
    """

    def d_terms(self, real: Tensor, fake: Tensor, smooth: float = 0.0) -> dict[str, Tensor]:
        return {"discrepancy": -mmd2(_patches(real), _patches(fake))}

    def g_loss(self, fake: Tensor, real: Tensor | None = None) -> Tensor:
        if real is None:
            raise TypeError("a discrepancy needs the features of real pictures (real)")
        return mmd2(_patches(real), _patches(fake))

    def witness(self, critic: Critic, real: Tensor, fake: Tensor) -> Critic:
        """The mean similarity of each patch to real patches, minus that to fakes (section 3)."""

        def score(image: Tensor) -> Tensor:
            features = wide(_single(critic(image))).movedim(1, -1)
            to_real, to_fake = (
                kernel(features.flatten(0, -2), _patches(_single(critic(wide(pictures))))).mean(1)
                for pictures in (real, fake)
            )
            return (to_real - to_fake).reshape(len(image), -1)

        return score


def mmd2(x: Tensor, y: Tensor) -> Tensor:
    """The unbiased estimate of the squared MMD of two sets of features [n, K], n >= 2, a scalar
    (Gretton et al. 2012, lemma 6).
    """

    def among(z: Tensor) -> Tensor:
        values = kernel(z, z)
        return (values.sum() - values.diagonal().sum()) / (len(z) * (len(z) - 1))

    return among(x) + among(y) - 2 * kernel(x, y).mean()


def kernel(x: Tensor, y: Tensor) -> Tensor:
    """[n, K], [m, K] -> [n, m]: a sum of rational quadratic kernels and the linear kernel, whose
    gradient does not vanish at large distances (Binkowski et al. 2018, section 2.1).
    """
    with torch.autocast(
        x.device.type, enabled=False
    ):  # because a difference of large numbers follows
        products = x @ y.T
    squares = x.square().sum(1)[:, None] + y.square().sum(1) - 2 * products
    squares = squares.clamp(min=0)
    return products + sum((1 + squares / (2 * a)) ** -a for a in (0.2, 0.5, 1.0, 2.0, 5.0))


def _patches(features: Tensor, most: int = 512) -> Tensor:
    """[N, K, h, w] -> [n, K]: the features at every position of every picture, or a random choice
    of `most` of them.
    """
    patches = wide(features).movedim(1, -1).flatten(0, -2)
    if len(patches) <= most:
        return patches
    return patches[torch.randperm(len(patches), device=patches.device)[:most]]


def gradient_penalty(critic: Critic, real: Tensor, fake: Tensor, mix: Tensor) -> Tensor:
    """WGAN-GP's penalty, without its weight: the mean of (|grad critic| - 1)^2 at points between
    real pictures and fakes (Gulrajani et al. 2017, equation 3).

    real, fake: images [N, C, H, W], which get no gradient. mix: positions between them,
    [N, 1, 1, 1] in [0, 1]; 1 is the real picture.
    """
    return (_slopes(critic, mix * real + (1 - mix) * wide(fake), "sum") - 1).square().mean()


def zero_centered_penalty(critic: Critic, images: Tensor) -> Tensor:
    """R1 at real images [N, C, H, W], R2 at fakes, without their weight: the mean of |grad D|^2 / 2
    (Mescheder et al. 2018, equation 9). D is the mean of the logits of a picture's patches.
    """
    return _slopes(critic, images, "mean").square().mean() / 2


def _slopes(critic: Critic, images: Tensor, over: Literal["sum", "mean"]) -> Tensor:
    """The gradient norm [N] at each image of the sum, or the mean, of its patches' scores."""
    # Full precision, because a second derivative is too inaccurate in bf16.
    with torch.autocast(images.device.type, enabled=False):
        at = wide(images).detach().requires_grad_()
        scores = Scores.of(critic(at))
        totals = [
            weight * (each.sum() if over == "sum" else each.reshape(len(at), -1).mean(1).sum())
            for each, weight in zip(scores.maps, scores.weights, strict=True)
        ]
        total = torch.stack(totals).sum()
        (slope,) = torch.autograd.grad(total, at, create_graph=True)
        norms: Tensor = slope.flatten(1).norm(dim=1)
        return norms


def _single(output: Tensor | Scores) -> Tensor:
    """The only map of a discriminator's output, as objectives with answers > 1 need."""
    [single] = Scores.of(output).maps
    return single


def wide(x: Tensor) -> Tensor:
    """Half-precision values converted to float32; others unchanged."""
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
    boundary=0.5,
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
    zero_centered=1.0,
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
    base="img2img.methods.objectives:Adversarial",
)
