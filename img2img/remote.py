"""Files of object stores (s3://, gs://), and of web servers (https://), which are only read.

fsspec speaks to them. Nothing but the addresses that a command names is contacted. Credentials come
from where the store's library looks for them (variables, files, the machine's role), never from a
URL. Failures are OSErrors, whose text never has the query of a URL, which may be a signature.
"""

import hashlib
import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from img2img.errors import DataError, UsageError, install_command

T = TypeVar("T")
SCHEMES = {  # the package that fsspec needs for each, and the extra that brings it
    "s3": ("s3fs", "remote"),
    "gs": ("gcsfs", "gcs"),
    "https": ("aiohttp", "remote"),
    "http": ("aiohttp", "remote"),
}
URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://(.*)", re.DOTALL)  # C:// is a drive of Windows
WAITS = (0.5, 1, 2, 4)  # seconds before each new try at a web server; the stores' libraries retry
PASSING = {408, 425, 429, 500, 502, 503, 504}  # answers after which another try may succeed
WEB_PART = 2**20  # bytes that are read from a web server at a time


class Remote(NamedTuple):
    """What is known of a remote file."""

    size: int  # bytes; -1 where a web server does not tell
    stamp: int  # changes with the contents
    query: str = ""  # of a web address, from "?" on: maybe a signature, so in no message or record


class Listed(NamedTuple):
    """A remote file: its URL without a query, and what is known of it."""

    url: str
    remote: Remote


def is_url(name: object) -> bool:
    """Whether a name is a URL by its form. Normalize names of local files first (`local`)."""
    return isinstance(name, str) and URL.match(name) is not None


def local(name: str) -> str:
    """The name, without what would make it a URL where there is a local file or folder of it."""
    return str(Path(name)) if is_url(name) and os.path.lexists(name) else name


def place(name: str) -> Path | str:
    """The folder or file that a name on the command line stands for: a path, or a URL without a
    slash at its end. Raises UsageError for a URL that can't be used.
    """
    name = local(name)
    if not is_url(name):
        return Path(name)
    split(name)
    return name.rstrip("/")


def below(folder: Path | str, name: str) -> Path | str:
    """A file or sub-folder of a folder that may be a URL; the folder itself for an empty name."""
    if isinstance(folder, Path):
        return folder / name
    return f"{folder}/{name.replace(os.sep, '/')}" if name else folder


def is_web(url: str) -> bool:
    """Whether the URL is a web server's, which has no folders."""
    return url.lower().startswith(("http://", "https://"))


def split(url: str) -> tuple[str, str]:
    """A URL without its query, and the query from "?" on, which only web addresses have.

    Raises UsageError for a scheme that is not known or whose package is not installed, for a URL
    with a password, and for one without a bucket or host.
    """
    match = URL.match(url)
    assert match
    scheme, rest = match[1].lower(), match[2]
    if scheme not in SCHEMES:
        raise UsageError(
            f"{scheme}:// is not supported. Use a local path, s3://, gs://, or, to read, https://."
        )
    host = rest.partition("/")[0]
    if "@" in host:
        raise UsageError(
            f"A {scheme}:// URL with a user or password: everybody who lists the processes sees "
            "it. Leave it out; credentials come from the environment (docs/tasks/remote.md)."
        )
    if not host:
        raise UsageError(f"{scheme}:// names no {'host' if is_web(url) else 'bucket'}.")
    _file_system(scheme)
    if not is_web(url):
        return f"{scheme}://{rest}", ""
    rest, mark, query = rest.partition("#")[0].partition("?")
    return f"{scheme}://{rest}", mark + query


def files_below(url: str) -> list[Listed]:
    """The objects whose names begin with a folder's URL, or the one of this name; in any order.
    Raises OSError.
    """
    with telling(url):
        objects = _system_of(url).find(_path(url), detail=True)
        scheme = url.partition("://")[0]
        return [
            Listed(f"{scheme}://{name}", _remote(details))
            for name, details in objects.items()
            if not name.endswith("/")  # a folder that a browser of buckets made
        ]


def status(url: str, query: str = "") -> Remote:
    """What is known of one file. Raises OSError."""
    with telling(url):
        details = _retried(url, lambda: _system_of(url).info(_path(url) + query))
        return _remote(details)._replace(query=query)


def known(url: str, query: str = "") -> Remote:
    """`status`. Raises DataError, with the URL and the reason."""
    try:
        return status(url, query)
    except OSError as error:
        raise DataError(f"{url}: {error.strerror}.") from None


def is_file(url: str) -> bool:
    """Whether an object can be seen that has this name."""
    return bool(_system_of(url).isfile(_path(url)))


def head(url: str, size: int) -> bytes:
    """The first bytes of an object. Raises OSError."""
    with telling(url):
        return bytes(_system_of(url).cat_file(_path(url), start=0, end=size)) if size else b""


def read(url: str, remote: Remote, most: int) -> bytes:
    """A file's content. Raises OSError, also for one that has another size than it had, or more
    than `most` bytes.
    """
    if remote.size > most:
        raise _too_large(url, remote.size, most)
    with telling(url):
        if is_web(url):
            return _retried(url, lambda: _read_web(url, remote.query, most))
        # One byte more than it has, so that no larger one that has replaced it fills the memory.
        content, end = b"", remote.size + 1
        if remote.size:
            content = _system_of(url).cat_file(_path(url), start=0, end=end)
        if len(content) != remote.size:
            raise OSError(0, "it was replaced while it was read; run the same command again", url)
        return content


def read_each(urls: Sequence[str], at_once: int = 256) -> Iterator[bytes]:
    """The contents of several objects, in their order. Raises OSError."""
    for start in range(0, len(urls), at_once):
        part = urls[start : start + at_once]
        with telling(part[0]):
            contents = _system_of(part[0]).cat([*map(_path, part)])
            yield from (contents[_path(url)] for url in part)


def download(url: str, remote: Remote, path: Path) -> None:
    """Copy a file to a local one, piece by piece. Raises OSError, also for another size."""
    with telling(url):
        _retried(url, lambda: _system_of(url).get_file(_path(url) + remote.query, str(path)))
        if remote.size >= 0 and path.stat().st_size != remote.size:
            raise OSError(0, "it has another size than it had; start again", url)


def write(url: str, content: bytes) -> None:
    """Upload an object, which is then complete, or absent, or as it was before. Raises OSError."""
    with telling(url):
        _system_of(url).pipe_file(_path(url), content)


def exists(url: str) -> bool:
    """Whether there is an object or folder of this name. Raises OSError."""
    with telling(url):
        return bool(_system_of(url).exists(_path(url)))


@contextmanager
def telling(url: str) -> Iterator[None]:
    """A context whose errors become an OSError that names the URL and the reason, without what may
    be secret in the library's text.
    """
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.filename == url:
            raise
        raise OSError(0, _reason(error), url) from None


@cache
def _file_system(scheme: str) -> Any:
    """fsspec's, for a scheme. Raises UsageError where a package is missing."""
    package, extra = SCHEMES[scheme]
    try:
        import fsspec

        return fsspec.filesystem(scheme, use_listings_cache=False)
    except ImportError:
        raise UsageError(
            f"{scheme}:// needs fsspec and {package}. Install them with: {install_command(extra)}"
        ) from None


def _system_of(url: str) -> Any:
    return _file_system(url.partition("://")[0])


def _path(url: str) -> str:
    """The name of a file as fsspec has it: without a scheme in buckets."""
    return url if is_web(url) else url.partition("://")[2]


def _remote(details: dict[str, Any]) -> Remote:
    size = details.get("size")
    known = ("ETag", "etag", "LastModified", "Last-Modified", "mtime")
    # Without any, the contents are compared.
    version = next((details[key] for key in known if details.get(key)), time.time_ns())
    digest = hashlib.sha256(str(version).encode()).digest()
    return Remote(-1 if size is None else int(size), int.from_bytes(digest[:7], "big"))


def _read_web(url: str, query: str, most: int) -> bytes:
    parts, total = [], 0
    # With a size, fsspec asks for none. In a stream, because not all servers send parts of a file.
    with _system_of(url).open(_path(url) + query, "rb", block_size=0, size=1) as file:
        while part := file.read(WEB_PART):
            parts.append(part)
            total += len(part)
            if total > most:
                raise _too_large(url, total, most)
    return b"".join(parts)


def _too_large(url: str, size: int, most: int) -> OSError:
    return OSError(0, f"{size:,} bytes are more than a file here may have ({most:,})", url)


def _retried(url: str, work: Callable[[], T]) -> T:
    for wait in (*WAITS, None):
        try:
            return work()
        except Exception as error:
            if wait is None or not is_web(url) or not _may_pass(error):
                raise
            time.sleep(wait)
    raise AssertionError("the last try returns or raises")


def _may_pass(error: BaseException) -> bool:
    """Whether a web server may answer if it is asked again."""
    from aiohttp import ClientConnectionError, ClientPayloadError

    passing = (ClientConnectionError, ClientPayloadError, TimeoutError)
    causes = (error, error.__cause__)  # fsspec makes a FileNotFoundError of any answer
    return _answer(error) in PASSING or any(isinstance(cause, passing) for cause in causes)


def _answer(error: BaseException) -> int | None:
    """The status of a web server's answer."""
    return getattr(error, "status", None) or getattr(error.__cause__, "status", None)


def _reason(error: BaseException) -> str:
    """A phrase about what a store or server did, and what to do."""
    answer, kind = _answer(error), type(error).__name__
    if answer in (401, 403) or isinstance(error, PermissionError) or "Credentials" in kind:
        return (
            "access is denied. Check the credentials, which come from the environment "
            "(docs/tasks/remote.md)"
        )
    if answer not in (None, 404):
        return f"the server answered {answer}"
    if isinstance(error, FileNotFoundError) and not isinstance(error.__cause__, OSError):
        return "there is no such file, folder or bucket"
    error = error.__cause__ if isinstance(error.__cause__, OSError) else error
    text = re.sub(r"\?\S+", "?...", str(error))  # the queries of URLs
    text = re.sub(r"//[^/\s@]+@", "//...@", text)
    return f"{kind}: {text}".rstrip(": .")
