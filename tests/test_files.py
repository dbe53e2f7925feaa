"""Files that are whole or absent, and the pictures in a folder."""

import os
import stat
import sys
from pathlib import Path

import pytest

from img2img.files import find_pictures, whole_file, write_whole

posix = pytest.mark.skipif(os.name == "nt", reason="links and modes of POSIX")


def touch(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")


def found(folder: Path) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in find_pictures(folder)]


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
        assert found(tmp_path) == []


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
def test_writing_never_changes_the_umask_of_the_process(tmp_path, monkeypatch):
    changes = []  # it has no lock: another thread would read or restore the wrong one
    real = os.umask
    monkeypatch.setattr(os, "umask", lambda mask: changes.append(mask) or real(mask))
    write_whole(tmp_path / "a", "x")
    assert changes == []


def test_pictures_come_in_a_fixed_order_with_sub_folders(tmp_path):
    touch(tmp_path, "b.png", "a.jpg", "c/z.webp", "c/a.gif", "B.PNG", "a/1.tif", "c.bmp")
    assert found(tmp_path) == [
        "B.PNG", "a/1.tif", "a.jpg", "b.png", "c/a.gif", "c/z.webp", "c.bmp"
    ]  # fmt: skip


def test_only_pictures_are_found_and_suffixes_have_no_case(tmp_path):
    touch(tmp_path, "a.JPeG", "b.TIFF", "c.txt", "d", "e.png.part", "f.svg", "g.eps", "png")
    assert found(tmp_path) == ["a.JPeG", "b.TIFF"]


def test_hidden_files_and_folders_are_passed_over(tmp_path):
    touch(tmp_path, ".a.png", ".cache/b.png", "c.png", "d/.e.png", "d/._f.jpg")
    assert found(tmp_path) == ["c.png"]


def test_a_folder_named_like_a_picture_is_a_folder(tmp_path):
    touch(tmp_path, "a.png/b.png")
    assert found(tmp_path) == ["a.png/b.png"]


def test_an_empty_folder_has_no_pictures(tmp_path):
    assert found(tmp_path) == []


@posix
def test_links_are_followed_for_files_but_not_for_folders(tmp_path):
    touch(tmp_path, "elsewhere/a.png", "in/b.png")
    (tmp_path / "in" / "file.png").symlink_to(tmp_path / "elsewhere" / "a.png")
    (tmp_path / "in" / "folder").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "in" / "folder.png").symlink_to(tmp_path / "elsewhere")
    assert found(tmp_path / "in") == ["b.png", "file.png"]


@posix
def test_a_folder_that_links_to_its_parent_does_not_go_round(tmp_path):
    touch(tmp_path, "a.png", "sub/b.png")
    (tmp_path / "sub" / "up").symlink_to(tmp_path)
    assert found(tmp_path) == ["a.png", "sub/b.png"]


@posix
def test_links_that_lead_nowhere_or_to_themselves_are_passed_over(tmp_path):
    touch(tmp_path, "a.png")
    (tmp_path / "gone.png").symlink_to(tmp_path / "missing.png")
    (tmp_path / "loop.png").symlink_to(tmp_path / "loop.png")
    assert found(tmp_path) == ["a.png"]


@pytest.mark.skipif(sys.platform != "linux", reason="names of any bytes")
def test_names_that_are_not_utf8_are_found(tmp_path):
    with open(os.path.join(os.fsencode(tmp_path), b"caf\xe9.png"), "wb"):
        pass
    (path,) = find_pictures(tmp_path)
    assert os.fsencode(path.name) == b"caf\xe9.png"
