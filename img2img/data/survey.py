"""A survey of a data set before training, for problems that are expensive to notice later."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from rich.console import Console
from rich.progress import track

from img2img import images
from img2img.data.dataset import Dataset
from img2img.data.findings import SHOWN, Finding
from img2img.data.groups import Groups
from img2img.data.intensities import GRAY_MODES, is_raster
from img2img.data.leaks import leaked_files, leaked_groups, sha256
from img2img.data.pages import each_picture
from img2img.errors import DataError
from img2img.files import PassedOver
from img2img.rasters import MAX_PIXELS
from img2img.rasters.pages import Read, split_name
from img2img.stored import form

NEAR = 8  # of 256 bits, in which near-duplicates may differ
SEARCHED = 20_000  # pictures that are searched for near-duplicates; the search is quadratic
FAR = 100  # times the usual largest value, above and below which a file's is told


@dataclass(frozen=True)
class Look:
    """What the survey knows of one file. A side-by-side file is a single one."""

    path: Path
    role: str  # "a", "b", a domain, ...; of held-out files "test a", ...
    error: str | None = None
    size: tuple[int, int] = (0, 0)  # width, height
    picture: tuple[int, int] = (0, 0)  # size of a picture in it: half of a side-by-side file
    mode: str = ""  # Pillow's mode of the pixels
    notes: tuple[str, ...] = ()
    sha256: str = ""
    hash: bytes = b""  # 256 bits: which of two neighbors is brighter, on a 16x16 grid
    largest: float = 0.0  # the largest absolute value; 0 for photographs


@dataclass
class Survey:
    """Counts and sizes by role, and the findings, errors first."""

    roles: dict[str, dict[str, Any]]
    findings: list[Finding]

    def as_dict(self) -> dict[str, object]:
        return asdict(self)


def survey(
    training: Dataset, held_out: Dataset | None, console: Console, groups: Groups | None = None
) -> Survey:
    """Decode every file of the opened data sets, and report what is unusual. groups: those of the
    files, which must not be in both data sets.
    """
    datasets = [training, held_out] if held_out else [training]
    files = [
        ((number, f"test {role}" if number else role), path)
        for number, dataset in enumerate(datasets)
        for role, path in dataset.file_roles()
    ]
    seen = each_picture(
        files, lambda key, path, read_page: look(path, key[1], datasets[key[0]], read_page)
    )
    shown = track(seen, "looking", total=len(files), console=console, transient=True)
    looks = [one for _, _, one in shown]
    digests = {one.path: one.sha256 or str(one.path) for one in looks}  # a broken file has none
    findings = [
        *_unreadable(looks),
        *_mixed(looks),
        *_uneven(looks, datasets),
        *_left_out(training),
        *training.findings(console),
        *_kinds(looks),
        *_sizes(looks),
        *_scales(looks),
        *(leaked_files(training, held_out, digests) if held_out else ()),
        *(leaked_groups(training, held_out, groups) if held_out and groups else ()),
        *_duplicates([one for one in looks if not one.error]),
        *_passed_over(training, held_out),
        *(_groups(training, held_out, groups) if held_out and groups else ()),
    ]
    by_role: dict[str, list[Look]] = defaultdict(list)
    for one in looks:
        by_role[one.role].append(one)
    return Survey(
        {role: _summary(files) for role, files in by_role.items()}, errors_first(findings)
    )


def errors_first(findings: Sequence[Finding]) -> list[Finding]:
    """The findings by level: errors, warnings, notes."""
    order = {"error": 0, "warning": 1, "note": 2}
    return sorted(findings, key=lambda finding: order[finding.level])


def look(path: Path, role: str, dataset: Dataset, read_page: Read) -> Look:
    """Decode a file completely. Errors are recorded, not raised. read_page: reads pages by their
    names.
    """
    try:
        if is_raster(path):
            return _look_at_values(path, role, dataset, read_page)
        content = path.read_bytes()
        with images.open_header(content) as image:
            mode = image.mode
        picture = images.read(content)
    except (DataError, OSError) as error:
        return Look(path, role, str(error).replace("the picture: ", ""))
    notes = picture.notes + (("transparent",) if picture.alpha is not None else ())
    gray = cv2.cvtColor(picture.pixels, cv2.COLOR_RGB2GRAY)
    if mode != "L" and (picture.pixels == picture.pixels[..., :1]).all():
        notes += ("a color file, but all gray",)
    small = cv2.resize(gray, (17, 16), interpolation=cv2.INTER_AREA)
    bits = np.packbits(small[:, 1:] > small[:, :-1]).tobytes()
    size = (picture.pixels.shape[1], picture.pixels.shape[0])
    sha256, picture_size = hashlib.sha256(content).hexdigest(), dataset.picture_size(size)
    return Look(path, role, None, size, picture_size, mode, notes, sha256, bits)


def _look_at_values(path: Path, role: str, dataset: Dataset, read_page: Read) -> Look:
    """As `look`, for a picture that is not a photograph. The first band is what is compared, of
    the page itself and not of neighbors.
    """
    neighbors = dataset.neighbors if dataset.sides(role.removeprefix("test "))[0] == "a" else 0
    raster = read_page(path, dataset.pages, neighbors, MAX_PIXELS)
    height, width, bands = raster.values.shape
    missing = raster.missing
    known = raster.values if missing is None else raster.values[~missing]
    band = neighbors * (bands // (2 * neighbors + 1))
    first = np.nan_to_num(raster.values[..., band].astype(np.float32))
    small = cv2.resize(first, (17, 16), interpolation=cv2.INTER_AREA)
    return Look(
        path,
        role,
        size=(width, height),
        picture=dataset.picture_size((width, height)),
        mode=form(bands, raster.values.dtype.name),
        notes=raster.notes + (("missing pixels",) if missing is not None else ()),
        sha256=sha256(path, read_page),
        hash=np.packbits(small[:, 1:] > small[:, :-1]).tobytes(),
        largest=max(abs(float(known.min())), abs(float(known.max()))) if known.size else 0.0,
    )


def _training_role(one: Look) -> str:
    """The role that the file would have among the training files."""
    return one.role.removeprefix("test ")


def _summary(looks: Sequence[Look]) -> dict[str, Any]:
    sizes = np.array([one.size for one in looks if not one.error]).reshape(-1, 2)
    summary: dict[str, Any] = {"pictures": len(looks)}
    if len(sizes):
        aspects = sizes[:, 0] / sizes[:, 1]
        summary |= {
            "width": _range(sizes[:, 0]),
            "height": _range(sizes[:, 1]),
            "aspect": [round(float(value), 3) for value in _range(aspects)],
            "kinds": dict(Counter(one.mode for one in looks if not one.error)),
        }
    return summary


def _range(values: np.ndarray) -> list[float]:
    """Minimum, median and maximum."""
    return [values.min().item(), float(np.median(values)), values.max().item()]


def _unreadable(looks: Sequence[Look]) -> list[Finding]:
    broken = [f"{one.path}: {one.error}" for one in looks if one.error]
    several = len(broken) > 1
    files, them = ("files", "them") if several else ("file", "it")
    what = f"{len(broken)} {files} can't be read. Repair or remove {them}."
    return [Finding("error", what, broken[:SHOWN])] if broken else []


def _mixed(looks: Sequence[Look]) -> list[Finding]:
    """Sets of which some pictures are values of another type or number of bands than others."""
    findings = []
    for role in dict.fromkeys(_training_role(one) for one in looks):
        kinds = defaultdict(list)
        for one in looks:
            if _training_role(one) == role and not one.error:
                kinds[one.mode if " of " in one.mode else "photographs"].append(one)
        if len(kinds) > 1:
            counts = ", ".join(f"{len(files)} {kind}" for kind, files in kinds.items())
            fewest = min(kinds.values(), key=len)
            what = f"The pictures of {role} are not of one kind: {counts}."
            findings.append(Finding("error", what, [str(one.path) for one in fewest[:SHOWN]]))
    return findings


def _uneven(looks: Sequence[Look], datasets: Sequence[Dataset]) -> list[Finding]:
    """Files of one picture in several folders that have different sizes."""
    sizes = {one.path: f"{one.size[0]}x{one.size[1]}" for one in looks if not one.error}
    stacks = [(path, *more) for data in datasets for path, more in data.stacks.further.items()]
    uneven = [files for files in stacks if len({sizes.get(path, "") for path in files} - {""}) > 1]
    if not uneven:
        return []
    what = (
        f"{len(uneven)} pictures of a have files of different sizes. Resample them to one grid "
        "first."
    )
    shown = [
        ", ".join(f"{path} ({sizes[path]})" for path in files if path in sizes)
        for files in uneven[:SHOWN]
    ]
    return [Finding("error", what, shown)]


def _scales(looks: Sequence[Look]) -> list[Finding]:
    """Files of values that are larger or smaller by far than those of others, such as reflectance
    from 0 to 1 among that from 0 to 10,000. Files of zeros alone are empty, and not such.
    """
    findings = []
    by_role: dict[str, list[Look]] = defaultdict(list)
    for one in looks:
        if one.largest:
            by_role[_training_role(one)].append(one)
    for role, files in by_role.items():
        usual = float(np.median([one.largest for one in files]))
        far = [one for one in files if not usual / FAR <= one.largest <= usual * FAR]
        if far:
            what = (
                f"{len(far)} file{'s' * (len(far) > 1)} of {role} differ{'s' * (len(far) == 1)} by "
                f"far in scale: the largest value is usually about {usual:g}. Scale them like the "
                "others, or remove them."
            )
            told = [f"{one.path}: {one.largest:g}" for one in far[:SHOWN]]
            findings.append(Finding("warning", what, told))
    return findings


def _left_out(dataset: Dataset) -> list[Finding]:
    findings = []
    for why, files in dataset.gaps():
        what = f"{len(files)} {why} and are left out."
        findings.append(Finding("warning", what, [str(path) for path in files[:SHOWN]]))
    return findings


def _passed_over(training: Dataset, held_out: Dataset | None) -> list[Finding]:
    total = PassedOver()
    for dataset in filter(None, (training, held_out)):
        total.add(dataset.passed_over)
    return [Finding("note", f"{total}.")] if str(total) else []


def _groups(training: Dataset, held_out: Dataset, groups: Groups) -> list[Finding]:
    trained, held = (groups.names(data.deciding_files()) for data in (training, held_out))
    what = f"{len(trained):,} groups are trained on, {len(held):,} held out:"
    return [Finding("note", what, held[:SHOWN])]


def _kinds(looks: Sequence[Look]) -> list[Finding]:
    """Pictures that are not plain RGB, and how they are converted."""
    findings = []
    counts = Counter(note for one in looks for note in one.notes)
    for note, count in counts.items():
        files = [str(one.path) for one in looks if note in one.notes]
        hint = " (composited on white)" if note == "transparent" else ""
        findings.append(Finding("note", f"{count} pictures: {note}{hint}.", files[:SHOWN]))
    files = [str(one.path) for one in looks if one.mode in GRAY_MODES]
    gray = len(files)
    if 0 < gray < len(looks):
        what = f"{gray} of {len(looks)} pictures are gray, the others are in color."
        findings.append(Finding("note", what, files[:SHOWN]))
    return findings


def _sizes(looks: Sequence[Look]) -> list[Finding]:
    """Elongated pictures, which resizing distorts, and pictures that are too small."""
    findings = []
    readable = [one for one in looks if not one.error]
    long = [one for one in readable if max(one.picture) > 2 * min(one.picture)]
    if long:
        what = (
            f"{len(long)} pictures have an aspect ratio over 2:1; resizing distorts it (see --fit)."
        )
        findings.append(Finding("warning", what, [str(one.path) for one in long[:SHOWN]]))
    small = [one for one in readable if min(one.picture) < 32]
    if small:
        what = f"{len(small)} pictures have a side under 32 px."
        findings.append(Finding("warning", what, [str(one.path) for one in small[:SHOWN]]))
    return findings


def _duplicates(looks: Sequence[Look]) -> list[Finding]:
    """Identical files and near-duplicates; across training and test they are a leak. Identical
    files across these are left to `leaked_files`, except for those of a single color.
    """
    same: dict[tuple[str, str], list[Look]] = defaultdict(list)
    for one in looks:
        same[one.sha256, one.role.removeprefix("test ")].append(one)
    pairs = [  # not all pairs
        pair
        for group in same.values()
        for pair in pairwise(group)
        if split_name(pair[0].path)[0] != split_name(pair[1].path)[0]  # pages of one file are alike
    ]
    # A mask in a further folder is often near to others without a leak of its picture.
    main = [one for one in looks if "(folder " not in one.role]
    near = [pair for pair in _near(main[:SEARCHED]) if pair[0].sha256 != pair[1].sha256]
    findings = []
    for kind, matches in (("identical files", pairs), ("near-duplicates", near)):
        for leak in (True, False):
            selected = [
                pair
                for pair in matches
                if (pair[0].role.startswith("test ") != pair[1].role.startswith("test ")) == leak
                and pair[0].role.removeprefix("test ") == pair[1].role.removeprefix("test ")
                and not (leak and matches is pairs and any(pair[0].hash))
            ]
            if selected:
                where = (
                    " across training and test, which make held-out results too good"
                    if leak
                    else ""
                )
                what = f"{len(selected)} pair{'s' * (len(selected) != 1)} of {kind}{where}."
                files = [f"{first.path} = {second.path}" for first, second in selected[:SHOWN]]
                findings.append(Finding("warning", what, files))
    if len(main) > SEARCHED:
        what = f"Only the first {SEARCHED:,} pictures were searched for near-duplicates."
        findings.append(Finding("note", what))
    return findings


def _near(looks: Sequence[Look]) -> list[tuple[Look, Look]]:
    """Pairs whose hashes differ in a few bits. Pictures of a single color have no hash, and pages
    of one file are alike.
    """
    looks = [one for one in looks if any(one.hash)]
    files = [split_name(one.path)[0] for one in looks]
    if not looks:
        return []
    words = np.frombuffer(b"".join(one.hash for one in looks), np.uint64).reshape(-1, 4)
    pairs = []
    for index in range(len(looks) - 1):
        differing = np.bitwise_count(words[index + 1 :] ^ words[index]).sum(1)
        for other in np.flatnonzero(differing <= NEAR):
            following = index + 1 + int(other)
            if files[index] != files[following]:
                pairs.append((looks[index], looks[following]))
    return pairs
