"""The pictures below a URL, by the rules of local folders (`img2img.files.find_pictures`)."""

import glob
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import NamedTuple
from urllib.parse import unquote, urljoin

from img2img import remote
from img2img.errors import DataError, told
from img2img.files import (
    RECORD_FOLDER,
    RUN_FILE,
    SIGNATURE_BYTES,
    VALUE_SUFFIXES,
    PassedOver,
    is_hidden,
    is_picture_name,
    is_run_config,
    no_pictures,
    split_suffix,
)
from img2img.infer import globs
from img2img.remote import Listed, Remote

LIST_SUFFIX = ".txt"  # of a web address whose file has an address a line
MOST_LIST = 2**26  # bytes of a list
AT_ONCE = 16  # addresses of a list that are asked about at the same time


class Input(NamedTuple):
    """A remote picture, with its path relative to the input that it belongs to."""

    url: str
    relative: str
    remote: Remote


def single(name: str) -> Input | None:
    """The picture that a URL names; None for a folder, a glob or a list. Raises DataError."""
    url, query = remote.split(name)
    if remote.is_web(url):
        if url.lower().endswith(LIST_SUFFIX):
            return None
        return Input(url, _relative(unquote(url.rpartition("/")[2]), url), remote.known(url, query))
    if url.endswith("/") or not remote.is_file(url):
        return None
    return Input(url, _relative(url.rpartition("/")[2], url), remote.known(url))


def pictures(name: str, out: str | None, passed_over: PassedOver) -> Iterator[Input]:
    """The picture of a URL, those below a folder or of a glob in the order of local ones, or those
    of a list in its order. out: the URL of the output folder, in which none is an input.

    passed_over: receives what is no picture. Raises DataError where there is none, for a URL that
    can't be listed, and for a file whose name can't be a local one.
    """
    if (one := single(name)) is not None:
        yield one
        return
    url, query = remote.split(name)
    if remote.is_web(url):
        yield from _of_list(url, query)
        return
    base, fits = _folder_and_filter(url.rstrip("/"))
    if base == out:
        raise DataError(
            f"{url} is also the output folder, so outputs would become inputs of the next run. "
            "Choose another folder with -o."
        )
    ignored, count = PassedOver(), 0
    for picture in _chosen(base, fits, out, ignored):
        count += 1
        yield picture
    passed_over.add(ignored)
    if not count:
        if ignored.files or ignored.outputs:
            raise no_pictures(url, ignored)
        raise DataError(f"There is no file or folder {url}.")


def _folder_and_filter(url: str) -> tuple[str, Callable[[str], bool]]:
    """A folder's URL, and which relative paths are meant: all, or those that match a glob."""
    parts = url.split("/")
    fixed = next((n for n in range(3, len(parts)) if glob.has_magic(parts[n])), len(parts))
    patterns = parts[fixed:]
    if not patterns:
        return url, lambda relative: True
    return "/".join(parts[:fixed]), lambda relative: globs.matches(relative.split("/"), patterns)


def _chosen(
    base: str, fits: Callable[[str], bool], out: str | None, passed_over: PassedOver
) -> Iterator[Input]:
    try:
        files = remote.files_below(base)
    except OSError as error:
        raise DataError(f"{base}: {error.strerror}.") from None
    named = sorted((file.url[len(base) + 1 :].split("/"), file) for file in files)
    written = _written_by_img2img(named, base)
    passed_over.outputs += sorted(folder for folder in written if not _is_below(folder, out))
    values: list[Input] = []
    alone = True
    for parts, file in named:
        relative = "/".join(parts)
        path = _relative(relative, file.url)
        if any(map(is_hidden, parts)) or _is_below(file.url, out) or not fits(relative):
            continue
        if written and any(
            "/".join((base, *parts[:depth])) in written for depth in range(1, len(parts))
        ):
            continue
        suffix = split_suffix(relative)[1].lower()
        picture = Input(file.url, path, file.remote)
        if suffix in VALUE_SUFFIXES:
            values.append(picture)
        elif is_picture_name(relative, partial(_head, file)):
            alone = False
            yield picture
        else:
            passed_over.files[suffix or "without suffix"] += 1
    if alone:
        yield from values
    else:
        passed_over.files.update(split_suffix(value.relative)[1].lower() for value in values)


def _written_by_img2img(named: Sequence[tuple[list[str], Listed]], base: str) -> set[str]:
    """The URLs of sub-folders that are runs, or translations, unless all is a folder of these."""
    of_translations = any(parts[0] == RECORD_FOLDER for parts, _ in named)
    written = set()
    for parts, file in named:
        if RECORD_FOLDER in parts[1:] and not of_translations:
            depth = parts.index(RECORD_FOLDER, 1)
        elif len(parts) > 1 and parts[-1] == RUN_FILE and is_run_config(_content(file)):
            depth = len(parts) - 1
        else:
            continue
        written.add("/".join((base, *parts[:depth])))
    return written


def _is_below(url: str, folder: str | None) -> bool:
    return folder is not None and (url == folder or url.startswith(folder + "/"))


def _relative(path: str, url: str) -> str:
    """The path, which is one on every system. Raises DataError where it can't be a local one."""
    parts = path.split("/")
    forbidden = {"", ".", ".."}
    if forbidden & set(parts) or "\0" in path or (os.sep != "/" and os.sep in path):
        raise DataError(
            f"{url}: a file of this name can't be below a folder. Rename it, or name its folder."
        )
    return os.path.join(*parts)


def _head(file: Listed) -> bytes:
    """The first bytes of a file; none if it can't be read, so that it is no picture."""
    try:
        return remote.head(file.url, min(file.remote.size, SIGNATURE_BYTES))
    except OSError:
        return b""


def _content(file: Listed) -> bytes:
    try:
        return remote.read(file.url, file.remote, 2**20)
    except OSError:
        return b""


def _of_list(url: str, query: str) -> Iterator[Input]:
    """The addresses of a list, which are below its folder: no other place is contacted."""
    try:
        content = remote.read(url, remote.known(url, query), MOST_LIST)
        lines = content.decode().splitlines()
    except OSError as error:
        raise DataError(f"{url} {told(error)}") from None
    except UnicodeDecodeError:
        raise DataError(f"{url} is no list, which is UTF-8 with an address a line.") from None
    folder = url.rpartition("/")[0] + "/"
    named: list[tuple[str, str]] = []
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#"):
            continue
        address, its_query = remote.split(urljoin(folder, line.strip()))
        if not address.startswith(folder):
            raise DataError(
                f"{url}, line {number}: {address} is not below {folder}, and other places are not "
                "contacted. Name it on the command line."
            )
        named.append((address, its_query))
    if not named:
        raise DataError(f"{url} names no picture.")
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for (address, _), known in zip(named, pool.map(_known, named), strict=True):
            yield Input(address, _relative(unquote(address[len(folder) :]), address), known)


def _known(named: tuple[str, str]) -> Remote:
    """What is known of an address; nothing where it fails, which reading it will report."""
    try:
        return remote.status(*named)
    except OSError:
        return Remote(-1, 0, named[1])
