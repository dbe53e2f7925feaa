"""Reading the bands that an intensity uses, of one file or of one for each of its parts."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from img2img import images, rasters
from img2img.errors import DataError
from img2img.formats import TooLarge
from img2img.intensity import Intensity
from img2img.rasters import Raster
from img2img.rasters import pages as pages_of_file
from img2img.rasters.pages import Read, split_name

File = Path | bytes  # its path, or its content
MOST = 4  # times the limit of a picture's pixels, of all pages of a file together


@dataclass(frozen=True)
class Stored:
    """A page as a model of the intensity takes it."""

    values: np.ndarray  # [H, W, bands], of the intensity's type, with its value at missing pixels
    missing: np.ndarray | None  # bool [H, W]: where any band is missing; None if nowhere
    raster: Raster  # as it is in the file; of several, the first one with the notes of all


def read_values(
    source: File | Sequence[File], intensity: Intensity, read: Read = pages_of_file.read
) -> np.ndarray:
    """A picture's values [H, W, bands] in the type that the intensity holds them in, NaN where they
    are missing. Arguments and errors are those of `read_stored`.
    """
    stored = read_stored(source, intensity, read=read)
    values = stored.values.astype(intensity.held, copy=False)
    if stored.missing is None:
        return values
    return np.where(stored.missing[..., None], np.array(np.nan, values.dtype), values)


def read_stored(
    source: File | Sequence[File],
    intensity: Intensity,
    max_pixels: int = rasters.MAX_PIXELS,
    read: Read = pages_of_file.read,
) -> Stored:
    """The values of the bands that the intensity uses, of a file, or of one for each of its parts.
    A page's name (see rasters.pages) is read as a file of that page, by `read`.

    Raises DataError for a file of another type, number or names of bands, of several pages, with
    missing pixels that the intensity does not know, for one that is no picture, and for another
    number of files than there are parts, or files of different sizes.
    """
    files = [source] if isinstance(source, Path | bytes) else source
    require_files(len(files), intensity)
    each = [
        _read_picture(file, part, max_pixels, read)
        for file, part in zip(files, intensity.inputs, strict=True)
    ]
    [page, *others] = stack_pages(each, [_name(file) for file in files], intensity)
    if others:
        count = 1 + len(others)
        advice = "Save each as a file with img2img slices"
        if isinstance(files[0], Path):
            advice = f"Name one, such as {pages_of_file.names(files[0], count)[0]}"
        raise DataError(
            f"{_name(files[0])}: it has {count} pages, where one is expected. {advice}, or "
            "translate the whole file with img2img translate."
        )
    return page


def read_pages(
    source: File,
    intensity: Intensity,
    max_pixels: int = rasters.MAX_PIXELS,
    before_page: Callable[[], None] = lambda: None,
) -> list[Stored]:
    """All pictures of one file, by default of each page one, as `read_stored` reads a file of one.

    before_page: called before each page is decoded, and may raise. Raises DataError, and TooLarge
    also for more pixels in all pages than four times max_pixels.
    """
    if intensity.photographs:
        before_page()
        return [_read_photograph(source, intensity, max_pixels)]
    kind = intensity.pages, intensity.neighbors
    with pages_of_file.opened(source, *kind, max_pixels, before_page) as pictures:
        header = pictures.header  # before anything is decoded
        _require_form(header.bands, header.dtype, intensity, _name(source))
        count = pictures.file.header.pages
        pages = 1 if intensity.pages == "first" else count
        width, height = header.size
        if pages > 1 and pages * width * height > MOST * max_pixels:
            raise TooLarge(
                f"{_name(source)}: {pages} pages of {width}x{height} are too many to read at once. "
                "Save them as files with img2img slices."
            )
        read = [pictures.read(page) for page in range(header.pages)]
    if count > pages:
        note = f"only the first page is read, of {count}"
        read[0] = replace(read[0], notes=(*read[0].notes, note))
    return [as_stored(picture, intensity, _name(source)) for picture in read]


def _read_picture(source: File, intensity: Intensity, max_pixels: int, read: Read) -> list[Stored]:
    """The picture of a page's name, or the pictures of a file."""
    if isinstance(source, bytes) or split_name(source)[1] is None:
        return read_pages(source, intensity, max_pixels)
    raster = read(source, intensity.pages, intensity.neighbors, max_pixels)
    return [as_stored(raster, intensity, _name(source))]


def stack_pages(
    each: Sequence[list[Stored]], names: Sequence[str], intensity: Intensity
) -> list[Stored]:
    """The pages of one file for each part of the intensity -> pages with the bands of all, missing
    where one of them is. names: of the files.

    Raises DataError, which names the files, for different sizes or numbers of pages.
    """
    if len(each) == 1:
        return each[0]
    for name, pages in zip(names, each, strict=True):
        if len(pages) != len(each[0]):
            raise DataError(
                f"{names[0]} and {name} have different numbers of pages, {len(each[0])} and "
                f"{len(pages)}. Give files with as many pages as each other."
            )
    return [_stacked(pages, names, intensity) for pages in zip(*each, strict=True)]


def _stacked(pages: Sequence[Stored], names: Sequence[str], intensity: Intensity) -> Stored:
    values = stack_values([page.values for page in pages], names, intensity)
    masks = [page.missing for page in pages if page.missing is not None]
    missing = np.logical_or.reduce(masks) if masks else None
    notes = dict.fromkeys(note for page in pages for note in page.raster.notes)
    return Stored(values, missing, replace(pages[0].raster, notes=tuple(notes)))


def stack_values(
    values: Sequence[np.ndarray], names: Sequence[str], intensity: Intensity
) -> np.ndarray:
    """The values [H, W, bands] of each part -> those of the intensity, of its type.

    names: of the parts' files. Raises DataError, which names them, for different sizes.
    """
    for name, other in zip(names, values, strict=True):
        if other.shape[:2] != values[0].shape[:2]:
            (height, width), (others_height, others_width) = values[0].shape[:2], other.shape[:2]
            raise DataError(
                f"{names[0]} is {width}x{height}, and {name} {others_width}x{others_height}. "
                "Resample them to one grid first."
            )
    return np.concatenate(values, -1, dtype=intensity.dtype, casting="safe")


def _read_photograph(source: File, intensity: Intensity, max_pixels: int) -> Stored:
    picture = images.read(source, intensity.file_bands, max_pixels)
    return photograph_as_stored(Raster(picture.pixels, notes=picture.notes), intensity)


def photograph_as_stored(raster: Raster, intensity: Intensity) -> Stored:
    """The sRGB pixels of a photograph, or of a part of one, as an input of a model takes them."""
    pixels = raster.values
    values = pixels[..., list(intensity.picked)] if intensity.picked else pixels
    return Stored(values, None, replace(raster, values=values))


def as_stored(raster: Raster, intensity: Intensity, name: str) -> Stored:
    """A page, or a part of one, as a model of the intensity takes it. name: of the file, for
    errors, which are those of `read_stored`.
    """
    _require_form(raster.values.shape[2], raster.values.dtype.name, intensity, name)
    if intensity.picked:
        chosen = list(intensity.picked)
        names = tuple(raster.bands[i] for i in chosen) if raster.bands else ()
        values = np.ascontiguousarray(raster.values[..., chosen])
        raster = replace(raster, values=values, bands=names)
    if raster.bands and intensity.named and raster.bands != intensity.bands:
        raise DataError(
            f"{name}: its bands are {', '.join(raster.bands)}, where "
            f"{', '.join(intensity.bands)} are expected."
        )
    missing = raster.missing
    if missing is None:
        return Stored(raster.values, None, raster)
    if not intensity.may_miss:
        raise DataError(
            f"{name}: pixels are missing, and in the training pictures none were. Fill them first."
        )
    marker = np.array(intensity.missing_value, raster.values.dtype)
    return Stored(np.where(missing[..., None], marker, raster.values), missing, raster)


def _require_form(bands: int, dtype: str, intensity: Intensity, name: str) -> None:
    """Raises DataError for a file of another number of bands, or of another type."""
    wanted = intensity.file_bands or len(intensity.bands)
    if (bands, dtype) != (wanted, intensity.dtype):
        raise DataError(
            f"{name}: {form(bands, dtype)}, where {form(wanted, intensity.dtype)} is expected."
        )


def form(bands: int, dtype: str) -> str:
    """In words: "4 bands of uint16"."""
    return f"{bands} band{'s' * (bands > 1)} of {dtype}"


def require_files(count: int, intensity: Intensity) -> None:
    """Raises DataError where a picture of so many files is not what the intensity is of."""
    if count != len(intensity.inputs):
        names = ", ".join(part.name for part in intensity.parts)
        wanted = f"one of each input, in this order: {names}" if names else "one"
        raise DataError(
            f"{count} file{'s are' if count > 1 else ' is'} given, where a picture has {wanted}."
        )


def _name(source: File) -> str:
    return str(source) if isinstance(source, Path) else "the picture"
