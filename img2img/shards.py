"""Shards: tar files of pictures, as WebDataset has them, whose members are read in place.

A source is a tar file, or several by ranges of numbers, horses-{000..099}.tar, local or by URL. A
member is a path below its tar file, horses-000.tar/a.png, which is opened by its offset. Remote
shards are copied to the cache folder first.
"""

import hashlib
import io
import os
import re
import shutil
import sys
import tarfile
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from img2img import locks, remote
from img2img.errors import DataError
from img2img.files import (
    PICTURE_SUFFIXES,
    VALUE_SUFFIXES,
    PassedOver,
    by_key,
    cache_folder,
    is_hidden,
    no_pictures,
    split_suffix,
    stem,
)
from img2img.writing import whole_file

if TYPE_CHECKING:
    from rich.console import Console

if sys.platform == "win32":
    from pathlib import WindowsPath as LocalPath
else:
    from pathlib import PosixPath as LocalPath

RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")
URL = re.compile(r"(s3|gs|https?):[/\\]+(.+)")  # as a path has it, which joins its slashes
PACKED = (".tar.gz", ".tgz", ".tar.bz2", ".tbz", ".tar.xz", ".txz", ".tar.zst")
VALUES = VALUE_SUFFIXES | {".tif", ".tiff"}
MOST_SHARDS = 100_000
AT_ONCE = 4  # shards that are copied at the same time
FOLDER = "shards"  # of copies, in the cache folder


class Member(LocalPath):
    """A file in a tar file, named by a path below it. Only what reading pictures needs is there."""

    def read_bytes(self) -> bytes:
        tar, (offset, size) = self._place()
        with open(tar, "rb") as file:
            file.seek(offset)
            content = file.read(size)
        if len(content) != size:
            raise DataError(f"{self}: {tar} has become shorter. Start again.")
        return content

    def open(self, mode: str = "r", *_: Any, **__: Any) -> BinaryIO:  # type: ignore[override]
        assert mode == "rb"  # the mode in which pictures are read
        return io.BytesIO(self.read_bytes())

    def stat(self, *, follow_symlinks: bool = True) -> os.stat_result:
        """That of the tar file, with the member's size."""
        tar, (_, size) = self._place()
        fields = list(os.stat(tar))
        fields[6] = size
        return os.stat_result(fields)

    def _place(self) -> tuple[str, tuple[int, int]]:
        """The tar file, and the offset and size of the member in it. Raises FileNotFoundError."""
        tar = tar_of(self)
        places = _index(str(tar), *_version(tar))
        name = self.relative_to(tar).as_posix()
        if name not in places:
            raise FileNotFoundError(2, "no such member", str(self))
        return str(tar), places[name]


def tar_of(member: Path) -> Path:
    """The tar file of a member. Raises FileNotFoundError."""
    for parent in reversed(member.parents):
        if parent.suffix.lower() == ".tar" and os.path.isfile(parent):
            return Path(str(parent))
    raise FileNotFoundError(2, "no such tar file", str(member))


def is_shards(source: Path) -> bool:
    """Whether a source of a data set names shards, not a folder. Raises DataError for packed ones,
    whose members can't be read in place.
    """
    name = source.name.lower()
    if name.endswith(PACKED) and not source.is_dir():
        raise DataError(f"{source} is compressed. Shards are plain .tar files: unpack it first.")
    return name.endswith(".tar") and not source.is_dir()


def is_remote(source: Path) -> bool:
    """Whether a source is a URL that has become a path."""
    return URL.fullmatch(source.as_posix()) is not None and not source.parent.is_dir()


def shards_of(source: Path) -> list[Path]:
    """The tar files of a source, in the order of their numbers; copies of remote ones. Raises
    DataError for those that are missing, and for a range that ends before it begins.
    """
    if is_remote(source):
        with ThreadPoolExecutor(AT_ONCE) as pool:
            return list(pool.map(_copied, _urls(source)))
    names = _expanded(str(source))
    missing = [name for name in names if not os.path.isfile(name)]
    if missing:
        raise DataError(
            f"{len(missing)} of {len(names)} shards of {source} are missing (first: {missing[0]})."
        )
    return list(map(Path, names))


def copy_remote(sources: Iterable[Path], console: "Console") -> None:
    """Copy the remote shards of these sources that have no copy yet, after a line that tells it.
    Raises DataError as `shards_of` does.
    """
    for source in sources:
        if not (is_shards(source) and is_remote(source)):
            continue
        with ThreadPoolExecutor(AT_ONCE) as pool:
            known = list(pool.map(_known, _urls(source)))
        sizes = [version.size for version, copy in known if not _is_complete(copy, version.size)]
        if sizes:
            console.print(
                f"copying {len(sizes):,} shards, {sum(sizes) / 2**20:,.0f} MiB, to "
                f"{cache_folder() / FOLDER}",
                highlight=False,
                markup=False,
            )
        shards_of(source)


def pictures(source: Path, passed_over: PassedOver) -> tuple[Path, ...]:
    """The pictures in the shards of a source, in the order that they would have in one folder,
    however they are shared among the shards. passed_over: receives the other files.

    Raises DataError for a file that is no plain tar file, for members that could lead out of a
    folder, and where there is no picture.
    """
    ignored = PassedOver()
    shards = shards_of(source)
    named = [(parts, shard) for shard in shards for parts in _names(shard, ignored)]
    if not named:
        raise no_pictures(source, ignored)
    passed_over.add(ignored)
    return tuple(Member(shard, *parts) for parts, shard in sorted(named))


def by_name(source: Path, passed_over: PassedOver) -> dict[str, Path]:
    """The pictures by their key: the path in the tar file without suffix. Raises DataError where
    two have the same. passed_over: receives the other files.
    """
    return by_key((stem(path, tar_of(path)), path) for path in pictures(source, passed_over))


def of_rank(paths: Sequence[Path], rank: int, count: int) -> list[bool]:
    """For each path whether it is one of this rank's, of so many: a member of every count-th shard.
    All are where there are fewer shards than ranks, and where some path is no member.
    """
    if count == 1 or not all(isinstance(path, Member) for path in paths):
        return [True] * len(paths)
    tars = [str(tar_of(path)) for path in paths]
    ranks = {tar: number % count for number, tar in enumerate(sorted(set(tars)))}
    return [len(ranks) < count or ranks[tar] == rank for tar in tars]


def _expanded(text: str) -> list[str]:
    """The names that ranges such as {000..099} stand for."""
    parts = RANGE.split(text)  # text, first, last, text, ...
    ranges = []
    for first, last in zip(parts[1::3], parts[2::3], strict=True):
        numbers = range(int(first), int(last) + 1)
        if not 0 < len(numbers) <= MOST_SHARDS:
            raise DataError(f"{text}: {{{first}..{last}}} is no range of shards, first to last.")
        ranges.append([f"{number:0{len(first)}}" for number in numbers])
    fixed = parts[::3]
    return [
        fixed[0] + "".join(number + after for number, after in zip(chosen, fixed[1:], strict=True))
        for chosen in product(*ranges)
    ]


def _names(shard: Path, passed_over: PassedOver) -> Iterator[list[str]]:
    """The parts of the names of a shard's pictures."""
    for name in _index(str(shard), *_version(shard)):
        parts = name.split("/")
        if any(map(is_hidden, parts)):
            continue
        suffix = split_suffix(name)[1].lower()
        if suffix in VALUES:
            raise DataError(
                f"{shard}/{name}: shards hold photographs. Give files of values as a folder."
            )
        if suffix in PICTURE_SUFFIXES:
            yield parts
        else:
            passed_over.files[suffix or "without suffix"] += 1


def _version(tar: Path) -> tuple[int, int]:
    """What changes when the file does."""
    status = os.stat(tar)
    return status.st_size, status.st_mtime_ns


@cache
def _index(tar: str, size: int, mtime_ns: int) -> dict[str, tuple[int, int]]:
    """The offsets and sizes of the files in a tar file by their names."""
    places: dict[str, tuple[int, int]] = {}
    try:
        with tarfile.open(tar, "r:") as archive:
            while (member := archive.next()) is not None:
                archive.members = []  # type: ignore[attr-defined]  # which it would all keep
                if member.isdir():
                    continue
                places[_checked(member, tar, size, places)] = member.offset_data, member.size
    except (tarfile.TarError, EOFError, ValueError, OverflowError) as error:
        raise DataError(f"{tar} is no plain tar file, or is cut off ({error}).") from None
    return places


def _checked(
    member: tarfile.TarInfo, tar: str, size: int, places: dict[str, tuple[int, int]]
) -> str:
    """The member's name. Raises DataError for what a shard may not have."""
    name = member.name.removeprefix("./")
    reason = ""
    if not member.isreg() or member.issparse():
        reason = "is a link or another thing that is no plain file"
    elif {"", ".", ".."} & set(name.split("/")) or (os.name == "nt" and set(name) & set("\\:")):
        reason = "has a name that could lead out of a folder"
    elif name in places:
        reason = "is there twice"
    elif member.size < 0 or member.offset_data + member.size > size:
        reason = "is cut off"
    if reason:
        raise DataError(f"{tar}: {member.name} {reason}. Make the shard without it.")
    return name


def _urls(source: Path) -> list[str]:
    """The URLs of remote shards."""
    match = URL.fullmatch(source.as_posix())
    assert match
    return [f"{match[1]}://{name}" for name in _expanded(match[2])]


def _known(url: str) -> tuple[remote.Remote, Path]:
    """What is known of a remote shard, and the path of a copy of this version of it."""
    url, query = remote.split(url)
    known = remote.known(url, query)
    if known.size < 0:
        raise DataError(f"{url}: the server tells no size. Copy it, and give the copy.")
    version = hashlib.sha256(f"{url} {known.size} {known.stamp}".encode()).hexdigest()[:16]
    return known, cache_folder() / FOLDER / version / url.rpartition("/")[2]


def _is_complete(copy: Path, size: int) -> bool:
    return copy.is_file() and copy.stat().st_size == size


def _copied(url: str) -> Path:
    """The local copy of a remote shard, which is made once for each version of it."""
    known, copy = _known(url)
    if _is_complete(copy, known.size):
        return copy
    copy.parent.mkdir(parents=True, exist_ok=True)
    with (copy.parent / "lock").open("ab") as lock:
        while locks.take(lock.fileno()) is False:  # another rank of this machine copies it
            time.sleep(0.2)
        if _is_complete(copy, known.size):
            return copy
        free = shutil.disk_usage(copy.parent).free
        if known.size > free:
            raise DataError(
                f"{url}: its copy in {copy.parent} needs {known.size:,} bytes, and {free:,} are "
                "free."
            )
        try:
            with whole_file(copy) as temporary:
                remote.download(url, known, temporary)
        except OSError as error:
            raise DataError(f"{url}: {error.strerror or error}.") from None
    return copy
