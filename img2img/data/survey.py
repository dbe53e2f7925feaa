"""What is in a data set before anyone trains on it: oddities that cost days when found later."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from rich.console import Console
from rich.progress import track

from img2img import images
from img2img.data.check import one_sided
from img2img.data.folders import Dataset, Labelled, Paired, Unpaired
from img2img.errors import DataError
from img2img.files import usable_cores

NEAR = 8  # bits of 256 that near-duplicates may differ in
SEARCHED = 20_000  # pictures among which near-duplicates are looked for; the search is quadratic
SHIFT_SIDE = 256  # pixels at which the shift between the two of a pair is measured
PAIRS_MEASURED = 200
SHIFTED, CLEAR = 0.03, 0.4  # share of the side; the correlation's peak, of aligned edges about 0.7
SHOWN = 20  # files named in a finding
GREY_MODES = {"1", "L", "LA", "I", "I;16", "I;16B"}  # Pillow's

Level = Literal["error", "warning", "note"]


@dataclass(frozen=True)
class Look:
    """One file, seen once. A side-by-side file counts whole."""

    path: Path
    role: str  # "a", "b", a domain, ...; and whether it is of the held-out set: "test b"
    error: str | None = None
    size: tuple[int, int] = (0, 0)  # width, height
    mode: str = ""  # Pillow's name of the pixels' kind
    notes: tuple[str, ...] = ()
    sha256: str = ""
    hash: bytes = b""  # 256 bits: which of two neighbours is brighter, on a 16x16 grid


@dataclass
class Finding:
    """One thing worth knowing; an error would break the training."""

    level: Level
    what: str
    files: list[str] = field(default_factory=list)


@dataclass
class Survey:
    """Counts and sizes by role, and what was found."""

    roles: dict[str, dict[str, object]]
    findings: list[Finding]

    def as_dict(self) -> dict[str, object]:
        return asdict(self)


def survey(training: Dataset, held_out: Dataset | None, console: Console) -> Survey:
    """Look at every file of the data sets, which are open already."""
    files = [(path, role) for role, path in _roles(training)]
    if held_out:
        files += [(path, f"test {role}") for role, path in _roles(held_out)]
    with ThreadPoolExecutor(usable_cores()) as pool:
        seen = pool.map(lambda job: look(*job), files)
        shown = track(seen, "looking", total=len(files), console=console, transient=True)
        looks = list(shown)
    findings = [
        *_unreadable(looks),
        *_left_out(training),
        *_balance(training),
        *_kinds(looks),
        *_sizes(looks),
        *_duplicates([one for one in looks if not one.error]),
        *_shifts(training, console),
    ]
    by_role: dict[str, list[Look]] = defaultdict(list)
    for one in looks:
        by_role[one.role].append(one)
    order = {"error": 0, "warning": 1, "note": 2}
    return Survey(
        {role: _summary(some) for role, some in by_role.items()},
        sorted(findings, key=lambda finding: order[finding.level]),
    )


def look(path: Path, role: str) -> Look:
    """Decode the file whole, once."""
    try:
        content = path.read_bytes()
        with images.open_header(content) as image:
            mode = image.mode
        picture = images.read(content)
    except (DataError, OSError) as error:
        return Look(path, role, str(error).replace("the picture: ", ""))
    notes = picture.notes + (("transparent",) if picture.alpha is not None else ())
    grey = cv2.cvtColor(picture.pixels, cv2.COLOR_RGB2GRAY)
    if mode != "L" and (picture.pixels == picture.pixels[..., :1]).all():
        notes += ("colours all grey",)
    small = cv2.resize(grey, (17, 16), interpolation=cv2.INTER_AREA)
    bits = np.packbits(small[:, 1:] > small[:, :-1]).tobytes()
    size = (picture.pixels.shape[1], picture.pixels.shape[0])
    return Look(path, role, None, size, mode, notes, hashlib.sha256(content).hexdigest(), bits)


def shift_of(a: np.ndarray, b: np.ndarray) -> tuple[float, float]:
    """How far b lies from a, as a share of the side, and how clear that is (0 to 1).

    By phase correlation of the edges, which pictures of two styles have in common; uint8 [H, W, 3].
    """
    edges = []
    for pixels in (a, b):
        side = (SHIFT_SIDE, SHIFT_SIDE)
        small = cv2.resize(pixels, side, interpolation=cv2.INTER_AREA)
        grey = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)
        wide = cv2.GaussianBlur(grey, (0, 0), 2).astype(np.float32)
        across, down = cv2.Sobel(wide, cv2.CV_32F, 1, 0), cv2.Sobel(wide, cv2.CV_32F, 0, 1)
        edges.append(cv2.magnitude(across, down))
    window = cv2.createHanningWindow((SHIFT_SIDE, SHIFT_SIDE), cv2.CV_32F)
    (x, y), clear = cv2.phaseCorrelate(*edges, window)
    return float(np.hypot(x, y)) / SHIFT_SIDE, float(clear)


def _roles(dataset: Dataset) -> list[tuple[str, Path]]:
    if isinstance(dataset, Unpaired):
        return [("a", path) for path in dataset.a] + [("b", path) for path in dataset.b]
    if isinstance(dataset, Labelled):
        classes = [labels.kind == "classes" for labels in dataset.labels.sets]
        return [(names[0] if classes[n] else "pictures", p) for p, n, names in dataset.items]
    if isinstance(dataset, Paired) and dataset.items[0][1] is None:
        return [("pairs", path) for path in dataset.files()]
    return [(role, path) for item in dataset.items for role, path in zip("ab", item, strict=True)]


def _summary(looks: Sequence[Look]) -> dict[str, object]:
    sizes = np.array([one.size for one in looks if not one.error]).reshape(-1, 2)
    told: dict[str, object] = {"pictures": len(looks)}
    if len(sizes):
        aspects = sizes[:, 0] / sizes[:, 1]
        told |= {
            "width": _range(sizes[:, 0]),
            "height": _range(sizes[:, 1]),
            "aspect": [round(float(value), 3) for value in _range(aspects)],
            "kinds": dict(Counter(one.mode for one in looks if not one.error)),
        }
    return told


def _range(values: np.ndarray) -> list[float]:
    """Least, median, largest."""
    return [values.min().item(), float(np.median(values)), values.max().item()]


def _unreadable(looks: Sequence[Look]) -> list[Finding]:
    broken = [f"{one.path}: {one.error}" for one in looks if one.error]
    what = f"{len(broken)} files can't be read. Mend or remove them."
    return [Finding("error", what, broken[:SHOWN])] if broken else []


def _left_out(dataset: Dataset) -> list[Finding]:
    findings = []
    for why, files in dataset.gaps():
        what = f"{len(files)} {why} and are left out."
        findings.append(Finding("warning", what, [str(path) for path in files[:SHOWN]]))
    return findings


def _balance(dataset: Dataset) -> list[Finding]:
    """Domains or attributes of which there are far fewer than of others."""
    if not isinstance(dataset, Labelled):
        return []
    counts = Counter(name for _, _, names in dataset.items for name in names)
    findings = []
    for number, labels in enumerate(dataset.labels.sets):
        total = sum(1 for _, n, _ in dataset.items if n == number)
        most = max(counts[name] for name in labels.domains)
        for name in labels.domains:
            if labels.kind == "attributes" and counts[name] in (0, total):
                findings.append(Finding("error", one_sided(name, counts[name], total)))
                continue
            few = counts[name] * 5 < most if labels.kind == "classes" else counts[name] * 20 < total
            if few or (labels.kind == "attributes" and counts[name] * 20 > 19 * total):
                what = f"{name} has {counts[name]:,} pictures of {total:,}: hard to learn."
                findings.append(Finding("warning", what))
    return findings


def _kinds(looks: Sequence[Look]) -> list[Finding]:
    """Pixels that are not plain RGB, and what was done with them."""
    findings = []
    said = Counter(note for one in looks for note in one.notes)
    for note, count in said.items():
        files = [str(one.path) for one in looks if note in one.notes]
        hint = " (pasted on white)" if note == "transparent" else ""
        findings.append(Finding("note", f"{count} pictures: {note}{hint}.", files[:SHOWN]))
    files = [str(one.path) for one in looks if one.mode in GREY_MODES]
    grey = len(files)
    if 0 < grey < len(looks):
        what = f"{grey} of {len(looks)} pictures are grey files among coloured ones."
        findings.append(Finding("note", what, files[:SHOWN]))
    return findings


def _sizes(looks: Sequence[Look]) -> list[Finding]:
    """Shapes that squeezing to a square spoils, and pictures too small to learn from."""
    findings = []
    long = [o for o in looks if not o.error and max(o.size) > 2 * min(o.size) and o.role != "pairs"]
    if long:
        what = f"{len(long)} pictures are over twice as long as wide; resizing squeezes them."
        findings.append(Finding("warning", what, [str(one.path) for one in long[:SHOWN]]))
    small = [one for one in looks if not one.error and min(one.size) < 32]
    if small:
        what = f"{len(small)} pictures have a side under 32 px."
        findings.append(Finding("warning", what, [str(one.path) for one in small[:SHOWN]]))
    return findings


def _duplicates(looks: Sequence[Look]) -> list[Finding]:
    """The same file twice, or nearly the same picture; across training and test it is a leak."""
    same: dict[tuple[str, str], list[Look]] = defaultdict(list)
    for one in looks:
        same[one.sha256, one.role.removeprefix("test ")].append(one)
    pairs = [pair for some in same.values() for pair in pairwise(some)]  # not each with each
    near = [pair for pair in _near(looks[:SEARCHED]) if pair[0].sha256 != pair[1].sha256]
    findings = []
    for kind, found in (("the same file", pairs), ("nearly the same picture", near)):
        for leak in (True, False):
            here = [
                pair
                for pair in found
                if (pair[0].role.startswith("test ") != pair[1].role.startswith("test ")) == leak
                and pair[0].role.removeprefix("test ") == pair[1].role.removeprefix("test ")
            ]
            if here:
                where = " across training and test: the held-out figures flatter" if leak else ""
                what = f"{len(here)} times {kind}{where}."
                files = [f"{first.path} = {second.path}" for first, second in here[:SHOWN]]
                findings.append(Finding("warning", what, files))
    if len(looks) > SEARCHED:
        what = f"Near-duplicates were looked for among the first {SEARCHED:,} pictures only."
        findings.append(Finding("note", what))
    return findings


def _near(looks: Sequence[Look]) -> list[tuple[Look, Look]]:
    """Pairs whose hashes differ in a few bits; pictures of one colour have no hash to compare."""
    looks = [one for one in looks if any(one.hash)]
    if not looks:
        return []
    words = np.frombuffer(b"".join(one.hash for one in looks), np.uint64).reshape(-1, 4)
    pairs = []
    for index in range(len(looks) - 1):
        differing = np.bitwise_count(words[index + 1 :] ^ words[index]).sum(1)
        for other in np.flatnonzero(differing <= NEAR):
            pairs.append((looks[index], looks[index + 1 + int(other)]))
    return pairs


def _shifts(dataset: Dataset, console: Console) -> list[Finding]:
    """Pairs whose contents do not lie on one another."""
    if not isinstance(dataset, Paired):
        return []
    every = max(1, len(dataset.items) // PAIRS_MEASURED)
    chosen = dataset.items[::every]
    far, clear = [], 0
    for first, second in track(chosen, "pairs", console=console, transient=True):
        try:
            a = images.read(first).pixels
            b = images.read(second).pixels if second else None
        except DataError:
            continue
        if b is None:
            a, b = a[:, : a.shape[1] // 2], a[:, a.shape[1] // 2 :]
        shift, certainty = shift_of(np.ascontiguousarray(a), np.ascontiguousarray(b))
        if certainty > CLEAR:
            clear += 1
            if shift > SHIFTED:
                far.append(f"{first} by {100 * shift:.0f} % of the side")
    if not far:
        return []
    what = f"{len(far)} of {clear} pairs in which it can be told are shifted against each other."
    return [Finding("warning" if 4 * len(far) > clear else "note", what, far[:SHOWN])]
