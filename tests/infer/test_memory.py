"""The memory that a picture needs is known before it is run."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import psutil
import pytest

from img2img.infer import memory
from img2img.infer.folder import Settings, translate_files
from img2img.infer.plan import make_plan
from img2img.infer.record import Record
from img2img.infer.translator import Translator

MIB = 2**20
linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


@linux
def test_a_larger_picture_needs_about_what_a_small_one_tells(bundle):
    """Against the peak of a process that runs it."""
    path, side = bundle(), 3000
    told = memory.bytes_per_pixel(path, "cpu")
    code = f"""
import numpy as np
from img2img.infer import memory
from img2img.infer.translator import Translator
translator = Translator({str(path)!r}, "cpu")
picture = np.zeros(({side}, {side}, 3), np.uint8)
before = memory.peak()
translator(picture)
print((memory.peak() - before) / {side}**2)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told == pytest.approx(float(done.stdout), rel=0.35)


@linux
def test_the_peak_follows_what_is_held():
    before = memory.peak()
    held = np.ones(300 * MIB, np.uint8)
    assert held.sum() == held.size
    assert memory.peak() >= before  # earlier tests may have held more
    assert memory.peak() >= 300 * MIB


@pytest.mark.parametrize("multiple", [4, 256])
def test_what_does_not_fit_is_refused_with_what_to_do(monkeypatch, multiple):
    monkeypatch.setattr(memory, "bytes_per_pixel", lambda path, provider: 1000.0)
    held = psutil.Process().memory_info().rss
    monkeypatch.setattr(memory, "available", lambda: 4 * 10**9 - held)
    why = memory.refusal(Path("m.onnx"), "cpu", multiple, 4000, 3000)
    assert "3000x4000 needs about 11.2 GiB" in why
    side = int(why.partition("--max-side ")[2].split()[0])
    assert 1000 * side * side * 3 / 4 < 4 * 10**9
    assert ("--tile" in why) == (multiple == 4)
    assert memory.refusal(Path("m.onnx"), "cpu", multiple, side * 3 // 4, side) is None


def test_small_pictures_and_gpus_are_not_looked_at(monkeypatch):
    monkeypatch.setattr(memory, "bytes_per_pixel", None)
    assert memory.refusal(Path("m.onnx"), "cpu", 4, 2000, 2000) is None
    assert memory.refusal(Path("m.onnx"), "cuda", 4, 20_000, 20_000) is None


@linux
def test_a_containers_limit_counts(tmp_path, monkeypatch):
    free = memory.available()
    assert free > 100 * MIB
    own = Path("/proc/self/cgroup").read_text().split("::")[1].strip().lstrip("/")
    group = tmp_path / own
    group.mkdir(parents=True, exist_ok=True)
    (group / "memory.max").write_text(f"{200 * MIB}\n")
    (group / "memory.current").write_text(f"{180 * MIB}\n")
    (group / "memory.stat").write_text(f"anon 1\ninactive_file {30 * MIB}\nfile 5\n")
    monkeypatch.setattr(memory, "CGROUPS", tmp_path)
    assert memory.available() == 50 * MIB
    (group / "memory.max").write_text("max\n")
    assert memory.available() > 100 * MIB


def test_a_folder_goes_on_after_a_picture_that_is_too_large(
    bundle, save, noise, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    save(Path("in/a.png"), noise(0, 8, 8))
    save(Path("in/b.png"), noise(1, 20, 20))
    save(Path("in/c.png"), noise(2, 9, 9))
    monkeypatch.setattr(memory, "LARGE", 400)
    monkeypatch.setattr(memory, "available", lambda: -psutil.Process().memory_info().rss)
    jobs = make_plan(["in"], Path("out"), "png", "1/1")
    summary = translate_files(Translator(bundle(), "cpu"), jobs, Record(Path("out")), Settings())
    assert summary.done == 2
    [(name, reason)] = summary.failed
    assert name.endswith("b.png")
    assert "20x20 needs about" in reason
    assert not Path("out/b.png").exists()
