"""The pictures of a data set's folders, which may be pages of files (--pages)."""

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from img2img import rasters, shards
from img2img.errors import DataError, MissingPackage
from img2img.files import PassedOver, by_name, pictures, usable_cores
from img2img.rasters.pages import Mode, Read, kept_open, names, split_name

Key = TypeVar("Key", bound=Hashable)
Result = TypeVar("Result")
BLOCK = 256  # files at a time, to bound the memory for results


def pictures_of(folder: Path, mode: Mode | None, passed_over: PassedOver) -> tuple[Path, ...]:
    """The files of a folder or of shards, or, where each page is a picture, their pages by their
    names. Other arguments and errors are those of `pictures`.
    """
    if shards.is_shards(folder):
        return shards.pictures(folder, passed_over)
    files = pages_of(pictures(folder, passed_over), mode)
    return tuple(page for pages in files for page in pages)


def pages_of(files: Iterable[Path], mode: Mode | None) -> list[list[Path]]:
    """Of each file itself, or, where each page is a picture, its pages by their names."""
    if mode != "each":
        return [[path] for path in files]
    with ThreadPoolExecutor(usable_cores()) as pool:
        return list(pool.map(_pages, files))


def named_pictures(folder: Path, mode: Mode | None, passed_over: PassedOver) -> dict[str, Path]:
    """`pictures_of` by name: `stem` of the file, with the page below it. Errors are those of
    `by_name`.
    """
    if shards.is_shards(folder):
        return shards.by_name(folder, passed_over)
    files = by_name(folder, passed_over)
    return {
        name if split_name(page)[1] is None else f"{name}/page {number}": page
        for name, pages in zip(files, pages_of(files.values(), mode), strict=True)
        for number, page in enumerate(pages)
    }


def require_as_many_pages(left: Mapping[str, Path], right: Mapping[str, Path]) -> None:
    """Raise DataError for files of one name in both of `named_pictures` that have different numbers
    of pages, since it is not clear which pages belong together.
    """
    counts, others = _counts(left), _counts(right)
    for name, (path, count) in counts.items():
        if name in others and others[name][1] != count:
            other, others_count = others[name]
            raise DataError(
                f"{path} and {other} have different numbers of pages, {count} and {others_count}, "
                "so it is not clear which of them belong together. Give files with as many pages "
                "as each other."
            )


def each_picture(
    pictures: Iterable[tuple[Key, Path]], look: Callable[[Key, Path, Read], Result]
) -> Iterator[tuple[Key, Path, Result]]:
    """What a function gives for each file, or page of one (by its name), with its key, such as its
    role. It runs in threads, but for the pages of a file that have the same key in one of them, one
    after the other, so that the file is read once.

    look: gets the key, the path, and a function that reads pages by their names.
    """
    files: dict[tuple[Key, Path], list[Path]] = {}
    for key, path in pictures:
        files.setdefault((key, split_name(path)[0]), []).append(path)

    def look_at_file(job: tuple[tuple[Key, Path], list[Path]]) -> list[tuple[Key, Path, Result]]:
        (key, _), paths = job
        with kept_open() as read_page:
            return [(key, path, look(key, path, read_page)) for path in paths]

    with ThreadPoolExecutor(usable_cores()) as pool:
        jobs = list(files.items())
        for start in range(0, len(jobs), BLOCK):
            for results in pool.map(look_at_file, jobs[start : start + BLOCK]):
                yield from results


def _pages(path: Path) -> list[Path]:
    """A file that is broken is one picture: it is named where it is read."""
    try:
        header = rasters.header(path) if rasters.is_raster_name(path) else None
    except MissingPackage:
        raise
    except DataError:
        header = None
    return names(path, header.pages if header else 1)


def _counts(files: Mapping[str, Path]) -> dict[str, tuple[Path, int]]:
    """The files by name, each with its number of pages."""
    counts: dict[str, tuple[Path, int]] = {}
    for name, path in files.items():
        file, page = split_name(path)
        key = name if page is None else name.rpartition("/")[0]
        counts[key] = file, counts.get(key, (file, 0))[1] + 1
    return counts
