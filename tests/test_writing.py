"""Files that are complete or absent, what killed writers leave, and the lock on it."""

import errno
import os
import stat
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from img2img import locks, writing
from img2img.errors import UsageError
from img2img.files import find_pictures
from img2img.writing import clear_leftovers, scratch_folder, whole_file, whole_files, write_whole

posix = pytest.mark.skipif(os.name == "nt", reason="POSIX files")


def test_the_file_appears_only_when_the_block_succeeds(tmp_path):
    path = tmp_path / "a.txt"
    with whole_file(path) as temporary:
        temporary.write_text("new")
        assert not path.exists()
    assert path.read_text() == "new"
    assert os.listdir(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("failure", [ValueError, KeyboardInterrupt])
def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path, failure):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(failure), whole_file(path) as temporary:  # noqa: PT012
        temporary.write_text("half")
        raise failure
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_a_failure_leaves_no_new_file(tmp_path):
    with pytest.raises(ValueError), whole_file(tmp_path / "a.txt") as temporary:  # noqa: PT012
        temporary.write_text("half")
        raise ValueError
    assert os.listdir(tmp_path) == []


def test_the_temporary_file_is_no_picture_for_any_search(tmp_path):
    with whole_file(tmp_path / "a.png") as temporary:
        assert temporary.suffix == ".part"
        assert temporary.parent == tmp_path
        assert list(find_pictures(tmp_path)) == []


def test_write_whole_makes_folders_and_takes_text_or_bytes(tmp_path):
    write_whole(tmp_path / "a" / "b" / "text", "é")
    write_whole(tmp_path / "a" / "b" / "bytes", b"\x00\xff")
    assert (tmp_path / "a" / "b" / "text").read_bytes() == "é".encode()
    assert (tmp_path / "a" / "b" / "bytes").read_bytes() == b"\x00\xff"


def test_write_whole_replaces_what_was_there(tmp_path):
    for content in ("a long first version", "short"):
        write_whole(tmp_path / "a", content)
    assert (tmp_path / "a").read_text() == "short"


@posix
def test_whoever_reads_the_old_file_goes_on_reading_it_whole(tmp_path):
    path = tmp_path / "a"
    write_whole(path, "the old one")
    with path.open() as reader:
        write_whole(path, "new")
        assert reader.read() == "the old one"


@posix
def test_files_get_the_modes_that_the_umask_says(tmp_path):
    before = os.umask(0o027)
    try:
        write_whole(tmp_path / "a", "x")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o640


@posix
def test_a_writer_that_makes_its_own_file_does_not_decide_the_mode(tmp_path):
    before = os.umask(0o027)
    try:
        with whole_file(tmp_path / "a") as temporary:
            temporary.unlink()
            os.close(os.open(temporary, os.O_CREAT | os.O_WRONLY, 0o600))
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o640


@posix
def test_writing_never_changes_the_umask_of_the_process(tmp_path, monkeypatch):
    changes = []  # it has no lock: another thread would read or restore the wrong one
    real = os.umask
    monkeypatch.setattr(os, "umask", lambda mask: changes.append(mask) or real(mask))
    write_whole(tmp_path / "a", "x")
    assert changes == []


def test_of_several_files_none_appears_before_all_are_complete(tmp_path):
    paths = [tmp_path / "sub" / name for name in ("a", "b")]
    with whole_files(paths) as parts:
        for part, text in zip(parts, "ab", strict=True):
            part.write_text(text)
        assert not any(path.exists() for path in paths)
    assert [path.read_text() for path in paths] == ["a", "b"]
    assert sorted(os.listdir(tmp_path / "sub")) == ["a", "b"]


def test_of_several_files_none_is_replaced_when_one_can_not_be_stored(tmp_path, monkeypatch):
    paths = [tmp_path / name for name in ("a", "b")]
    for path in paths:
        path.write_text("old")
    synced, real = [], os.fsync

    def full(descriptor):
        synced.append(descriptor)
        if len(synced) == 2:  # as NFS and quotas report it: when the data are stored
            raise OSError(errno.ENOSPC, "No space left on device")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space") as caught, whole_files(paths) as parts:  # noqa: PT012
        for part in parts:
            part.write_text("new")
    assert caught.value.filename == str(paths[1])
    assert [path.read_text() for path in paths] == ["old", "old"]
    assert sorted(os.listdir(tmp_path)) == ["a", "b"]


def test_the_folder_is_stored_after_the_file_is_moved_into_it(tmp_path, monkeypatch):
    events, fsync, replace = [], os.fsync, Path.replace

    def record_sync(descriptor):
        is_folder = stat.S_ISDIR(os.fstat(descriptor).st_mode)
        events.append("folder" if is_folder else "file")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", record_sync)
    monkeypatch.setattr(
        Path, "replace", lambda old, new: (events.append("moved"), replace(old, new))
    )
    write_whole(tmp_path / "a", "x")
    assert events == ["file", "moved", "folder"]
    events.clear()
    write_whole(tmp_path / "a", "x", sync=False)
    assert events == ["file", "moved"]
    events.clear()
    write_whole(tmp_path / "new" / "a", "x")  # the name of the new folder, too
    assert events == ["folder", "file", "moved", "folder"]


@posix
def test_the_error_of_a_disk_that_is_full_names_the_file(tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space") as caught:
        write_whole(tmp_path / "a.txt", "x")
    assert caught.value.filename == str(tmp_path / "a.txt")
    assert os.listdir(tmp_path) == []


# --- other processes ------------------------------------------------------------------------


def process(code: str, folder: Path) -> subprocess.Popen:
    """A process that runs the code in the folder, prints a line, and waits."""
    code = textwrap.dedent(code)
    return subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=folder,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


WRITING = """
from pathlib import Path
from img2img.writing import scratch_folder, whole_file
with whole_file(Path("a")) as part, scratch_folder(Path(".")) as folder:
    part.write_text("half")
    (folder / "trial").touch()
    print("ready", flush=True)
    input()
"""


@posix
def test_what_a_killed_process_leaves_is_cleared_and_a_living_ones_files_stay(tmp_path):
    with process(WRITING, tmp_path) as writer:
        assert writer.stdout.readline() == "ready\n"
        begun = set(os.listdir(tmp_path))
        assert len(begun) == 2
        clear_leftovers(tmp_path)
        assert set(os.listdir(tmp_path)) == begun
        writer.kill()
    assert set(os.listdir(tmp_path)) == begun
    write_whole(tmp_path / "b", "the first file that this process writes here")
    assert os.listdir(tmp_path) == ["b"]


@posix
def test_files_of_other_names_are_never_cleared(tmp_path):
    names = {".img2img-cache-0", ".img2img-ab.parts", "a.part", "b.png"}
    for name in names:
        (tmp_path / name).touch()
    (tmp_path / ".img2img-link.part").symlink_to(tmp_path / "b.png")
    clear_leftovers(tmp_path)
    assert set(os.listdir(tmp_path)) - {".img2img-link.part"} == names


def test_a_disk_without_locks_keeps_leftovers_and_takes_new_files(tmp_path, monkeypatch):
    (tmp_path / ".img2img-0.part").touch()
    monkeypatch.setattr(locks, "take", lambda descriptor: None)
    writing._clear_once.cache_clear()
    write_whole(tmp_path / "a", "x")
    with whole_file(tmp_path / "b") as part:
        part.touch()
    assert sorted(os.listdir(tmp_path)) == [".img2img-0.part", "a", "b"]


@posix
def test_a_file_that_is_taken_for_a_leftover_at_once_is_made_again(tmp_path, monkeypatch):
    """Another process clears the folder between the creation of the file and its lock."""
    real, taken = locks.take, []

    def raced(descriptor):
        if not taken:
            for path in tmp_path.glob(".img2img-*"):
                path.unlink()
        taken.append(descriptor)
        return real(descriptor)

    monkeypatch.setattr(locks, "take", raced)
    write_whole(tmp_path / "a", "x")
    assert (tmp_path / "a").read_text() == "x"
    assert len(taken) == 2


def test_a_scratch_folder_is_below_tmpdir_and_goes_with_its_block(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with scratch_folder() as folder:
        (folder / "sub").mkdir()
        assert folder.parent == tmp_path
    assert os.listdir(tmp_path) == []


def test_without_a_folder_for_temporary_files_tmpdir_is_named(monkeypatch):
    def none():
        raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found")

    monkeypatch.setattr("tempfile.gettempdir", none)
    with pytest.raises(UsageError, match="Set the variable TMPDIR to one"), scratch_folder():
        pass
