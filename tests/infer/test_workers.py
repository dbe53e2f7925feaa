"""Threads or processes that read and write the pictures of a folder."""

import copy
import json
import os
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

from img2img.errors import Img2ImgError
from img2img.infer import folder, pipeline, workers
from img2img.infer.folder import Settings, translate_files
from img2img.infer.plan import make_plan
from img2img.infer.record import Record


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def on_gpu(invert, monkeypatch):
    """A model that counts as one on a GPU, for which few pictures and cores suffice to have
    processes, two of them.
    """
    monkeypatch.setattr(workers, "FROM_CORES", 1)
    monkeypatch.setattr(workers, "FROM_JOBS", 1)
    monkeypatch.setattr(folder, "usable_cores", lambda: 2)
    translator = copy.copy(invert)
    translator.provider = "cuda"
    return translator


@pytest.mark.parametrize(
    ("cores", "jobs", "on_cpu", "kind", "together"),
    [
        (16, 10_000, False, ProcessPoolExecutor, workers.TOGETHER),
        (16, 10_000, True, ThreadPoolExecutor, 1),  # the model needs all cores for longer
        (2, 10_000, False, ThreadPoolExecutor, 1),
        (16, 20, False, ThreadPoolExecutor, 1),
    ],
)
def test_processes_are_for_many_pictures_on_a_gpu(cores, jobs, on_cpu, kind, together):
    with workers.workers(cores, jobs, on_cpu) as (pool, count, each):
        assert (type(pool), count, each) == (kind, cores, together)


def test_processes_give_what_threads_give(on_gpu, invert, save, noise):
    """Pictures of two sizes with metadata and transparency, and a file that is none."""
    for number in range(9):
        pixels = noise(number, 8, 8 + number % 2)
        exif = Image.Exif()
        exif[0x010E] = f"picture {number}"
        save(Path(f"in/{number}.png"), pixels, exif=exif, dpi=(300, 300))
    clear = np.dstack([noise(9), np.full((8, 8), 100, np.uint8)])
    save(Path("in/clear.png"), clear)
    Path("in/broken.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    found = {}
    for name, translator in (("threads", invert), ("processes", on_gpu)):
        out = Path(name)
        jobs = make_plan(["in"], out, "keep", "1/1")
        summary = translate_files(translator, jobs, Record(out), Settings())
        [(source, reason)] = summary.failed
        assert source.endswith("broken.png")
        assert summary.done == 10
        lines = (out / ".img2img" / "manifest.jsonl").read_text().splitlines()
        told = {(e["output"], e["status"]) for e in map(json.loads, lines)}
        found[name] = {p.name: p.read_bytes() for p in out.glob("*.png")}, reason, told
        again = translate_files(translator, jobs, Record(out), Settings())
        assert (again.done, again.skipped) == (0, 10)
    assert found["threads"] == found["processes"]
    assert len(found["threads"][0]) == 10


def test_reading_ahead_is_bounded_in_processes_too(on_gpu, save, noise, monkeypatch):
    """By the sizes of the pictures, and one at a time until these are known."""
    for number in range(40):
        save(Path(f"in/{number:02}.png"), noise(number, 8, 8))
    monkeypatch.setattr(pipeline, "WAITING", 5 * 8 * 8 * 3)
    parts: list[int] = []

    class Pool:
        def __init__(self, pool):
            self.pool = pool

        def submit(self, function, *arguments):
            if function is pipeline.read_all:
                parts.append(len(arguments[0]))
            return self.pool.submit(function, *arguments)

    with workers.workers(2, 40, False) as (pool, _, together):
        jobs = make_plan(["in"], Path("out"), "keep", "1/1")
        ahead = pipeline._Ahead(4 * together * 2, 2)
        reads = pipeline._read_ahead(Pool(pool), together, jobs, on_gpu, Settings(), ahead)
        next(reads)
        assert parts == [1, 1]
        for count, _ in enumerate(reads, start=2):
            assert sum(parts) - count <= 5
    assert sum(parts) == 40
    assert 1 < max(parts) <= together


def test_a_process_that_ends_before_its_work_is_told(on_gpu):
    with (
        pytest.raises(Img2ImgError, match="ended a process that reads and writes"),
        workers.workers(2, 40, False) as (pool, *_),
    ):
        pool.submit(os._exit, 9).result()


def test_processes_end_with_a_program_that_is_killed(tmp_path):
    script = tmp_path / "main.py"
    script.write_text(
        "import os, time\n"
        "from img2img.infer import workers\n"
        "if __name__ == '__main__':\n"
        "    with workers.workers(4, 10_000, False) as (pool, *_):\n"
        "        print(*{pool.submit(os.getpid).result() for _ in range(3)}, flush=True)\n"
        "        time.sleep(600)\n"
    )
    program = subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True)
    assert program.stdout
    started = [psutil.Process(int(pid)) for pid in program.stdout.readline().split()]
    assert started
    program.kill()
    program.wait()
    deadline = time.monotonic() + 60
    while any(process.is_running() for process in started):
        assert time.monotonic() < deadline
        time.sleep(0.05)
