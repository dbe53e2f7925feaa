"""Which file becomes which: decided, and checked, for all of them beforehand."""

import os
import sys
import tracemalloc
import unicodedata
from pathlib import Path

import pytest

from img2img.errors import DataError, UsageError
from img2img.files import PassedOver
from img2img.infer.plan import make_plan, parse_shard

posix = pytest.mark.skipif(os.name == "nt", reason="links of POSIX")
on_linux = pytest.mark.skipif(sys.platform != "linux", reason="file names are bytes on Linux")

OUT = Path("out")


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def touch(*names: str) -> None:
    for name in names:
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")


def plan(
    *inputs: str, out: Path = OUT, ext: str = "keep", shard: str = "1/1", names: str = "plain"
) -> dict[str, str]:
    jobs = make_plan(inputs, out, ext, shard, names=names)
    pairs = {Path(job.source).as_posix(): Path(job.target).as_posix() for job in jobs}
    assert len(pairs) == len(jobs)
    return pairs


# --- inputs ---------------------------------------------------------------------------------


def test_a_file_keeps_its_name():
    touch("photos/a.JPG", "b.png")
    assert plan("photos/a.JPG") == {"photos/a.JPG": "out/a.JPG"}
    assert plan("b.png") == {"b.png": "out/b.png"}


def test_a_folder_keeps_its_sub_folders_and_other_files_are_passed_over():
    touch("in/b.png", "in/x/y/c.jpg", "in/x/a.webp", "in/notes.txt", "in/.hidden.png")
    assert plan("in") == {
        "in/b.png": "out/b.png",
        "in/x/a.webp": "out/x/a.webp",
        "in/x/y/c.jpg": "out/x/y/c.jpg",
    }


@pytest.mark.parametrize("spelled", ["in/", "./in", "../{}/in", "{}"])
def test_the_spelling_of_a_folder_does_not_matter(tmp_path, spelled):
    touch("in/x/a.png")
    name = str(tmp_path / "in") if spelled == "{}" else spelled.format(tmp_path.name)
    assert list(plan(name).values()) == ["out/x/a.png"]


def test_inputs_come_in_the_order_given_and_each_in_a_fixed_order():
    touch("b/2.png", "b/1.png", "a/4.png", "a/3.png", "z.png")
    assert list(plan("b", "z.png", "a")) == ["b/1.png", "b/2.png", "z.png", "a/3.png", "a/4.png"]


def test_a_glob_keeps_what_follows_its_fixed_folders():
    touch("in/x/a.png", "in/x/b.jpg", "in/y/z/c.png", "in/d.png")
    assert plan("in/*/*.png") == {"in/x/a.png": "out/x/a.png"}
    assert plan("in/**/*.png") == {
        "in/d.png": "out/d.png",
        "in/x/a.png": "out/x/a.png",
        "in/y/z/c.png": "out/y/z/c.png",
    }
    assert plan("*/d.png") == {"in/d.png": "out/in/d.png"}


def test_a_glob_takes_pictures_only():
    touch("in/a.png", "in/a.txt", "in/folder.png/inside.txt")
    assert plan("in/*") == {"in/a.png": "out/a.png"}


def test_a_file_whose_name_looks_like_a_glob_is_that_file():
    touch("in/a[1].png", "in/a1.png")
    assert plan("in/a[1].png") == {"in/a[1].png": "out/a[1].png"}


def test_a_folder_whose_name_looks_like_a_glob_is_that_folder():
    touch("in[1]/a.png", "in1/b.png")
    assert plan("in[1]") == {"in[1]/a.png": "out/a.png"}


@posix
@pytest.mark.parametrize("name", ["in", "in/**/*.png"])
def test_a_folder_that_links_to_its_parent_does_not_multiply_the_pictures(name):
    touch("in/a.png", "in/sub/b.png")
    os.symlink("..", "in/sub/up")
    assert plan(name) == {"in/a.png": "out/a.png", "in/sub/b.png": "out/sub/b.png"}


@posix
@pytest.mark.parametrize("name", ["in", "in/**/*.png", "in/**"])
def test_linked_folders_are_followed_once_by_folders_and_globs_alike(name):
    touch("in/real/a.png", "elsewhere/b.png")
    os.symlink("real", "in/again")
    for link in ("in/link", "in/link2"):
        os.symlink("../elsewhere", link)
    os.symlink("../in", "elsewhere/back")
    assert list(plan(name)) == ["in/real/a.png", "in/link/b.png"]


@posix
def test_outputs_that_a_link_leads_to_are_not_translated_again():
    touch("in/a.png", "made/a.png")
    os.symlink("../made", "in/link")
    assert list(plan("in", out=Path("made"))) == ["in/a.png"]


@pytest.mark.parametrize("name", ["in", "in/**/*.png"])
def test_what_the_application_wrote_and_thumbnails_are_no_inputs_unless_named(name):
    touch("in/a.png", "in/made/.img2img/manifest.jsonl", "in/made/b.png", "in/@eaDir/c.png")
    assert list(plan(name)) == ["in/a.png"]
    assert list(plan("in/made")) == ["in/made/b.png"]
    assert list(plan("in/made/*.png")) == ["in/made/b.png"]
    assert list(plan("in/@eaDir")) == ["in/@eaDir/c.png"]


@pytest.mark.parametrize("name", ["in", "in/**", "in/*"])
def test_what_is_passed_over_is_counted(name):
    touch("in/a.png", "in/b.mp4", "in/.hidden", "in/c.pdf", "out/made.txt")
    left = PassedOver()
    make_plan([name], OUT, "keep", "1/1", passed_over=left)
    assert str(left) == "2 files passed over: 1 .mp4, 1 .pdf"


def test_what_a_glob_does_not_name_is_not_counted():
    touch("in/a.png", "in/b.mp4", "in/sub/c.pdf")
    left = PassedOver()
    make_plan(["in/*.png"], OUT, "keep", "1/1", passed_over=left)
    assert str(left) == ""


def test_the_output_folder_in_the_input_is_not_worth_a_word():
    touch("in/a.png", "in/out/.img2img/manifest.jsonl", "in/out/a.png", "in/old/.img2img/x")
    left = PassedOver()
    make_plan(["in"], Path("in/out"), "keep", "1/1", passed_over=left)
    assert left.outputs == [Path("in/old")]


def test_brackets_in_a_folders_name_are_part_of_it():
    touch("set[1]/a.png", "set[1]/x[2]/b.png", "set1/c.png", "set1/x[2]/d.png")
    assert list(plan("set[1]/*.png")) == ["set[1]/a.png"]
    assert list(plan("set[1]/x[2]/*.png")) == ["set[1]/x[2]/b.png"]
    assert list(plan("*/x[2]/*.png")) == ["set1/x[2]/d.png", "set[1]/x[2]/b.png"]
    assert list(plan("set[0-9]/*.png")) == ["set1/c.png"]


def test_a_glob_does_not_search_deeper_than_it_names(monkeypatch):
    touch("in/a.png", "in/deep/er/b.png")
    listed = os.scandir
    searched = []
    monkeypatch.setattr(os, "scandir", lambda path: searched.append(str(path)) or listed(path))
    assert list(plan("in/*.png")) == ["in/a.png"]
    assert searched == ["in"]


@pytest.mark.parametrize("name", ["in/z*.png", "photo[1].png", "none/*.png"])
def test_a_glob_that_matches_nothing_says_so(name):
    touch("in/a.png")
    with pytest.raises(DataError) as caught:
        plan(name)
    assert f"no file or folder {name}, and no picture matches it" in str(caught.value)


def test_a_glob_of_other_files_says_what_they_are():
    touch("in/a.mp4", "in/b.mp4")
    with pytest.raises(DataError, match=r"in/\*\.mp4 has no pictures .*: 2 \.mp4"):
        plan("in/*.mp4")


def test_an_input_that_may_not_be_read_says_so(monkeypatch):
    def stat(path, *arguments, **options):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "stat", stat)
    with pytest.raises(DataError, match=r"closed/a\.png can't be read \(Permission denied\)"):
        plan("closed/a.png")


@pytest.mark.parametrize("name", ["none.png", "none", "none/*.png", "in/*.jpg"])
def test_an_input_that_is_missing_is_an_error_that_names_it(name):
    touch("in/a.png")
    with pytest.raises(DataError) as caught:
        plan("in", name)
    assert name in str(caught.value)


def test_a_folder_without_pictures_is_an_error():
    touch("in/notes.txt")
    with pytest.raises(DataError, match="in has no pictures"):
        plan("in")


@on_linux
@pytest.mark.parametrize("ext", ["keep", "png"])
def test_names_that_are_not_utf8_keep_their_bytes(ext):
    os.mkdir("in")
    for name in (b"caf\xe9.png", "café.png".encode()):
        with open(os.path.join(b"in", name), "wb"):
            pass
    targets = {os.fsencode(job.target) for job in make_plan(["in"], OUT, ext, "1/1")}
    assert targets == {b"out/caf\xe9.png", "out/café.png".encode()}


# --- suffixes and clashes -------------------------------------------------------------------


@pytest.mark.parametrize("ext", ["png", "jpg", "webp"])
def test_the_extension_asked_for_replaces_the_suffix_alone(ext):
    touch("in/a.b.jpeg", "in/c.PNG")
    assert list(plan("in", ext=ext).values()) == [f"out/a.b.{ext}", f"out/c.{ext}"]


def test_a_format_that_can_not_be_written_becomes_png():
    touch("in/a.gif", "in/b.GIF")
    assert list(plan("in").values()) == ["out/a.png", "out/b.png"]


def test_two_inputs_that_would_become_one_file_are_refused_by_name():
    touch("in/a.jpg", "in/a.png")
    assert len(plan("in")) == 2
    with pytest.raises(DataError) as caught:
        plan("in", ext="png")
    for name in ("a.jpg", "a.png"):
        assert os.path.join("in", name) in str(caught.value)


def test_a_gif_and_a_png_of_one_name_clash_even_where_suffixes_are_kept():
    touch("in/a.gif", "in/a.png")
    with pytest.raises(DataError, match="would both be written to"):
        plan("in")


def advice(*inputs: str, **options: str) -> str:
    with pytest.raises(DataError) as caught:
        plan(*inputs, **options)
    return str(caught.value)


def test_names_that_differ_by_suffix_alone_can_keep_it():
    touch("in/a.gif", "in/a.png", "in/b.gif", "in/c.png")
    said = advice("in")
    assert "in/a.gif and in/a.png would both be written to" in said.replace(os.sep, "/")
    assert "--names full keeps their suffixes (a.gif.png)" in said
    assert list(plan("in", names="full").values()) == [
        "out/a.gif.png", "out/a.png", "out/b.gif.png", "out/c.png"
    ]  # fmt: skip


def test_full_names_keep_what_the_extension_asked_for_would_replace():
    touch("in/a.jpg", "in/a.png", "in/b.JPG", "in/c.jpeg")
    assert "--names full keeps their suffixes (a.png.jpg)" in advice("in", ext="jpg")
    assert list(plan("in", ext="jpg", names="full").values()) == [
        "out/a.jpg", "out/a.png.jpg", "out/b.jpg", "out/c.jpeg.jpg"
    ]  # fmt: skip


def test_one_name_in_two_folders_can_be_numbered():
    touch("x/a.png", "y/a.png", "z/a.png", "z/a-2.png", "z/b.png")
    assert "--names number numbers the outputs (a.png, a-2.png)" in advice("x", "y", "z")
    targets = list(plan("x", "y", "z", names="number").values())
    assert targets == ["out/a.png", "out/a-2.png", "out/a-2-2.png", "out/a-3.png", "out/b.png"]


@on_linux
@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("A.png", "a.png"),
        tuple(unicodedata.normalize(form, "é.png") for form in ("NFC", "NFD")),
    ],
)
def test_names_that_differ_by_case_or_unicode_form_are_told_apart_and_can_be_numbered(one, other):
    touch(f"in/{one}", f"in/{other}")
    said = advice("in")
    assert "Some file systems treat these names as the same: --names number" in said
    first, second = said.partition(" would")[0].split(" and ")
    assert first != second
    assert unicodedata.normalize("NFC", first) != unicodedata.normalize("NFC", second)
    assert "--ext" not in said
    targets = plan("in", names="number").values()
    folded = {unicodedata.normalize("NFC", target).lower() for target in targets}
    assert len(folded) == 2


@pytest.mark.parametrize(
    ("one", "other"), [("straße.png", "STRASSE.png"), ("ﬁ.png", "fi.png"), ("ŉ.png", "ʼn.png")]
)
def test_names_that_full_case_folding_takes_for_one_clash(one, other):
    """As on macOS' APFS."""
    touch(f"x/{one}", f"y/{other}")
    with pytest.raises(DataError, match="treat these names as the same: --names number"):
        plan("x", "y")
    assert len(plan("x", "y", names="number")) == 2


def test_a_glob_visits_the_folders_that_it_names_alone(tmp_path):
    touch("pics_a/x.png", "pics_b/deep/y.png", "other/z.png", "old/m.png")
    Path("old", ".img2img").mkdir()
    unreadable, left = [], PassedOver()
    visited = []
    with pytest.MonkeyPatch.context() as patch:
        scan = os.scandir
        patch.setattr(os, "scandir", lambda path: visited.append(str(Path(path))) or scan(path))
        jobs = make_plan(["pics*/*.png"], Path("out"), "keep", "1/1", "", unreadable, left)
        assert [job.source for job in jobs] == ["pics_a/x.png"]
        assert sorted(visited) == [".", "pics_a", "pics_b"]
        assert not left.outputs
        jobs = make_plan(["pics*/**/*.png"], Path("out"), "keep", "1/1", "", unreadable, left)
        assert [job.source for job in jobs] == ["pics_a/x.png", "pics_b/deep/y.png"]
        assert "other" not in visited


def test_a_picture_without_a_suffix_becomes_png():
    touch("in/x.png")
    Path("in", "IMG").write_bytes(b"\x89PNG\r\n\x1a\n")
    assert plan("in") == {"in/IMG": "out/IMG.png", "in/x.png": "out/x.png"}


def test_one_name_in_two_input_folders_clashes():
    touch("x/a.png", "y/a.png")
    with pytest.raises(DataError, match="would both be written to"):
        plan("x", "y")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("a.png", "A.png"),
        ("a.png", "a.PNG"),
        ("Sub/a.png", "sub/a.png"),
        ("ΟΔΟΣ.png", "οδος.png"),
        ("straße.png", "STRAẞE.png"),
        (unicodedata.normalize("NFC", "é.png"), unicodedata.normalize("NFD", "é.png")),
        (unicodedata.normalize("NFC", "Ärger/x.png"), unicodedata.normalize("NFD", "ärger/x.png")),
    ],
)
def test_names_that_some_file_systems_take_for_one_clash(one, other):
    touch(f"x/{one}", f"y/{other}")
    with pytest.raises(DataError, match="would both be written to"):
        plan("x", "y")


def test_a_clash_is_found_in_every_shard():
    touch("in/a.jpg", "in/a.png", "in/b.png", "in/c.png")
    for shard in ("1/4", "4/4"):
        with pytest.raises(DataError):
            plan("in", ext="png", shard=shard)


def test_a_picture_named_twice_is_done_once():
    touch("in/a.png", "in/b.png")
    assert len(plan("in", "in/a.png", "in/*.png", "./in")) == 2


# --- where the outputs go -------------------------------------------------------------------


def test_outputs_inside_the_input_are_not_translated_again():
    touch("in/a.png", "in/out/a.png", "in/out/x/b.png", "in/outside/c.png")
    out = Path("in/out")
    expected = {"in/a.png": "in/out/a.png", "in/outside/c.png": "in/out/outside/c.png"}
    assert plan("in", out=out) == expected
    assert plan("in/**/*.png", out=out) == expected


@pytest.mark.parametrize("name", ["in", "in/a.png", "in/*.png", "./in/"])
def test_an_output_folder_that_is_the_input_folder_is_refused(name):
    touch("in/a.png")
    with pytest.raises(DataError, match=r"is also the output folder|would replace its own input"):
        plan(name, out=Path("in"))


@posix
def test_an_output_that_some_file_systems_take_for_the_input_is_refused(monkeypatch):
    def spelled_as_here(path: str) -> str:
        """As a disk that ignores case finds it."""
        return str(path).replace("IMG_1.jpg", "IMG_1.JPG")

    touch("cam/IMG_1.JPG", "cam/sub/IMG_2.JPG")
    assert plan("cam/IMG_1.JPG", out=Path("cam"), ext="jpg")  # here they are two files
    same, exists = os.path.samefile, os.path.exists
    with monkeypatch.context() as patch:
        patch.setattr(os.path, "samefile", lambda a, b: same(*map(spelled_as_here, (a, b))))
        patch.setattr(os.path, "exists", lambda path: exists(spelled_as_here(path)))
        with pytest.raises(DataError, match=r"cam/IMG_1\.jpg would replace its own input"):
            plan("cam/IMG_1.JPG", out=Path("cam"), ext="jpg")

    # Here they are two folders.
    assert list(plan("cam", out=Path("CAM"))) == ["cam/IMG_1.JPG", "cam/sub/IMG_2.JPG"]
    assert list(plan("cam", out=Path("cam/SUB"))) == ["cam/IMG_1.JPG", "cam/sub/IMG_2.JPG"]
    assert list(plan("cam", out=Path("cam/sub"))) == ["cam/IMG_1.JPG"]


@posix
def test_a_folder_that_can_not_be_listed_is_told(monkeypatch):
    touch("in/a.png", "in/closed/b.png", "in/z.png")
    listed = os.scandir

    def scandir(folder):
        if Path(folder).name == "closed":
            raise PermissionError(13, "Permission denied")
        return listed(folder)

    monkeypatch.setattr(os, "scandir", scandir)
    unreadable = []
    jobs = make_plan(["in"], OUT, "keep", "1/1", unreadable=unreadable)
    assert [job.source for job in jobs] == ["in/a.png", "in/z.png"]
    assert unreadable == [Path("in/closed")]


@posix
def test_the_input_folder_is_recognised_behind_a_link():
    touch("in/a.png")
    os.symlink("in", "link")
    for name, out in (("in", "link"), ("link", "in")):
        with pytest.raises(DataError, match="is also the output folder"):
            plan(name, out=Path(out))


def test_writing_beside_the_inputs_with_another_suffix_is_done_or_refused_but_not_ignored():
    touch("in/a.png", "in/x/b.png")
    try:
        targets = plan("in", out=Path("in"), ext="jpg")
    except DataError:
        return
    assert targets == {"in/a.png": "in/a.jpg", "in/x/b.png": "in/x/b.jpg"}


@pytest.mark.parametrize("out", [".", ".."])
@pytest.mark.parametrize("name", ["in", "in/a.png", "in/*.png"])
def test_an_input_below_the_output_folder_is_translated_all_the_same(name, out):
    touch("in/a.png")
    assert list(plan(name, out=Path(out)).values()) == [Path(out, "a.png").as_posix()]


def test_an_output_that_would_replace_another_input_is_refused():
    touch("in/sub/a.png", "out/sub/a.png")
    with pytest.raises(DataError):
        plan("in", "out/sub/a.png")


def test_no_output_leaves_the_output_folder():
    touch("in/x/a.png", "other/b.png")
    try:
        targets = plan("in/*/../../other/*.png", ext="jpg").values()
    except (DataError, UsageError):
        return
    root = Path("out").resolve()
    assert all(Path(target).resolve().is_relative_to(root) for target in targets)


def test_planning_writes_nothing(tmp_path):
    touch("in/a.png")
    plan("in")
    assert os.listdir(tmp_path) == ["in"]


# --- shards ---------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2, 3, 7, 20])
def test_shards_share_the_jobs_without_loss_or_overlap(count):
    touch(*(f"in/{i}.png" for i in range(13)))
    parts = [plan("in", shard=f"{i}/{count}") for i in range(1, count + 1)]
    sizes = [len(part) for part in parts]
    assert sum(sizes) == 13
    assert max(sizes) - min(sizes) <= 1
    assert {job for part in parts for job in part.items()} == set(plan("in").items())


def test_a_shard_is_the_number_and_the_count():
    assert parse_shard("2/8") == (2, 8)


@pytest.mark.parametrize(
    "shard", ["", "1", "/", "1/", "/2", "0/2", "3/2", "-1/2", "a/b", "1/2/3", "1.0/2", "²/²"]
)
def test_a_shard_that_makes_no_sense_is_a_usage_error(shard):
    touch("in/a.png")
    with pytest.raises(UsageError, match="--shard"):
        plan("in", shard=shard)


@pytest.mark.parametrize("spelled", ["in//a.png", "in/./a.png", "in/.//a.png", "./in/a.png"])
def test_no_spelling_of_a_file_leads_out_of_the_output_folder(spelled):
    touch("in/a.png")
    for name in (spelled, spelled.replace("a.png", "*.png")):
        [job] = make_plan([name], Path("out"), "keep", "1/1")
        assert job.target == os.path.join("out", "a.png")


def test_a_clash_is_found_however_the_inputs_are_spelled():
    touch("in/a.png", "in2/a.png")
    with pytest.raises(DataError, match="would both be written to"):
        make_plan(["in/a.png", "in2/./*.png"], Path("out"), "keep", "1/1")


def test_a_path_is_kept_once_or_twice_in_memory_not_ten_times(tmp_path):
    """A job is two names and a tuple; what finds clashes is numbers."""
    folder, count = tmp_path / "many", 3000
    folder.mkdir()
    (folder / "0000.png").touch()
    for i in range(1, count):
        os.link(folder / "0000.png", folder / f"{i:04}.png")
    tracemalloc.start()
    jobs = make_plan([str(folder)], tmp_path / "out", "png", "1/1")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(jobs) == count
    assert peak / count < 5 * (len(jobs[0].source) + 100)
