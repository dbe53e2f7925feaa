"""Checks before training starts: pictures that can't be read, or are too small."""

import hashlib
import operator
import os
from collections.abc import Iterable
from pathlib import Path

from rich.console import Console
from rich.progress import track

from img2img import images
from img2img.data.dataset import Dataset
from img2img.data.intensities import is_raster
from img2img.data.pages import each_picture
from img2img.errors import DataError
from img2img.rasters.pages import Read, split_name
from img2img.sizes import Size

_Look = tuple[tuple[int, int], str | None, bool]


def fingerprint(dataset: Dataset) -> str:
    """A hash of the files' last two path parts and sizes, and of the labels, in order. An exact
    resume requires that it is unchanged.
    """
    digest = hashlib.sha256()
    for path in dataset.files():
        parts = path.absolute().parts[-2:]  # the same from any working directory
        size = split_name(path)[0].stat().st_size
        digest.update(os.fsencode("/".join(parts)) + b"\0%d\n" % size)
    digest.update(dataset.identity())
    return digest.hexdigest()


def verify(dataset: Dataset, crop: Size | None, decode: bool, console: Console) -> None:
    """Check every file before training. decode: decode it completely, else read only its header.

    Raises DataError, which names the unreadable files (the first five), or the smallest picture if
    it is smaller than `crop`.
    """
    broken: list[str] = []
    rounded: dict[str, list[Path]] = {}  # by side: values that are read as photographs
    worst = (0, Size(0, 0), Path())  # missing pixels on a side, picture size, file
    files = list(dataset.roles())
    looks: Iterable[tuple[str, Path, _Look]] = each_picture(
        files, lambda role, path, read_page: _look(dataset, role, path, decode, read_page)
    )
    if len(files) > 2000:
        text = "checking pictures"
        looks = track(looks, text, total=len(files), console=console, transient=True)
    for role, path, (size, error, is_rounded) in looks:
        if is_rounded:
            rounded.setdefault(dataset.sides(role)[0], []).append(path)
        if error:
            broken.append(error)
        else:
            picture = Size(*dataset.picture_size(size))
            lacking = max(map(operator.sub, crop, picture)) if crop else 0
            worst = max(worst, (lacking, picture, path), key=lambda candidate: candidate[0])
    if broken:
        more = f" And {len(broken) - 5} more." if len(broken) > 5 else ""
        raise DataError(
            f"{len(broken)} of {len(files)} pictures can't be read: {' '.join(broken[:5])}{more} "
            "Repair or remove them, then start again."
        )
    for side, paths in rounded.items():
        what = "are read as photographs, of 8 bits, like the others"
        line = f"{side}: {len(paths):,} of its files have other values, such as 16 bits, and {what}"
        line += f" (first: {paths[0]})"
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    lacking, picture, path = worst
    if crop and lacking > 0:
        square = crop.width == crop.height
        raise DataError(
            f"The crop of {crop} px is larger than the smallest picture, {path} "
            f"({min(picture) if square else picture} px). Use a smaller --size or --centre-crop, "
            "or enlarge the pictures with --resize."
        )


def require_same_domains(training: Dataset, held_out: Dataset) -> None:
    """Raise DataError if the held-out pictures have other domains than the training pictures."""
    if held_out.labels != training.labels:
        raise DataError(
            f"The held-out pictures have the domains {', '.join(held_out.labels.names)}, the "
            f"training pictures {', '.join(training.labels.names)}. Both must be the same."
        )


def _look(dataset: Dataset, role: str, path: Path, decode: bool, read_page: Read) -> _Look:
    """Width and height of a picture, the error if it can't be read, and whether it has values that
    are read as a photograph's.
    """
    side = dataset.sides(role)[0]
    try:
        if decode or side in dataset.intensities:
            pixels = dataset.read(side, path, read_page)
            rounded = side not in dataset.intensities and is_raster(path)
            return (pixels.shape[1], pixels.shape[0]), None, rounded
        with images.open_header(path) as image:
            return image.size, None, False
    except (DataError, OSError) as error:
        return (0, 0), str(error), False
