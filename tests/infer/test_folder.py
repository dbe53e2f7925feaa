"""Many files: every output is whole, in its place and recorded; a second run does the rest."""

import hashlib
import json
import os
import shutil
import stat
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from img2img import images
from img2img.errors import DataError, UsageError
from img2img.infer import folder
from img2img.infer.folder import Settings, Summary, translate_files
from img2img.infer.plan import make_plan
from img2img.infer.record import Record
from img2img.infer.record_files import RecordFiles
from img2img.infer.translator import Translator

ARTIST, ORIENTATION = 0x013B, 0x0112
SIZES = [(8, 8), (5, 9), (8, 8), (9, 5), (8, 8), (5, 9), (1, 3)]


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def fill(save, noise) -> Callable[..., dict[str, np.ndarray]]:
    """fill(n) makes in/0.png ... of mixed sizes; returns their pixels by name."""

    def make(count: int = 4, folder: str = "in", seed: int = 0) -> dict[str, np.ndarray]:
        pictures = {f"{i}.png": noise(seed + i, *SIZES[i % len(SIZES)]) for i in range(count)}
        for name, pixels in pictures.items():
            save(Path(folder, name), pixels)
        return pictures

    return make


def go(
    translator: Translator,
    *inputs: str,
    out: str = "out",
    ext: str = "keep",
    shard: str = "1/1",
    existing: str = "skip",
    progress: Callable[[int], None] = lambda count: None,
    **settings,
) -> Summary:
    jobs = make_plan(inputs or ("in",), Path(out), ext, shard)
    record = Record(Path(out), shard)
    return translate_files(translator, jobs, record, Settings(**settings), existing, progress)


def counts(summary: Summary) -> tuple[int, int, int]:
    return summary.done, summary.skipped, len(summary.failed)


def load(*parts: str) -> np.ndarray:
    return np.asarray(Image.open(Path(*parts)))


def lines(out: str = "out") -> list[dict]:
    """What the record says of pictures that are finished, well or badly."""
    records = sorted(Path(out, ".img2img").glob("manifest*.jsonl"))
    every = [json.loads(line) for path in records for line in path.read_text().splitlines()]
    return [line for line in every if line.get("status") in ("ok", "error")]


def files(folder: str = "out") -> set[str]:
    """Every file below the folder, hidden ones too, but for the record of what was done."""
    paths = (path for path in Path(folder).rglob("*") if path.is_file())
    names = {path.relative_to(folder).as_posix() for path in paths}
    return {name for name in names if not name.startswith(".img2img/")}


def snapshot(folder: str) -> dict[str, tuple[str, int]]:
    paths = [path for path in sorted(Path(folder).rglob("*")) if path.is_file()]
    digests = (hashlib.sha256(path.read_bytes()).hexdigest() for path in paths)
    return {str(p): (d, p.stat().st_mtime_ns) for p, d in zip(paths, digests, strict=True)}


def later(path: Path) -> None:
    """Make the file look newer, whatever the clock's resolution."""
    stat = path.stat()
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 10**9))


# --- what was made last ------------------------------------------------------------------------


def test_the_last_run_counts_whichever_shard_wrote_it(invert, bundle, fill):
    other = Translator(bundle("other.onnx", name="other"), "cpu")  # another file: another model
    fill(6)
    halves = ("1/2", "2/2")
    assert counts(go(invert)) == (6, 0, 0)
    assert [counts(go(other, shard=half)) for half in halves] == [(3, 0, 0)] * 2
    assert [counts(go(other, shard=half)) for half in halves] == [(0, 3, 0)] * 2
    assert counts(go(invert)) == (6, 0, 0)  # what lies there is the other's


def test_what_was_begun_again_and_killed_is_not_taken_for_done(invert, fill):
    fill(1)
    go(invert)
    with Path("out", ".img2img", "manifest.jsonl").open("a") as file:
        file.write('{"output": "0.png", "status": "begun", "at": 9999999999999999999}\n')
    assert counts(go(invert)) == (1, 0, 0)


def test_a_job_goes_on_from_another_folder(invert, fill, monkeypatch):
    fill(3)
    out, inputs = str(Path("out").absolute()), str(Path("in").absolute())
    go(invert, "in", out=out)
    Path("elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    assert counts(go(invert, inputs, out=out)) == (0, 3, 0)


def test_a_file_too_large_for_any_picture_is_not_read(invert, fill, monkeypatch):
    fill(1)
    with Path("in", "huge.png").open("wb") as file:
        file.truncate(2**33)
    monkeypatch.setattr(
        Path,
        "read_bytes",
        lambda path: pytest.fail("read") if path.name == "huge.png" else path.open("rb").read(),
    )
    summary = go(invert)
    assert counts(summary) == (1, 0, 1)
    assert "8,589,934,592 bytes are more than a picture may have" in summary.failed[0][1]


def test_large_pictures_wait_in_smaller_numbers():
    ahead = folder._Ahead(most=32, at_first=8)
    assert ahead.allowed == 8
    ahead.add(1000)
    assert ahead.allowed == 32
    ahead.add(72_000_000)
    assert ahead.allowed == 7
    ahead.add(2**30)
    assert ahead.allowed == 1
    for _ in range(32):  # the large ones are long gone
        ahead.add(1000)
    assert ahead.allowed == 32


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no full device here")
@pytest.mark.parametrize("which", ["begun", "manifest"])
def test_a_record_that_can_not_be_written_says_what_is_done(which, invert, fill, monkeypatch):
    fill(3)
    said = r"\.img2img can't be written \(No space left.*to continue"
    real = RecordFiles._appended

    def full(self, name):
        return open("/dev/full", "wb", buffering=0) if which in name else real(self, name)

    with monkeypatch.context() as patch, pytest.raises(DataError, match=said):  # noqa: PT012
        patch.setattr(RecordFiles, "_appended", full)
        go(invert)
    assert counts(go(invert))[2] == 0


def test_what_can_not_be_encoded_costs_the_others_nothing(invert, fill, monkeypatch):
    fill(3)
    encode = images.encode

    def failing(picture, *arguments):
        if picture.pixels.shape[:2] == (5, 9):
            raise MemoryError
        return encode(picture, *arguments)

    monkeypatch.setattr(images, "encode", failing)
    summary = go(invert)
    assert counts(summary) == (2, 0, 1)
    assert summary.failed[0][1] == "can't be written: MemoryError"


# --- what comes out -------------------------------------------------------------------------


@pytest.mark.parametrize("batch", [None, 1, 2, 3, 8, 50])
def test_mixed_sizes_keep_their_names_and_contents_at_every_batch(invert, fill, batch):
    pictures = fill(23)
    assert counts(go(invert, batch=batch)) == (23, 0, 0)
    assert files() == set(pictures)
    for name, pixels in pictures.items():
        assert np.array_equal(load("out", name), 255 - pixels), name


def test_many_different_sizes_all_come_out(invert, save, noise):
    pictures = {f"{i}.png": noise(i, 3 + i, 40 - i) for i in range(30)}
    for name, pixels in pictures.items():
        save(Path("in", name), pixels)
    assert counts(go(invert, batch=4)) == (30, 0, 0)
    for name, pixels in pictures.items():
        assert np.array_equal(load("out", name), 255 - pixels), name


def test_sub_folders_are_kept(invert, save, noise):
    for name in ("a.png", "x/a.png", "x/y/a.png"):
        save(Path("in", name), noise(len(name)))
    go(invert)
    assert files() == {"a.png", "x/a.png", "x/y/a.png"}
    assert np.array_equal(load("out", "x/y/a.png"), 255 - noise(len("x/y/a.png")))


def test_only_the_outputs_and_the_record_are_left_in_the_output_folder(invert, fill):
    fill(3)
    go(invert)
    assert sorted(os.listdir("out")) == [".img2img", "0.png", "1.png", "2.png"]
    assert all(name.endswith(".jsonl") for name in os.listdir("out/.img2img"))


def test_inputs_are_never_touched(invert, fill):
    fill(5)
    Path("in/broken.png").write_bytes(b"no picture")
    before = snapshot("in")
    go(invert)
    go(invert, existing="replace")
    assert snapshot("in") == before


def test_an_output_folder_inside_the_input_leaves_the_inputs_and_is_not_translated(invert, fill):
    fill(3)
    before = snapshot("in")
    for expected in ((3, 0, 0), (0, 3, 0)):
        assert counts(go(invert, out="in/out")) == expected
    assert {path: value for path, value in snapshot("in").items() if path in before} == before
    assert files("in/out") == {"0.png", "1.png", "2.png"}


def test_the_extension_asked_for_decides_the_format(invert, fill):
    fill(2)
    for ext, kind in (("jpg", "JPEG"), ("webp", "WEBP"), ("png", "PNG")):
        go(invert, out=ext, ext=ext)
        assert Image.open(Path(ext, f"0.{ext}")).format == kind


def test_the_quality_asked_for_is_used(invert, save, noise):
    save(Path("in/a.jpg"), noise(0, 64, 64), quality=100)
    go(invert, out="low", quality=10)
    go(invert, out="high", quality=100)
    assert Path("low/a.jpg").stat().st_size < Path("high/a.jpg").stat().st_size


def test_alpha_is_kept_in_png(invert, save, noise):
    pixels = noise(0, 6, 7, 4)
    pixels[..., 3] = [0, 10, 50, 100, 200, 254, 255]
    save(Path("in/a.png"), pixels)
    go(invert)
    result = load("out/a.png")
    assert result.shape == (6, 7, 4)
    assert np.array_equal(result[..., 3], pixels[..., 3])
    opaque = pixels[..., 3] == 255
    assert np.array_equal(result[opaque][:, :3], 255 - pixels[opaque][:, :3])


def test_alpha_of_a_palette_picture_is_kept(invert):
    Path("in").mkdir()
    image = Image.new("P", (4, 4), 1)
    image.putpalette([0, 0, 0, 10, 20, 30])
    image.putpixel((2, 1), 0)
    image.save("in/a.gif", transparency=0)
    go(invert)
    result = load("out/a.png")
    assert result[1, 2, 3] == 0
    assert result[0, 0].tolist() == [245, 235, 225, 255]


def test_half_transparent_colors_are_translated_as_they_are(invert, save):
    """Blended with nothing: (29, 39, 59, 128) was (142, 147, 157, 128) for the model."""
    for suffix in (".png", ".webp", ".tif"):
        options = {"lossless": True} if suffix == ".webp" else {}
        save(Path(f"in/{suffix[1:]}{suffix}"), np.full((6, 6, 4), (29, 39, 59, 128), np.uint8),
             **options)  # fmt: skip
        go(invert, out="out")
        assert load(f"out/{suffix[1:]}{suffix}")[2, 2].tolist() == [226, 216, 196, 128]
    go(invert, out="jpg", ext="jpg", quality=100)
    blended = [(value * 128 + 255 * 127) // 255 for value in (226, 216, 196)]
    assert np.abs(load("jpg/png.jpg").astype(int) - blended).max() <= 4


def test_a_lossless_webp_stays_lossless_unless_a_quality_is_asked_for(invert, save, noise):
    save(Path("in/a.webp"), noise(0, 20, 20), lossless=True)
    go(invert)
    assert np.array_equal(load("out/a.webp"), 255 - noise(0, 20, 20))
    go(invert, quality=100)
    assert np.array_equal(load("out/a.webp"), 255 - noise(0, 20, 20))
    assert counts(go(invert, quality=90)) == (1, 0, 0)  # another quality is another output
    assert not np.array_equal(load("out/a.webp"), 255 - noise(0, 20, 20))


def test_metadata_goes_along_and_what_the_format_has_no_room_for_is_noted(invert, save, noise):
    text = PngImagePlugin.PngInfo()
    text.add_text("Title", "Ada")
    save(Path("in/a.png"), noise(0, 8, 8), pnginfo=text, dpi=(300, 300))
    assert go(invert).notes == {}
    with Image.open("out/a.png") as result:
        assert result.text == {"Title": "Ada"}
        assert result.info["dpi"] == pytest.approx((300, 300), abs=0.1)
    summary = go(invert, out="jpg", ext="jpg")
    note = "the text is left out"
    assert summary.notes == {note: {"pictures": 1, "first": os.path.join("in", "a.png")}}
    assert Image.open("jpg/a.jpg").info["dpi"] == (300, 300)
    (line,) = lines("jpg")
    assert line["notes"] == [f"{note}, for which JPEG has no room"]


def test_metadata_that_can_not_be_written_costs_no_picture(invert, save, noise, monkeypatch):
    save(Path("in/a.png"), noise(0, 8, 8), dpi=(300, 300))
    broken = {"dpi": "as sharp as possible"}
    monkeypatch.setattr(images.metadata, "save_options", lambda metadata, kind: (
        broken if metadata.dpi else {}))  # fmt: skip
    summary = go(invert)
    assert counts(summary) == (1, 0, 0)
    assert np.array_equal(load("out/a.png"), 255 - noise(0, 8, 8))
    assert list(summary.notes) == ["the metadata can't be written; it is left out"]


def test_notes_are_counted_by_kind_with_the_first_of_each():
    first, second = Summary(), Summary()
    first.add_notes("a.gif", ["animated", "made smaller, from 9x9"])
    first.add_notes("b.gif", ["animated"])
    second.add_notes("c.png", ["made smaller, from 7x8", "made smaller, from 7x8"])
    assert (first + second).notes == {
        "animated": {"pictures": 2, "first": "a.gif"},
        "made smaller": {"pictures": 2, "first": "a.gif"},
    }
    assert second.notes["made smaller"] == {"pictures": 1, "first": "c.png"}  # as it was


def test_exif_orientation_is_applied_once_and_the_rest_kept(invert, save, noise):
    pixels = noise(0, 6, 9)
    exif = Image.Exif()
    exif[ORIENTATION], exif[ARTIST] = 6, "Ada"
    save(Path("in/a.png"), pixels, exif=exif)
    go(invert)
    with Image.open("out/a.png") as result:
        assert np.array_equal(np.asarray(result), 255 - np.rot90(pixels, -1))
        assert result.getexif()[ARTIST] == "Ada"
        assert result.getexif().get(ORIENTATION, 1) == 1


def test_a_jpeg_keeps_its_exif(invert, save, noise):
    exif = Image.Exif()
    exif[ARTIST] = "Ada"
    save(Path("in/a.jpg"), noise(0, 16, 16), exif=exif)
    go(invert)
    with Image.open("out/a.jpg") as result:
        assert result.getexif()[ARTIST] == "Ada"


def test_a_grey_model_gives_grey_pictures(bundle, save, noise):
    save(Path("in/a.png"), noise(0, 5, 6, 1)[..., 0])
    go(Translator(bundle(channels=1), "cpu"))
    assert np.array_equal(load("out/a.png"), 255 - noise(0, 5, 6, 1)[..., 0])


def test_the_domain_asked_for_is_used(classes, save):
    save(Path("in/a.png"), np.full((4, 4, 3), 5, np.uint8))
    go(classes, to="dusk")
    assert (load("out/a.png") == 45).all()


def test_large_pictures_are_made_smaller_first_where_asked_and_the_record_says_so(
    invert, save, noise
):
    save(Path("in/small.png"), noise(0, 8, 6))
    flat = np.full((20, 41, 4), (200, 100, 0, 128), np.uint8)
    save(Path("in/wide.png"), flat)
    assert counts(go(invert, max_side=10)) == (2, 0, 0)
    assert np.array_equal(load("out/small.png"), 255 - noise(0, 8, 6))
    assert load("out/wide.png").shape == (5, 10, 4)
    assert (load("out/wide.png")[..., 3] == 128).all()
    notes = {Path(line["output"]).name: line["notes"] for line in lines()}
    assert notes == {"small.png": [], "wide.png": ["made smaller, from 41x20"]}
    assert counts(go(invert, max_side=10)) == (0, 2, 0)
    assert counts(go(invert)) == (2, 0, 0)  # another size is another output


def test_larger_pictures_are_tiled_where_asked_and_redone_for_another_tile(
    invert, save, noise, monkeypatch
):
    tiled = []

    class Halves:
        side, whole_side = 64, 20

        def __init__(self, translator, side, norm_tiles):
            assert (side, norm_tiles) == (64, None)

        def __call__(self, pixels, domain):
            tiled.append(pixels.shape)
            return 255 - pixels

    monkeypatch.setattr("img2img.infer.tilers.Tiler", Halves)
    save(Path("in/small.png"), noise(0, 20, 6))
    save(Path("in/large.png"), noise(1, 21, 6))
    assert counts(go(invert, tile=64)) == (2, 0, 0)
    assert tiled == [(21, 6, 3)]
    assert np.array_equal(load("out/large.png"), 255 - noise(1, 21, 6))
    assert counts(go(invert, tile=64)) == (0, 2, 0)
    assert counts(go(invert)) == (2, 0, 0)


@pytest.mark.skipif(sys.platform != "linux", reason="file names are bytes on Linux")
def test_names_that_are_not_utf8_are_translated_and_skipped(invert, noise, save):
    save(Path(os.fsdecode(b"in/caf\xe9.png")), noise())
    assert counts(go(invert)) == (1, 0, 0)
    assert b"caf\xe9.png" in os.listdir(b"out")
    assert counts(go(invert)) == (0, 1, 0)


def test_progress_is_told_of_every_picture_once(invert, fill):
    fill(9)
    Path("in/broken.png").write_bytes(b"no picture")
    told = []
    go(invert, progress=lambda count: told.extend([1] * count), batch=4)
    assert len(told) == 10
    go(invert, progress=lambda count: told.extend([1] * count))
    assert len(told) == 20


def test_no_jobs_are_no_work(invert):
    assert counts(translate_files(invert, [], Record(Path("out")), Settings())) == (0, 0, 0)


# --- the second run -------------------------------------------------------------------------


def test_what_is_done_is_skipped_and_left_alone(invert, fill):
    fill(5)
    go(invert)
    before = snapshot("out")
    assert counts(go(invert)) == (0, 5, 0)
    assert snapshot("out") == before


def test_skipping_does_not_depend_on_how_the_folders_are_spelled(invert, fill, tmp_path):
    fill(2)
    go(invert)
    assert counts(go(invert, str(tmp_path / "in"), out=str(tmp_path / "out"))) == (0, 2, 0)


@pytest.mark.parametrize("size", [0, 10, 10_000])
def test_an_output_of_another_size_than_was_written_is_not_done(invert, fill, size):
    pictures = fill(3)
    go(invert)
    os.truncate("out/1.png", size)
    assert counts(go(invert)) == (1, 2, 0)
    assert np.array_equal(load("out", "1.png"), 255 - pictures["1.png"])
    assert counts(go(invert)) == (0, 3, 0)


def moved(how: str) -> str:
    """Bring the inputs elsewhere, or make them look newer; the folder that they are in then."""
    if how == "renamed":
        os.rename("in", "there")
    elif how == "copied":
        shutil.copytree("in", "there", copy_function=shutil.copyfile)
        shutil.rmtree("in")
    else:
        for path in Path("in").iterdir():
            later(path)
        return "in"
    return "there"


@pytest.mark.parametrize("how", ["renamed", "copied", "touched"])
def test_inputs_that_are_elsewhere_or_look_newer_are_not_redone_and_read_only_once(
    invert, fill, monkeypatch, how
):
    fill(5)
    go(invert)
    before = snapshot("out")
    folder = moved(how)
    assert counts(go(invert, folder)) == (0, 5, 0)
    assert {p: v for p, v in snapshot("out").items() if ".jsonl" not in p} == {
        p: v for p, v in before.items() if ".jsonl" not in p
    }
    monkeypatch.setattr(Record, "confirm", lambda *_: pytest.fail("read again"))
    assert counts(go(invert, folder)) == (0, 5, 0)


def test_what_changed_while_it_was_moved_is_redone(invert, fill, save, noise):
    pictures = fill(4)
    for i in range(4):  # uncompressed: of one size whatever they show
        save(Path("in", f"{i}.bmp"), pictures[f"{i}.png"])
        Path("in", f"{i}.png").unlink()
    go(invert)
    moved("renamed")
    save(Path("there/2.bmp"), noise(99, *pictures["2.png"].shape[:2]))
    assert counts(go(invert, "there")) == (1, 3, 0)
    assert np.array_equal(load("out/2.bmp"), 255 - noise(99, *pictures["2.png"].shape[:2]))
    assert counts(go(invert, "there")) == (0, 4, 0)


def test_moved_inputs_of_another_model_are_redone(invert, bundle, fill):
    fill(3)
    go(invert)
    moved("renamed")
    other = Translator(bundle("other.onnx", name="other"), "cpu")
    assert counts(go(other, "there")) == (3, 0, 0)


def test_the_output_folder_can_be_moved_with_its_record(invert, fill):
    fill(3)
    go(invert)
    os.rename("out", "made")
    assert counts(go(invert, out="made")) == (0, 3, 0)


def test_what_is_missing_is_done(invert, fill):
    pictures = fill(5)
    go(invert)
    os.unlink("out/3.png")
    assert counts(go(invert)) == (1, 4, 0)
    assert np.array_equal(load("out/3.png"), 255 - pictures["3.png"])


def test_a_changed_input_is_redone_and_then_skipped(invert, fill, save, noise):
    fill(3)
    go(invert)
    save(Path("in/1.png"), noise(99, 8, 8))
    later(Path("in/1.png"))
    assert counts(go(invert)) == (1, 2, 0)
    assert np.array_equal(load("out/1.png"), 255 - noise(99, 8, 8))
    assert counts(go(invert)) == (0, 3, 0)


def test_another_input_of_the_same_size_and_time_is_not_taken_for_the_first(invert, save, noise):
    for seed, place in enumerate(("first", "second")):
        path = save(Path(place, "a.bmp"), noise(seed))
        os.utime(path, ns=(10**18, 10**18))
    assert counts(go(invert, "first")) == (1, 0, 0)
    assert counts(go(invert, "second")) == (1, 0, 0)
    assert np.array_equal(load("out/a.bmp"), 255 - noise(1))


def test_another_model_domain_or_quality_redoes_everything(invert, classes, fill):
    fill(3)
    go(invert)
    for translator, settings in (
        (classes, {"to": "dawn"}),
        (classes, {"to": "dusk"}),
        (invert, {"quality": 50}),
        (invert, {}),
    ):
        assert counts(go(translator, **settings)) == (3, 0, 0)
        assert counts(go(translator, **settings)) == (0, 3, 0)


def test_batch_size_and_pixel_limit_do_not_redo_anything(invert, fill):
    fill(3)
    go(invert)
    assert counts(go(invert, batch=2, max_pixels=10**6, fail_fast=True)) == (0, 3, 0)


def test_a_file_that_was_not_made_here_is_not_taken_for_done_but_refused(invert, fill, save, noise):
    fill(4)
    save(Path("out/2.png"), noise(77))
    with pytest.raises(DataError, match=r"1 outputs exist already .*2\.png.*--existing replace"):
        go(invert)
    assert files() == {"2.png"}
    assert np.array_equal(load("out/2.png"), noise(77))


def test_replace_redoes_everything_and_replaces_foreign_files(invert, fill, save, noise):
    pictures = fill(4)
    save(Path("out/2.png"), noise(77))
    for _ in range(2):
        assert counts(go(invert, existing="replace")) == (4, 0, 0)
        assert np.array_equal(load("out/2.png"), 255 - pictures["2.png"])
    assert counts(go(invert)) == (0, 4, 0)


def test_error_refuses_any_file_that_is_there_and_writes_nothing(invert, fill):
    fill(4)
    assert counts(go(invert, existing="error")) == (4, 0, 0)
    os.unlink("out/0.png")
    before = snapshot("out")
    with pytest.raises(DataError, match="3 outputs exist already"):
        go(invert, existing="error")
    assert snapshot("out") == before


def test_other_files_in_the_output_folder_do_not_matter(invert, fill, save, noise):
    fill(2)
    save(Path("out/other.png"), noise(77))
    assert counts(go(invert)) == (2, 0, 0)
    assert np.array_equal(load("out/other.png"), noise(77))


# --- runs that were cut off -----------------------------------------------------------------


@pytest.mark.parametrize("kept", [0, 1, 40])
def test_a_half_written_last_line_costs_at_most_its_own_picture(invert, fill, kept):
    pictures = fill(5)
    go(invert)
    record = Path("out/.img2img/manifest.jsonl")
    whole = record.read_bytes().splitlines(keepends=True)
    record.write_bytes(b"".join(whole[:-1]) + whole[-1][:kept])
    assert counts(go(invert)) == (1, 4, 0)
    assert counts(go(invert)) == (0, 5, 0)
    for name, pixels in pictures.items():
        assert np.array_equal(load("out", name), 255 - pixels)


ODD = [
    {"output": "0.png"},
    {"output": ["0.png"], "status": "ok"},
    {"output": "x.png", "status": "ok", "at": 5},
    {"output": "x.png", "status": "ok", "at": "noon"},
    {"output": "x.png", "status": "ok", "at": 5, "input": 3, "model": [], "options": {}},
    {"output": "x.png", "status": "ok", "input": "a", "model": "", "options": "", "sha256": ""}
    | {"mtime_ns": 1, "size": 2**70, "written": -1},
]


@pytest.mark.parametrize(
    "junk",
    [
        b"\x00" * 50,
        b"\xff\xfe\n",
        b"[]\n3\nnull\n{}\n",
        b"\n\n",
        b"[" * 200_000 + b"\n",
        *(json.dumps(odd).encode() + b"\n" for odd in ODD),
    ],
)
def test_junk_in_the_record_is_passed_over(invert, fill, junk):
    fill(3)
    go(invert)
    with open("out/.img2img/manifest.jsonl", "ab") as file:
        file.write(junk)
    assert counts(go(invert)) == (0, 3, 0)


def test_outputs_of_which_the_last_lines_are_damaged_are_known_as_ours(invert, fill):
    pictures = fill(5)
    go(invert)
    record = Path("out/.img2img/manifest.jsonl")
    lines = record.read_bytes().splitlines(keepends=True)
    ended = b'"status": "ok"'
    damaged = [line[:60] + b"\0" * 9 + b"\n" if ended in line else line for line in lines]
    record.write_bytes(b"".join(damaged))
    assert counts(go(invert)) == (5, 0, 0)
    for name, pixels in pictures.items():
        assert np.array_equal(load("out", name), 255 - pixels)


@pytest.mark.parametrize("which", ["begun", "manifest"])
@pytest.mark.parametrize("share", [0.0, 0.5])
def test_a_record_that_is_cut_costs_no_output_its_owner(which, share, invert, fill):
    """Its other file still has the names."""
    pictures = fill(5)
    go(invert)
    record = Path(f"out/.img2img/{which}.jsonl")
    record.write_bytes(record.read_bytes()[: int(share * record.stat().st_size)])
    done, skipped, failed = counts(go(invert))
    assert (done + skipped, failed) == (5, 0)
    assert skipped == 5 if which == "begun" else done in (3, 5)
    for name, pixels in pictures.items():
        assert np.array_equal(load("out", name), 255 - pixels)


def test_a_flipped_bit_in_any_line_costs_at_most_its_own_picture(invert, fill):
    fill(2)
    go(invert)
    record = Path("out/.img2img/manifest.jsonl")
    first, rest = record.read_bytes().split(b"\n", 1)
    for place in range(0, len(first), 7):
        for bit in (0, 5):
            changed = bytearray(first)
            changed[place] ^= 1 << bit
            record.write_bytes(bytes(changed) + b"\n" + rest)
            jobs = make_plan(["in"], Path("out"), "keep", "1/1")
            known = Record(Path("out"))
            assert not any(map(known.is_foreign, jobs))
            kept = [known.holds(job, invert.sha256, Settings().fingerprint()) for job in jobs]
            assert kept[1]
            assert kept[0] in (False, True)  # True where only the form of the JSON changed


def test_outputs_are_recorded_on_the_disk_before_they_can_appear(invert, fill, monkeypatch):
    fill(3)
    events, begin, replace = [], Record.begin, Path.replace

    def spy(self, jobs):
        begin(self, jobs)
        events.extend(["begun"] * len(jobs))

    monkeypatch.setattr(Record, "begin", spy)
    moved = lambda old, new: (events.append("moved"), replace(old, new))  # noqa: E731
    monkeypatch.setattr(Path, "replace", moved)
    go(invert)
    assert events == ["begun"] * 3 + ["moved"] * 3


@pytest.mark.skipif(os.name == "nt", reason="POSIX locks")
def test_two_processes_write_into_one_folder_and_lose_nothing(invert, fill, noise, save):
    """The other one of the same inputs, and one of others."""
    pictures = fill(5)
    save(Path("others", "a.png"), noise(77))
    script = """
import time
from pathlib import Path
from img2img.infer.record import Record
from img2img.infer.record_files import RecordFiles
record = Record(Path("out"))
with record.opened():
    print("ready", flush=True)
    input()
"""
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as first:
        assert first.stdout.readline() == "ready\n"
        assert counts(go(invert)) == (5, 0, 0)
        assert counts(go(invert, "others")) == (1, 0, 0)
        first.kill()
    names = {"begun.jsonl", "begun-2.jsonl", "manifest.jsonl", "manifest-2.jsonl"}
    assert {path.name for path in Path("out/.img2img").iterdir()} == names
    assert counts(go(invert)) == (0, 5, 0)
    assert counts(go(invert, "others")) == (0, 1, 0)
    assert files() == {*pictures, "a.png"}


def test_what_another_process_made_meanwhile_is_known(invert, fill):
    fill(3)
    jobs, early = make_plan(["in"], Path("out"), "keep", "1/1"), Record(Path("out"))
    go(invert)
    summary = translate_files(invert, jobs, early, Settings())
    assert counts(summary) in ((3, 0, 0), (0, 3, 0))


def test_temporary_files_of_a_killed_process_are_cleared(invert, fill):
    fill(2)
    Path("out/sub").mkdir(parents=True)
    Path("out/.img2img-0123.part").touch()
    go(invert)
    assert files() == {"0.png", "1.png"}


def test_a_record_takes_little_memory(tmp_path):
    count = 20_000
    made = {"status": "ok", "input": "", "size": 9, "mtime_ns": 9, "sha256": "0" * 64}
    made |= {"written": 9, "error": None, "notes": [], "model": "0" * 64, "options": "0" * 16}
    path = tmp_path / ".img2img" / "manifest.jsonl"
    path.parent.mkdir()
    with path.open("w") as file:
        for i in range(count):
            name = f"{'folder' * 20}/{i}.png"
            entry = {"output": name, "at": i, **made, "input": f"/in/{name}"}
            file.write(json.dumps(entry) + "\n")
    tracemalloc.start()
    record = Record(tmp_path)
    kept, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(record._made) == count
    assert kept / count < 250
    assert peak / count < 400


@pytest.mark.skipif(os.name == "nt", reason="modes of POSIX")
def test_every_file_gets_the_mode_that_the_umask_says(invert, fill, save, noise):
    fill(3)
    for suffix in ("jpg", "webp", "bmp", "tif"):
        save(Path("in", "sub", f"a.{suffix}"), noise())
    before = os.umask(0o027)
    try:
        assert counts(go(invert)) == (7, 0, 0)
    finally:
        os.umask(before)
    made = [Path("out"), *Path("out").rglob("*")]
    modes = {(path.is_dir(), stat.S_IMODE(path.stat().st_mode)) for path in made}
    assert modes == {(True, 0o750), (False, 0o640)}


@pytest.mark.parametrize("when", [1, 5])
def test_a_run_that_is_interrupted_goes_on_where_it_stopped(invert, fill, when):
    pictures = fill(40)
    told = []

    def stop(count: int) -> None:
        told.extend([1] * count)
        if len(told) == when:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        go(invert, progress=stop)
    summary = go(invert)
    assert not summary.failed
    assert summary.done + summary.skipped == 40
    assert summary.skipped >= when
    assert files() == set(pictures)
    for name, pixels in pictures.items():
        assert np.array_equal(load("out", name), 255 - pixels)


KILLED = """
import os, sys, time
from pathlib import Path
from img2img.infer.folder import Settings, translate_files
from img2img.infer.plan import make_plan
from img2img.infer.record import Record
from img2img.infer.record_files import RecordFiles
from img2img.infer.translator import Translator
told = []
def stop(count):
    told.extend([1] * count)
    if len(told) == 7:
        time.sleep(0.3)  # what is on its way to the disk arrives, and is in no record yet
        os._exit(9)
jobs = make_plan(["in"], Path("out"), "keep", "1/1")
translator, record = Translator(sys.argv[1], "cpu"), Record(Path("out"))
translate_files(translator, jobs, record, Settings(), progress=stop)
"""


def test_a_run_that_is_killed_goes_on_where_it_stopped(bundle, fill):
    pictures = fill(40)
    model = bundle()
    root = str(Path(__file__).parents[2])
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, str(model)], env={**os.environ, "PYTHONPATH": root}
    )
    assert killed.returncode == 9
    visible = {name for name in files() if not Path(name).name.startswith(".")}
    for name in visible:
        assert np.array_equal(load("out", name), 255 - pictures[name])
    summary = go(Translator(model, "cpu"))
    assert not summary.failed
    assert summary.done + summary.skipped == 40
    assert summary.skipped >= 6
    for name, pixels in pictures.items():
        assert np.array_equal(load("out", name), 255 - pixels)


# --- failures among the rest ----------------------------------------------------------------


def corrupt(folder: str = "in") -> dict[str, str]:
    """Files that can't be translated, with a word of the reason."""
    noise = np.random.default_rng(5).integers(0, 256, (32, 32, 3), np.uint8)
    Image.fromarray(noise).save(f"{folder}/truncated.png")
    whole = Path(folder, "truncated.png").read_bytes()
    Path(folder, "truncated.png").write_bytes(whole[: len(whole) // 2])
    Path(folder, "text.jpg").write_bytes(b"hello")
    Path(folder, "empty.webp").write_bytes(b"")
    Image.new("RGB", (400, 300)).save(f"{folder}/large.png")
    return {
        "truncated.png": "decoded",
        "text.jpg": "not a picture",
        "empty.webp": "not a picture",
        "large.png": "--max-pixels",
    }


@pytest.mark.parametrize("batch", [1, 4])
def test_corrupt_inputs_are_told_with_their_reasons_and_the_others_done(invert, fill, batch):
    pictures = fill(12)
    bad = corrupt()
    summary = go(invert, batch=batch, max_pixels=100_000)
    assert counts(summary) == (12, 0, 4)
    assert files() == set(pictures)
    reasons = {os.path.basename(name): reason for name, reason in summary.failed}
    assert reasons.keys() == bad.keys()
    for name, word in bad.items():
        assert word in reasons[name]
    assert {path for path, _ in summary.failed} == {os.path.join("in", name) for name in bad}
    for name, pixels in pictures.items():
        assert np.array_equal(load("out", name), 255 - pixels)


def test_what_failed_is_tried_again_and_done_once_it_is_mended(invert, fill, save, noise):
    fill(2)
    Path("in/x.png").write_bytes(b"hello")
    assert counts(go(invert)) == (2, 0, 1)
    assert counts(go(invert)) == (0, 2, 1)
    save(Path("in/x.png"), noise(9))
    assert counts(go(invert)) == (1, 2, 0)
    assert counts(go(invert)) == (0, 3, 0)


def test_an_input_that_becomes_corrupt_is_told_and_its_old_output_stays(invert, fill):
    pictures = fill(2)
    go(invert)
    Path("in/0.png").write_bytes(b"hello")
    later(Path("in/0.png"))
    assert counts(go(invert)) == (0, 1, 1)
    assert np.array_equal(load("out/0.png"), 255 - pictures["0.png"])
    assert counts(go(invert)) == (0, 1, 1)


def test_an_input_that_vanishes_after_planning_is_told(invert, fill):
    fill(3)
    jobs = make_plan(["in"], Path("out"), "keep", "1/1")
    os.unlink("in/1.png")
    summary = translate_files(invert, jobs, Record(Path("out")), Settings())
    assert counts(summary) == (2, 0, 1)
    assert summary.failed[0][0] == os.path.join("in", "1.png")


def test_a_recorded_input_that_vanishes_after_planning_is_told(invert, fill):
    fill(3)
    go(invert)
    jobs = make_plan(["in"], Path("out"), "keep", "1/1")
    os.unlink("in/1.png")
    assert counts(translate_files(invert, jobs, Record(Path("out")), Settings())) == (0, 2, 1)


def test_a_size_that_the_model_can_not_take_costs_only_its_own_pictures(bundle, fill):
    fill(7)  # three of them 8x8
    summary = go(Translator(bundle(only_size=(8, 8)), "cpu"), batch=2)
    assert counts(summary) == (3, 0, 4)
    assert all("the model failed" in reason for _, reason in summary.failed)
    assert all("\n" not in reason for _, reason in summary.failed)
    assert files() == {"0.png", "2.png", "4.png"}


def test_an_output_that_can_not_be_written_is_told_and_the_others_done(invert, fill):
    fill(3)
    Path("out/1.png/in-the-way").mkdir(parents=True)
    summary = go(invert, existing="replace")
    assert counts(summary) == (2, 0, 1)
    assert "can't be written" in summary.failed[0][1]
    assert files() == {"0.png", "2.png"}


def test_an_output_too_large_for_its_format_is_told_and_the_others_done(invert, save, noise):
    save(Path("in/long.png"), np.zeros((1, 17_000, 3), np.uint8))
    save(Path("in/short.png"), noise())
    summary = go(invert, ext="webp")
    assert counts(summary) == (1, 0, 1)
    assert files() == {"short.webp"}


@pytest.mark.parametrize("batch", [1, 8])
def test_fail_fast_stops_at_the_first_failure(invert, fill, batch):
    fill(60)
    Path("in/00.png").write_bytes(b"hello")
    summary = go(invert, fail_fast=True, batch=batch)
    assert len(summary.failed) == 1
    assert summary.done < 30
    assert len(files()) == summary.done
    assert counts(go(invert)) == (60 - summary.done, summary.done, 1)


def test_a_wrong_domain_is_a_usage_error_before_anything_is_written(classes, fill):
    fill(2)
    for to in (None, "midnight"):
        with pytest.raises(UsageError):
            go(classes, to=to)
    assert not Path("out").exists()


# --- the record -----------------------------------------------------------------------------


def test_the_record_tells_what_became_of_every_input(invert, fill):
    fill(2)
    Path("in/bad.png").write_bytes(b"hello")
    go(invert)
    by_output = {line["output"]: line for line in lines()}
    assert by_output.keys() == {"0.png", "1.png", "bad.png"}
    good = by_output["1.png"]
    assert good["status"] == "ok"
    assert good["error"] is None
    assert good["input"] == str(Path("in", "1.png").absolute())
    assert good["sha256"] == hashlib.sha256(Path("in/1.png").read_bytes()).hexdigest()
    assert good["model"] == invert.sha256
    bad = by_output["bad.png"]
    assert bad["status"] == "error"
    assert "not a picture" in bad["error"]


def test_the_record_notes_that_a_picture_was_animated(invert):
    Path("in").mkdir()
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    frames[0].save("in/a.gif", save_all=True, append_images=frames[1:])
    go(invert)
    (line,) = lines()
    assert any("first frame" in note for note in line["notes"])
    assert load("out/a.png")[0, 0].tolist() == [0, 255, 255]


def test_shards_do_all_the_work_together_and_each_reads_what_the_others_did(invert, fill):
    pictures = fill(9)
    done = [go(invert, shard=f"{i}/3").done for i in (1, 2, 3)]
    assert done == [3, 3, 3]
    assert files() == set(pictures)
    assert counts(go(invert, shard="2/3")) == (0, 3, 0)
    assert counts(go(invert)) == (0, 9, 0)


def test_shards_write_records_of_their_own(invert, fill):
    fill(4)
    for shard in ("1/2", "2/2"):
        go(invert, shard=shard)
    assert len(list(Path("out/.img2img").glob("manifest*.jsonl"))) == 2
    assert len(lines()) == 4
