"""The peak of memory of a training step, whole, in parts and with activations made again.

    python benchmarks/train_memory.py [--size 256] [--batch 4] [--write]

Each in a process of its own, which tells the most that it held; on a CPU torch itself is in it.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

import machine
import page
import torch
import train_step

from img2img import memory

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "train-memory-cpu.json"
PAGE = ROOT / "docs" / "performance.md"
WAYS = {
    "whole": {},
    "--accumulate 2": {"accumulate": 2},
    "--recompute": {"recompute": True},
    "--accumulate 2 --recompute": {"accumulate": 2, "recompute": True},
}


def measure(mode: str, size: int, batch: int, way: str) -> dict[str, float]:
    """In this process: seconds of the second step, and the peak."""
    trainer, placed = train_step.training(mode, size, batch, "cpu", WAYS[way])
    memory.forget_peak()
    turn = 5 if mode == "stargan" else 1
    for _ in range(2):
        began = time.perf_counter()
        for _ in range(turn):
            trainer.update(placed)
    return {"seconds": (time.perf_counter() - began) / turn, "gib": memory.peak() / 2**30}


def table(result: dict) -> str:
    lines = ["| | " + " | ".join(WAYS) + " |", "|---" * (len(WAYS) + 1) + "|"]
    for mode, found in result["peaks"].items():
        cells = (f"{found[way]['gib']:.1f} GiB, {found[way]['seconds']:.1f} s" for way in WAYS)
        lines.append(f"| {mode} | " + " | ".join(cells) + " |")
    what = f"{result['size']} px, batch {result['batch']}, bf16 where the CPU has it"
    source = f"{result['machine']}; {result['date']}; `benchmarks/train_memory.py`."
    return "\n".join([f"Peak of a process, and seconds of a step: {what}.", "", *lines, "", source])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)  # in a process of its own
    given = parser.parse_args()
    if given.one:
        mode, number = given.one
        way = list(WAYS)[int(number)]
        print(json.dumps(measure(mode, given.size, given.batch, way)))
        return
    peaks: dict[str, dict] = {}
    for mode in train_step.TEXTBOOK:
        peaks[mode] = {}
        for number, way in enumerate(WAYS):
            line = [sys.executable, __file__, "--size", str(given.size)]
            line += ["--batch", str(given.batch), "--one", mode, str(number)]
            done = subprocess.run(line, check=True, stdout=subprocess.PIPE, text=True)
            peaks[mode][way] = json.loads(done.stdout)
            print(mode, way, peaks[mode][way], file=sys.stderr, flush=True)
    result = {
        **machine.measured(torch.get_num_threads()),
        "size": given.size,
        "batch": given.batch,
        "peaks": peaks,
    }
    if given.write:
        RESULTS.write_text(json.dumps(result, indent=2) + "\n")
        page.fill(PAGE, "memory", table(result))
    print(table(result))


if __name__ == "__main__":
    main()
