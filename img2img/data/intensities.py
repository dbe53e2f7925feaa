"""The sides of a data set whose pictures are not photographs, and what their values mean."""

import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np

from img2img import images, rasters
from img2img.errors import DataError, MissingPackage, UsageError
from img2img.files import spread, usable_cores
from img2img.intensity import Intensity, stacked
from img2img.ranges import SIDES, Statistics, by_side, fitted, require_fp32
from img2img.rasters import Header, Raster
from img2img.rasters.pages import Mode, header_of_picture, split_name
from img2img.rasters.pages import read as read_picture
from img2img.show import declared
from img2img.stored import form

SEEN = 64  # files of a side whose values are looked at
PIXELS = 2**14  # of each of these
SHOWN = 5  # names of files in a message
# Not names of inputs: sides in options, and parameters of the HTTP API, whose forms and JSON have a
# field for each input beside these.
RESERVED = (*SIDES, "model", "to", "format", "max_side")
GRAY_MODES = {"1", "L", "LA", "I", "I;16", "I;16B"}  # Pillow's


class Sampled(NamedTuple):
    """Some pixels of a file."""

    values: np.ndarray  # [N, bands], of at most PIXELS pixels that are not missing, evenly spread
    nodata: float | None
    unit: str
    missing: float  # share of all pixels


class _Pictures(NamedTuple):
    """Files, or pages by their names, and which pages of theirs make up a picture."""

    paths: Sequence[Path]
    pages: Mode = "each"
    neighbors: int = 0


class Fitted(NamedTuple):
    """The intensity of the files of a side or an input, and some of their values."""

    intensity: Intensity
    values: np.ndarray  # [N, bands], finite


def names_of_inputs(folders: Sequence[Path]) -> tuple[str, ...]:
    """The names by which options, forms and JSON address the folders of several inputs: that of the
    folder, with its parent's in front where another one has the same, or it is RESERVED.

    Raises UsageError for folders that have the same name even so, and for names that can't be those
    of a form's fields.
    """
    paths = [Path(os.path.abspath(folder)) for folder in folders]
    counts = Counter([*(path.name for path in paths), *RESERVED])
    names = tuple(
        path.name if counts[path.name] == 1 else f"{path.parent.name}/{path.name}" for path in paths
    )
    if len(set(names)) < len(names):
        [(name, _), *_] = Counter(names).most_common()
        raise UsageError(f"Several --a are named {name}. Give each folder once, or rename one.")
    for name in names:
        if not name.isprintable() or not {'"', "\\"}.isdisjoint(name):
            raise UsageError(
                f"--a: {name!r} has quotes, backslashes or characters that can't be shown, and "
                "would be a name in options and requests. Rename the folder."
            )
    return names


def fit_intensities(
    files: Mapping[str, Sequence[Path]],
    ranges: Sequence[str],
    bands: Sequence[str],
    inputs: Mapping[str, Sequence[Path]] | None = None,
    show: Sequence[str] = (),
    pages: Mode = "each",
    neighbors: int = 0,
    for_networks: bool = True,
) -> dict[str, Intensity]:
    """The intensities of the sides whose pictures are not photographs, from all of their headers
    and some of their values.

    files: by side. ranges, bands and show: the settings of these names; a side for which a range or
    bands are given is read as values in any case. Else most of its files have to be values: a
    photograph of 16 bits among others of 8 is read as one. inputs: the files of a by the name of
    the folder, where they are stacked from several; each may have photographs, too. pages and
    neighbors: those of the data set, of which the neighbors are for a alone. for_networks: whether
    networks map the ranges, in fp32. Raises DataError for files that differ in type or bands, which
    it names, and UsageError for a range or bands that the files don't have, and for a range that is
    too narrow for networks.
    """
    names = tuple(inputs or ())
    rules = by_side(ranges, "--range", names)
    picks = by_side(bands, "--bands", names)
    fits: dict[str, list[Fitted]] = {}  # one of each part
    if inputs:
        fits["a"] = [
            _fitted_part(
                name,
                _Pictures(paths, pages, neighbors),
                rules.get(name, rules.get("a")),
                picks.get(name, picks.get("a", [])),
            )
            for name, paths in inputs.items()
        ]
    for side, paths in files.items():
        wanted = side in rules or side in picks
        if side in fits or not paths or not (wanted or _are_values(paths)):
            continue
        pictures = _Pictures(paths, pages, neighbors if side == "a" else 0)
        header = _common_header(side, pictures)
        fits[side] = [_fitted(side, pictures, header, rules.get(side), picks.get(side, []))]
    intensities, values = {}, {}
    for side, each in fits.items():
        parts = [fit.intensity for fit in each]
        if for_networks:
            for part in parts:
                require_fp32(part)
        intensities[side] = stacked(parts) if inputs and side == "a" else parts[0]
        values[side] = [band for fit in each for band in fit.values.T]
    return declared(show, intensities, values)


def _are_values(paths: Sequence[Path]) -> bool:
    """Whether most of the files are no photographs."""
    seen = [paths[index] for index in spread(SEEN, len(paths))]
    return 2 * sum(map(is_raster, seen)) > len(seen)


def _fitted_part(
    name: str, pictures: _Pictures, rules: Sequence[str] | None, picks: Sequence[str]
) -> Fitted:
    """The intensity of one of several inputs."""
    photographs = not _are_values(pictures.paths)
    if photographs:
        pictures = _Pictures(pictures.paths)
        header = _common_photograph(pictures.paths)
    else:
        header = _common_header(name, pictures)
    intensity, values = _fitted(name, pictures, header, rules, picks)
    named = intensity.model_copy(update={"name": name, "photographs": photographs})
    return Fitted(named, values)


def _fitted(
    name: str,
    pictures: _Pictures,
    header: Header,
    rules: Sequence[str] | None,
    picks: Sequence[str],
) -> Fitted:
    """The intensity of the files of a side or an input, which have the same header."""
    [*others, rule] = rules or ["auto"]
    if others:
        raise UsageError(f"--range: {name} has several ranges. Give one for each side.")
    picked = _picked(name, picks, header)
    statistics = _statistics(pictures, header, picked)
    intensity, values = fitted(rule, statistics), statistics.values
    update = {"pages": pictures.pages, "neighbors": pictures.neighbors}
    intensity = intensity.model_copy(update=update)
    return Fitted(intensity, values[np.isfinite(values).all(1)])


def _common_photograph(paths: Sequence[Path]) -> Header:
    """The header of photographs as they are decoded: RGB, or gray if all of them are."""
    with ThreadPoolExecutor(usable_cores()) as pool:
        gray = all(pool.map(_is_gray, paths))
    names = ("gray",) if gray else ("red", "green", "blue")
    return Header("photograph", (0, 0), len(names), "uint8", 1, names, is_photograph=True)


def _is_gray(path: Path) -> bool:
    with images.open_header(path) as image:
        return image.mode in GRAY_MODES


def is_raster(path: Path) -> bool:
    """Whether a file has to be read as values, because it is no photograph. A broken file is not:
    it is named where it is read. Raises DataError where a package is missing to tell.
    """
    file, page = split_name(path)
    if page is not None:  # which has such a name because the file was read as values
        return True
    if not rasters.is_raster_name(file):
        return False
    try:
        header = rasters.header(file)
    except MissingPackage:
        raise
    except DataError:
        return False
    return header is not None and not header.is_photograph


def _common_header(side: str, pictures: _Pictures) -> Header:
    """The header of a side's pictures. Raises DataError where they differ, or are no pictures."""
    with_pages = {split_name(path) for path in pictures.paths}
    paths = list(dict.fromkeys(split_name(path)[0] for path in pictures.paths))
    with ThreadPoolExecutor(usable_cores()) as pool:
        of_files = list(pool.map(rasters.header, paths))
    headers = [
        header and header_of_picture(header, pictures.pages, pictures.neighbors)
        for header in of_files
    ]
    first = headers[0]
    if first is None:
        raise DataError(f"{paths[0]}: this format is not read as values. Save it as TIFF or .npy.")
    wrong = [
        f"{path} ({form(other.bands, other.dtype) if other else 'of another format'})"
        for path, other in zip(paths, headers, strict=True)
        if other is None or (other.bands, other.dtype) != (first.bands, first.dtype)
    ]
    if wrong:
        more = f" and {len(wrong) - SHOWN} more" if len(wrong) > SHOWN else ""
        raise DataError(
            f"The pictures of {side} differ: {paths[0]} is {form(first.bands, first.dtype)}, and "
            f"{', '.join(wrong[:SHOWN])}{more} {'are' if len(wrong) > 1 else 'is'} not. Convert "
            "them, or move them away."
        )
    stacked = [
        path
        for path, other in zip(paths, headers, strict=True)
        if other and other.pages > 1 and (path, None) in with_pages
    ]
    if stacked:
        raise DataError(
            f"{len(stacked)} pictures of {side} have several pages (first: {stacked[0]}). Choose "
            "--pages each, first or stack."
        )
    return first


def _picked(name: str, items: Sequence[str], header: Header) -> tuple[int, ...]:
    """The indices of the bands that are named or numbered from 1 on; none for all of them."""
    picked = []
    for item in items:
        if item in header.band_names:
            picked.append(header.band_names.index(item))
        elif re.fullmatch(r"\d+", item) and 1 <= int(item) <= header.bands:
            picked.append(int(item) - 1)
        else:
            names = f", or {', '.join(header.band_names)}" if header.band_names else ""
            raise UsageError(
                f"--bands {item}: there is no such band. The pictures of {name} have the bands 1 "
                f"to {header.bands}{names}."
            )
    return tuple(picked)


def _statistics(pictures: _Pictures, header: Header, picked: tuple[int, ...]) -> Statistics:
    """Values of PIXELS pixels of up to SEEN pictures, evenly spread, without those that are
    missing.
    """
    seen = [pictures.paths[index] for index in spread(SEEN, len(pictures.paths))]
    kind = _colors(header), pictures.pages, pictures.neighbors
    with ThreadPoolExecutor(usable_cores()) as pool:
        some = list(pool.map(lambda path: sampled(path, *kind), seen))
    values = np.concatenate([each.values for each in some])
    if neighbors := pictures.neighbors:  # whose bands have the ranges of those of their page
        of_page = values.reshape(len(values), 2 * neighbors + 1, -1)[:, neighbors]
        values = np.tile(of_page, 2 * neighbors + 1)
    declared = [each.nodata for each in some if each.nodata is not None]
    names = header.band_names or tuple(str(number + 1) for number in range(header.bands))
    chosen = list(picked) or list(range(header.bands))
    return Statistics(
        dtype=header.dtype,
        bands=tuple(names[index] for index in chosen),
        values=values[:, chosen],
        unit=some[0].unit,
        nodata=declared[0] if declared else None,
        is_map=header.kind == "geotiff",
        picked=picked,
        file_bands=header.bands,
    )


def _colors(header: Header) -> int | None:
    """The channels to which photographs are decoded; None for files of values."""
    return header.bands if header.kind == "photograph" else None


def sampled(
    path: Path, colors: int | None = None, pages: Mode = "each", neighbors: int = 0
) -> Sampled:
    """Some pixels of a picture of values, or of a photograph that is decoded to so many colors.
    Raises DataError for a file that can't be read so.
    """
    if colors:
        raster = Raster(images.read(path, colors).pixels)
    else:
        raster = read_picture(path, pages, neighbors)
    pixels = raster.values.reshape(-1, raster.values.shape[2])
    missing = raster.missing
    if missing is not None:
        pixels = pixels[~missing.ravel()]
    share = 0.0 if missing is None else float(missing.mean())
    return Sampled(pixels[spread(PIXELS, len(pixels))], raster.nodata, raster.unit, share)
