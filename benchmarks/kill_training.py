"""Kills of `train`, and of the processes that decode its pictures, for `kills.py`."""

import os
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import torch
from killer import Killer, Lost, require_clear, require_empty, require_whole_files

from img2img.files import read_rows
from img2img.training import checkpoint

STEPS = 8
LONGER = 80  # steps, of which the workers have not made all batches at once
# Of a run of which everything is written that can be.
TRAIN = [
    *("train", "--mode", "cyclegan", "--a", "flat", "--b", "3d", "--size", "32", "--resize", "36"),
    *("--width", "4", "--blocks", "1", "--d-width", "4", "--d-layers", "2", "--batch", "2"),
    *("--held-out", "2", "--precision", "fp32", "--device", "cpu"),
]
OFTEN = [
    *("--workers", "0", "--save-every", "2", "--log-every", "1", "--sample-every", "3"),
    *("--eval-every", "4", "--keep", "all", "--extractor", "none"),
]
WITH_WORKERS = [
    *("--workers", "2", "--save-every", "20", "--log-every", "10", "--sample-every", "1000"),
    *("--eval-every", "1000", "--extractor", "none", "--no-cache"),
]
DIED = "A process that decodes pictures died"  # of the message of `train`


def train(killer: Killer) -> Iterator[None]:
    """Training, killed a few times, equals training in one go."""
    begin = [*TRAIN, *OFTEN, "--steps", str(STEPS)]
    killer.run([*begin, "--name", "whole"])
    whole, number = killer.folder / "runs" / "whole", 0
    while True:
        number += 1
        run = killer.folder / "runs" / f"run-{number}"
        command = [*begin, "--name", run.name, "--resume", "auto"]
        places = [run, run / "checkpoints", run / "samples"]
        newest = 0
        for _ in range(killer.random.randint(1, 6)):
            killer.kill(command, places)
            step = _newest_step(run)
            if step < newest:
                raise Lost(f"the checkpoint went back from step {newest} to {step}")
            newest = step
            require_whole_files(run)
        killer.run(command)
        _require_equal(run, whole)
        steps = [row["step"] for row in read_rows(run / "metrics.csv")]
        if steps != [str(step) for step in range(1, STEPS + 1)]:
            raise Lost(f"{run}/metrics.csv has the steps {steps}")
        for name in ("samples", "checkpoints"):
            if {p.name for p in (run / name).iterdir()} != {
                p.name for p in (whole / name).iterdir()
            }:
                raise Lost(f"{run / name} has other files than {whole / name}")
        require_clear(run)
        require_empty(killer.scratch)
        shutil.rmtree(run)
        yield


def data_workers(killer: Killer) -> Iterator[None]:
    """A killed process that decodes pictures costs no step; those of a killed training end."""
    begin = [*TRAIN, *WITH_WORKERS, "--steps", str(LONGER)]
    killer.run([*begin, "--name", "whole"])
    lasts = killer.lasts["train"]
    whole, number = killer.folder / "runs" / "whole", 0
    while True:
        number += 1
        run = killer.folder / "runs" / f"run-{number}"
        command = [*begin, "--name", run.name, "--resume", "auto"]
        for _ in range(killer.random.randint(1, 3)):
            process = killer.start(command)
            time.sleep(killer.random.uniform(0.1, 0.7) * lasts)
            children = psutil.Process(process).children()
            if children and killer.random.random() < 0.8:
                _kill_worker(killer, process, killer.random.choice(children))
            else:
                killer.end(process)
                _, alive = psutil.wait_procs(children, 15)
                if alive:
                    raise Lost(f"{len(alive)} workers outlive a killed training")
            require_whole_files(run)
        killer.run(command)
        _require_equal(run, whole)
        steps = [row["step"] for row in read_rows(run / "metrics.csv")]
        if steps != sorted(set(steps), key=int) or steps[-1:] != [str(LONGER)]:
            raise Lost(f"{run}/metrics.csv has the steps {steps}")
        require_clear(run)
        require_empty(killer.scratch)
        shutil.rmtree(run)
        yield


def _kill_worker(killer: Killer, process: int, worker: psutil.Process) -> None:
    """Kill one worker. The training says so and has saved, or did not need it any more."""
    if not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE:
        os.waitpid(process, 0)
        return
    worker.send_signal(signal.SIGKILL)
    killer.kills += 1
    _, status = os.waitpid(process, 0)
    if status and DIED not in killer.log[-1]:
        raise Lost(f"after a worker was killed, train says {killer.log[-1:]}")


def _newest_step(run: Path) -> int:
    if not checkpoint.exists(run):
        return 0
    return int(checkpoint.load_newest(run, _refuse)[1]["trainer"]["step"])


def _refuse(text: str) -> None:
    raise Lost(text)


def _require_equal(run: Path, whole: Path) -> None:
    """Raises Lost where networks, optimizers, averages or pools differ in any bit."""
    states = [checkpoint.load(folder / checkpoint.LAST)["trainer"] for folder in (run, whole)]
    if not _equal(*states):
        raise Lost(f"{run} differs from {whole}")


def _equal(first: object, second: object) -> bool:
    if isinstance(first, torch.Tensor):
        return isinstance(second, torch.Tensor) and torch.equal(first, second)
    if isinstance(first, dict) and isinstance(second, dict):
        return first.keys() == second.keys() and all(_equal(first[k], second[k]) for k in first)
    if isinstance(first, list | tuple) and isinstance(second, list | tuple):
        pairs = zip(first, second, strict=False)
        return len(first) == len(second) and all(_equal(a, b) for a, b in pairs)
    return first == second
