"""Locks that end with their process."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from img2img import locks
from img2img.errors import UsageError
from img2img.locks import held

pytestmark = pytest.mark.skipif(os.name == "nt", reason="POSIX locks")

HOLDING = """
import os, time
from pathlib import Path
from img2img.locks import held
with held(Path("lock"), "it is used"):
    if os.fork() == 0:  # such as a data worker, which may end a little later
        print("ready", flush=True)
        time.sleep(60)
        os._exit(0)
    input()
"""


def test_the_second_process_is_told_who_is_the_first_until_that_is_killed(tmp_path):
    start = [sys.executable, "-c", HOLDING]
    with subprocess.Popen(
        start,
        cwd=tmp_path,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as first:
        assert first.stdout.readline() == "ready\n"
        said = rf"it is used by process {first.pid} on .*, since 20.*\. Wait until it has ended"
        with pytest.raises(UsageError, match=said), held(tmp_path / "lock", "it is used"):
            pass
        first.kill()
        first.wait()
        with held(tmp_path / "lock", "it is used"):  # although the forked process is alive
            assert f"process {os.getpid()} on" in (tmp_path / "lock").read_text()
        os.killpg(first.pid, 9)


def test_a_lock_of_another_user_is_told_with_its_owner(tmp_path, monkeypatch):
    lock = tmp_path / "lock"
    lock.touch()

    def refuse(path, *arguments, **options):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "open", refuse)
    said = (
        rf"{lock} belongs to the user {lock.owner()}, and you may not write it\. Ask for permission"
    )
    with pytest.raises(UsageError, match=said), held(lock, "it is used"):
        pass
    with pytest.raises(PermissionError), held(tmp_path / "none", "it is used"):  # of the folder
        pass


def test_a_lock_is_free_again_after_its_block(tmp_path):
    for _ in range(2):
        with held(tmp_path / "sub" / "lock", "it is used"):
            pass


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_disk_without_locks_is_used_without_them(tmp_path, monkeypatch, number):
    def refuse(descriptor, flags):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(locks.fcntl, "flock", refuse)
    with held(tmp_path / "lock", "it is used"), held(tmp_path / "lock", "it is used"):
        pass


def test_locks_of_smb_are_not_used(tmp_path, monkeypatch):
    """There, what is locked can't be read through another descriptor."""
    device = os.stat(tmp_path).st_dev
    mounts = tmp_path / "mountinfo"
    mounts.write_text(
        "21 1 0:3 / /proc rw - proc proc rw\n"
        f"22 1 {os.major(device)}:{os.minor(device)} / /mnt rw shared:1 - cifs //nas/data rw\n"
    )
    monkeypatch.setattr(locks, "MOUNTS", mounts)
    locks._file_system.cache_clear()
    with (tmp_path / "file").open("w") as file:
        assert locks.take(file.fileno()) is None
    locks._file_system.cache_clear()
    monkeypatch.setattr(locks, "MOUNTS", tmp_path / "none")
    with (tmp_path / "file").open("w") as file:
        assert locks.take(file.fileno()) is True
    locks._file_system.cache_clear()
