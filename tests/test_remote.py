"""URLs, and files behind them that are replaced, too large for one request, or out of reach."""

import os
import sys
from functools import partial
from pathlib import Path

import pytest
from stores import bucket, gate, site  # noqa: F401

from img2img import remote
from img2img.errors import UsageError
from img2img.remote import Remote


@pytest.mark.parametrize(
    ("name", "is_one"),
    [
        ("s3://bucket/a", True),
        ("https://host/a.png", True),
        ("ftp://host", True),
        ("s3:/bucket/a", False),
        ("C://photos", False),
        ("photos/a.png", False),
        ("", False),
    ],
)
def test_a_url_is_told_by_its_form(name, is_one):
    assert remote.is_url(name) is is_one
    assert not remote.is_url(Path(name))


@pytest.mark.skipif(os.name == "nt", reason="names that Windows refuses")
def test_what_is_there_locally_is_local(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("s3:/bucket").mkdir(parents=True)
    assert remote.place("s3://bucket") == Path("s3:/bucket")
    assert remote.place("s3://other/out/") == "s3://other/out"


def test_only_web_addresses_have_a_query():
    assert remote.split("https://host/a.png?sig=1#x") == ("https://host/a.png", "?sig=1")
    assert remote.split("S3://bucket/a?b#c.png") == ("s3://bucket/a?b#c.png", "")


def test_a_missing_package_is_told_with_its_extra(monkeypatch):
    remote._file_system.cache_clear()
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(UsageError, match=r"fsspec and s3fs.*pip install 'img2img-gan\[remote\]'"):
        remote.place("s3://bucket/out")


def test_an_object_that_grows_while_it_is_read_is_an_error(bucket):  # noqa: F811
    bucket.put("a.png", b"x" * 10)
    [before] = remote.files_below(f"{bucket.url}/a.png")
    assert remote.read(*before, most=10) == b"x" * 10
    bucket.put("a.png", b"x" * 100)
    with pytest.raises(OSError, match="it was replaced while it was read"):
        remote.read(*before, most=10)


def test_the_stamp_follows_the_contents_alone(bucket):  # noqa: F811
    stamps = []
    for content in (b"x", b"y", b"x"):
        bucket.put("a.png", content)
        stamps.append(remote.files_below(bucket.url)[0].remote.stamp)
    assert stamps[0] == stamps[2] != stamps[1]


def test_an_upload_in_parts_that_fails_leaves_nothing(bucket, monkeypatch):  # noqa: F811
    """s3fs uploads more than 100 MB in parts; here, more than 10 MB."""
    system = remote._file_system("s3")
    in_parts = partial(system.pipe_file, chunksize=5 * 2**20)
    monkeypatch.setattr(system, "pipe_file", in_parts)
    content = os.urandom(1000) * 11_000
    uploads: list[str] = []

    def fails_at_the_end(method: str, path: str) -> int | None:
        uploads.append(method)
        return 403 if method == "POST" and uploads.count("POST") == 2 else None

    bucket.fails = fails_at_the_end
    with pytest.raises(OSError, match="access is denied"):
        remote.write(f"{bucket.url}/large", content)
    assert uploads.count("PUT") == 3
    assert bucket.keys() == set()
    bucket.fails = lambda method, path: None
    remote.write(f"{bucket.url}/large", content)
    assert bucket.get("large") == content


def test_an_answer_that_breaks_off_is_asked_for_again(site, monkeypatch):  # noqa: F811
    monkeypatch.setattr(remote, "WAITS", (0.01, 0.01))
    site.files = {"/a": b"x" * 100}
    site.breaks_off = 2
    assert remote.read(f"{site.address}/a", Remote(100, 0), 1000) == b"x" * 100


def test_a_server_that_is_not_there_is_told_after_some_tries(site, monkeypatch):  # noqa: F811
    monkeypatch.setattr(remote, "WAITS", (0.01, 0.01))
    with pytest.raises(OSError) as error:
        remote.status("http://127.0.0.1:9/a.png", "?sig=s3cret")
    assert error.value.filename == "http://127.0.0.1:9/a.png"
    assert "127.0.0.1:9" in str(error.value.strerror)
    assert "s3cret" not in str(error.value)
