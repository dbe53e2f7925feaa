"""Distances between two sets of pictures by their features, as numpy arrays [N, D].

Written out, not taken from a library, because the bootstrap needs each a hundred times: the
distances between features are computed once, and a resample only weighs them anew. The tests hold
every value against torch-fidelity's and against closed forms.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

NEIGHBOURS = 5  # of precision, recall, density and coverage (Naeem et al. 2020)


@dataclass(frozen=True)
class Estimate:
    """A value with its 95 % confidence interval."""

    value: float
    low: float
    high: float


def frechet(real: np.ndarray, fake: np.ndarray) -> float:
    """|m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2)), of Gaussians fitted to the features
    (Heusel et al. 2017, equation 6).

    The trace of the root is the nuclear norm of the product of the covariances' factors, which is
    exact where there are fewer pictures than features, too.
    """
    (first, root), (second, other) = _factor(real), _factor(fake)
    shared = np.linalg.svd(root @ other.T, compute_uv=False).sum()
    spread = np.square(root).sum() + np.square(other).sum()
    return float(np.square(first - second).sum() + spread - 2 * shared)


def kernel(real: np.ndarray, fake: np.ndarray) -> float:
    """The unbiased squared maximum mean discrepancy with the kernel (x.y / D + 1)^3
    (Binkowski et al. 2018, section 4).
    """
    return Kernel(real, fake)(np.ones(len(real)), np.ones(len(fake)))


def inception_score(logits: np.ndarray) -> float:
    """exp of the mean KL divergence of each picture's classes from all pictures' (Salimans et al.
    2016, section 4), over one split.
    """
    logits = logits.astype(np.float64)
    log_p = logits - logits.max(1, keepdims=True)
    log_p -= np.log(np.exp(log_p).sum(1, keepdims=True))
    p = np.exp(log_p)
    divergence = np.where(p > 0, p * (log_p - np.log(p.mean(0))), 0).sum(1)
    return float(np.exp(divergence.mean()))


class Kernel:
    """The kernel distance of weighted pictures; a weight is how often one was drawn."""

    def __init__(self, real: np.ndarray, fake: np.ndarray):
        real, fake = real.astype(np.float64), fake.astype(np.float64)
        self.real, self.fake, self.cross = (
            (a @ b.T / a.shape[1] + 1) ** 3 for a, b in ((real, real), (fake, fake), (real, fake))
        )
        np.fill_diagonal(self.real, 0)  # a picture, or its double, is not compared with itself
        np.fill_diagonal(self.fake, 0)

    def __call__(self, real: np.ndarray, fake: np.ndarray) -> float:
        within = sum(
            w @ k @ w / (w.sum() ** 2 - np.square(w).sum())
            for k, w in ((self.real, real), (self.fake, fake))
        )
        return float(within - 2 * real @ self.cross @ fake / (real.sum() * fake.sum()))


class Neighbours:
    """Precision and recall (Kynkaanniemi et al. 2019), density and coverage (Naeem et al. 2020).

    Precision: the share of fakes within reach of a real picture, its k-th neighbour's distance;
    recall: the share of real ones within reach of a fake; density counts how many real ones reach a
    fake; coverage: the share of real ones that have a fake within their reach.
    """

    def __init__(self, real: np.ndarray, fake: np.ndarray, neighbours: int = NEIGHBOURS):
        reach_real = np.partition(distances(real, real), neighbours, axis=1)[:, neighbours]
        reach_fake = np.partition(distances(fake, fake), neighbours, axis=1)[:, neighbours]
        between = distances(real, fake)
        near_real = between <= reach_real[:, None]  # [real, fake]: fake in the real one's ball
        near_fake = between <= reach_fake[None, :]
        self.of_fakes = {
            "precision": near_real.any(0),
            "density": near_real.sum(0) / neighbours,
        }
        self.of_real = {"recall": near_fake.any(1), "coverage": near_real.any(1)}

    def __call__(self, real: np.ndarray, fake: np.ndarray) -> dict[str, float]:
        """Means over the weighted pictures of one set; the other set, and its reach, stays whole:
        in a resample, where a third is missing, everything would look sparser than it is.
        """
        return {
            name: float(found @ weights / weights.sum())
            for each, weights in ((self.of_fakes, fake), (self.of_real, real))
            for name, found in each.items()
        }


def bootstrap(
    statistic: Callable[..., float],
    sizes: Sequence[int],
    seed: int,
    times: int = 200,
) -> Estimate:
    """A statistic of weights, one array [N] a set, with the basic bootstrap's 95 % interval.

    The basic interval reflects the resamples at the value, which takes off the shift that
    resampling gives to distances (Davison and Hinkley 1997, section 2.3).
    """
    random = np.random.default_rng(seed)
    value = statistic(*(np.ones(size) for size in sizes))
    drawn = [
        statistic(*(random.multinomial(n, np.full(n, 1 / n)).astype(float) for n in sizes))
        for _ in range(times)
    ]
    low, high = np.quantile(drawn, (0.025, 0.975))
    return Estimate(value, float(2 * value - high), float(2 * value - low))


def _factor(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The mean, and a matrix R [min(N, D), D] with R'R the covariance."""
    features = features.astype(np.float64)
    mean = features.mean(0)
    return mean, np.linalg.qr((features - mean) / np.sqrt(len(features) - 1), mode="r")


def distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Euclidean, [len(a), len(b)]."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    squared = np.square(a).sum(1)[:, None] + np.square(b).sum(1)[None] - 2 * a @ b.T
    if a is b or (a.shape == b.shape and np.array_equal(a, b)):
        np.fill_diagonal(squared, 0)
    return np.sqrt(np.maximum(squared, 0))
