"""Archives of packages are checked by content, and what cannot be got is named."""

import hashlib
import os
from pathlib import Path

import pytest
from scripts import load

building = load("building.py")
CONTENT = b"an archive"
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def tool(tmp_path, monkeypatch):
    """A function that puts a command with a body of shell first in PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")

    def put(name: str, body: str) -> None:
        (folder / name).write_text(f"#!/bin/sh\n{body}\n")
        (folder / name).chmod(0o755)

    return put


def test_an_archive_that_is_there_is_not_fetched(tmp_path, tool):
    tool("npm", "exit 1")
    (tmp_path / "a.tgz").write_bytes(CONTENT)
    assert building.npm_archive("a@1", "a.tgz", SHA256, tmp_path) == tmp_path / "a.tgz"


def test_an_archive_is_fetched_by_name_and_version(tmp_path, tool):
    tool("apt-get", f'printf "an archive" > a.deb; echo "$@" > "{tmp_path}/log"')
    path = building.deb_archive("a=1", "a.deb", SHA256, tmp_path / "new")
    assert path.read_bytes() == CONTENT
    assert (tmp_path / "log").read_text().split() == ["-q", "download", "a=1"]
    assert os.listdir(tmp_path / "new") == ["a.deb"]


def test_a_wheel_of_another_python_is_asked_for_by_its_tags(tmp_path, monkeypatch):
    asked = []

    def fetch(command, brings, *rest):
        asked.append(command)
        return tmp_path

    monkeypatch.setattr(building, "_archive", fetch)
    building.pip_archive("a==1", "a-1-py3-none-any.whl", SHA256, tmp_path)
    building.pip_archive("a==1", "a-1-cp39-cp39-linux_x86_64.linux_armv7l.whl", SHA256, tmp_path)
    assert asked[0][-1] == "a==1"
    assert "--platform" not in asked[0]
    assert " ".join(asked[1]).endswith(
        "--python-version 39 --platform linux_x86_64 --platform linux_armv7l a==1"
    )


def test_another_content_is_refused(tmp_path):
    (tmp_path / "a.tgz").write_bytes(b"something else")
    with pytest.raises(SystemExit, match="damaged or another version"):
        building.npm_archive("a@1", "a.tgz", SHA256, tmp_path)


def test_a_command_that_fails_is_named_with_its_package(tmp_path, tool):
    tool("npm", "exit 3")
    with pytest.raises(SystemExit, match=r"npm pack a@1.* failed"):
        building.npm_archive("a@1", "a.tgz", SHA256, tmp_path)


def test_another_file_than_the_expected_one_is_named(tmp_path, tool):
    tool("apt-get", "touch a_2.deb")
    with pytest.raises(SystemExit, match=r"a_2\.deb in place of a\.deb"):
        building.deb_archive("a=1", "a.deb", SHA256, tmp_path)


def test_a_missing_command_says_where_to_put_the_archive(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SystemExit, match=r"npm is missing: install Node\.js, or put a\.tgz into"):
        building.npm_archive("a@1", "a.tgz", SHA256, Path("packages"))
