"""The pictures in a folder, and the names of files."""

import json
import os
import sys
import unicodedata
from pathlib import Path

import pytest
from PIL import Image, features

from img2img.errors import DataError
from img2img.files import (
    PICTURE_SUFFIXES,
    PassedOver,
    by_name,
    data_folders,
    find_pictures,
    is_output,
    pictures,
    read_rows,
    require_utf8,
)

posix = pytest.mark.skipif(os.name == "nt", reason="links and modes of POSIX")


def touch(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")


def found(folder: Path) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in find_pictures(folder)]


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
def test_links_are_followed_for_files_and_for_folders_which_come_last(tmp_path):
    touch(tmp_path, "elsewhere/a.png", "other/c.png", "in/b.png")
    (tmp_path / "in" / "file.png").symlink_to(tmp_path / "elsewhere" / "a.png")
    (tmp_path / "in" / "a-folder").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "in" / "folder.png").symlink_to(tmp_path / "other")
    assert found(tmp_path / "in") == ["b.png", "file.png", "a-folder/a.png", "folder.png/c.png"]


@posix
def test_a_folder_is_searched_once_however_many_links_lead_to_it(tmp_path):
    touch(tmp_path, "elsewhere/a.png", "in/real/b.png", "in/real/deep/c.png")
    for name, target in {
        "a-link": "real",
        "b-link": "../elsewhere",
        "c-link": "../elsewhere",
        "d-link": "real/deep",
    }.items():
        (tmp_path / "in" / name).symlink_to(target)
    (tmp_path / "elsewhere" / "back").symlink_to("../in")
    assert found(tmp_path / "in") == ["real/b.png", "real/deep/c.png", "b-link/a.png"]


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


# --- what is a picture ------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", sorted(PICTURE_SUFFIXES))
def test_every_suffix_of_a_picture_is_taken_in_any_case(tmp_path, suffix):
    touch(tmp_path, f"a{suffix}", f"B{suffix.upper()}")
    assert found(tmp_path) == [f"B{suffix.upper()}", f"a{suffix}"]


@pytest.mark.parametrize(
    "kind", ["JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "PPM", "JPEG2000", "AVIF"]
)
def test_a_picture_without_a_suffix_is_known_by_its_first_bytes(tmp_path, kind):
    if kind == "AVIF" and not features.check("avif"):
        pytest.skip("this Pillow writes no AVIF")
    Image.new("RGB", (20, 10), "red").save(tmp_path / "IMG_1", kind)
    assert found(tmp_path) == ["IMG_1"]


@pytest.mark.parametrize(
    "content",
    [
        b"\0\0\0\x18ftypheic\0\0\0\0mif1heic",
        b"\0\0\0\x0cJXL \r\n\x87\n\0\0\0\x14ftypjxl ",
        b"\xff\x0a\x7f\x03\xd4",
        b"\xff\x4f\xff\x51\0\x29",
        b"MM\0\x2a\0\0\0\x08",
        b"II\x2b\0\x08\0\0\0",
        b"P5\n# made by hand\n2 2\n255\n",
    ],
)
def test_the_first_bytes_of_rarer_pictures_are_known(tmp_path, content):
    (tmp_path / "IMG_1").write_bytes(content)
    assert found(tmp_path) == ["IMG_1"]


@pytest.mark.parametrize(
    "content",
    [b"", b"BMW repair manual, and more of it", b"P5 hello", b"II*", b"RIFF0000WAVEfmt ", b"GIF"],
)
def test_a_file_without_a_suffix_that_is_no_picture_is_passed_over(tmp_path, content):
    (tmp_path / "NOTES").write_bytes(content)
    left = PassedOver()
    assert list(find_pictures(tmp_path, passed_over=left)) == []
    assert str(left) == "1 file passed over: 1 without suffix"


@posix
def test_a_pipe_is_not_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    os.mkfifo(tmp_path / "pipe.png")
    left = PassedOver()
    assert list(find_pictures(tmp_path, passed_over=left)) == []
    assert left.files == {"not a regular file": 2}


# --- what is passed over ----------------------------------------------------------------------


def test_what_is_passed_over_is_counted_and_named(tmp_path):
    touch(tmp_path, "a.png", "v.mp4", "sub/w.MP4", "d.pdf", "README", ".hidden", "Thumbs.db")
    left = PassedOver()
    assert len(list(find_pictures(tmp_path, passed_over=left))) == 1
    assert str(left) == "4 files passed over: 2 .mp4, 1 .pdf, 1 without suffix"


def test_nothing_passed_over_is_not_worth_a_word(tmp_path):
    touch(tmp_path, "a.png", ".DS_Store")
    left = PassedOver()
    list(find_pictures(tmp_path, passed_over=left))
    assert str(left) == ""


def test_many_kinds_are_summed_up():
    left = PassedOver()
    left.files.update({f".{i}": 10 - i for i in range(9)})
    assert str(left) == ("54 files passed over: 10 .0, 9 .1, 8 .2, 7 .3, 6 .4, 5 .5, 9 others")


@posix
def test_a_link_that_leads_nowhere_is_told(tmp_path):
    (tmp_path / "a.png").symlink_to(tmp_path / "gone.png")
    (tmp_path / "b.png").symlink_to(tmp_path / "b.png")
    left = PassedOver()
    assert list(find_pictures(tmp_path, passed_over=left)) == []
    assert str(left) == "2 files passed over: 2 linked to a missing file"


def test_a_folder_without_pictures_says_what_it_has(tmp_path):
    touch(tmp_path, "a.mp4")
    with pytest.raises(DataError, match=r"has no pictures .*1 file passed over: 1 \.mp4\.$"):
        pictures(tmp_path)


@pytest.mark.parametrize(
    "folder", ["@eaDir", "@eadir", ".thumbnails", "#recycle", "__MACOSX", "$RECYCLE.BIN"]
)
def test_thumbnails_and_deleted_files_are_no_data_unless_they_are_named(tmp_path, folder):
    touch(tmp_path, "a.png", f"{folder}/a.png", f"sub/{folder}/deep/b.png")
    assert found(tmp_path) == ["a.png"]
    assert found(tmp_path / folder) == ["a.png"]


def make_run(folder: Path) -> None:
    touch(folder, "samples/step-1.png", "checkpoints/last.pt")
    config = {"name": "x", "mode": "pix2pix", "method": {}, "sources": {}, "seed": 0}
    (folder / "config.json").write_text(json.dumps(config))


def make_translations(folder: Path) -> None:
    touch(folder, "a.png", ".img2img/manifest.jsonl")


@pytest.mark.parametrize("make", [make_run, make_translations])
def test_what_the_application_wrote_is_no_data_unless_it_is_named(tmp_path, make):
    touch(tmp_path, "a.png", "z/b.png")
    make(tmp_path / "runs" / "x")
    left = PassedOver()
    names = [path.name for path in find_pictures(tmp_path, passed_over=left)]
    assert names == ["a.png", "b.png"]
    assert left.outputs == [tmp_path / "runs" / "x"]
    assert "1 folder that img2img wrote passed over" in str(left)
    assert len(found(tmp_path / "runs" / "x")) == 1
    with pytest.raises(DataError, match="Name such a folder itself"):
        pictures(tmp_path / "runs")


def test_translations_in_a_folder_of_translations_are_taken_with_it_but_runs_are_not(tmp_path):
    make_translations(tmp_path / "out")
    make_translations(tmp_path / "out" / "dusk")
    make_run(tmp_path / "out" / "run")
    assert found(tmp_path / "out") == ["a.png", "dusk/a.png"]


@pytest.mark.parametrize(
    "config", ["", "{", "[]", "null", '{"mode": "x"}', '{"_name_or_path": "bert"}', "[" * 100_000]
)
def test_another_programs_config_makes_no_run(tmp_path, config):
    touch(tmp_path, "model/a.png")
    (tmp_path / "model" / "config.json").write_text(config)
    assert found(tmp_path) == ["model/a.png"]


def test_folders_of_data_are_those_that_the_application_did_not_write(tmp_path):
    touch(tmp_path, "happy/a.png", "sad/b.png", "empty/notes.txt", ".git/x", "@eaDir/a.png")
    make_run(tmp_path / "runs" / "x")
    make_translations(tmp_path / "out")
    left = PassedOver()
    names = [path.name for path in data_folders(tmp_path, left)]
    assert names == ["empty", "happy", "sad"]
    assert [path.name for path in left.outputs] == ["out", "runs"]
    assert is_output(tmp_path / "runs")
    assert not is_output(tmp_path / "happy")
    assert not is_output(tmp_path)


# --- names ------------------------------------------------------------------------------------


def test_names_of_both_unicode_forms_pair(tmp_path):
    forms = [unicodedata.normalize(form, "Ärger/café.png") for form in ("NFC", "NFD")]
    assert forms[0] != forms[1]
    touch(tmp_path / "a", forms[0])
    touch(tmp_path / "b", forms[1])
    assert by_name(tmp_path / "a").keys() == by_name(tmp_path / "b").keys()


@posix
def test_two_files_that_are_one_name_in_both_forms_are_refused(tmp_path):
    touch(tmp_path, *(unicodedata.normalize(form, "café.png") for form in ("NFC", "NFD")))
    if len(os.listdir(tmp_path)) == 1:
        pytest.skip("this file system takes both for one")
    with pytest.raises(DataError, match="have the same name without suffix"):
        by_name(tmp_path)


@pytest.mark.skipif(sys.platform != "linux", reason="names of any bytes")
def test_a_name_that_is_not_utf8_is_refused_where_text_has_to_hold_it(tmp_path):
    require_utf8(tmp_path / "café")
    with pytest.raises(DataError, match="not UTF-8"):
        require_utf8(tmp_path / os.fsdecode(b"caf\xe9"))


def test_a_row_that_is_half_written_is_left_out(tmp_path):
    path = tmp_path / "metrics.csv"
    assert read_rows(path) == []
    path.write_bytes(b"step,g/l1\r\n5,0.25\r\n10,0.1")  # of 0.125
    assert read_rows(path) == [{"step": "5", "g/l1": "0.25"}]


def test_arrays_are_pictures_where_no_photograph_is_beside_them(tmp_path):
    """Features and statistics often lie beside pictures."""
    names = ["a.npy", "b.nii.gz", "deep/c.dcm"]
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert [p.relative_to(tmp_path).as_posix() for p in find_pictures(tmp_path)] == names
    (tmp_path / "deep" / "d.png").touch()
    ignored = PassedOver()
    assert [p.name for p in find_pictures(tmp_path, passed_over=ignored)] == ["d.png"]
    assert ignored.files == {".npy": 1, ".nii.gz": 1, ".dcm": 1}
