"""Tar files as sources of pictures: their names, their members, and what is refused."""

import io
import tarfile
from itertools import compress
from pathlib import Path

import pytest
from stores import bucket, gate, site  # noqa: F401
from tars import write_tar

from img2img import images, shards
from img2img.errors import DataError
from img2img.files import PassedOver
from img2img.shards import Member


def test_ranges_of_numbers_name_shards_in_their_order(tmp_path):
    for name in ("x-08.tar", "x-09.tar", "x-10.tar"):
        write_tar(tmp_path / name, {})
    found = shards.shards_of(tmp_path / "x-{08..10}.tar")
    assert [path.name for path in found] == ["x-08.tar", "x-09.tar", "x-10.tar"]


def test_several_ranges_are_combined(tmp_path):
    for a in "12":
        for b in "34":
            write_tar(tmp_path / a / f"{b}.tar", {})
    found = shards.shards_of(tmp_path / "{1..2}" / "{3..4}.tar")
    assert [path.relative_to(tmp_path).as_posix() for path in found] == [
        "1/3.tar",
        "1/4.tar",
        "2/3.tar",
        "2/4.tar",
    ]


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("x-{0..3}.tar", r"2 of 4 shards of .* are missing \(first: .*x-2.tar\)"),
        ("x-{3..0}.tar", "is no range of shards"),
        ("x-{0..999999999}.tar", "is no range of shards"),
    ],
)
def test_shards_that_are_missing_are_told_by_name(tmp_path, name, told):
    for number in (0, 1):
        write_tar(tmp_path / f"x-{number}.tar", {"a.png": b"1"})
    with pytest.raises(DataError, match=told):
        shards.pictures(tmp_path / name, PassedOver())


def test_pictures_have_the_order_of_one_folder(tmp_path):
    write_tar(tmp_path / "x-0.tar", {"./sub/b.png": b"1", "sub.png": b"1", "c.png": b"1"})
    write_tar(tmp_path / "x-1.tar", {"a.png": b"1", "sub/a.png": b"1"})
    found = shards.pictures(tmp_path / "x-{0..1}.tar", PassedOver())
    assert [path.relative_to(shards.tar_of(path)).as_posix() for path in found] == [
        "a.png",
        "c.png",
        "sub/a.png",
        "sub/b.png",
        "sub.png",
    ]


def test_what_is_no_picture_is_counted_and_what_is_hidden_is_not(tmp_path):
    files = {"a.png": b"1", "a.json": b"1", "a.cls": b"1", "._a.png": b"1", "readme": b"1"}
    source = write_tar(tmp_path / "x.tar", files)
    passed_over = PassedOver()
    assert len(shards.pictures(source, passed_over)) == 1
    assert passed_over.files == {".json": 1, ".cls": 1, "without suffix": 1}


def test_a_member_is_read_like_a_file(tmp_path):
    source = write_tar(tmp_path / "x.tar", {"0.png": b"first", "sub/1.png": b"second"})
    first, second = Member(source, "0.png"), Member(source, "sub", "1.png")
    assert (first.read_bytes(), second.read_bytes()) == (b"first", b"second")
    assert second.stat().st_size == 6
    with second.open("rb") as file:
        assert file.read(3) == b"sec"
    assert second.absolute().read_bytes() == b"second"
    with pytest.raises(FileNotFoundError):
        Member(source, "none.png").stat()


def test_a_member_is_decoded_and_its_header_is_read(tmp_path):
    from PIL import Image

    buffer = io.BytesIO()
    Image.new("RGB", (7, 5), "red").save(buffer, "PNG")
    member = Member(write_tar(tmp_path / "x.tar", {"a.png": buffer.getvalue()}), "a.png")
    assert images.read(member).pixels.shape == (5, 7, 3)
    with images.open_header(member) as header:
        assert header.size == (7, 5)
    with pytest.raises(DataError, match=r"x\.tar/none\.png: there is no such file"):
        images.read(Member(tmp_path / "x.tar", "none.png"))


def test_a_shard_that_is_written_anew_is_read_anew(tmp_path):
    source = write_tar(tmp_path / "x.tar", {"a.png": b"old"})
    assert Member(source, "a.png").read_bytes() == b"old"
    write_tar(source, {"b.png": b"0" * 1000, "a.png": b"newer"})
    assert Member(source, "a.png").read_bytes() == b"newer"


def special(kind: bytes, name: str = "a.png") -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, "/etc/passwd"
    return member


@pytest.mark.parametrize(
    ("member", "told"),
    [
        (special(tarfile.SYMTYPE), "is a link"),
        (special(tarfile.LNKTYPE), "is a link"),
        (special(tarfile.FIFOTYPE), "is a link or another thing"),
        (special(tarfile.REGTYPE, "/etc/a.png"), "could lead out of a folder"),
        (special(tarfile.REGTYPE, "../a.png"), "could lead out of a folder"),
        (special(tarfile.REGTYPE, "x/../../a.png"), "could lead out of a folder"),
    ],
)
def test_members_that_lead_elsewhere_are_refused_by_name(tmp_path, member, told):
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        archive.addfile(member)
    with pytest.raises(DataError, match=told) as error:
        shards.pictures(tmp_path / "x.tar", PassedOver())
    assert f"x.tar: {member.name}" in str(error.value)


def test_a_member_that_is_there_twice_is_refused(tmp_path):
    source = write_tar(tmp_path / "x.tar", {"a.png": b"1", "./a.png": b"2"})
    with pytest.raises(DataError, match="is there twice"):
        shards.pictures(source, PassedOver())


@pytest.mark.parametrize("kept", [100, 512, 600, 1100])
def test_a_shard_that_is_cut_off_is_refused(tmp_path, kept):
    source = write_tar(tmp_path / "x.tar", {"a.png": b"1" * 700})
    source.write_bytes(source.read_bytes()[:kept])
    with pytest.raises(DataError, match="cut off"):
        shards.pictures(source, PassedOver())


@pytest.mark.parametrize("mode", ["w:gz", "w:bz2", "w:xz"])
def test_a_packed_shard_is_refused(tmp_path, mode):
    suffix = mode.removeprefix("w")
    packed = write_tar(tmp_path / f"x.tar.{suffix[1:]}", {"a.png": b"1"}, mode)
    with pytest.raises(DataError, match="is compressed"):
        shards.is_shards(packed)
    packed.rename(tmp_path / "x.tar")
    with pytest.raises(DataError, match="is no plain tar file"):
        shards.pictures(tmp_path / "x.tar", PassedOver())


def test_values_in_shards_are_refused(tmp_path):
    source = write_tar(tmp_path / "x.tar", {"a.npy": b"1"})
    with pytest.raises(DataError, match="Give files of values as a folder"):
        shards.pictures(source, PassedOver())


def test_two_pictures_of_one_key_are_refused(tmp_path):
    write_tar(tmp_path / "x-0.tar", {"a.png": b"1"})
    write_tar(tmp_path / "x-1.tar", {"a.jpg": b"1"})
    with pytest.raises(DataError, match="have the same name without suffix"):
        shards.by_name(tmp_path / "x-{0..1}.tar", PassedOver())


def test_a_folder_with_such_a_name_is_a_folder(tmp_path):
    (tmp_path / "x.tar").mkdir()
    assert not shards.is_shards(tmp_path / "x.tar")


def test_each_rank_has_shards_of_its_own_where_there_are_enough(tmp_path):
    for number in range(5):
        write_tar(tmp_path / f"x-{number}.tar", {f"{number}{i}.png": b"1" for i in range(3)})
    paths = shards.pictures(tmp_path / "x-{0..4}.tar", PassedOver())
    parts = [shards.of_rank(paths, rank, 2) for rank in range(2)]
    assert [sum(part) for part in parts] == [9, 6]
    assert all(one != other for one, other in zip(*parts, strict=True))
    tars = [{shards.tar_of(path) for path in compress(paths, part)} for part in parts]
    assert not tars[0] & tars[1]
    assert all(shards.of_rank(paths, 5, 6))
    assert all(shards.of_rank([Path("a.png")], 1, 2))


def test_remote_shards_are_copied_once_for_each_version(bucket, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.setattr(Path, "home", lambda: tmp_path / "home")
    for number in range(2):
        tar = write_tar(tmp_path / "x.tar", {f"{number}.png": b"%d" % number})
        bucket.put(f"set/x-{number}.tar", tar.read_bytes())
    source = Path(f"{bucket.url}/set/x-{{0..1}}.tar")
    assert shards.is_shards(source)
    assert shards.is_remote(source)
    found = shards.pictures(source, PassedOver())
    assert [path.read_bytes() for path in found] == [b"0", b"1"]
    bucket.requests.clear()
    assert shards.pictures(source, PassedOver()) == found
    assert {method for method, _ in bucket.requests} == {"HEAD"}
    bucket.put("set/x-1.tar", write_tar(tmp_path / "x.tar", {"7.png": b"7"}).read_bytes())
    assert [path.read_bytes() for path in shards.pictures(source, PassedOver())] == [b"0", b"7"]


def test_a_remote_shard_that_is_missing_or_denied_is_told_by_name(bucket, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.setattr(Path, "home", lambda: tmp_path / "home")
    source = Path(f"{bucket.url}/set/x-{{0..1}}.tar")
    with pytest.raises(DataError, match=rf"{bucket.url}/set/x-0\.tar: there is no such file"):
        shards.pictures(source, PassedOver())
    bucket.put("set/x-0.tar", write_tar(tmp_path / "x.tar", {"0.png": b"0"}).read_bytes())
    bucket.fails = lambda method, path: 403 if method == "GET" else None
    with pytest.raises(DataError, match=r"x-0\.tar: access is denied"):
        shards.pictures(Path(f"{bucket.url}/set/x-0.tar"), PassedOver())
    assert not list((tmp_path / "home").rglob("*.tar"))


def test_shards_of_a_web_server_are_copied(site, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.setattr(Path, "home", lambda: tmp_path / "home")
    site.files["/x.tar"] = write_tar(tmp_path / "x.tar", {"0.png": b"0"}).read_bytes()
    [found] = shards.pictures(Path(f"{site.address}/x.tar"), PassedOver())
    assert found.read_bytes() == b"0"
