"""The memory that a picture needs is known before it is run."""

import subprocess
import sys
from pathlib import Path

import pytest

from img2img import memory
from img2img.infer import room as room_module
from img2img.infer.folder import Settings, translate_files
from img2img.infer.plan import make_plan
from img2img.infer.record import Record
from img2img.infer.registry import shipped
from img2img.infer.room import Room
from img2img.infer.session import available as providers
from img2img.infer.translator import Translator

linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
SHIPPED = shipped("weights") / "flat-to-3d.onnx"  # a trained U-Net


def in_own_process(code: str) -> float:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return float(done.stdout)


@linux
@pytest.mark.parametrize("provider", ["cpu", "openvino"])
def test_a_larger_picture_needs_about_what_the_probe_tells(provider):
    """Against the peak of a process that runs it."""
    if provider not in providers():
        pytest.skip("it is not installed")
    side = 1536
    found = in_own_process(f"""
import numpy as np
from img2img import memory
from img2img.infer.translator import Translator
translator = Translator({str(SHIPPED)!r}, {provider!r})
picture = np.zeros(({side}, {side}, 3), np.uint8)
before = memory.forget_peak()
translator(picture)
print((memory.peak() - before) / {side}**2)
""")
    told = room_module.measured(Translator(SHIPPED, provider))
    assert told == pytest.approx(found, rel=0.35)


def test_no_module_of_the_users_folder_is_run(bundle, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("psutil.py").write_text("raise SystemExit('run')\n")
    assert room_module.measured(Translator(bundle(), "cpu")) is not None


@pytest.fixture
def room(bundle, monkeypatch) -> Room:
    """For a model of 1,000 bytes a pixel, on a machine with 4 GB left."""
    monkeypatch.setattr(room_module, "measured", lambda translator: 1000.0)
    monkeypatch.setattr(memory, "available", lambda: 4 * 10**9)
    return Room(Translator(bundle(), "cpu"))


@pytest.mark.parametrize("reach", [84, None])
def test_what_does_not_fit_is_refused_with_what_to_do(room, reach):
    manifest = room.translator.manifest
    room.translator.manifest = manifest.model_copy(update={"reach": reach})
    why = room.refusal(4000, 3000)
    assert "3000x4000 needs about 11.2 GiB of memory, of which 3.7 are available" in why
    side = int(why.partition("--max-side ")[2].split()[0])
    assert 1000 * side * side * 3 / 4 < 4 * 10**9
    assert room.refusal(side, side * 3 // 4) is None


def test_what_earlier_pictures_took_serves_the_next(room, monkeypatch):
    assert room.refusal(2100, 2000) is not None
    monkeypatch.setattr(memory, "available", lambda: 5 * 10**9)
    assert room.refusal(2100, 2000) is None
    monkeypatch.setattr(memory, "available", lambda: 8 * 10**8)  # the runtime kept it
    assert room.refusal(2100, 2000) is None
    assert room.refusal(3000, 2000) is not None


@pytest.mark.parametrize("left", [0, -5, 100])
def test_where_nothing_is_left_no_side_is_named(room, monkeypatch, left):
    monkeypatch.setattr(memory, "available", lambda: left)
    assert "--max-side" not in room.refusal(4000, 3000)


def test_small_pictures_and_gpus_are_not_looked_at(room, monkeypatch):
    monkeypatch.setattr(room_module, "measured", None)
    assert room.refusal(2000, 2000) is None
    room.translator.provider = "cuda"
    assert room.refusal(20_000, 20_000) is None


def test_a_model_that_can_not_be_measured_is_run(room, monkeypatch):
    monkeypatch.setattr(room_module, "measured", lambda translator: None)
    assert room.refusal(20_000, 20_000) is None


def test_a_folder_goes_on_after_a_picture_that_is_too_large(
    bundle, save, noise, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    save(Path("in/a.png"), noise(0, 8, 8))
    save(Path("in/b.png"), noise(1, 20, 20))
    save(Path("in/c.png"), noise(2, 9, 9))
    monkeypatch.setattr(room_module, "LARGE", 400)
    monkeypatch.setattr(memory, "available", lambda: 0)
    jobs = make_plan(["in"], Path("out"), "png", "1/1")
    summary = translate_files(Translator(bundle(), "cpu"), jobs, Record(Path("out")), Settings())
    assert summary.done == 2
    [(name, reason)] = summary.failed
    assert name.endswith("b.png")
    assert "20x20 needs about" in reason
    assert not Path("out/b.png").exists()


@pytest.mark.parametrize("error", [RuntimeError("CUDA failure 700"), ValueError("\n")])
def test_a_model_that_fails_is_told_with_the_size(
    bundle, save, noise, tmp_path, monkeypatch, error
):
    def failing(*_):
        raise error

    monkeypatch.chdir(tmp_path)
    save(Path("in/a.png"), noise(0, 8, 9))
    translator = Translator(bundle(), "cpu")
    monkeypatch.setattr(translator, "_run", failing)
    jobs = make_plan(["in"], Path("out"), "png", "1/1")
    summary = translate_files(translator, jobs, Record(Path("out")), Settings())
    [(_, reason)] = summary.failed
    assert reason == f"9x8: the model failed ({str(error).strip() or type(error).__name__})"
