"""Checks for the known failure modes of GANs; each is a function of pictures or numbers.

A check returns a Finding with the numbers behind it, or None. The thresholds were set on real runs,
failed and healthy ones. Where a check can be wrong by design, its docstring says so.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from img2img import images
from img2img.errors import needs_extra
from img2img.evaluate.distances import distances, nearest, reach
from img2img.files import spread

Pictures = Sequence[np.ndarray]  # uint8 [H, W, C], of any sizes
THUMB = 16  # px, of the thumbnails on which diversity is measured
NOISE = 2  # grey levels
ROWS = 64  # of metrics.csv in which an oscillation is looked for
LOG = "diagnosis.jsonl"  # of a run
ENOUGH = 16  # pictures; fewer say nothing about a set
CLUSTERED = 5000  # real pictures that are clustered, at most


@dataclass(frozen=True)
class Finding:
    """One sign of trouble: the observation, its meaning, and advice."""

    check: str
    way: str  # the direction, domain or loss in which it was observed
    seen: str
    means: str
    advice: str
    pictures: tuple[int, ...] = ()  # indices of real pictures that are examples

    def __str__(self) -> str:
        return f"{self.check} ({self.way}): {self.seen}. {self.means} Try {self.advice}."


def read_findings(run: Path) -> list[dict[str, Any]]:
    """The rows of a run's diagnosis.jsonl: the step and the fields of a Finding; `pictures` is the
    path of a sheet of examples, relative to the run's folder.
    """
    path = run / LOG
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def diversity(pictures: Pictures) -> float:
    """The mean distance between the thumbnails of two pictures, RMS in units of [-1, 1]."""
    small = np.stack([_thumb(picture) for picture in pictures])
    count = len(small)
    total = distances(small, small).sum() / max(count * (count - 1), 1)
    return float(total / np.sqrt(small.shape[1]))


def collapse(way: str, source: Pictures, output: Pictures, real: Pictures) -> Finding | None:
    """Mode collapse: outputs that are much less diverse than both their inputs and real pictures
    (Goodfellow 2016, section 5.1).
    """
    if min(map(len, (source, output, real))) < ENOUGH:
        return None
    of_outputs = diversity(output)
    by_source = of_outputs / (diversity(source) or 1)
    by_real = of_outputs / (diversity(real) or 1)
    if max(by_source, by_real) >= 0.4:
        return None
    return Finding(
        "mode collapse",
        way,
        f"outputs differ {by_source:.2f} times as much as their inputs and {by_real:.2f} times as "
        "much as real pictures",
        "The generator returns nearly the same picture for every input.",
        "a heavier L1, cycle or reconstruction term, a lower discriminator_lr, a larger batch or "
        "another objective (lsgan, wgan-gp)",
    )


def dropping(
    way: str, real: np.ndarray, fake: np.ndarray, seed: int = 0, per_cluster: int = 25
) -> Finding | None:
    """Mode dropping: clusters of real pictures that outputs never resemble; features [N, D] and
    [M, D].

    The real pictures are clustered (k-means). The distance of each to the nearest fake, relative to
    the distance to its neighbors, is compared with the median over all real pictures, so that a
    style that is wrong everywhere does not count. A cluster is dropped if fewer than 5 % of its
    pictures are closer than that median, and its own median is larger by a third. At most CLUSTERED
    real pictures are used, evenly spread, because the time for clustering grows quadratically.
    """
    chosen = spread(CLUSTERED, len(real))
    real = real[chosen]
    clusters = min(len(real), len(fake)) // per_cluster
    if clusters < 2:
        return None
    try:
        from sklearn.cluster import KMeans
    except ImportError as error:
        raise needs_extra("eval", error) from None
    kmeans = KMeans(clusters, n_init=4, random_state=seed).fit(real)
    away = nearest(real, fake) / np.maximum(reach(real), 1e-9)
    typical = np.median(away)
    by_cluster = [np.flatnonzero(kmeans.labels_ == number) for number in range(clusters)]
    # A cluster of 10 or more is that far away by chance once in thousands of times.
    dropped = [
        members
        for members in by_cluster
        if len(members) >= 10
        and (away[members] <= typical).mean() < 0.05
        and np.median(away[members]) > 4 / 3 * typical
    ]
    if not dropped:
        return None
    largest = max(dropped, key=len)
    center = kmeans.cluster_centers_[kmeans.labels_[largest[0]]]
    examples = largest[np.argsort(distances(real[largest], center[None])[:, 0])][:8]
    share = sum(map(len, dropped)) / len(real)
    return Finding(
        "mode dropping",
        way,
        f"{len(dropped)} of {clusters} clusters of real pictures, {share:.0%} of all pictures, are "
        "hardly ever produced",
        "The generator leaves out a part of the real pictures; the report shows examples.",
        "a larger batch, more data of that kind, a lower discriminator_lr or another objective",
        tuple(chosen[example] for example in examples),
    )


def falling(way: str, what: str, history: Sequence[float]) -> Finding | None:
    """Recall or coverage that has fallen to less than half of its best value; history: its values
    in the order of the steps.
    """
    if len(history) < 3 or max(history) < 0.3 or max(history[-2:]) >= 0.5 * max(history):
        return None
    return Finding(
        f"falling {what}",
        way,
        f"{what} was {max(history):.2f} and is {history[-1]:.2f}",
        "The outputs reach fewer and fewer of the real pictures: modes are being dropped.",
        "checkpoints/best, a lower discriminator_lr, or an average of the weights (--ema 0.999)",
    )


def accuracies(
    train: np.ndarray, held_out: np.ndarray, fake: np.ndarray
) -> tuple[float, float, float]:
    """The accuracy of a discriminator on patches of real training, real held-out and fake pictures.

    The arguments are its scores, of any shapes. The threshold is halfway between the medians of
    training and fake scores.
    """
    between = (np.median(train) + np.median(fake)) / 2
    return (
        float((train > between).mean()),
        float((held_out > between).mean()),
        float((fake < between).mean()),
    )


def memorising(way: str, train: float, held_out: float, fake: float) -> Finding | None:
    """A discriminator that has memorized the training pictures (Karras et al. 2020, figure 1)."""
    if min(train, fake) < 0.85 or train - held_out < 0.35:
        return None
    return Finding(
        "overfitting discriminator",
        way,
        f"it classifies {train:.0%} of the training pictures as real, but only {held_out:.0%} of "
        f"held-out ones, and {fake:.0%} of the fakes as fake",
        "It has memorized the training pictures, so its gradient teaches the generator little.",
        "more data, a smaller discriminator (--d-width 32), a lower discriminator_lr, or an "
        "earlier checkpoint",
    )


def overpowering(way: str, train: float, held_out: float, fake: float) -> Finding | None:
    """A discriminator that is never wrong (Arjovsky and Bottou 2017, section 2). Not for critics
    (wgan), whose scores are not a classification.
    """
    if min(train, held_out, fake) < 0.995:
        return None
    return Finding(
        "overpowering discriminator",
        way,
        f"it is right about {min(train, held_out, fake):.1%} of all patches, also held-out ones",
        "It has won, so its gradient gives the generator no direction.",
        "a lower discriminator_lr, a smaller discriminator (--d-width 32), lsgan or wgan-gp",
    )


def vanishing(way: str, ratio: float) -> Finding | None:
    """Vanishing gradient (Arjovsky and Bottou 2017, theorem 2.4). ratio: the norm of the
    generators' gradient of the adversarial terms, divided by that of all other terms.
    """
    if ratio >= 1e-3:
        return None
    return Finding(
        "vanishing gradient",
        way,
        f"the gradient of the adversarial terms is {ratio:.1e} times that of the other terms",
        "The generator no longer learns from its discriminator.",
        "a lower discriminator_lr, another objective (lsgan, hinge, wgan-gp), or less weight on "
        "the L1, cycle or reconstruction term",
    )


def noisy(output: np.ndarray, seed: int = 0) -> np.ndarray:
    """The picture, uint8, with NOISE grey levels randomly added to or taken from each value."""
    signs = np.random.default_rng(seed).choice((-NOISE, NOISE), output.shape)
    moved: np.ndarray = np.clip(output + signs, 0, 255).astype(np.uint8)
    return moved


def cheating(way: str, clean: float, noisy: float) -> Finding | None:
    """Cycle cheating: a generator that hides its input in an invisible pattern, which noise
    destroys (Chu et al. 2017).

    clean, noisy: L1 of the cycle's reconstruction from the translation, and from `noisy` of it.
    """
    if noisy < 2 * clean or noisy - clean < 0.02:
        return None
    return Finding(
        "cycle cheating",
        way,
        f"the reconstruction's L1 is {clean:.3f}; with noise of {NOISE} grey levels, {noisy:.3f}",
        "The input is hidden in an invisible pattern instead of being translated.",
        "a lower cycle weight, the identity term, or noise on the pictures between the generators",
    )


def colour_inversion(
    way: str, source: Pictures, output: Pictures, real: Pictures, paired: bool
) -> Finding | None:
    """Color inversion: outputs that are dark where inputs are bright, or have opposite hues.

    real: pictures of the target domain. If they are the ground truths (paired), the limit is how
    often these are inverted; if not, how often unrelated pictures are. In the second case, the
    check is wrong for domains that are negatives of each other.
    """
    if len(source) < ENOUGH:
        return None
    for what, part in (("brightness", _luma), ("hue", _chroma)):
        share = _inverted_share(source, output, part)
        if paired:
            limit = _inverted_share(source, real, part) + 0.15
        else:
            count = min(len(source), len(real))
            others = [real[(i + count // 2) % count] for i in range(count)]
            limit = max(0.15, _inverted_share(source[:count], others, part) + 0.05)
        if share > limit:
            return Finding(
                "colour inversion",
                way,
                f"in {share:.0%} of the pictures, the {what} is inverted relative to the input",
                "The networks have learned an inverted mapping, which rarely corrects itself.",
                "another --seed, and for CycleGAN the identity term (--identity 0.5)",
            )
    return None


def checkerboard(way: str, output: Pictures, real: Pictures) -> Finding | None:
    """Checkerboard artifacts: a grid with a period of 2 or 4 pixels in outputs, as from transposed
    convolutions (Odena et al. 2016).
    """
    if min(len(output), len(real)) < ENOUGH:
        return None
    (ratio, strength), (real_ratio, real_strength) = grid_energy(output), grid_energy(real)
    levels = np.sqrt(max(strength**2 - real_strength**2, 0))
    if ratio < 3 * real_ratio or levels < 1:
        return None
    return Finding(
        "checkerboard",
        way,
        f"a grid of {levels:.1f} grey levels, whose frequencies are {ratio:.1f} times as strong as "
        f"their neighbors ({real_ratio:.1f} times in real pictures)",
        "The upsampling layers leave a grid in the picture.",
        "more training, or an average of the weights (--ema 0.999)",
    )


def grid_energy(pictures: Pictures) -> tuple[float, float]:
    """The power of the frequencies of period 2 and 4 relative to their neighbors in the pictures'
    spectrum (1 without a grid), and the amplitude of the grid, RMS in grey levels.
    """
    peaks: dict[tuple[int, int], list[float]] = {}
    around: dict[tuple[int, int], list[float]] = {}
    excess = []
    for picture in pictures:
        grey = picture.astype(np.float64).mean(-1)
        height, width = (side // 4 * 4 for side in grey.shape)
        if min(height, width) < 32:
            continue
        grey = grey[:height, :width]
        window = np.hanning(height)[:, None] * np.hanning(width)
        power = np.square(np.abs(np.fft.fft2((grey - grey.mean()) * window)))
        above = 0.0
        for v in range(4):
            for u in range(4):
                if u == v == 0:
                    continue
                rows = (v * height // 4 + np.arange(-5, 6)) % height
                columns = (u * width // 4 + np.arange(-5, 6)) % width
                patch = power[np.ix_(rows, columns)]
                near, far = patch[4:7, 4:7].mean(), _ring(patch)
                peaks.setdefault((u, v), []).append(near)
                around.setdefault((u, v), []).append(far)
                above += 9 * max(near - far, 0)
        excess.append(above / (height * width * np.square(window).sum()))
    if not excess:
        return 1.0, 0.0
    ratios = [np.sum(peaks[key]) / (np.sum(around[key]) + 1e-9) for key in peaks]
    return float(max(ratios)), float(np.sqrt(np.mean(excess)))


def oscillation(name: str, values: Sequence[float]) -> Finding | None:
    """A loss that oscillates periodically, by its autocorrelation (Mescheder et al. 2018)."""
    series = np.asarray(values[-ROWS:], float)
    count = len(series)
    if count < ROWS // 2:
        return None
    time = np.arange(count)
    residual = series - np.polyval(np.polyfit(time, series, 1), time)
    amplitude = residual.std() / (np.abs(series).mean() or 1)
    if amplitude < 0.1:
        return None
    correlation = np.correlate(residual, residual, "full")[count - 1 :]
    correlation /= np.square(residual).sum() or 1
    correlation *= count / (count - time)  # there are fewer pairs at longer lags
    negative = np.flatnonzero(correlation[: count // 4] < 0)
    if not len(negative):
        return None
    lags = np.arange(negative[0], count // 4)
    period = int(lags[np.argmax(correlation[lags])])
    if correlation[period] < 0.6 or correlation[2 * period] < 0.4:
        return None
    return Finding(
        "oscillation",
        name,
        f"the loss oscillates by {amplitude:.0%} of its size every {period} rows of metrics.csv",
        "Generators and discriminators circle each other instead of converging.",
        "lower learning rates (generator_lr, discriminator_lr), wgan-gp, a first beta of 0 "
        "(--betas '[0, 0.99]'), or an average of the weights (--ema 0.999)",
    )


def _thumb(picture: np.ndarray) -> np.ndarray:
    small = images.resize(picture, THUMB, THUMB)
    return np.ravel(np.broadcast_to(small[..., :3], (THUMB, THUMB, 3)) / 127.5 - 1)


def _luma(picture: np.ndarray) -> np.ndarray:
    return np.asarray(picture[..., :3].mean(-1))


def _chroma(picture: np.ndarray) -> np.ndarray:
    """The color without its brightness."""
    return np.asarray(picture[..., :3] - picture[..., :3].mean(-1, keepdims=True))


def _inverted_share(
    first: Pictures, second: Pictures, part: Callable[[np.ndarray], np.ndarray]
) -> float:
    """The share of pictures whose two versions have a correlation below -0.3, among those with
    enough contrast.
    """
    correlations = []
    for a, b in zip(first, second, strict=True):
        if b.shape[:2] != a.shape[:2]:
            b = images.resize(b, a.shape[1], a.shape[0])
        x, y = part(a).ravel(), part(b).ravel()
        x, y = x - x.mean(), y - y.mean()
        if len(x) == len(y) and min(x.std(), y.std()) > 4:
            correlations.append(float(x @ y / np.sqrt((x @ x) * (y @ y))))
    if len(correlations) < ENOUGH // 2:
        return 0.0
    return float(np.mean(np.array(correlations) < -0.3))


def _ring(patch: np.ndarray) -> float:
    """The mean of an [11, 11] patch without its inner [5, 5]."""
    return float((patch.sum() - patch[3:8, 3:8].sum()) / (121 - 25))
