"""Locks that end with their process, even if it is killed.

They are the system's `flock`. Linux hands it on to the server of a network disk (NFS), so it holds
between machines, too, unless the disk is mounted without locks (NFS with `nolock` or `local_lock`,
Lustre without `flock`): then it holds on one machine, or not at all. The locks of a machine that
loses its power stay on an NFS server for about a minute and a half. Windows has none, and those of
SMB are not used: there a locked file can't be read or written through another descriptor.
"""

import datetime
import os
import shlex
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from io import FileIO
from pathlib import Path

from img2img.errors import UsageError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

AVAILABLE = fcntl is not None
MOUNTS = Path("/proc/self/mountinfo")
SMB = ("cifs", "smb3")
_held: set[FileIO] = set()


@contextmanager
def held(path: Path, work: str) -> Iterator[None]:
    """A context in which no other process has the lock of this file, which stays. Missing parent
    folders are created.

    work: what is done meanwhile, for the message of others, such as "runs/a is being trained".
    Raises UsageError, which names the other process, or the user whose file it is. Without locks on
    the disk, nothing is held.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with _opened(path) as file:
        if take(file.fileno()) is False:
            file.seek(0)
            holder = file.read(200).decode(errors="replace") or "another process"
            raise UsageError(f"{work} by {holder}. Wait until it has ended, or stop it.")
        now = datetime.datetime.now().astimezone().isoformat(" ", "seconds")
        with suppress(OSError):  # a full disk: the lock holds without its description
            file.truncate(0)
            file.write(f"process {os.getpid()} on {socket.gethostname()}, since {now}".encode())
        _held.add(file)
        try:
            yield
        finally:
            _held.discard(file)


def _opened(path: Path) -> FileIO:
    """Raises UsageError, which names its owner, for a file that this user may not write."""
    try:
        return path.open("a+b", buffering=0)
    except PermissionError:
        if not path.exists():
            raise  # it is the folder that can't be written
        try:
            owner = path.owner()
        except (KeyError, NotImplementedError):  # a user without a name
            owner = str(path.stat().st_uid)
        raise UsageError(
            f"{path} belongs to the user {owner}, and you may not write it. Ask for permission "
            f"(chmod -R o+w {shlex.quote(str(path.parent))}), or use a folder of your own."
        ) from None


def take(descriptor: int) -> bool | None:
    """Lock an open file or folder until it is closed. Returns False if another process has it, and
    None if the disk or the system has no locks.
    """
    if not AVAILABLE or _file_system(os.fstat(descriptor).st_dev) in SMB:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


@lru_cache(maxsize=64)
def _file_system(device: int) -> str:
    """The kind of the file system with this device number, as Linux names it; "" if unknown."""
    number = f"{os.major(device)}:{os.minor(device)}"
    with suppress(OSError):
        for line in MOUNTS.read_text(errors="replace").splitlines():
            before, _, after = line.partition(" - ")
            if before.split()[2:3] == [number]:
                return after.split()[0]
    return ""


def _leave_to_parent() -> None:
    """In a forked process, such as a data worker, which would keep the lock after its parent."""
    for file in _held:
        file.close()
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_to_parent)
