"""Translating on Ray: what actors take, and that outputs and record are those of the usual command,
although processes are killed.
"""

import json
import os
import pickle
import shutil
import subprocess
import sys
import time
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
import psutil
import pytest
from bundles import make_bundle
from command_line import run
from PIL import Image

from img2img import __version__
from img2img.errors import DeviceError, UsageError
from img2img.infer import on_ray
from img2img.infer.item import Item
from img2img.infer.on_ray import Model, Needs
from img2img.infer.pipeline import Settings
from img2img.infer.plan import Job

ROOT = Path(__file__).parents[2]
NAMES = [f"{number:02}.png" for number in range(60)]
# In the processes of Ray that work, a picture takes a tenth of a second, and one ends them.
SLOW = """
import os, sys, time
if any(part.endswith("default_worker.py") for part in sys.orig_argv):
    from img2img.infer import item
    read = item._read
    def slow(job, reading):
        if job.source.endswith("deadly.png"):
            os._exit(9)
        time.sleep(0.1)
        return read(job, reading)
    item._read = slow
"""
needs_ray = pytest.mark.skipif(not find_spec("ray"), reason="pip install -e '.[ray]' first")


def node(**resources: float) -> dict:
    return {"Resources": resources}


@pytest.mark.parametrize(
    ("provider", "threads", "nodes", "needs", "room"),
    [
        ("auto", None, [node(CPU=8.0)], Needs(1, 0), 8),
        ("cpu", 4, [node(CPU=8.0), node(CPU=6.0)], Needs(4, 0), 3),
        ("auto", None, [node(CPU=32.0), node(CPU=16.0, GPU=4.0)], Needs(4, 1), 4),
        ("cpu", None, [node(CPU=16.0, GPU=4.0)], Needs(1, 0), 16),
        ("openvino", None, [node(CPU=16.0, GPU=4.0)], Needs(1, 0), 16),
        ("cuda", None, [node(CPU=16.0)], Needs(1, 1), 0),  # an error, not a wait without end
        ("cuda", 8, [node(CPU=16.0, GPU=4.0)], Needs(8, 1), 2),
        ("cpu", 64, [node(CPU=16.0)], Needs(64, 0), 0),
        ("cpu", None, [node(memory=1e9)], Needs(1, 0), 0),  # a head that gets no work
    ],
)
def test_an_actor_has_a_gpu_where_there_are_some_and_its_share_of_the_cpus(
    provider, threads, nodes, needs, room
):
    assert on_ray._needs(nodes, provider, threads) == needs
    assert sum(map(needs.fit, nodes)) == room


def test_without_ray_the_command_to_install_it_is_told(bundle, save, noise, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "ray", None)
    save(tmp_path / "in" / "a.png", noise())
    line = ["translate", "in", "-o", "out", "-m", bundle(), "--engine", "ray"]
    done = run(*line, cwd=tmp_path)
    assert done.returncode == 2
    assert "img2img-gan[ray]" in done.stderr
    assert not list((tmp_path / "out").glob("*.png"))


@pytest.mark.parametrize("option", [["--actors", 2], ["--address", "auto"]])
def test_options_of_ray_without_it_are_refused(bundle, tmp_path, option):
    done = run("translate", "in", "-o", "out", "-m", bundle(), *option, cwd=tmp_path)
    assert done.returncode == 2
    assert "--engine ray" in done.stderr


# --- without Ray -------------------------------------------------------------------------------


@pytest.fixture
def without_ray(monkeypatch):
    """What is put into Ray's store is its own reference."""
    store = SimpleNamespace(put=lambda value: value, get=lambda value: value)
    monkeypatch.setattr(on_ray, "_ray", lambda: store)


@pytest.fixture
def jobs(save, noise, tmp_path) -> list[Job]:
    names = [f"{number}.png" for number in range(5)]
    for number, name in enumerate(names):
        save(tmp_path / "in" / name, noise(number))
    return [Job(str(tmp_path / "in" / name), str(tmp_path / "out" / name)) for name in names]


def answer(path: Path, jobs: list[Job], provider: str = "cpu", version: str = __version__):
    """What an actor answers to a part."""
    wanted = Model(Path("elsewhere.onnx"), provider, "auto", 8)
    actor = on_ray.Actor(wanted, [path.read_bytes()], Settings(), 1, version)
    return pickle.loads(actor({"jobs": pickle.dumps(jobs)})["answer"])


def test_an_actor_translates_with_the_content_of_a_model_whose_file_it_has_not(
    bundle, jobs, without_ray
):
    items, provider, precision = answer(bundle(), jobs)
    assert (provider, precision) == ("cpu", "fp32")
    assert [item.job for item in items] == jobs
    for job in jobs:
        source, target = (np.asarray(Image.open(file)) for file in job[:2])
        assert np.array_equal(target, 255 - source)


def test_an_actor_of_another_version_or_without_the_provider_says_so(bundle, jobs, without_ray):
    other = answer(bundle(), jobs, version="0.0.0")
    assert isinstance(other, UsageError)
    assert "0.0.0" in str(other)
    absent = answer(bundle(), jobs, provider="coreml" if os.name == "nt" else "directml")
    assert isinstance(absent, DeviceError)
    assert not Path(jobs[0].target).exists()


class Losing(on_ray.OnRay):
    """An engine whose actors die with one of the pictures."""

    def __init__(self, deadly: str):
        self.parts: list[list[str]] = []
        self.deadly = deadly
        super().__init__(Model(Path(os.devnull), "cpu", "auto", 8), Needs(1, 0), actors=1)

    def _run(self, jobs, size, queue, settings):
        for start in range(0, len(jobs), size):
            part = jobs[start : start + size]
            self.parts.append([Path(job.source).stem for job in part])
            if self.deadly not in self.parts[-1]:
                yield from map(Item, part)


@pytest.fixture
def losing(without_ray, monkeypatch) -> Losing:
    monkeypatch.setattr(on_ray.session, "read", lambda path: b"")
    monkeypatch.setattr(on_ray, "PARTS", 2)
    return Losing("3")


def test_a_part_that_is_lost_goes_on_picture_by_picture(losing, jobs):
    items = list(losing.translated(jobs, Settings(), lambda begun: None))
    assert losing.parts == [["0", "1"], ["2", "3"], ["4"], ["2"], ["3"]]
    assert [Path(item.job.source).stem for item in items] == ["0", "1", "4", "2", "3"]
    assert [item.error is not None for item in items] == [False] * 4 + [True]


def test_all_outputs_are_begun_before_the_first_is_made(losing, jobs):
    begun: list[Job] = []
    next(losing.translated(jobs, Settings(), begun.extend))
    assert begun == jobs


def test_jobs_with_relative_paths_are_given_back_as_they_were(losing, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    job = Job("in/a.png", "out/a.png")
    [item] = losing.translated([job], Settings(), lambda begun: None)
    assert item.job == job


# --- with Ray ----------------------------------------------------------------------------------


class Done(NamedTuple):
    """What a command on Ray has done: its folder, its answer, what it listened to."""

    folder: Path
    code: int
    summary: dict
    message: str
    addresses: set[str]


def workers(command: psutil.Process) -> list[psutil.Process]:
    """The processes of the actors."""
    found = []
    for process in command.children(recursive=True):
        try:
            found += [process] * process.cmdline()[0].startswith("ray::MapWorker")
        except (psutil.Error, IndexError):
            continue
    return found


def listening(processes: list[psutil.Process]) -> set[str]:
    """The addresses at which they take connections."""
    found = set()
    for process in processes:
        with suppress(psutil.NoSuchProcess):  # the one that was killed
            for connection in process.net_connections("tcp"):
                if connection.status == psutil.CONN_LISTEN:
                    found.add(connection.laddr.ip)
    return found


@pytest.fixture(scope="module")
def done(tmp_path_factory) -> Done:
    """Sixty pictures, a file that is none, and a picture that ends its process, on two actors, of
    which one is killed.
    """
    folder = tmp_path_factory.mktemp("ray")
    make_bundle(folder / "invert.onnx")
    (folder / "in").mkdir()
    for number, name in enumerate([*NAMES, "deadly.png"]):
        pixels = np.random.default_rng(number).integers(0, 256, (8, 8 + number % 2, 3), np.uint8)
        Image.fromarray(pixels).save(folder / "in" / name)
    (folder / "in" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    for name in ("site", "temporary"):
        (folder / name).mkdir()
    (folder / "site" / "sitecustomize.py").write_text(SLOW)
    line = [sys.executable, "-m", "img2img", "translate", "in", "-o", "out", "-m", "invert.onnx"]
    env = {**os.environ, "PYTHONPATH": f"{folder / 'site'}{os.pathsep}{ROOT}"}
    env |= {"TMPDIR": str(folder / "temporary")}
    command = subprocess.Popen(
        [*line, "--engine", "ray", "--actors", "2", "--json"],
        cwd=folder,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    finished, process = folder / "out" / ".img2img" / "manifest.jsonl", psutil.Process(command.pid)
    try:
        while not (finished.exists() and finished.stat().st_size):
            assert command.poll() is None, command.communicate()[1]
            time.sleep(0.05)
        victim = workers(process)[0]
        victim.kill()
        assert len(finished.read_text().splitlines()) < len(NAMES) / 2
        addresses = listening([process, *process.children(recursive=True)])
        out, message = command.communicate(timeout=300)
    finally:
        command.kill()
    return Done(folder, command.returncode, json.loads(out), message, addresses)


def record(out: Path, kind: str) -> list[str]:
    """The lines of a record without their times, and without those of the picture that ends its
    process.
    """
    lines = map(json.loads, (out / ".img2img" / f"{kind}.jsonl").read_text().splitlines())
    told = [{k: v for k, v in line.items() if k not in ("at", "crc32")} for line in lines]
    return sorted(json.dumps(line) for line in told if line["output"] != "deadly.png")


@needs_ray
@pytest.mark.slow
def test_outputs_and_record_are_those_of_the_usual_command_although_a_worker_is_killed(done):
    options = ["-m", "invert.onnx", "--provider", "cpu", "--json"]
    expected = json.loads(run("translate", "in", "-o", "usual", *options, cwd=done.folder).stdout)
    assert expected["done"] == len(NAMES) + 1
    for name in NAMES:
        there, here = (done.folder / out / name for out in ("out", "usual"))
        assert there.read_bytes() == here.read_bytes()
    for kind in ("begun", "manifest"):
        assert record(done.folder / "out", kind) == record(done.folder / "usual", kind)
    for key in ("provider", "precision", "passed_over", "notes"):
        assert done.summary[key] == expected[key]
    shutil.copytree(done.folder / "out", done.folder / "again")
    again = json.loads(run("translate", "in", "-o", "again", *options, cwd=done.folder).stdout)
    assert (again["done"], again["skipped"]) == (1, len(NAMES))


@needs_ray
@pytest.mark.slow
def test_only_the_picture_that_ends_its_process_fails_with_it(done):
    assert done.code == 5
    assert done.summary["done"] == len(NAMES)
    reasons = {Path(source).name: reason for source, reason in done.summary["failed"]}
    assert reasons.keys() == {"broken.png", "deadly.png"}
    assert "not a picture" in reasons["broken.png"]
    assert "ended each process" in reasons["deadly.png"]
    assert "Traceback" not in done.message
    assert "ray" not in done.message.lower()


@needs_ray
@pytest.mark.slow
def test_a_cluster_on_this_machine_listens_to_it_alone_and_leaves_nothing(done):
    assert done.addresses
    assert {address.removeprefix("::ffff:") for address in done.addresses} <= {"127.0.0.1", "::1"}
    assert list((done.folder / "temporary").iterdir()) == []
    left = {p.name for p in (done.folder / "out").iterdir()}
    assert left == {*NAMES, ".img2img"}


def test_other_processes_get_absolute_paths_and_the_same_urls(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    job = on_ray._absolute(Job("s3://bucket/in/a.png", "out/a.png", ("b/a.png",)))
    here = (str(tmp_path / "out/a.png"), (str(tmp_path / "b/a.png"),))
    assert job == Job("s3://bucket/in/a.png", *here)
