"""Memory, descriptors and threads over long work: many files through `translate`, many requests to
`serve`, many steps of `train` with looks.

    python benchmarks/soak.py [--only translate serve] [--providers cpu openvino] [--share 0.1]
    python benchmarks/soak.py --write    # all of it, into the table of docs/reliability.md

Each command runs in a process of its own, which is looked at while it works. The memory of the last
fifth of the work is compared with that of the second tenth. Fails if it grew by more than 5 %, or
if there are more files or threads.
"""

import argparse
import io
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import httpx
import machine
import numpy as np
import page
import psutil
from PIL import Image

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "soak.json"
PAGE = ROOT / "docs" / "reliability.md"
SAMPLE = ROOT / "examples" / "quickstart" / "train"
COUNTS = {"translate": 100_000, "serve": 10_000, "train": 5_000}
UNITS = {"translate": "files", "serve": "requests", "train": "steps"}
MODEL = "flat-noto-ab"
MODELS = (MODEL, "flat-noto-ba", "flat-to-3d")  # of serve
WARM, LATE = (0.1, 0.2), (0.8, 1.0)  # parts of the work that are compared
MOST = 1.05  # times the memory after the warm-up
LOG = "log.txt"  # what a command prints
EVERY = 0.3  # seconds between looks at the process
TRAIN = [
    *("train", "--mode", "cyclegan", "--a", "flat", "--b", "3d", "--size", "32", "--resize", "36"),
    *("--width", "4", "--blocks", "1", "--d-width", "4", "--d-layers", "2", "--batch", "2"),
    *("--precision", "fp32", "--device", "cpu", "--workers", "0", "--log-every", "10"),
    *("--held-out", "20", "--extractor", "efficientnet-lite0", "--name", "r", "--out", "runs"),
]


class Look(NamedTuple):
    """At a process that works."""

    done: float  # share of the work
    memory: int  # resident, bytes
    files: int
    threads: int


def command(arguments: list[str], folder: Path) -> subprocess.Popen:
    """The command in a process of its own, whose log is in the folder."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    line = [sys.executable, "-m", "img2img", *arguments]
    with (folder / LOG).open("w") as log:
        return subprocess.Popen(line, cwd=folder, env=environment, stderr=log, stdout=log)


def require_done(process: subprocess.Popen, folder: Path) -> None:
    if process.wait():
        raise SystemExit((folder / LOG).read_text()[-2000:])


def look_at(process: subprocess.Popen, done: Callable[[], float]) -> list[Look]:
    """Looks at the process until it ends, or all of the work is done."""
    seen, watched = [], psutil.Process(process.pid)
    while process.poll() is None and (not seen or seen[-1].done < 1):
        try:
            memory, files = watched.memory_info().rss, watched.num_fds()
            seen.append(Look(done(), memory, files, watched.num_threads()))
        except psutil.Error:  # it has ended
            break
        time.sleep(EVERY)
    return seen


def translate(count: int, provider: str, folder: Path) -> list[Look]:
    """Small pictures of noise, no two of which are the same."""
    rng = np.random.default_rng(0)
    for number in range(count):
        place = folder / "in" / f"{number // 1000:03}"
        place.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 256, (32, 32, 3), np.uint8)
        Image.fromarray(pixels).save(place / f"{number}.png", compress_level=0)
    arguments = ["translate", "in", "-o", "out", "-m", MODEL, "--provider", provider]
    process = command([*arguments, "--threads", "1"], folder)
    record = folder / "out" / ".img2img" / "manifest.jsonl"
    lines = Lines(record)
    seen = look_at(process, lambda: lines.count() / count)
    require_done(process, folder)
    assert lines.count() == count
    return seen


class Lines:
    """The number of lines of a file that grows."""

    def __init__(self, path: Path):
        self.path, self.read, self.lines = path, 0, 0

    def count(self) -> int:
        if self.path.exists():
            with self.path.open("rb") as file:
                file.seek(self.read)
                content = file.read()
            self.read += len(content)
            self.lines += content.count(b"\n")
        return self.lines


def serve(count: int, provider: str, folder: Path) -> list[Look]:
    """Requests of mixed sizes, formats and models."""
    models = [part for model in MODELS for part in ("-m", model)]
    arguments = ["serve", *models, "--provider", provider, "--port", "0", "--threads", "1"]
    process = command(arguments, folder)
    while not (address := re.search(r"http://[\d.]+:\d+", (folder / LOG).read_text())):
        time.sleep(EVERY)
    seen, watched, chosen = [], psutil.Process(process.pid), random.Random(0)
    with httpx.Client(base_url=address[0], timeout=60) as client:
        for number, (content, parameters) in enumerate(requests(chosen, count)):
            client.post("/v1/translate", content=content, params=parameters).raise_for_status()
            if number % max(1, count // 200) == 0:
                memory, files = watched.memory_info().rss, watched.num_fds()
                seen.append(Look(number / count, memory, files, watched.num_threads()))
    process.terminate()
    process.wait()
    return seen


def requests(chosen: random.Random, count: int) -> Iterator[tuple[bytes, dict[str, str]]]:
    for _ in range(count):
        size = chosen.randrange(16, 129), chosen.randrange(16, 129)
        pixels = np.frombuffer(chosen.randbytes(3 * size[0] * size[1]), np.uint8)
        buffer = io.BytesIO()
        kind = chosen.choice(["PNG", "JPEG", "WEBP"])
        Image.fromarray(pixels.reshape(*size, 3)).save(buffer, kind)
        format = chosen.choice(["png", "jpeg", "webp"])
        yield buffer.getvalue(), {"model": chosen.choice(MODELS), "format": format}


def train(count: int, provider: str, folder: Path) -> list[Look]:
    """Steps of a tiny network, with a look, a grid of samples and a checkpoint in every 250."""
    for style in ("flat", "3d"):
        (folder / style).symlink_to(SAMPLE / style)
    due = [part for each in ("eval", "sample", "save") for part in (f"--{each}-every", "250")]
    arguments = [*TRAIN, "--steps", str(count), *due]
    process = command(arguments, folder)
    metrics = folder / "runs" / "r" / "metrics.csv"

    def done() -> float:
        rows = metrics.read_text().splitlines() if metrics.exists() else []
        step = rows[-1].partition(",")[0] if len(rows) > 1 else "0"
        return float(step) / count if step.isdigit() else 0.0

    seen = look_at(process, done)
    require_done(process, folder)
    return seen


RUN = {"translate": translate, "serve": serve, "train": train}


def compared(seen: list[Look]) -> dict[str, float]:
    """The largest looks after the warm-up, and late in the work."""
    early, late = (
        [look for look in seen if begin <= look.done <= end] for begin, end in (WARM, LATE)
    )
    if not (early and late):
        raise SystemExit("The work was too short for a comparison: raise --share.")
    result: dict[str, float] = {}
    for when, looks in (("early", early), ("late", late)):
        result[f"{when}_mib"] = max(look.memory for look in looks) / 2**20
        result[f"{when}_files"] = max(look.files for look in looks)
        result[f"{when}_threads"] = max(look.threads for look in looks)
    return result


def is_constant(row: dict) -> bool:
    more = any(row[f"late_{what}"] > row[f"early_{what}"] for what in ("files", "threads"))
    return not more and row["late_mib"] <= MOST * row["early_mib"]


def table(results: dict) -> str:
    lines = [
        "| what | provider | MiB in the second tenth | in the last fifth | files | threads |",
        "|---|---|---|---|---|---|",
    ]
    for row in results["rows"]:
        growth = 100 * (row["late_mib"] / row["early_mib"] - 1)
        lines.append(
            f"| {row['count']:,} {UNITS[row['what']]}, `{row['what']}` | {row['provider']} "
            f"| {row['early_mib']:.0f} | {row['late_mib']:.0f} ({growth:+.1f} %) "
            f"| {row['early_files']:.0f}, {row['late_files']:.0f} "
            f"| {row['early_threads']:.0f}, {row['late_threads']:.0f} |"
        )
    return "\n".join([*lines, "", f"{results['machine']}; {results['date']}."])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=RUN, default=list(RUN))
    parser.add_argument("--providers", nargs="+", default=["cpu", "openvino"])
    parser.add_argument("--share", type=float, default=1.0, help="of the counts")
    parser.add_argument("--write", action="store_true", help="into docs/reliability.md")
    given = parser.parse_args()
    grew = False
    for what in given.only:
        for provider in given.providers if what != "train" else ["cpu"]:
            began, count = time.monotonic(), max(1, int(given.share * COUNTS[what]))
            with tempfile.TemporaryDirectory() as folder:
                seen = RUN[what](count, provider, Path(folder))
            row = {"what": what, "provider": provider, "count": count, **compared(seen)}
            row["seconds"] = round(time.monotonic() - began, 1)
            grew |= not is_constant(row)
            print(json.dumps(row), "" if is_constant(row) else "GREW", flush=True)
            if given.write:
                write(row)
    sys.exit(1 if grew else 0)


def write(row: dict) -> None:
    """In the place of the row of the same work."""
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {"rows": []}
    key = row["what"], row["provider"]
    others = [each for each in results["rows"] if (each["what"], each["provider"]) != key]
    order = list(RUN)
    rows = sorted([*others, row], key=lambda each: (order.index(each["what"]), each["provider"]))
    results = {"rows": rows, **machine.measured(1)}
    RESULTS.write_text(json.dumps(results, indent=2) + "\n")
    page.fill(PAGE, "soak", table(results))


if __name__ == "__main__":
    main()
