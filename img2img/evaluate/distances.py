"""Distances between two sets of pictures by their features, as numpy arrays [N, D].

They are implemented here, and not taken from a library, because the bootstrap evaluates each of
them hundreds of times: the distances between features are computed once, block by block, and each
block is weighted for all resamples. The tests compare every value with torch-fidelity's and with
closed forms.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

NEIGHBOURS = 5  # of precision, recall, density and coverage (Naeem et al. 2020)
BLOCK = 2**22  # distances in one block: 32 MB, of which a few are in memory at a time

# A function of the weights of T resamples, [T, N] for each set, to its values [T].
Statistic = Callable[..., np.ndarray]


@dataclass(frozen=True)
class Estimate:
    """A value with its 95 % confidence interval."""

    value: float
    low: float
    high: float


def frechet(real: np.ndarray, fake: np.ndarray) -> float:
    """|m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2)), of Gaussians fitted to the features
    (Heusel et al. 2017, equation 6).

    real and fake: features [N, D] and [M, D]. The trace of the root is the nuclear norm of the
    product of the covariances' factors, which is also exact with fewer pictures than features.
    """
    (real_mean, real_factor), (fake_mean, fake_factor) = _factor(real), _factor(fake)
    root_trace = np.linalg.svd(real_factor @ fake_factor.T, compute_uv=False).sum()
    traces = np.square(real_factor).sum() + np.square(fake_factor).sum()
    return float(np.square(real_mean - fake_mean).sum() + traces - 2 * root_trace)


def kernel(real: np.ndarray, fake: np.ndarray) -> float:
    """The unbiased squared maximum mean discrepancy with the kernel (x.y / D + 1)^3
    (Binkowski et al. 2018, section 4).
    """
    return float(Kernel(real, fake)(np.ones((1, len(real))), np.ones((1, len(fake))))[0])


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
    """The kernel distance of weighted pictures; a weight counts how often a picture was drawn."""

    def __init__(self, real: np.ndarray, fake: np.ndarray):
        self.real, self.fake = real.astype(np.float64), fake.astype(np.float64)

    def __call__(self, real: np.ndarray, fake: np.ndarray) -> np.ndarray:
        """Weights [T, N] and [T, M] of T resamples -> [T]."""
        # A picture is not compared with itself, nor with its duplicates in a resample.
        within: np.ndarray = sum(
            _weighted(features, features, w, w) / (w.sum(1) ** 2 - np.square(w).sum(1))
            for features, w in ((self.real, real), (self.fake, fake))
        )
        between = _weighted(self.real, self.fake, real, fake)
        distance: np.ndarray = within - 2 * between / (real.sum(1) * fake.sum(1))
        return distance


def _weighted(
    a: np.ndarray, b: np.ndarray, weights_a: np.ndarray, weights_b: np.ndarray
) -> np.ndarray:
    """The sums [T] of the kernel over all pairs [N, M], multiplied by both weights; for a set with
    itself, without the diagonal.
    """
    total = np.zeros(len(weights_a))
    for rows in _blocks(len(a), len(b)):
        values = a[rows] @ b.T / a.shape[1] + 1
        values *= values * values
        if a is b:
            values[np.arange(len(values)), np.arange(len(a))[rows]] = 0
        total += np.einsum("tm,tm->t", weights_a[:, rows] @ values, weights_b)
    return total


class Neighbours:
    """Precision and recall (Kynkaanniemi et al. 2019), density and coverage (Naeem et al. 2020).

    The reach of a picture is the distance to its k-th nearest neighbor in its set. Precision: the
    share of fakes within reach of a real picture. Recall: the share of real pictures within reach
    of a fake. Density: the number of real pictures that reach a fake, divided by k. Coverage: the
    share of real pictures that have a fake within their reach.
    """

    def __init__(self, real: np.ndarray, fake: np.ndarray, neighbours: int = NEIGHBOURS):
        reach_real, reach_fake = reach(real, neighbours), reach(fake, neighbours)
        reached = np.zeros(len(fake))  # number of real pictures that reach each fake
        recall, coverage = [], []
        for rows in _blocks(len(real), len(fake)):
            between = distances(real[rows], fake)
            near_real = (
                between <= reach_real[rows, None]
            )  # the fake is within the real picture's reach
            reached += near_real.sum(0)
            recall.append((between <= reach_fake).any(1))
            coverage.append(near_real.any(1))
        self.of_fakes = {"precision": reached > 0, "density": reached / neighbours}
        self.of_real = {"recall": np.concatenate(recall), "coverage": np.concatenate(coverage)}

    def __call__(self, real: np.ndarray, fake: np.ndarray) -> dict[str, np.ndarray]:
        """Weights [T, N] and [T, M] of T resamples -> means [T] over the weighted pictures of one
        set. The other set is not resampled: a resample lacks a third of the pictures, so it would
        be sparser than the set.
        """
        return {
            name: weights @ values / weights.sum(1)
            for each, weights in ((self.of_fakes, fake), (self.of_real, real))
            for name, values in each.items()
        }


def bootstrap(
    statistic: Statistic,
    sizes: Sequence[int],
    seed: int,
    times: int = 200,
) -> Estimate:
    """A statistic's value, with the 95 % interval of the basic bootstrap.

    sizes: the number of pictures in each set. The basic interval reflects the resamples about the
    value, which cancels the shift of distances by resampling (Davison and Hinkley 1997, section
    2.3).
    """
    random = np.random.default_rng(seed)
    weights = [np.ones((1 + times, size)) for size in sizes]  # row 0: each picture once
    for row in range(1, 1 + times):
        for each, size in zip(weights, sizes, strict=True):
            each[row] = random.multinomial(size, np.full(size, 1 / size))
    value, *drawn = statistic(*weights)
    low, high = np.quantile(drawn, (0.025, 0.975))
    return Estimate(float(value), float(2 * value - high), float(2 * value - low))


def _factor(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The mean [D], and a matrix R [min(N, D), D] with R'R = the covariance."""
    features = features.astype(np.float64)
    mean = features.mean(0)
    factor = np.linalg.qr((features - mean) / np.sqrt(len(features) - 1), mode="r")
    return mean, np.asarray(factor)


def distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Euclidean distances [len(a), len(b)] between the rows of a and b."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    squared = np.square(a).sum(1)[:, None] + np.square(b).sum(1)[None] - 2 * a @ b.T
    if a is b or (a.shape == b.shape and np.array_equal(a, b)):
        np.fill_diagonal(squared, 0)
    result: np.ndarray = np.sqrt(np.maximum(squared, 0))
    return result


def nearest(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The distance [len(a)] of each row of a to the nearest row of b."""
    return np.concatenate([distances(a[rows], b).min(1) for rows in _blocks(len(a), len(b))])


def reach(features: np.ndarray, neighbours: int = NEIGHBOURS) -> np.ndarray:
    """The distance [N] of each row to its k-th nearest neighbor among the others."""
    each = []
    for rows in _blocks(len(features), len(features)):
        away = distances(features[rows], features)
        away[np.arange(len(away)), np.arange(len(features))[rows]] = (
            0  # exactly, for a row with itself
        )
        away.partition(neighbours, axis=1)
        each.append(away[:, neighbours].copy())  # a view would hold the block
    return np.concatenate(each)


def _blocks(rows: int, columns: int) -> Iterator[slice]:
    """Slices of rows, so that a block of rows by columns has at most BLOCK values."""
    step = max(1, BLOCK // max(columns, 1))
    return (slice(start, start + step) for start in range(0, rows, step))
