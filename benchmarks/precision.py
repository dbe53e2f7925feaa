"""Training in bf16 against fp32: loss curves over 500 steps, and held-out pictures.

    python benchmarks/precision.py            # half an hour on two cores; goes on where it stopped
    python benchmarks/precision.py --write    # results, and the table of docs/performance.md

Each method trains on the quickstart's sample with some seeds in both precisions. Losses are the
means of 50 steps that metrics.csv holds; seeds tell how much they vary by chance.
"""

import argparse
import csv
import json
import math
import statistics
from pathlib import Path

import machine
import page
from command import command

from img2img.files import usable_cores

ROOT = Path(__file__).parents[1]
SAMPLE = ROOT / "examples" / "quickstart"
RESULTS = ROOT / "benchmarks" / "results" / "precision-cpu.json"
PAGE = ROOT / "docs" / "performance.md"
SEEDS = (0, 1, 2)
PRECISIONS = ("fp32", "bf16")
SHARED = (
    "--size 64 --width 16 --d-width 16 --steps 500 --log-every 50 --eval-every 500 --ema 0.99 "
    "--extractor efficientnet-lite0 --no-check --workers 0"
)
METHODS = {
    "pix2pix": "--mode pix2pix --batch 8 --levels 5 --norm instance --no-dropout",
    "cyclegan": "--mode cyclegan --batch 1 --blocks 3",
    "stargan": "--mode stargan --batch 4 --blocks 3 --d-layers 5",
}
Rows = list[dict[str, str]]


def train(mode: str, precision: str, seed: int, runs: Path) -> Rows:
    """The run's metrics, trained where they are not there yet."""
    run = runs / f"{mode}-{precision}-{seed}"
    if not _done(run):
        options = f"{METHODS[mode]} {SHARED} --precision {precision} --seed {seed}"
        where = ["--out", str(runs), "--name", run.name, "--resume", "auto"]
        if mode == "stargan":
            data = ["--data", str(SAMPLE / "train"), "--test-data", str(SAMPLE / "test")]
        else:
            data = []
            for side, style in (("a", "flat"), ("b", "3d")):
                data += [f"--{side}", str(SAMPLE / "train" / style)]
                data += [f"--test-{side}", str(SAMPLE / "test" / style)]
        command("train", *options.split(), *data, *where)
    with (run / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def _done(run: Path) -> bool:
    """Whether the last of 500 steps is in its metrics."""
    path = run / "metrics.csv"
    return path.exists() and path.read_text().splitlines()[-1].startswith("500,")


def compared(found: dict[str, list[Rows]]) -> dict:
    """How far bf16's mean curves are from fp32's, in deviations of a difference of two such means
    by chance; and what the last looks measured, mean and deviation over the seeds.
    """
    columns = [name for name in found["fp32"][0][0] if name[:2] in ("d/", "g/")]
    apart = []
    for column in columns:
        for row in range(len(found["fp32"][0])):
            values = [[float(run[row][column]) for run in found[p]] for p in PRECISIONS]
            spread = sum(statistics.variance(some) for some in values) / len(SEEDS)
            if spread:
                difference = statistics.mean(values[1]) - statistics.mean(values[0])
                apart.append(difference / math.sqrt(spread))
    held_out = {}
    for column in found["fp32"][0][-1]:
        if column.startswith("held_out/") and column.endswith(("kernel", "l1")):
            values = {p: [float(run[-1][column]) for run in found[p]] for p in PRECISIONS}
            held_out[column] = {
                p: (statistics.mean(some), statistics.stdev(some)) for p, some in values.items()
            }
    return {
        "points": len(apart),
        "mean": statistics.mean(apart),
        "deviation": statistics.stdev(apart),
        "held_out": held_out,
    }


def table(result: dict) -> str:
    lines = [
        "| | points of loss curves | bf16 - fp32, in deviations | held out | fp32 | bf16 |",
        "|---|---|---|---|---|---|",
    ]
    for mode, found in result["methods"].items():
        start = f"| {mode} | {found['points']} | {found['mean']:+.2f} +- {found['deviation']:.2f} |"
        for column, values in found["held_out"].items():
            cells = " | ".join(f"{values[p][0]:.4f} +- {values[p][1]:.4f}" for p in PRECISIONS)
            lines.append(f"{start} {column.removeprefix('held_out/')} | {cells} |")
            start = "| | | |"
    source = f"{result['machine']}; {result['date']}; {len(SEEDS)} seeds"
    return "\n".join([*lines, "", f"{source}; `benchmarks/precision.py`."])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "precision")
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=list(METHODS))
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args()
    methods = {}
    for mode in given.methods:
        found = {p: [train(mode, p, seed, given.runs) for seed in SEEDS] for p in PRECISIONS}
        methods[mode] = compared(found)
    result = {
        **machine.measured(usable_cores()),
        "methods": methods,
    }
    if given.write:
        RESULTS.write_text(json.dumps(result, indent=2) + "\n")
        page.fill(PAGE, "precision", table(result))
    print(table(result))


if __name__ == "__main__":
    main()
