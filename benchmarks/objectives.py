"""Train every adversarial objective alike, measure each, write the tables of docs/objectives.md.

    python examples/emoji/build.py data/emoji --size 64
    python benchmarks/objectives.py data/emoji            # hours; goes on where it stopped
    python benchmarks/objectives.py data/emoji --cost     # seconds a step, on an idle machine
    python benchmarks/objectives.py --write

Each run is trained, exported and measured by the command line, and is one line of
benchmarks/results/objectives.jsonl. Two processes may share the work: --task pairs and unpaired.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "objectives.jsonl"
SEEDS = (0, 1, 2)
SMALL = "--size 64 --width 16 --d-width 16 --no-check --workers 0 --eval-every 0 --ema 0.99"
# What all objectives of a task share; the rest is the method's own default.
TASKS = {
    "pairs": f"--mode pix2pix {SMALL} --steps 500 --batch 8 --levels 5 --norm instance "
    "--no-dropout --generator-lr 5e-4",
    "unpaired": f"--mode cyclegan {SMALL} --steps 500 --batch 4 --blocks 3 --identity 0",
}
STYLES = {"pairs": ("flat", "3d"), "unpaired": ("flat", "noto")}
WAYS = {"pairs": ("ab",), "unpaired": ("ab", "ba")}
METRICS = ("lite0_kernel", "l1", "lite0_perceptual", "recall", "coverage")


def command(*arguments: str) -> str:
    """What `img2img` prints."""
    done = subprocess.run(
        [sys.executable, "-m", "img2img", *arguments], stdout=subprocess.PIPE, text=True
    )
    if done.returncode:
        raise SystemExit(f"img2img {' '.join(arguments)} failed.")
    return done.stdout


def run(task: str, name: str, options: str, seed: int, data: Path, runs: Path) -> dict:
    """Train, export and measure once."""
    a, b = STYLES[task]
    folder = runs / f"{task}-{name}-{seed}"
    sources = ["--a", data / "train" / a, "--b", data / "train" / b]
    test = ["--test-a", data / "test" / a, "--test-b", data / "test" / b]
    if not folder.exists():
        given = [*TASKS[task].split(), *options.split(), "--seed", str(seed)]
        where = ["--out", str(runs), "--name", folder.name]
        command("train", *map(str, sources + test), *given, *where)
    elif not (folder / "weights.safetensors").exists():
        command("train", "--resume", str(folder))
    command("export", str(folder), "--checkpoint", "last")
    measured = {}
    for way in WAYS[task]:
        inputs, truths = (a, b) if way == "ab" else (b, a)
        model = folder / "export" / f"{folder.name}{f'-{way}' * (len(WAYS[task]) > 1)}.onnx"
        folders = ["--a", str(data / "test" / inputs), "--b", str(data / "test" / truths)]
        said = command("evaluate", "-m", str(model), *folders, "--bootstrap", "0", "--json")
        found = {metric["name"]: metric["value"] for metric in json.loads(said)["metrics"]}
        measured[way] = {metric: found[metric] for metric in METRICS}
    return {"task": task, "name": name, "options": options, "seed": seed, "measured": measured}


def main() -> None:
    from img2img.methods.objectives import OBJECTIVES

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, nargs="?")
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--task", choices=TASKS)
    given = parser.parse_args()
    for seed in SEEDS:
        for task in [given.task] if given.task else TASKS:
            for name in OBJECTIVES:
                rows = RESULTS.read_text().splitlines() if RESULTS.exists() else ()
                done = {(r["task"], r["name"], r["seed"]) for r in map(json.loads, rows)}
                if (task, name, seed) in done:
                    continue
                row = run(task, name, f"--objective {name}", seed, given.data, given.runs)
                RESULTS.parent.mkdir(exist_ok=True)
                with RESULTS.open("a") as file:
                    file.write(json.dumps(row) + os.linesep)


if __name__ == "__main__":
    main()
