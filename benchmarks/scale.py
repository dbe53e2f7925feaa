"""Translating a folder by the usual command, in shards, and on Ray: what a picture costs.

    python benchmarks/scale.py [--pictures 1000]
    python benchmarks/scale.py --write    # results, and the table of docs/performance.md

Each way uses all cores that this process may use, by turns, for a few pictures and for many: the
difference is what a picture costs, the rest is the start. Processor time is that of all processes
together. It is the figure to compare on a machine that does other work, too.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import machine
import numpy as np
import page
import psutil
from PIL import Image

from img2img.files import find_pictures, usable_cores
from img2img.infer.registry import shipped

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "scale-cpu.json"
PAGE = ROOT / "docs" / "performance.md"
MODEL, SIDE, FEW, ROUNDS = "flat-to-3d", 256, 10, 2
ACTOR = "ray::MapWorker"  # where the pictures are translated
WAYS = {
    "usual": "the usual command",
    "shards": "a shard for each core, `--threads 1`",
    "ray": "`--engine ray`, an actor for each core",
}


def pictures(folder: Path, count: int) -> None:
    """JPEG files that differ."""
    sources = list(find_pictures(shipped("quickstart") / "test" / "flat"))
    folder.mkdir()
    for number in range(count):
        image = Image.open(sources[number % len(sources)]).convert("RGB").resize((SIDE, SIDE))
        pixels = np.roll(np.asarray(image), number, (0, 1))
        Image.fromarray(pixels).save(folder / f"{number:05}.jpg", quality=95)


def commands(way: str, source: Path, out: Path) -> list[list[str]]:
    line = [sys.executable, "-m", "img2img", "translate", str(source), "-o", str(out)]
    line += ["-m", MODEL, "--provider", "cpu"]
    if way == "shards":
        cores = usable_cores()
        return [[*line, "--threads", "1", "--shard", f"{n + 1}/{cores}"] for n in range(cores)]
    return [[*line, "--engine", "ray"]] if way == "ray" else [line]


def run(lines: list[list[str]]) -> tuple[float, float, float]:
    """Seconds until all have ended, processor seconds of them and of all that they start, and those
    of Ray's own processes among these.
    """
    began, used, of_ray = time.monotonic(), {}, set()
    with tempfile.TemporaryFile("w+") as told:
        started = [psutil.Popen(line, stderr=told) for line in lines]
        while any(process.poll() is None for process in started):
            for process in started:
                with suppress(psutil.Error):
                    for each in (process, *process.children(recursive=True)):
                        with suppress(psutil.Error):
                            spent = each.cpu_times()
                            used[each.pid] = spent.user + spent.system
                            name = " ".join(each.cmdline()[:1])
                            if "/ray/core/" in name or "ray::" in name.replace(ACTOR, ""):
                                of_ray.add(each.pid)
                            else:
                                of_ray.discard(each.pid)
            time.sleep(0.1)
        told.seek(0)
        if any(process.returncode for process in started):
            sys.exit(f"{lines} failed: {told.read()}")
    served = sum(spent for pid, spent in used.items() if pid in of_ray)
    return time.monotonic() - began, sum(used.values()), served


def measure(count: int) -> dict:
    found: dict[str, dict[str, list]] = {way: {"few": [], "many": []} for way in WAYS}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pictures(folder / "few", FEW)
        pictures(folder / "many", FEW + count)
        for number in range(ROUNDS):
            for way, amounts in found.items():
                for amount, runs in amounts.items():
                    out = folder / f"{way}-{amount}-{number}"
                    runs.append(run(commands(way, folder / amount, out)))
    rows = {}
    for way, amounts in found.items():
        wall, processor, served = (
            [statistics.mean(values[kind] for values in amounts[n]) for n in ("few", "many")]
            for kind in (0, 1, 2)
        )
        each = (processor[1] - processor[0]) / count
        of_ray, seconds = served[1] - served[0], wall[1] - wall[0]
        steady = seconds > 0  # else the start has varied by more than the pictures take
        rows[way] = {
            "processor_per_picture": each,
            "without_ray": each - of_ray / count,
            "ray_per_second": of_ray / seconds if steady else None,
            "processor_start": processor[0] - FEW * each,
            "per_second": count / seconds if steady else None,
        }
    return {"pictures": count, "cores": usable_cores(), "rows": rows}


def table(result: dict) -> str:
    usual = result["rows"]["usual"]
    lines = [
        "| way | processor time of a picture | ratio | Ray beside it | pictures a second | start |",
        "|---|---|---|---|---|---|",
    ]
    for way, row in result["rows"].items():
        cost, beside, speed = row["without_ray"], row["ray_per_second"], row["per_second"]
        lines.append(
            f"| {WAYS[way]} | {1000 * cost:.0f} ms | {cost / usual['without_ray']:.2f} "
            f"| {'too noisy' if beside is None else f'{beside:.1%} of a core'} "
            f"| {'too noisy' if speed is None else f'{speed:.1f}'} "
            f"| {row['processor_start']:.1f} s |"
        )
    lines += [
        "",
        f"{result['pictures']} JPEG files of {SIDE} px by {MODEL}, on {result['cores']} "
        f"{'core' if result['cores'] == 1 else 'cores'}; the means of {ROUNDS} turns. "
        f"{result['machine']}; ray {result['versions']['ray']}; {result['date']}; "
        "`benchmarks/scale.py`. The machine did other work beside it.",
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pictures", type=int, default=1000)
    parser.add_argument("--write", action="store_true")
    chosen = parser.parse_args()
    result = measure(chosen.pictures) | machine.measured(usable_cores())
    result["versions"] = machine.versions("ray", "onnxruntime-gpu", "onnxruntime")
    print(table(result))
    if chosen.write:
        RESULTS.write_text(json.dumps(result, indent=2) + "\n")
        page.fill(PAGE, "scale", table(result))


if __name__ == "__main__":
    main()
