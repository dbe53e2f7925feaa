"""A runtime that is out of memory runs fewer pictures at a time, or tiles, or says what to do.

The runtimes are simulated: no machine of the tests has so little memory, or a GPU.
"""

import re

import numpy as np
import pytest
from bundles import make_bundle

from img2img.errors import OutOfMemory
from img2img.infer import tile
from img2img.infer.folder import Settings, translate_files
from img2img.infer.plan import make_plan
from img2img.infer.record import Record
from img2img.infer.tilers import Tilers
from img2img.infer.translator import Translator

TEXT = "Failed to allocate memory for requested buffer of size 4096"  # of onnxruntime


class Small:
    """A session in whose memory so many pixels fit, counting those of the whole batch."""

    def __init__(self, session, pixels: int, error: Exception):
        self.session, self.pixels, self.error = session, pixels, error
        self.runs: list[tuple[int, ...]] = []

    def run(self, outputs, feed):
        count, height, width, _ = feed["image"].shape
        if count * height * width > self.pixels:
            raise self.error
        self.runs.append((count, height, width))
        return self.session.run(outputs, feed)


def small(path, pixels: int, error: Exception | None = None) -> Translator:
    translator = Translator(path, "cpu", threads=1)
    translator._session = Small(translator._session, pixels, error or RuntimeError(TEXT))
    return translator


@pytest.fixture
def pictures() -> list[np.ndarray]:
    return list(np.random.default_rng(0).integers(0, 256, (8, 30, 40, 3), np.uint8))


def test_a_batch_that_does_not_fit_runs_in_parts_and_later_ones_do_at_once(tmp_path, pictures):
    translator = small(make_bundle(tmp_path / "a.onnx"), 3 * 30 * 40)
    results = translator(pictures)
    assert np.array_equal(results, 255 - np.stack(pictures))
    assert max(count for count, *_ in translator._session.runs) <= 3
    translator._session.error = AssertionError("it was tried again")
    assert len(translator(pictures)) == 8


def test_one_picture_that_does_not_fit_is_told_with_what_to_do(tmp_path, pictures):
    translator = small(make_bundle(tmp_path / "a.onnx"), 100, MemoryError())
    with pytest.raises(OutOfMemory, match="40x30 needs more memory than the provider cpu has left"):
        translator(pictures[0])


def test_other_errors_stay_what_they_are(tmp_path, pictures):
    translator = small(make_bundle(tmp_path / "a.onnx"), 100, RuntimeError("the sizes differ"))
    with pytest.raises(RuntimeError, match="the sizes differ"):
        translator(pictures)


@pytest.fixture
def tiled(tmp_path, monkeypatch):
    """tiled(pixels, side): a folder's tilers, for a model that runs in tiles, on a GPU where so
    many pixels fit. side: of the tiles that are asked for.
    """

    def make(pixels: int, side: int | None = None, reach: int | None = 8) -> Tilers:
        translator = small(make_bundle(tmp_path / "a.onnx", reach=reach), pixels)
        translator.provider = "cuda"

        def session_of(content, path, provider, threads):
            return Small(translator._session.session, pixels, translator._session.error)

        monkeypatch.setattr(tile, "session_of", session_of)
        return Tilers(translator, side, None)

    return make


@pytest.mark.parametrize(("pixels", "side"), [(1100**2, 1024), (600**2, 512), (300**2, 256)])
def test_a_picture_that_does_not_fit_runs_in_the_largest_tiles_that_do(tiled, pixels, side):
    tilers = tiled(pixels)
    picture = np.random.default_rng(0).integers(0, 256, (700, 3000, 3), np.uint8)
    [result], notes, reason = tilers.translate([picture], None)
    assert reason is None
    assert np.array_equal(result, 255 - picture)
    assert notes == (f"run in tiles, of {side} px, because the memory is not sufficient",)
    tiler, _ = tilers.for_size(700, 3000)
    assert tiler.side == side  # of the next one, at once
    assert tilers.for_size(100, 100) == (None, None)  # a smaller one runs whole


def test_where_no_tile_fits_the_message_says_what_to_do(tiled):
    _, _, reason = tiled(100).translate([np.zeros((700, 3000, 3), np.uint8)], None)
    assert reason == (
        "3000x700 needs more memory than there is, in tiles, too: --max-side 2048 makes it "
        "smaller, and --provider cpu computes in the machine's memory"
    )


def test_a_model_without_tiles_says_what_to_do(tiled):
    _, _, reason = tiled(100, reach=None).translate([np.zeros((70, 300, 3), np.uint8)], None)
    assert reason == (
        "300x70 needs more memory than there is: --max-side 192 makes it smaller, and "
        "--provider cpu computes in the machine's memory"
    )


def test_tiles_that_were_asked_for_are_not_changed(tiled):
    _, _, reason = tiled(100, side=512).translate([np.zeros((700, 3000, 3), np.uint8)], None)
    assert re.search(r"its tiles need more memory than there is: choose smaller ones", reason)


def test_a_folder_goes_on_in_tiles_and_says_so(tiled, save, noise, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save(tmp_path / "in" / "a.png", noise(0, 8, 8))
    save(tmp_path / "in" / "b.png", noise(1, 300, 400))
    jobs = make_plan(["in"], tmp_path / "out", "png", "1/1")
    translator = tiled(300 * 300).translator
    summary = translate_files(translator, jobs, Record(tmp_path / "out"), Settings())
    assert (summary.done, summary.failed) == (2, [])
    assert list(summary.notes) == ["run in tiles"]
