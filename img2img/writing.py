"""Files that are complete or absent, whatever happens to their writer.

A file is written under a temporary name beside its final one, and then moved. What processes leave
that are killed meanwhile is deleted when another one first writes into the folder; a lock tells the
files of living processes from those.
"""

import errno
import os
import secrets
import shutil
import stat
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import lru_cache
from io import FileIO
from pathlib import Path

from img2img import locks
from img2img.errors import UsageError

PREFIX, SUFFIX = ".img2img-", ".part"  # of temporary names; not that of a picture


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`, which replaces `path` when the block succeeds.

    Readers see the old file or the new one, never a part of it, even after a power failure. The
    file's mode follows the umask, whatever mode the writer gives the temporary file.
    """
    with whole_files([path]) as [temporary]:
        yield temporary


@contextmanager
def whole_files(paths: Sequence[Path]) -> Iterator[list[Path]]:
    """Like `whole_file` for several: none is replaced unless all are complete on the disk. Missing
    parent folders are created.
    """
    with ExitStack() as stack:
        parts, files, modes = [], [], []
        for path in paths:
            make_folder(path.parent)
            with naming(path):
                part, file = stack.enter_context(_part(path.parent))
                modes.append(stat.S_IMODE(os.fstat(file.fileno()).st_mode))
                parts.append(part)
                files.append(file)
        yield parts
        for path, part, mode in zip(paths, parts, modes, strict=True):
            with naming(path):
                if stat.S_IMODE(part.stat().st_mode) != mode:  # of a writer's new file
                    part.chmod(mode)
                with part.open("rb+") as written:
                    os.fsync(written.fileno())
        for path, part, file in zip(paths, parts, files, strict=True):
            with naming(path):
                _move(part, file, path)
        for folder in dict.fromkeys(path.parent for path in paths):
            sync_folder(folder)


def write_whole(path: Path, content: bytes | str, sync: bool = True) -> None:
    """Write the file so that it is complete or absent. Missing parent folders are created.

    sync: after a power failure, the file is there, too. Without it, an older file may be there, or
    none, until `sync_folder`; for many small files, that takes half the time.
    """
    make_folder(path.parent)
    # Opened once, unlike in whole_files: a folder may have a million.
    with naming(path), _part(path.parent) as (part, file):
        remaining = memoryview(content.encode() if isinstance(content, str) else content)
        while remaining:
            remaining = remaining[file.write(remaining) :]
        os.fsync(file.fileno())
        _move(part, file, path)
    if sync:
        sync_folder(path.parent)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Give errors of writing the name of the file, which those of a full disk don't have."""
    try:
        yield
    except OSError as error:
        if not error.filename or Path(error.filename).name.startswith(PREFIX):
            error.filename, error.filename2 = str(path), None
        raise


def sync_folder(folder: Path) -> None:
    """Make sure that files that were moved into the folder are there after a power failure."""
    with suppress(OSError):  # Windows can't open folders, and some network disks refuse
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextmanager
def scratch_folder(parent: Path | None = None) -> Iterator[Path]:
    """A new folder in `parent`, by default that of TMPDIR, which is deleted at the end. Those of
    killed processes are deleted first. Raises UsageError where there is no such folder.
    """
    parent = parent or temporary_folder()
    clear_leftovers(parent)
    while True:
        path = temporary_name(parent)
        path.mkdir(mode=0o700)
        try:
            descriptor = os.open(path, os.O_RDONLY) if locks.AVAILABLE else -1
        except FileNotFoundError:  # another process has taken it for a leftover
            continue
        if descriptor < 0 or _is_mine(descriptor, path):
            break
        os.close(descriptor)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
        if descriptor >= 0:
            os.close(descriptor)


def temporary_folder() -> Path:
    """That of TMPDIR. Raises UsageError where there is none that can be written."""
    try:
        return Path(tempfile.gettempdir())
    except FileNotFoundError:
        raise UsageError(
            "No folder for temporary files can be written. Set the variable TMPDIR to "
            "one. Beside the folder of the outputs, nothing else needs to be writable."
        ) from None


def move_folder(source: Path, target: Path) -> None:
    """Move a folder to a new name on the same disk, all at once; missing parents are created.
    Raises UsageError where there is a folder of this name that is not empty, or a file.
    """
    make_folder(target.parent)
    try:
        source.rename(target)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
            raise
        raise UsageError(f"{target} exists already. Choose another name.") from None
    sync_folder(target.parent)


def clear_leftovers(folder: Path) -> None:
    """Delete the temporary files and folders in the folder whose processes were killed. Without
    locks on its disk, none is deleted.
    """
    try:
        with os.scandir(folder) as entries:
            left = [e for e in entries if e.name.startswith(PREFIX) and e.name.endswith(SUFFIX)]
    except OSError:
        return
    for entry in left:
        with suppress(OSError):  # it is gone, or another user's
            is_folder = entry.is_dir(follow_symlinks=False)
            # NFS locks only files that are open to write.
            flags = getattr(os, "O_NOFOLLOW", 0) | (os.O_RDONLY if is_folder else os.O_RDWR)
            descriptor = os.open(entry.path, flags)
            try:
                if locks.take(descriptor):
                    shutil.rmtree(entry.path) if is_folder else os.unlink(entry.path)
            finally:
                os.close(descriptor)


@contextmanager
def _part(folder: Path) -> Iterator[tuple[Path, FileIO]]:
    """A new file in the folder, open to write, and locked. It is deleted at the end, unless it was
    moved. Raises OSError.
    """
    _clear_once(os.path.abspath(folder))
    while True:
        path = temporary_name(folder)
        file = path.open("xb", buffering=0)
        if _is_mine(file.fileno(), path):
            break
        file.close()
    try:
        yield path, file
    finally:
        if not locks.AVAILABLE:
            file.close()  # Windows deletes no open file
        path.unlink(missing_ok=True)
        file.close()


def temporary_name(folder: Path) -> Path:
    """A new name for a file or folder that is deleted if its process is killed."""
    return folder / f"{PREFIX}{secrets.token_hex(8)}{SUFFIX}"


def _move(part: Path, file: FileIO, path: Path) -> None:
    if not locks.AVAILABLE:
        file.close()  # Windows moves no open file
    part.replace(path)


def _is_mine(descriptor: int, path: Path) -> bool:
    """Lock a new file or folder. False if another process has taken it for a leftover, in the
    moment between its creation and the lock.
    """
    return locks.take(descriptor) is not False and path.exists()


@lru_cache(maxsize=4096)
def _clear_once(folder: str) -> None:
    clear_leftovers(Path(folder))


def make_folder(folder: Path) -> None:
    """Create the folder and its missing parents, so that they outlast a power failure."""
    missing: list[Path] = []
    while not folder.is_dir() and folder != folder.parent:
        missing.append(folder)
        folder = folder.parent
    for path in reversed(missing):
        path.mkdir(exist_ok=True)
        sync_folder(path.parent)
