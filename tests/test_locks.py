"""Locks that end with their process."""

import errno
import os
import subprocess
import sys

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
