"""The demo: what it makes of visitors' files, and the page in a real browser."""

import asyncio
import base64
import io
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import gradio as gr
import httpx
import numpy as np
import pytest
import tifffile
from bundles import make_between, make_bundle
from gradio.data_classes import FileData, ListFiles
from PIL import Image
from starlette.requests import ClientDisconnect, Request

from img2img.app import demo as demo_module
from img2img.app import page as page_module
from img2img.app import uploads
from img2img.app.access import LOCAL
from img2img.app.canvas import PNG, canvas
from img2img.app.demo import Demo, plain
from img2img.app.models import Models
from img2img.app.page import build, latest_only
from img2img.app.runs import diagnoses, losses, samples, shown_runs
from img2img.app.uploads import (
    ChosenAttributes,
    ChosenDomain,
    UploadedFile,
    UploadedFiles,
    UploadedPicture,
)
from img2img.errors import DataError
from img2img.files import PassedOver
from img2img.infer.translator import Translator
from img2img.intensity import Intensity, stacked
from img2img.manifest import Labels

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
browser_there = pytest.mark.skipif(not CHROMIUM, reason="there is no Chromium")
SETS = {
    "classes": [{"kind": "classes", "domains": ("dawn", "noon", "dusk")}],
    "attributes": [{"kind": "attributes", "domains": ("hat", "smile")}],
    "joint": [
        {"kind": "attributes", "domains": ("hat", "smile")},
        {"kind": "classes", "domains": ("dawn", "dusk")},
    ],
}


SCAN = Intensity(dtype="int16", bands=("1",), low=(-100,), high=(155,), unit="HU", nodata=-999)
TWO = Intensity(dtype="uint16", bands=("1", "2"), low=(0, 0), high=(255, 255), name="optical")
HEIGHT = Intensity(dtype="float32", bands=("1",), low=(0,), high=(1,), name="height")
THREE = Intensity(dtype="float32", bands=("1", "2", "3"), low=(0,) * 3, high=(255,) * 3)
VALUES = {
    "depth": (None, THREE),  # of photographs
    "scan": (SCAN, SCAN),
    "stack": (stacked([TWO, HEIGHT]), THREE),
}


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    """Models of every kind: 255 - x in two directions and alone, x plus what domains add, and x of
    values.
    """
    folder = tmp_path_factory.mktemp("weights")
    for name in ("alone", "both-ab", "both-ba"):
        make_bundle(folder / f"{name}.onnx", name=name)
    for name, sets in SETS.items():
        make_bundle(folder / f"{name}.onnx", name=name, labels=Labels(sets=sets))
    for name, sides in VALUES.items():
        make_between(folder / f"{name}.onnx", *sides, name=name)
    examples = folder / "examples" / "alone"
    examples.mkdir(parents=True)
    Image.new("RGB", (16, 16), "orange").save(examples / "one.png")
    return folder


@pytest.fixture
def demo(weights, tmp_path) -> Demo:
    (tmp_path / "out").mkdir()
    return Demo(Models(map(str, sorted(weights.glob("*.onnx"))), "cpu"), tmp_path / "out")


def read(path: str) -> np.ndarray:
    return np.asarray(Image.open(path))


def last(steps: Iterator) -> object:
    """What a work of several steps comes to."""
    return list(steps)[-1]


def test_two_directions_are_one_choice(demo):
    assert list(demo.ways) == [
        "alone",
        "attributes",
        "both",
        "classes",
        *["depth", "joint", "scan", "stack"],
    ]
    names = [demo.choose("both", way, None, []).translator.manifest.name for way in ("ab", "ba")]
    assert names == ["both-ab", "both-ba"]


def test_a_picture_comes_with_its_translation_and_a_file_named_after_both(
    demo, save, noise, tmp_path
):
    pixels = noise(0, 20, 30) // 2
    path = save(tmp_path / "My pïc (1).png", pixels)
    (before, after), download, said = demo.translate(str(path), "classes", None, "noon", [])
    assert np.array_equal(before, pixels)
    assert np.array_equal(read(after), pixels + 20)
    assert download["value"] == after
    assert Path(after).name == "My-p-c-1-classes-noon.png"
    assert re.search(r"30x20 in \d+ ms on cpu", said)


def test_attributes_add_up_and_domains_make_a_grid(demo, save, tmp_path):
    path = str(save(tmp_path / "a.png", np.zeros((8, 8, 3), np.uint8)))
    (_, after), _, _ = demo.translate(path, "attributes", None, None, ["hat", "smile"])
    assert read(after).max() == 30
    grid = last(demo.all_domains(path, "classes", None))
    assert [(name, int(picture.max())) for picture, name in grid] == [
        ("dawn", 10),
        ("noon", 20),
        ("dusk", 40),
    ]


def test_a_drawing_is_translated_at_the_size_that_the_model_knows(demo):
    buffer = io.BytesIO()
    Image.new("RGB", (512, 512), (10, 20, 30)).save(buffer, "PNG")
    value = PNG + base64.b64encode(buffer.getvalue()).decode()
    after, download, said = demo.draw(value, "alone", None, None, [])
    assert np.array_equal(read(after), np.full((8, 8, 3), (245, 235, 225)))
    assert Path(download["value"]).name == "drawing-alone.png"
    assert said.startswith("8x8 in ")
    assert demo.draw("", "alone", None, None, [])[0] is None


def test_a_domain_of_the_model_before_may_come_along(demo, save, tmp_path):
    path = str(save(tmp_path / "a.png", np.zeros((8, 8, 3), np.uint8)))
    domain, several = ChosenDomain([]).preprocess("hat"), ChosenAttributes([]).preprocess(["noon"])
    (_, after), _, _ = demo.translate(path, "attributes", None, domain, several)
    assert read(after).max() == 0
    assert ChosenDomain([]).preprocess({"made": "up"}) is None
    assert ChosenAttributes([]).preprocess([1, "hat"]) == ["hat"]


def test_a_card_tells_the_held_out_figures_of_its_direction(demo):
    choice = demo.choose("both", "ba", None, [])
    metrics = {"g/cycle_a": 1.0, "held_out/ab/cycle_l1": 0.25, "held_out/ba/cycle_l1": 0.5}
    told = {"metrics": metrics, "direction": "ba"}
    manifest = choice.translator.manifest.model_copy(update=told)
    card = demo.card(replace(choice, translator=SimpleNamespace(manifest=manifest)))
    assert card.endswith("On held-out pictures, ba: cycle_l1 0.5")


def test_before_and_after_have_one_background(demo, tmp_path):
    clear = Image.new("RGBA", (8, 8), (0, 0, 0, 0))
    clear.save(tmp_path / "clear.png")
    path = str(tmp_path / "clear.png")
    (before, after), download, _ = demo.translate(path, "alone", None, None, [])
    assert before.shape == after.shape == (8, 8, 3)
    assert Image.open(download["value"]).mode == "RGBA"


def test_half_transparent_colors_are_translated_as_they_are(demo, save, tmp_path):
    path = save(tmp_path / "a.png", np.full((8, 8, 4), (29, 39, 59, 128), np.uint8))
    (before, after), download, _ = demo.translate(str(path), "alone", None, None, [])
    assert read(download["value"])[4, 4].tolist() == [226, 216, 196, 128]
    assert before[4, 4].tolist() == [142, 147, 157]  # both as they are seen on white
    assert after[4, 4].tolist() == [(v * 128 + 255 * 127 + 127) // 255 for v in (226, 216, 196)]
    shown, zipped, _ = last(demo.batch([str(path)], "alone", None, None, []))
    assert np.array_equal(shown[0][0], after)
    with zipfile.ZipFile(zipped["value"]) as file:
        written = np.asarray(Image.open(io.BytesIO(file.read("0001-a.png"))))
    assert written[4, 4].tolist() == [226, 216, 196, 128]
    grid = last(demo.all_domains(str(path), "classes", None))
    assert grid[0][0][4, 4].tolist() == [(v * 128 + 255 * 127 + 127) // 255 for v in (39, 49, 69)]


def test_a_batch_says_what_its_pictures_lost(demo, tmp_path):
    frames = [Image.new("RGB", (8, 8), color) for color in ("red", "blue")]
    for name in ("a.gif", "b.gif"):
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:])
    paths = [str(tmp_path / name) for name in ("a.gif", "b.gif")]
    *_, said = last(demo.batch(paths, "alone", None, None, []))
    assert "- 2 of them: animated or multi-page; the first frame was used." in said


def test_a_48_megapixel_photo_is_decoded_at_a_fraction(demo, save, tmp_path):
    path = save(tmp_path / "a.jpg", np.zeros((6048, 8064, 3), np.uint8))
    (_, after), _, said = demo.translate(str(path), "alone", None, None, [])
    assert read(after).shape == (1536, 2048, 3)
    assert "made smaller, from 8064x6048" in said


def test_values_are_shown_in_false_colors_and_come_back_exactly(demo, tmp_path):
    values = np.array([[-200, -100, 0, 155], [-999, 20, 30, 40]], np.int16)
    tifffile.imwrite(tmp_path / "a.tif", values, extratags=[(42113, "s", 0, "-999", True)])
    given = [str(tmp_path / "a.tif"), None], "scan", None, None, []
    (before, after), download, said = demo.translate(*given)
    assert before[..., 0].tolist() == [[0, 0, 100, 255], [128, 120, 130, 140]]
    assert np.array_equal(before, after)
    assert np.array_equal(tifffile.imread(download["value"]), values)
    assert (Path(download["value"]).name, download["label"]) == ("a-scan.tif", "Download TIF")
    assert re.fullmatch(
        r"4x2 in \d+ ms on cpu; int16, 1 band, -200 to 155 HU; values beyond the model's range are "
        "clipped, 14.29% of them",
        said,
    )
    assert demo.translate([None, None], *given[1:])[0] is None
    again, _, _ = demo.translate([str(tmp_path / "a.tif"), "of a hidden upload"], *given[1:])
    assert np.array_equal(again[1], after)
    assert demo.translate([None, str(tmp_path / "a.tif")], *given[1:])[0] is None


def test_a_file_for_each_input_makes_one_picture(demo, noise, tmp_path):
    optical, height = noise(0, 6, 8, 2).astype(np.uint16), np.full((6, 8), 0.5, np.float32)
    np.save(tmp_path / "optical.npy", optical)
    tifffile.imwrite(tmp_path / "height.tif", height)
    paths = [str(tmp_path / name) for name in ("optical.npy", "height.tif")]
    (before, _), download, _ = demo.translate(paths, "stack", None, None, [])
    assert np.array_equal(np.load(download["value"]), np.dstack([optical, height]))
    assert np.array_equal(before[..., :2], optical)
    assert demo.translate(paths[:1], "stack", None, None, [])[0] is None  # one is missing yet
    with pytest.raises(DataError, match="optical: 1 band of float32, where 2 bands of uint16"):
        demo.translate(paths[::-1], "stack", None, None, [])
    with pytest.raises(gr.Error, match="a file of each of optical, height"):
        last(demo.batch(paths, "stack", None, None, []))


def test_a_photograph_becomes_values(demo, save, noise, tmp_path):
    pixels = noise(0, 20, 30)
    path = str(save(tmp_path / "a.jpg", pixels, quality=100, subsampling=0))
    (before, after), download, said = demo.translate(path, "depth", None, None, [])
    assert np.array_equal(before, read(path))
    assert np.array_equal(after, read(path))
    assert np.array_equal(tifffile.imread(download["value"]), read(path).astype(np.float32))
    assert re.match(r"30x20 in \d+ ms on cpu; float32, 3 bands, 0 to 255", said)


def test_all_pages_are_translated_and_one_is_shown(demo, tmp_path):
    pages = np.arange(5 * 6 * 8).reshape(5, 6, 8).astype(np.int16) - 100
    tifffile.imwrite(tmp_path / "a.tif", pages, photometric="minisblack", metadata=None)
    given = [str(tmp_path / "a.tif")], "scan", None, None, []
    (before, _), download, said = demo.translate(*given)
    assert np.array_equal(tifffile.imread(download["value"]), pages)
    assert np.array_equal(before[..., 0], np.clip(pages[2] + 100, 0, 255))
    assert said.startswith("5 pages of 8x6 (page 3 is shown) in ")


def test_values_are_not_made_smaller_but_refused(demo, tmp_path, monkeypatch):
    np.save(tmp_path / "a.npy", np.zeros((60, 80), np.int16))
    monkeypatch.setattr(demo_module, "MAX_VALUES", 4000)
    with pytest.raises(DataError, match=r"80x60 is more than 4,000 pixels.* img2img translate"):
        demo.translate([str(tmp_path / "a.npy")], "scan", None, None, [])


def test_a_drawing_is_no_file_of_values(demo):
    with pytest.raises(DataError, match="scan takes files of values, and no drawings"):
        demo.draw(PNG + "AAAA", "scan", None, None, [])


def test_a_batch_of_values_has_their_formats(demo, tmp_path):
    values = np.arange(12, dtype=np.int16).reshape(3, 4)
    np.save(tmp_path / "a.npy", values)
    tifffile.imwrite(tmp_path / "b.tif", values)
    (tmp_path / "c.tif").write_bytes(b"II*\0 no picture")
    with zipfile.ZipFile(tmp_path / "more.zip", "w") as file:
        file.write(tmp_path / "a.npy", "deep/d.npy")
    paths = [str(tmp_path / name) for name in ("a.npy", "b.tif", "c.tif", "more.zip")]
    shown, zipped, said = last(demo.batch(paths, "scan", None, None, []))
    assert said.startswith("3 translated, 1 failed.\n- c: ")
    assert shown[0][0].shape == (3, 4, 3)
    with zipfile.ZipFile(zipped["value"]) as file:
        assert file.namelist() == ["0001-a.npy", "0002-b.tif", "0004-d.npy"]
        assert np.array_equal(np.load(io.BytesIO(file.read("0004-d.npy"))), values)
    *_, said = last(demo.batch([str(tmp_path / "more.zip")], "alone", None, None, []))
    assert said == "0 translated, 0 failed. 1 file passed over: 1 .npy."


def test_a_card_tells_what_values_are_taken_and_given(demo):
    card = demo.card(demo.choose("scan", None, None, []))
    assert "From int16, 1 band, -100:155 HU\n\nTo int16, 1 band, -100:155 HU" in card


@pytest.mark.parametrize(
    "value",
    [
        {"path": "/etc/hostname"},
        "http://127.0.0.1/a.png",
        PNG + "no base64!",
        PNG + "é",
        PNG + base64.b64encode(b"no picture").decode(),
    ],
)
def test_a_made_up_drawing_is_told(demo, value):
    with pytest.raises(DataError):
        demo.draw(value, "alone", None, None, [])


@pytest.mark.parametrize("content", [b"no picture", None])
def test_what_fails_leaves_no_older_answer_on_the_page(demo, tmp_path, content):
    path = tmp_path / "broken.png"
    if content:  # without: an upload of an hour ago
        path.write_bytes(content)
    visitor = SimpleNamespace(session_hash="one")
    answer = latest_only(demo.translate)(visitor, str(path), "alone", None, None, [])
    assert (answer[0], answer[1]["visible"], answer[2]) == (None, False, "")


def test_a_phones_photo_is_made_smaller(demo, save, tmp_path):
    path = save(tmp_path / "a.jpg", np.zeros((3000, 2000, 3), np.uint8))
    (_, after), _, said = demo.translate(str(path), "alone", None, None, [])
    assert read(after).shape == (2048, 1365, 3)
    assert "made smaller, from 2000x3000" in said


def test_a_batch_becomes_a_zip_and_what_fails_costs_nothing(demo, save, noise, tmp_path):
    one = save(tmp_path / "one.png", noise(1, 9, 9))
    (tmp_path / "broken.png").write_bytes(b"no picture")
    with zipfile.ZipFile(tmp_path / "more.zip", "w") as file:
        file.write(one, "../../up/two.png")
        file.write(one, "deep/er/three.png")
        file.writestr("notes.txt", "no picture, only counted")
    paths = [tmp_path / name for name in ("one.png", "broken.png", "more.zip")]
    shown, zipped, said = last(demo.batch([str(p) for p in paths], "alone", None, None, []))
    counted = "3 translated, 1 failed. 1 file passed over: 1 .txt.\n- broken: "
    assert said.startswith(counted)
    with zipfile.ZipFile(zipped["value"]) as file:
        assert file.namelist() == ["0001-one.png", "0003-two.png", "0004-three.png"]
        found = np.asarray(Image.open(io.BytesIO(file.read("0003-two.png"))))
    assert np.array_equal(found, 255 - noise(1, 9, 9))
    assert [name for _, name in shown] == ["one", "two", "three"]


def test_zips_are_bounded(demo, save, tmp_path, monkeypatch):
    monkeypatch.setattr(uploads, "MAX_UNPACKED", 10_000)
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("a.png", bytes(1_000_000))
    with pytest.raises(gr.Error, match="At most 500 pictures"):
        last(demo.batch([str(tmp_path / "bomb.zip")], "alone", None, None, []))
    lying = tmp_path / "lying.zip"
    with zipfile.ZipFile(lying, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("a.png", bytes(1_000_000))
    small, large = (100).to_bytes(4, "little"), (1_000_000).to_bytes(4, "little")
    lying.write_bytes(lying.read_bytes().replace(large, small))
    [(_, read)] = uploads.members([lying], PassedOver())
    with pytest.raises(zipfile.BadZipFile):  # after 100 bytes
        read()
    (tmp_path / "no.zip").write_bytes(b"PK but no zip")
    with pytest.raises(gr.Error, match="not a readable zip"):
        last(demo.batch([str(tmp_path / "no.zip")], "alone", None, None, []))


def test_what_a_zip_lists_is_bounded_and_hidden_files_are_passed_over(
    demo, save, noise, tmp_path, monkeypatch
):
    path = save(tmp_path / "a.png", noise(1, 9, 9))
    with zipfile.ZipFile(tmp_path / "mac.zip", "w") as file:
        file.write(path, "a.png")
        file.writestr("__MACOSX/._a.png", b"what macOS puts beside each")
    twice = [str(tmp_path / "mac.zip")] * 2
    assert last(demo.batch(twice, "alone", None, None, []))[2] == "1 translated, 0 failed."
    monkeypatch.setattr(uploads, "MAX_LISTED", 1)
    with pytest.raises(gr.Error, match="lists more than 1 files"):
        last(demo.batch(twice, "alone", None, None, []))


def test_a_zip_tells_what_it_holds_beside_pictures(demo, save, noise, tmp_path):
    path = save(tmp_path / "a.png", noise(1, 9, 9))
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as file:
        for name in ("a.png", "sub/a.JFIF", "IMG_1", "@eaDir/a.png", ".hidden/a.png"):
            file.write(path, name)
        for name in ("v.mp4", "w.mp4", "d.pdf", "README", "Thumbs.db"):
            file.writestr(name, b"no picture")
        file.write(path, "b.png", zipfile.ZIP_BZIP2)
    _, made, said = last(demo.batch([str(tmp_path / "all.zip")], "alone", None, None, []))
    assert said.startswith("3 translated, 0 failed. 5 files passed over: 2 .mp4, ")
    for kind in ("1 .pdf", "1 without suffix", "1 compressed by another method than deflate"):
        assert kind in said
    with zipfile.ZipFile(made["value"]) as file:
        assert file.namelist() == ["0001-a.png", "0002-a.png", "0003-IMG_1.png"]


def test_what_a_batch_has_no_time_for_is_counted(demo, save, noise, tmp_path, monkeypatch):
    paths = [str(save(tmp_path / f"{i}.png", noise(i, 9, 9))) for i in range(3)]
    monkeypatch.setattr(demo_module, "MAX_SECONDS", -1.0)
    said = last(demo.batch(paths, "alone", None, None, []))[2]
    assert said == "0 translated, 0 failed. 3 left out: too many for one batch here."


def test_a_batch_that_is_ended_halfway_leaves_no_zip(demo, save, noise, tmp_path):
    paths = [str(save(tmp_path / f"{i}.png", noise(i, 9, 9))) for i in range(3)]
    steps = demo.batch(paths, "alone", None, None, [])
    assert [next(steps)[2] for _ in range(2)] == ["Picture 1 of 3 ...", "Picture 2 of 3 ..."]
    assert len(list(demo.folder.rglob("*.zip"))) == 1
    steps.close()
    assert list(demo.folder.iterdir()) == []
    last(demo.batch(paths, "alone", None, None, []))
    assert len(list(demo.folder.rglob("*.zip"))) == 1


def test_uploads_that_broke_off_are_deleted_and_results_are_bounded(
    demo, save, noise, tmp_path, monkeypatch
):
    folder = tmp_path / "uploads"
    whole, begun, old = (folder / name for name in ("0a1b/whole.png", "tmp1", "tmp2"))
    for path in (whole, begun, old):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(100))
    for path in (whole, old):
        os.utime(path, (0, 0))
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(folder))
    assert uploads.stored() == 300
    assert uploads.stored() == 200
    assert [path.exists() for path in (whole, begun, old)] == [True, True, False]
    monkeypatch.setattr(demo_module, "MAX_STORED", 199)
    with pytest.raises(DataError, match="no space left"):
        demo.translate(str(save(tmp_path / "a.png", noise(1, 9, 9))), "alone", None, None, [])


def test_a_picture_that_is_being_sent_is_not_written_again(tmp_path, noise):
    shown = gr.Image(format="png")
    shown.GRADIO_CACHE = str(tmp_path / "cache")
    path = Path(shown.postprocess(noise(5, 9, 9)).path)
    assert np.array_equal(read(path), noise(5, 9, 9))
    path.write_bytes(b"being sent")
    os.utime(path, (0, 0))
    assert shown.postprocess(noise(5, 9, 9)).path == str(path)
    assert path.read_bytes() == b"being sent"
    assert path.stat().st_mtime > 0  # as if new, so that it is not deleted soon
    assert [file for file in tmp_path.rglob("*") if file.is_file()] == [path]


@pytest.mark.parametrize(
    "component",
    [
        UploadedPicture(type="filepath"),
        *(UploadedFiles(), UploadedFile(), canvas(), gr.Dropdown(), gr.Image()),
    ],
)
def test_no_address_is_fetched(component):
    with pytest.raises(gr.Error, match="not fetched"):
        asyncio.run(component.async_move_resource_to_block_cache("http://127.0.0.1/a.png"))


def test_a_file_that_was_not_uploaded_is_not_opened(tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "uploads"))
    own, other = tmp_path / "uploads" / "a.png", tmp_path / "secret.png"
    picture, files, file = UploadedPicture(type="filepath"), UploadedFiles(), UploadedFile()
    assert picture.preprocess(FileData(path=str(own))) == str(own)
    for path in (other, tmp_path / "uploads" / ".." / "secret.png"):
        with pytest.raises(gr.Error, match="Only uploaded"):
            picture.preprocess(FileData(path=str(path)))
        with pytest.raises(gr.Error, match="Only uploaded"):
            files.preprocess(ListFiles([FileData(path=str(path))]))
        with pytest.raises(gr.Error, match="Only uploaded"):
            file.preprocess(FileData(path=str(path)))
    assert file.preprocess(FileData(path=str(own))) == str(own)
    assert (file.preprocess(None), file.preprocess(ListFiles([]))) == (None, None)


@pytest.mark.parametrize("name", ["../../etc/passwd", "..", "", "a\0b", "x" * 500, "CON/../a"])
def test_names_of_visitors_become_plain_ones(name):
    assert re.fullmatch(r"[A-Za-z0-9_-]{1,40}", plain(name))


def test_old_results_are_deleted(demo, save, tmp_path):
    path = str(save(tmp_path / "a.png", np.zeros((8, 8, 3), np.uint8)))
    first = Path(demo.translate(path, "alone", None, None, [])[1]["value"])
    old = time.time() - 2 * demo_module.KEPT
    os.utime(first.parent, (old, old))
    second = Path(demo.translate(path, "alone", None, None, [])[1]["value"])
    assert not first.parent.exists()
    assert second.exists()


def test_only_offered_models_can_be_chosen(demo):
    with pytest.raises(DataError, match="There is no model"):
        demo.choose("../../secret", None, None, [])


def test_a_run_is_shown_from_its_folder(tmp_path):
    run = tmp_path / "run"
    (run / "samples").mkdir(parents=True)
    (run / "metrics.csv").write_text("step,d/real,g/l1,seconds\n2,0.5,3,1\n4,0.25,,2\n")
    (run / "samples" / "step-0000002.png").write_bytes(b"")
    assert shown_runs(tmp_path) == ["run"]
    assert losses(run) == [
        {"step": 2, "term": "d/real", "value": 0.5},
        {"step": 2, "term": "g/l1", "value": 3.0},
        {"step": 4, "term": "d/real", "value": 0.25},
    ]
    assert [path.name for path in samples(run)] == ["step-0000002.png"]
    assert diagnoses(run) == []
    assert losses(tmp_path / "none") == []


@pytest.mark.parametrize(
    ("options", "said"),
    [(["--share"], "needs --auth NAME:PASSWORD"), (["--auth", "x"], "not of the form")],
)
def test_the_page_is_not_shared_without_a_password(options, said):
    line = [sys.executable, "-m", "img2img", "demo", *options]
    done = subprocess.run(line, capture_output=True, text=True)
    assert done.returncode == 2
    assert said in done.stderr


@pytest.fixture(scope="module")
def address(weights, tmp_path_factory):
    """Of the demo, in a process of its own."""
    line = [sys.executable, "-m", "img2img", "demo", "--provider", "cpu"]
    for path in sorted(weights.glob("*.onnx")):
        line += ["-m", str(path)]
    folder = tmp_path_factory.mktemp("cwd")
    left = folder / ".img2img-0123456789abcdef.part"  # by a demo that was killed
    (left / "results").mkdir(parents=True)
    own = os.environ | {"TMPDIR": str(folder)}
    process = subprocess.Popen(line, stdout=subprocess.PIPE, text=True, cwd=folder, env=own)
    for told in process.stdout:
        if found := re.search(r"http://127\.0\.0\.1:\d+", told):
            break
    threading.Thread(target=process.stdout.read, daemon=True).start()
    yield found[0]
    if os.name != "nt":  # without locks, nothing is known of the other demo
        assert not left.exists()
    assert list(folder.glob(".img2img-*.part"))
    process.terminate()
    process.wait()
    assert not [path for path in folder.glob(".img2img-*.part") if path != left]


def call(address: str, function: str, data: list, session: str = "abc") -> list[dict]:
    """What the page's queue says to a request that a visitor made up."""
    config = httpx.get(address + "/config").json()
    [number] = {d["id"] for d in config["dependencies"] if d["api_name"] == function}
    body = {"data": data, "fn_index": number, "session_hash": session}
    joined = httpx.post(address + "/gradio_api/queue/join", json=body)
    assert joined.status_code == 200, joined.text
    told = []
    source = f"{address}/gradio_api/queue/data?session_hash={session}"
    with httpx.stream("GET", source) as events:
        for line in events.iter_lines():
            if line.startswith("data:"):
                told.append(json.loads(line[5:]))
                if told[-1]["msg"] == "process_completed":
                    return told
    raise AssertionError(told)


def test_made_up_requests_reach_no_file_and_no_address(address, save, noise, tmp_path):
    secret = save(tmp_path / "secret.png", noise(9, 8, 8))
    sent = httpx.post(address + "/gradio_api/upload", files={"files": secret.read_bytes()})
    upload = {"path": sent.json()[0], "meta": {"_type": "gradio.FileData"}}
    last = call(address, "translate", [upload, None, None, "alone", None, None, []])[-1]
    assert last["success"]  # what was uploaded is translated
    assert last["output"]["data"][0]
    for meta in ({}, {"meta": {"_type": "gradio.FileData"}}):
        for source in (str(secret), "http://127.0.0.1:9/a.png", "file:///etc/hostname"):
            for picture in ({"path": source}, {"url": source}, {"path": source, "url": source}):
                sent = picture | meta
                for data in (
                    [sent, None, None, "alone", None, None, []],
                    [None, sent, None, "scan", None, None, []],
                ):
                    last = call(address, "translate", data)[-1]
                    shown = last["output"].get("data") or [None]
                    assert not last["success"] or not shown[0], data


def test_what_is_remembered_of_visitors_is_bounded(demo, tmp_path, monkeypatch):
    monkeypatch.setattr(page_module, "MAX_SESSIONS", 3)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    monkeypatch.setenv("GRADIO_TEMP_DIR", "")  # and back, afterwards
    launch, remembered = gr.Blocks.launch, []

    def launch_and_visit(self, **settings) -> None:
        app, address, _ = launch(self, prevent_thread_lock=True, quiet=True, **settings)
        for number in range(6):
            data = [None, None, None, "alone", None, None, []]
            call(address.rstrip("/"), "translate", data, f"session-{number}")
        remembered.extend(app.state_holder.session_data)
        self.close()

    monkeypatch.setattr(gr.Blocks, "launch", launch_and_visit)
    page_module.launch(demo.models, tmp_path, LOCAL, None, "", False, None, 64, False)
    assert remembered == ["session-3", "session-4", "session-5"]


@pytest.mark.parametrize(
    "path",
    [
        "/gradio_api/process_recording",
        "/gradio_api/run/call",
        "/gradio_api/call/call",
        "/gradio_api/component_server",
        "/run-history/x",
        "/gradio_api/file=/etc/hostname",
        "/gradio_api/file=http://127.0.0.1:9/a",
        "/gradio_api/file=http%3A//127.0.0.1:9/a",
        "/gradio_api/proxy=http://127.0.0.1:9/a",
    ],
)
def test_routes_that_the_page_does_not_need_are_closed(address, path):
    for method in ("GET", "POST"):
        assert httpx.request(method, address + path).status_code in (403, 404, 405)


def test_a_page_of_a_stranger_reads_nothing_and_sends_nothing(address):
    """By a name that is pointed here, or from its own address."""
    rebound = {"Host": "evil.example:7860"}
    foreign = {"Origin": "https://evil.example"}
    both = rebound | {"Origin": "http://evil.example:7860"}
    for headers in (rebound, foreign, both, {"Origin": "null"}):
        for path in ("/", "/config", "/gradio_api/info"):
            refused = httpx.get(address + path, headers=headers)
            assert refused.status_code == 403
            assert not [name for name in refused.headers if name.startswith("access-control")]
        sent = {"files": b"x"}
        upload = httpx.post(address + "/gradio_api/upload", files=sent, headers=headers)
        assert upload.status_code == 403
    assert httpx.get(address + "/config", headers={"Origin": address}).status_code == 200


def test_an_interrupted_upload_is_no_error():
    async def reading(scope, receive, send) -> None:
        await Request(scope, receive).body()

    async def receive() -> dict:
        return {"type": "http.disconnect"}

    scope = {"type": "http", "method": "POST", "path": "/gradio_api/upload", "headers": []}
    with pytest.raises(ClientDisconnect):
        asyncio.run(reading(scope, receive, None))
    asyncio.run(uploads.Guard(reading, 1000)(scope, receive, None))


def test_too_large_an_upload_is_told_before_it_is_sent(address):
    head = {"content-length": str(2**30), "content-type": "multipart/form-data; boundary=a"}
    with socket.create_connection(address.removeprefix("http://").split(":")) as asked:
        lines = [f"{name}: {value}" for name, value in head.items()]
        start = "POST /gradio_api/upload HTTP/1.1\r\nHost: localhost\r\n"
        asked.sendall((start + "\r\n".join(lines) + "\r\n\r\n").encode())
        answer = asked.makefile("rb")
        assert answer.readline().startswith(b"HTTP/1.1 413")
        while answer.readline().strip():  # its head
            pass
        said = b"At most 513 MB at once."
        assert answer.read(len(said)) == said


@pytest.fixture
def visit(chromium, address):
    """A function that opens the page as a new visitor and collects requests to elsewhere."""
    contexts = []

    def open_page(width: int = 1280):
        context = chromium.new_context(viewport={"width": width, "height": 900})
        contexts.append(context)
        page = context.new_page()
        page.foreign = []
        page.on(
            "request",
            lambda asked: (
                page.foreign.append(asked.url)
                if not asked.url.startswith((address, "data:", "blob:"))
                else None
            ),
        )
        page.goto(address)
        page.wait_for_selector("#picture")
        return page

    yield open_page
    for context in contexts:
        context.close()


def drop(page, path: Path) -> None:
    page.set_input_files("#picture input[type=file]", str(path))


def pictures(page, place: str) -> list[np.ndarray]:
    """What is shown there. Found in one look: the page may change between two."""
    found = page.locator(f"{place} img").evaluate_all("images => images.map(one => one.src)")
    files = [io.BytesIO(page.request.get(address).body()) for address in found if address]
    return [np.asarray(Image.open(file).convert("RGB")) for file in files]


def wait_until(holds) -> None:
    deadline = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def choose(page, label: str, option: str) -> None:
    page.get_by_label(label).first.click()
    page.get_by_role("option", name=option, exact=True).click()


@browser_there
def test_a_dropped_picture_is_shown_translated_and_downloads_losslessly(
    visit, save, noise, tmp_path
):
    page, pixels = visit(), noise(3, 40, 40)
    drop(page, save(tmp_path / "mine.png", pixels))
    wait_until(lambda: len(pictures(page, "#slider")) == 2)
    assert any(np.array_equal(found, 255 - pixels) for found in pictures(page, "#slider"))
    assert "40x40 in" in page.locator("#timing").inner_text()
    with page.expect_download() as waiting:
        page.locator("#download").click()
    assert waiting.value.suggested_filename == "mine-alone.png"
    assert np.array_equal(np.asarray(Image.open(waiting.value.path())), 255 - pixels)
    assert page.foreign == []


@browser_there
def test_a_model_of_values_takes_a_file_and_one_of_photographs_a_picture(
    visit, save, noise, tmp_path
):
    page, values = visit(), np.arange(48, dtype=np.int16).reshape(6, 8)
    tifffile.imwrite(tmp_path / "mine.tif", values)
    choose(page, "Model", "scan")
    page.locator("#picture").wait_for(state="hidden")
    assert page.locator("#file-2").is_hidden()
    page.set_input_files("#file-1 input[type=file]", str(tmp_path / "mine.tif"))
    wait_until(lambda: len(pictures(page, "#slider")) == 2)
    assert "int16, 1 band, 0 to 47 HU" in page.locator("#timing").inner_text()
    with page.expect_download() as waiting:
        page.get_by_role("button", name="Download TIF").click()
    assert waiting.value.suggested_filename == "mine-scan.tif"
    assert np.array_equal(tifffile.imread(waiting.value.path()), values)
    choose(page, "Model", "stack")
    page.locator("#file-2").get_by_text("height").wait_for()
    choose(page, "Model", "alone")
    drop(page, save(tmp_path / "mine.png", noise(3, 40, 40)))
    wait_until(lambda: [one.shape for one in pictures(page, "#slider")] == [(40, 40, 3)] * 2)
    assert page.locator("#file-1").is_hidden()


@browser_there
def test_an_example_can_be_clicked(visit):
    page = visit()
    page.locator("#picture").wait_for()
    page.locator(".gallery-item, .gallery button, button.gallery-item").first.click()
    wait_until(lambda: page.locator("#slider img").count() == 2)


@browser_there
def test_a_broken_file_is_told_and_the_page_lives_on(visit, save, noise, tmp_path):
    page = visit()
    (tmp_path / "broken.png").write_bytes(b"\x89PNG no picture")
    drop(page, tmp_path / "broken.png")
    page.get_by_text(re.compile("not a picture|can't be decoded")).first.wait_for()
    page.reload()
    page.wait_for_selector("#picture")
    drop(page, save(tmp_path / "fine.png", noise(4, 16, 16)))
    wait_until(lambda: page.locator("#slider img").count() == 2)


@browser_there
def test_what_is_drawn_is_translated_while_it_is_drawn(visit):
    page = visit()
    page.get_by_role("tab", name="Draw").click()
    box = page.locator("#canvas canvas").bounding_box()
    middle = box["y"] + box["height"] / 2

    def is_line() -> bool:
        """Black but for the row that was drawn, which is white: it inverts."""
        return any(
            found[4].min() > 200 and found[[0, 2, 6, 7]].max() < 5
            for found in pictures(page, "#drawn")
        )

    page.get_by_label("Thickness").fill("64")
    page.mouse.move(box["x"] + 5, middle + box["height"] / 16)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] - 5, middle + box["height"] / 16, steps=5)
    wait_until(is_line)  # the pen is still down
    page.mouse.up()
    page.mouse.click(box["x"] + 20, box["y"] + 20)
    wait_until(lambda: any(found[0].max() > 5 for found in pictures(page, "#drawn")))
    page.get_by_role("button", name="Undo").click()
    wait_until(is_line)
    page.get_by_role("button", name="Clear").click()
    wait_until(lambda: pictures(page, "#drawn") == [])


@browser_there
def test_directions_and_domains_can_be_chosen(visit, save, tmp_path):
    page = visit()
    choose(page, "Model", "both")
    page.get_by_label("b → a").check()
    page.locator("#card").get_by_text("both-ba").wait_for()
    choose(page, "Model", "classes")
    page.locator("#card").get_by_text("classes").wait_for()
    drop(page, save(tmp_path / "black.png", np.zeros((16, 16, 3), np.uint8)))
    page.get_by_label("dusk").check()
    wait_until(lambda: [found.max() for found in pictures(page, "#slider")][1:] == [40])
    page.get_by_role("button", name="All domains").click()
    page.get_by_text("noon", exact=True).nth(1).wait_for()
    choose(page, "Model", "alone")  # whose pictures these are not
    page.get_by_text("noon", exact=True).nth(1).wait_for(state="hidden")


@browser_there
def test_of_classes_and_attributes_what_was_touched_last_counts(visit, save, tmp_path):
    page = visit()
    choose(page, "Model", "joint")
    drop(page, save(tmp_path / "black.png", np.zeros((16, 16, 3), np.uint8)))

    def shows(level: int) -> None:
        wait_until(lambda: [found.max() for found in pictures(page, "#slider")][1:] == [level])

    shows(40)  # the first class
    page.get_by_label("hat").check()
    shows(10)
    page.get_by_label("smile").check()
    shows(30)
    page.get_by_label("dusk").check()
    shows(80)
    assert not page.get_by_label("hat").is_checked()
    page.get_by_label("hat").check()
    shows(10)
    page.get_by_label("hat").uncheck()
    shows(40)
    choose(page, "Model", "attributes")
    shows(10)
    page.get_by_label("hat").uncheck()
    shows(0)  # a picture with none of them


@browser_there
def test_a_late_answer_is_not_shown_as_another_models(chromium, demo, save, tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    late, translate = threading.Event(), demo.translate

    def slowly(path, title, *chosen):
        if path and title == "alone":
            late.wait(30)
        return translate(path, title, *chosen)

    demo.translate = slowly
    served = build(demo, tmp_path).queue(default_concurrency_limit=2)
    _, address, _ = served.launch(prevent_thread_lock=True, quiet=True, ssr_mode=False)
    page = chromium.new_page()
    page.goto(address)
    drop(page, save(tmp_path / "black.png", np.zeros((16, 16, 3), np.uint8)))
    page.locator("#picture img").wait_for()
    choose(page, "Model", "classes")
    wait_until(lambda: [found.max() for found in pictures(page, "#slider")][1:] == [10])
    late.set()
    time.sleep(1)  # the late answer would be 255
    assert [found.max() for found in pictures(page, "#slider")][1:] == [10]
    page.close()
    served.close()


@browser_there
def test_a_batch_gives_a_zip(visit, save, noise, tmp_path):
    page = visit()
    page.get_by_role("tab", name="Many").click()
    assert page.get_by_role("button", name="Translate all").is_disabled()
    files = [str(save(tmp_path / f"{n}.png", noise(n, 12, 12))) for n in range(3)]
    page.set_input_files("#files input[type=file]", files)
    page.get_by_role("button", name="Translate all").click()  # once they are all there
    page.get_by_text("3 translated, 0 failed.").wait_for()
    with page.expect_download() as waiting:
        page.locator("#zip").click()
    with zipfile.ZipFile(waiting.value.path()) as file:
        assert len(file.namelist()) == 3
        found = np.asarray(Image.open(io.BytesIO(file.read(file.namelist()[1]))))
    assert np.array_equal(found, 255 - noise(1, 12, 12))


class Turns:
    """Makes each picture wait for its turn in the model; `begun`: the shades of those that came."""

    def __init__(self, translate: Callable):
        self.translate, self.begun = translate, []
        self.left = threading.Semaphore(0)

    def __call__(self, translator: Translator, pixels: np.ndarray, to: object = None):
        self.begun.append(int(pixels.max()))
        assert self.left.acquire(timeout=60)
        return self.translate(translator, pixels, to)


@pytest.fixture
def turns(monkeypatch) -> Turns:
    turns = Turns(Translator.__call__)
    monkeypatch.setattr(Translator, "__call__", lambda *given: turns(*given))
    return turns


@pytest.fixture
def served(demo, tmp_path, monkeypatch):
    """The page in this process."""
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    page = build(demo, tmp_path).queue(default_concurrency_limit=2)
    page.launch(prevent_thread_lock=True, quiet=True, ssr_mode=False)
    yield page
    page.close()


@pytest.fixture
def begin(chromium, served, save, tmp_path):
    """A function that opens the page and has pictures of these shades translated there, together or
    one alone; it returns when the page says that they run or wait.
    """

    def start(tab: str, *shades: int):
        page = chromium.new_page()
        page.goto(served.local_url)
        page.wait_for_selector("#picture")
        paths = [
            str(save(tmp_path / f"{shade}.png", np.full((16, 16, 3), shade, np.uint8)))
            for shade in shades
        ]
        page.get_by_role("tab", name=tab).click()
        if tab == "Many":
            page.set_input_files("#files input[type=file]", paths)
            page.get_by_role("button", name="Translate all").click()
        else:
            drop(page, paths[0])
        wait_until(lambda: re.search("Picture 1 of|processing|queue: ", page.inner_text("body")))
        return page

    return start


@browser_there
def test_a_batch_ends_when_its_visitor_closes_the_page(demo, served, begin, turns):
    page = begin("Many", 1, 2, 3, 4, 5, 6)
    wait_until(lambda: turns.begun == [1])  # the page may say so before the model has the picture
    page.close()
    other = begin("Many", 200)
    wait_until(lambda: len(served._queue) == 1)  # it waits for the first's picture alone
    turns.left.release(2)
    other.get_by_text("1 translated, 0 failed.").wait_for()
    assert turns.begun == [1, 200]
    assert len(list(demo.folder.iterdir())) == 1  # of the other's results
    other.close()


@browser_there
@pytest.mark.parametrize(("tab", "together"), [("Many", 1), ("One picture", 2)])
def test_what_waits_in_the_queue_is_dropped_when_its_visitor_closes_the_page(
    served, begin, turns, tab, together
):
    busy = [begin(tab, shade) for shade in range(1, 1 + together)]
    wait_until(lambda: len(turns.begun) == together)
    leaving = begin(tab, 100)
    wait_until(lambda: len(served._queue) == 1)  # it is there before its visitor leaves
    leaving.close()
    wait_until(lambda: len(served._queue) == 0)
    last_one = begin(tab, 200)
    turns.left.release(together + 1)
    wait_until(lambda: 200 in turns.begun)
    assert 100 not in turns.begun
    for page in (*busy, last_one):
        page.close()


@browser_there
def test_all_domains_end_when_their_visitor_closes_the_page(served, begin, turns):
    page = begin("One picture", 7)
    choose(page, "Model", "classes")
    turns.left.release(2)
    page.get_by_role("button", name="All domains").click()
    sent = served._queue.pending_messages_per_session
    wait_until(lambda: turns.begun == [7] * 3 and all(each.empty() for each in sent.values()))
    page.close()
    wait_until(lambda: not sent)
    turns.left.release(3)
    wait_until(lambda: served._queue.get_active_worker_count() == 0)
    assert turns.begun == [7] * 3  # there are two more


@browser_there
def test_visitors_do_not_see_each_others_pictures(visit, save, tmp_path):
    pages = [visit(), visit(390)]  # a desktop and a phone
    for shade, page in enumerate(pages):
        drop(page, save(tmp_path / f"{shade}.png", np.full((16, 16, 3), 100 * shade, np.uint8)))
    for shade, page in enumerate(pages):
        wait_until(lambda page=page: len(pictures(page, "#slider")) == 2)
        found = {int(picture.max()) for picture in pictures(page, "#slider")}
        assert found == {100 * shade, 255 - 100 * shade}
    assert pages[1].evaluate("document.documentElement.scrollWidth") <= 390
