"""Signs of the diseases that GANs are known for; each check is a function of pictures or numbers.

A check gives a Finding with the numbers that made it fire, or None. The limits were set on real
runs, sick and healthy ones; where a check can be wrong by design, its words say so.
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
THUMB = 16  # pixels, of the small pictures that diversity is measured on
NOISE = 2  # grey levels
ROWS = 64  # of the losses, in which an oscillation shows
LOG = "diagnosis.jsonl"  # of a run
ENOUGH = 16  # pictures, fewer say nothing about a set
CLUSTERED = 5000  # real pictures in which kinds are looked for, at most


@dataclass(frozen=True)
class Finding:
    """One sign of trouble: what was seen, what it means, what to try."""

    check: str
    way: str  # the direction or domain, or the loss, that it was seen in
    seen: str
    means: str
    advice: str
    pictures: tuple[int, ...] = ()  # of the real ones: examples, where it has any

    def __str__(self) -> str:
        return f"{self.check} ({self.way}): {self.seen}. {self.means} Try {self.advice}."


def read_findings(run: Path) -> list[dict[str, Any]]:
    """The rows of a run's diagnosis.jsonl: the step of a look and the fields of a Finding, with
    the path of their sheet below the run's folder for pictures.
    """
    path = run / LOG
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def diversity(pictures: Pictures) -> float:
    """The mean distance between two of the pictures, as thumbnails, in [-1, 1] units a value."""
    small = np.stack([_thumb(picture) for picture in pictures])
    count = len(small)
    total = distances(small, small).sum() / max(count * (count - 1), 1)
    return float(total / np.sqrt(small.shape[1]))


def collapse(way: str, source: Pictures, output: Pictures, real: Pictures) -> Finding | None:
    """Outputs that are much more alike than both what they are made from and what they should be
    (mode collapse; Goodfellow 2016, section 5.1).
    """
    if min(map(len, (source, output, real))) < ENOUGH:
        return None
    made = diversity(output)
    by_source, by_real = made / (diversity(source) or 1), made / (diversity(real) or 1)
    if max(by_source, by_real) >= 0.4:
        return None
    return Finding(
        "mode collapse",
        way,
        f"outputs differ {by_source:.2f} times as much as their inputs and {by_real:.2f} times as "
        "much as real pictures",
        "The generator gives nearly the same answer to everything.",
        "a heavier L1, cycle or reconstruction term, a lower discriminator_lr, a larger batch or "
        "another objective (lsgan, wgan-gp)",
    )


def dropping(
    way: str, real: np.ndarray, fake: np.ndarray, seed: int = 0, per_cluster: int = 25
) -> Finding | None:
    """Kinds of real pictures that outputs never resemble; features [N, D] and [M, D].

    The real ones are clustered (k-means). How far each is from the nearest fake, in units of its
    own neighbourhood, is compared with how far real ones are on the whole, so that a style that is
    off everywhere does not count: lost is a cluster of which next to nobody is as near as half of
    all real pictures are, and that is farther by a third. Of very many real pictures some are
    looked at, spread over all of them: the time that clustering takes grows with their square.
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
    found = KMeans(clusters, n_init=4, random_state=seed).fit(real)
    away = nearest(real, fake) / np.maximum(reach(real), 1e-9)
    typical = np.median(away)
    members = [np.flatnonzero(found.labels_ == number) for number in range(clusters)]
    # By chance one of 10 or more is so far off once in thousands of times.
    lost = [
        own
        for own in members
        if len(own) >= 10
        and (away[own] <= typical).mean() < 0.05
        and np.median(away[own]) > 4 / 3 * typical
    ]
    if not lost:
        return None
    worst = max(lost, key=len)
    centre = found.cluster_centers_[found.labels_[worst[0]]]
    examples = worst[np.argsort(distances(real[worst], centre[None])[:, 0])][:8]
    share = sum(map(len, lost)) / len(real)
    return Finding(
        "mode dropping",
        way,
        f"{len(lost)} of {clusters} kinds of real pictures, {share:.0%} of them all, are hardly "
        "ever produced",
        "The generator leaves out part of what it should make; the report shows examples.",
        "a larger batch, more data of that kind, a lower discriminator_lr or another objective",
        tuple(chosen[example] for example in examples),
    )


def falling(way: str, what: str, history: Sequence[float]) -> Finding | None:
    """Recall or coverage of the real pictures that has halved since its best, look by look."""
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
    """The share that a discriminator judges right, of real training, real held-out and fake
    patches: scores of any shapes, told apart halfway between the first's and the last's median.
    """
    between = (np.median(train) + np.median(fake)) / 2
    return (
        float((train > between).mean()),
        float((held_out > between).mean()),
        float((fake < between).mean()),
    )


def memorising(way: str, train: float, held_out: float, fake: float) -> Finding | None:
    """A discriminator that knows the training pictures by heart (Karras et al. 2020, figure 1)."""
    if min(train, fake) < 0.85 or train - held_out < 0.35:
        return None
    return Finding(
        "overfitting discriminator",
        way,
        f"it takes {train:.0%} of the training pictures for real, but only {held_out:.0%} of "
        f"held-out ones; it sees through {fake:.0%} of the fakes",
        "It has learned the training pictures by heart, so its gradient teaches little.",
        "more data, a smaller discriminator (--d-width 32), a lower discriminator_lr, or an "
        "earlier checkpoint",
    )


def overpowering(way: str, train: float, held_out: float, fake: float) -> Finding | None:
    """A discriminator that is never wrong. Not for critics, whose scores have no right and wrong
    (Arjovsky and Bottou 2017, section 2).
    """
    if min(train, held_out, fake) < 0.995:
        return None
    return Finding(
        "overpowering discriminator",
        way,
        f"it is right about {min(train, held_out, fake):.1%} of all patches, held-out ones too",
        "It has won, and the generator can only guess where to go.",
        "a lower discriminator_lr, a smaller discriminator (--d-width 32), lsgan or wgan-gp",
    )


def vanishing(way: str, ratio: float) -> Finding | None:
    """The norm of the generators' gradient from the adversarial terms, over that from all others
    (Arjovsky and Bottou 2017, theorem 2.4).
    """
    if ratio >= 1e-3:
        return None
    return Finding(
        "vanishing gradient",
        way,
        f"the adversarial terms' gradient is {ratio:.1e} of the others'",
        "The generator learns nothing from its discriminator any more.",
        "a lower discriminator_lr, another objective (lsgan, hinge, wgan-gp), or less weight on "
        "the L1, cycle or reconstruction term",
    )


def noisy(output: np.ndarray, seed: int = 0) -> np.ndarray:
    """The pictures, uint8, with every value moved by 2 grey levels up or down."""
    signs = np.random.default_rng(seed).choice((-NOISE, NOISE), output.shape)
    moved: np.ndarray = np.clip(output + signs, 0, 255).astype(np.uint8)
    return moved


def cheating(way: str, clean: float, noisy: float) -> Finding | None:
    """L1 of the cycle's reconstruction, from the translation as it is and from `noisy` of it.

    A generator that hides its input in an invisible pattern loses it there (Chu et al. 2017).
    """
    if noisy < 2 * clean or noisy - clean < 0.02:
        return None
    return Finding(
        "cycle cheating",
        way,
        f"the way back is {clean:.3f} off, but {noisy:.3f} after noise of {NOISE} grey levels",
        "The input is hidden in a pattern that nobody sees, and not translated.",
        "a lower cycle weight, the identity term, or noise on the pictures between the generators",
    )


def colour_inversion(
    way: str, source: Pictures, output: Pictures, real: Pictures, paired: bool
) -> Finding | None:
    """Outputs that are dark where inputs are bright, or have the opposite hues.

    real: pictures of the target; where they are the truths, they say what would be right. Others
    tell how often colours run against each other that have nothing to do with each other. Then the
    check is wrong for data that are negatives of each other.
    """
    if len(source) < ENOUGH:
        return None
    for what, part in (("brightness", _luma), ("hue", _chroma)):
        found = _against(source, output, part)
        if paired:
            limit = _against(source, real, part) + 0.15
        else:
            count = min(len(source), len(real))
            others = [real[(i + count // 2) % count] for i in range(count)]
            limit = max(0.15, _against(source[:count], others, part) + 0.05)
        if found > limit:
            return Finding(
                "colour inversion",
                way,
                f"in {found:.0%} of the pictures the {what} runs against that of the input",
                "The networks have found a mirrored solution; it rarely comes right by itself.",
                "another --seed, and for CycleGAN the identity term (--identity 0.5)",
            )
    return None


def checkerboard(way: str, output: Pictures, real: Pictures) -> Finding | None:
    """A grid of period 2 or 4 pixels in outputs, as transposed convolutions leave it
    (Odena et al. 2016).
    """
    if min(len(output), len(real)) < ENOUGH:
        return None
    (made, strength), (natural, usual) = grid_energy(output), grid_energy(real)
    levels = np.sqrt(max(strength**2 - usual**2, 0))
    if made < 3 * natural or levels < 1:
        return None
    return Finding(
        "checkerboard",
        way,
        f"a grid of {levels:.1f} grey levels; it stands out {made:.1f} times from its "
        f"surroundings, {natural:.1f} times in real pictures",
        "The upsampling layers leave their steps in the picture.",
        "more training, or an average of the weights (--ema 0.999)",
    )


def grid_energy(pictures: Pictures) -> tuple[float, float]:
    """How much the frequencies of period 2 and 4 stand out from those around them in the pictures'
    spectrum (1: not at all), and the grid's strength, as RMS grey levels.
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
    """A loss that swings with a period, by its autocorrelation (Mescheder et al. 2018)."""
    series = np.asarray(values[-ROWS:], float)
    count = len(series)
    if count < ROWS // 2:
        return None
    time = np.arange(count)
    rest = series - np.polyval(np.polyfit(time, series, 1), time)
    swing = rest.std() / (np.abs(series).mean() or 1)
    if swing < 0.1:
        return None
    same = np.correlate(rest, rest, "full")[count - 1 :] / (np.square(rest).sum() or 1)
    same *= count / (count - time)  # fewer pairs at longer lags
    turned = np.flatnonzero(same[: count // 4] < 0)
    if not len(turned):
        return None
    lags = np.arange(turned[0], count // 4)
    period = int(lags[np.argmax(same[lags])])
    if same[period] < 0.6 or same[2 * period] < 0.4:
        return None
    return Finding(
        "oscillation",
        name,
        f"the loss swings by {swing:.0%} of its size every {period} rows of metrics.csv",
        "The two sides chase each other instead of settling.",
        "a lower rate of both (generator_lr, discriminator_lr), wgan-gp, a first beta of 0 "
        "(--betas '[0, 0.99]'), or an average of the weights (--ema 0.999)",
    )


def _thumb(picture: np.ndarray) -> np.ndarray:
    small = images.resize(picture, THUMB, THUMB)
    return np.ravel(np.broadcast_to(small[..., :3], (THUMB, THUMB, 3)) / 127.5 - 1)


def _luma(picture: np.ndarray) -> np.ndarray:
    return np.asarray(picture[..., :3].mean(-1))


def _chroma(picture: np.ndarray) -> np.ndarray:
    """What is left of the colour without its brightness."""
    return np.asarray(picture[..., :3] - picture[..., :3].mean(-1, keepdims=True))


def _against(first: Pictures, second: Pictures, part: Callable[[np.ndarray], np.ndarray]) -> float:
    """The share of pictures whose two versions have a correlation under -0.3; those without enough
    contrast don't count.
    """
    found = []
    for a, b in zip(first, second, strict=True):
        if b.shape[:2] != a.shape[:2]:
            b = images.resize(b, a.shape[1], a.shape[0])
        x, y = part(a).ravel(), part(b).ravel()
        x, y = x - x.mean(), y - y.mean()
        if len(x) == len(y) and min(x.std(), y.std()) > 4:
            found.append(float(x @ y / np.sqrt((x @ x) * (y @ y))))
    return float(np.mean(np.array(found) < -0.3)) if len(found) >= ENOUGH // 2 else 0.0


def _ring(patch: np.ndarray) -> float:
    """The mean of an [11, 11] patch, its inner [5, 5] left out."""
    return float((patch.sum() - patch[3:8, 3:8].sum()) / (121 - 25))
