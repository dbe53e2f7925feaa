"""Train every objective alike, and each preset; measure them; write docs/objectives.md's tables.

    python examples/emoji/build.py data/emoji --size 64
    python benchmarks/objectives.py data/emoji              # hours on a CPU
    python benchmarks/objectives.py data/emoji --cost       # minutes, with nothing else running
    python benchmarks/objectives.py --write

Every run is trained, exported and measured by the command line and becomes one line of
benchmarks/results/objectives.jsonl; runs with a line are left out, so an interrupted one goes on.
--task NAME and --seed N run a part: several processes may share the work.
"""

import argparse
import datetime
import json
import statistics
import time
from dataclasses import dataclass
from pathlib import Path

import machine
import page
from command import command

from img2img.methods.objectives import OBJECTIVES

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "objectives.jsonl"
COSTS = ROOT / "benchmarks" / "results" / "objectives-cost.json"
PAGE = ROOT / "docs" / "objectives.md"
SEEDS = (0, 1, 2)
SMALL = "--size 64 --width 16 --d-width 16 --no-check --workers 0 --eval-every 0"
METRICS = {  # as `img2img evaluate` calls them -> as the tables do
    "lite0_kernel": "kernel distance",
    "lite2_kernel": "kernel distance",
    "l1": "L1 to truth",
    "lite0_perceptual": "feature distance to truth",
    "lite2_perceptual": "feature distance to truth",
    "recall": "recall",
    "coverage": "coverage",
    "classification_error": "domain error",
}


@dataclass(frozen=True)
class Task:
    """Candidates that differ in some options and share the rest."""

    title: str
    options: str
    styles: tuple[str, ...]  # of a and b, or the domains
    candidates: dict[str, str]  # name -> its options; the first is what costs are relative to
    judge: str = "lite0"  # EfficientNet-Lite0, or another one that took no part in training

    @property
    def metrics(self) -> list[str]:
        """Those of the table that make sense: a domain has no truths, pairs no classifier."""
        domains = "stargan" in self.options
        without = {"l1", f"{self.judge}_perceptual"} if domains else {"classification_error"}
        others = {metric for metric in METRICS if metric.startswith("lite")} - {
            f"{self.judge}_kernel",
            f"{self.judge}_perceptual",
        }
        return [metric for metric in METRICS if metric not in without | others]

    @property
    def ways(self) -> tuple[str, ...]:
        return ("ab", "ba") if "cyclegan" in self.options else ("ab",)


EACH = {name: f"--objective {name}" for name in OBJECTIVES}
PRESETS = {"paper": "--preset paper", "modern": "--preset modern"}
BEFORE = (  # the modern preset of pix2pix until 2026-11-26
    "--objective rpgan --norm instance --no-dropout --ema 0.999 --penalty-every 4 "
    "--augment colour,translation,cutout"
)
PIX2PIX = {
    **PRESETS,
    "modern before": BEFORE,
    "without the input added": "--preset modern --residual off",
    "without the gate": "--preset modern --residual plain",
    "without the perceptual loss": "--preset modern --perceptual 0",
    "with a PatchGAN": "--preset modern --discriminator patch",
    "with transposed convolutions": "--preset modern --upsample transposed",
    "with enlarged pictures": "--preset modern --margin enlarge",
}
TASKS = {
    "pairs": Task(
        "pix2pix, flat -> 3D",
        f"--mode pix2pix {SMALL} --ema 0.99 --steps 500 --batch 8 --levels 5 --norm instance "
        "--no-dropout --generator-lr 5e-4",
        ("flat", "3d"),
        EACH,
    ),
    "unpaired": Task(
        "CycleGAN, flat <-> Noto, mean of both ways",
        f"--mode cyclegan {SMALL} --ema 0.99 --steps 500 --batch 4 --blocks 3 --identity 0",
        ("flat", "noto"),
        EACH,
    ),
    "pix2pix": Task(
        "pix2pix, flat -> 3D",
        f"--mode pix2pix {SMALL.replace(' --d-width 16', '')} --batch 4 --levels 5 --steps 1000",
        ("flat", "3d"),
        PIX2PIX,
        judge="lite2",
    ),
    "cyclegan": Task(
        "CycleGAN, flat <-> Noto, mean of both ways",
        f"--mode cyclegan {SMALL} --steps 1500 --blocks 3",
        ("flat", "noto"),
        PRESETS,
    ),
    "stargan": Task(
        "StarGAN, line art, flat and 3D, mean of the domains",
        f"--mode stargan {SMALL} --blocks 3 --d-layers 5",
        ("lineart", "flat", "3d"),
        # A generator step with every critic step: half as many take as long.
        {"paper": "--preset paper --steps 600", "modern": "--preset modern --steps 300"},
    ),
}


def sources(task: Task, data: Path, part: str, prefix: str = "") -> list[str]:
    """The options that name the folders of a part, train or test."""
    if "stargan" not in task.options:
        pairs = zip("ab", task.styles, strict=True)
        return [x for side, s in pairs for x in (f"--{prefix}{side}", str(data / part / s))]
    domains = data / f"domains-{part}"  # links to some of the styles
    domains.mkdir(exist_ok=True)
    for style in task.styles:
        if not (domains / style).exists():
            (domains / style).symlink_to((data / part / style).resolve())
    return [f"--{prefix}data", str(domains)]


def run(name: str, candidate: str, seed: int, data: Path, runs: Path) -> dict:
    """Train, export and measure once."""
    task = TASKS[name]
    folder = runs / f"{name}-{candidate}-{seed}"
    if not folder.exists():
        options = f"{task.options} {task.candidates[candidate]} --seed {seed}"
        where = ["--out", str(runs), "--name", folder.name]
        folders = sources(task, data, "train") + sources(task, data, "test", "test-")
        command("train", *folders, *options.split(), *where)
    else:  # interrupted, or trained but not measured: then it returns at once
        command("train", "--resume", str(folder))
    command("export", str(folder), "--checkpoint", "last")
    found: dict[str, list[float]] = {metric: [] for metric in METRICS}
    for way in task.ways:
        folders = sources(task, data, "test")
        if way == "ba":
            folders = [folders[0], folders[3], folders[2], folders[1]]
        model = folder / "export" / f"{folder.name}{f'-{way}' * (len(task.ways) > 1)}.onnx"
        how = ["--bootstrap", "0", "--metrics", ",".join(task.metrics), "--json"]
        how += ["--extractor", f"efficientnet-{task.judge}"]
        said = command("evaluate", "-m", str(model), *folders, *how)
        for metric in json.loads(said)["metrics"]:
            *where, plain = metric["name"].split("/")
            if plain in found and (not where or where[0] in task.styles):
                found[plain].append(metric["value"])
    measured = {metric: statistics.fmean(values) for metric, values in found.items() if values}
    return {
        "task": name,
        "name": candidate,
        "options": f"{task.options} {task.candidates[candidate]}",
        "seed": seed,
        "measured": measured,
    }


def results() -> list[dict]:
    return [json.loads(line) for line in RESULTS.read_text().splitlines()]


def measure_all(names: list[str], seeds: list[int], data: Path, runs: Path) -> None:
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.touch()
    for seed in seeds:
        for name in names:
            for candidate in TASKS[name].candidates:
                if (name, candidate, seed) in {
                    (r["task"], r["name"], r["seed"]) for r in results()
                }:
                    continue
                row = run(name, candidate, seed, data, runs)
                with RESULTS.open("a") as file:
                    file.write(json.dumps(row) + "\n")


def measure_costs(names: list[str], data: Path) -> None:
    """Milliseconds a step by median, all candidates of a task in turn in one process."""
    import torch
    from rich.console import Console

    from img2img.data.stream import fixed_batch
    from img2img.methods import METHODS
    from img2img.training.config import RunConfig
    from img2img.training.plan import augmentation, make_plan
    from img2img.training.runtime import Runtime
    from img2img.training.trainer import Trainer

    threads, today = torch.get_num_threads(), datetime.date.today().isoformat()
    on = f"{machine.describe(threads)}, torch {torch.__version__}"
    if torch.cuda.is_available():
        on = f"{torch.cuda.get_device_name()}, torch {torch.__version__}"
    costs = json.loads(COSTS.read_text())
    for name in names:
        task, steps = TASKS[name], {}
        for candidate, options in task.candidates.items():
            given = f"{task.options} {options} --dry-run".split()
            config = command("train", *sources(task, data, "train"), *given)
            plan = make_plan(RunConfig.model_validate_json(config), Console(quiet=True), False)
            c, mode = plan.config.method, plan.config.mode
            runtime = Runtime("auto", "auto", METHODS[mode].channels_last)
            trainer = Trainer(METHODS[mode](c), runtime, 0, plan.schedule)
            augment = augmentation(c, training=True)
            batch = runtime.place(fixed_batch(plan.training, augment, list(range(c.batch))))
            steps[candidate] = (trainer, batch, [])
        for _ in range(8):
            for trainer, batch, times in steps.values():
                every = trainer.method.turn * trainer.method.config.penalty_every
                began = time.perf_counter()
                for _ in range(every):
                    trainer.update(batch)
                if torch.cuda.is_available():
                    torch.cuda.synchronize()
                times.append((time.perf_counter() - began) / every)
        ms = {c: 1000 * statistics.median(times[2:]) for c, (*_, times) in steps.items()}
        costs[name] = {"machine": on, "date": today, "ms": ms}
        print(name, ms, flush=True)
    COSTS.write_text(json.dumps(costs, indent=2) + "\n")


def table(name: str) -> str:
    """Mean and standard deviation over the seeds, and the cost of a step."""
    rows = [row for row in results() if row["task"] == name]
    costs = json.loads(COSTS.read_text())[name]["ms"]
    metrics = [metric for metric in METRICS if metric in rows[0]["measured"]]
    heads = ["", *(METRICS[metric] for metric in metrics), "cost of a step", "seeds"]
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    for candidate in TASKS[name].candidates:
        own = [row["measured"] for row in rows if row["name"] == candidate]
        if not own:
            continue
        cells = []
        for metric in metrics:
            values = [row[metric] for row in own]
            spread = f" ± {statistics.stdev(values):.3f}" if len(values) > 1 else ""
            cells.append(f"{statistics.fmean(values):.3f}{spread}")
        cost = costs[candidate] / next(iter(costs.values()))
        lines.append(f"| {candidate} | " + " | ".join(cells) + f" | {cost:.2f} | {len(own)} |")
    return "\n".join(lines)


def write() -> None:
    """Put the tables into the page, between its marks."""
    on: dict[str, list[str]] = {}
    for name, cost in json.loads(COSTS.read_text()).items():
        on.setdefault(f"{cost['machine']}, {cost['date']}", []).append(name)
    parts = {
        name: f"{TASKS[name].title} (`{TASKS[name].options}`)\n\n{table(name)}" for name in TASKS
    }
    measured = (f"{', '.join(names)} on {where}" for where, names in on.items())
    parts["machine"] = f"Cost of a step: {'; '.join(measured)}."
    for name, text in parts.items():
        page.fill(PAGE, name, text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, nargs="?", help="what examples/emoji/build.py made")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="where the runs go")
    parser.add_argument("--task", choices=TASKS)
    parser.add_argument("--seed", type=int, choices=SEEDS)
    parser.add_argument("--cost", action="store_true", help="only time the steps")
    parser.add_argument("--write", action="store_true", help="only write the page")
    given = parser.parse_args()
    names = [given.task] if given.task else list(TASKS)
    if given.write:
        write()
    elif not given.data:
        parser.error("which folder has the pictures?")
    elif given.cost:
        measure_costs(names, given.data.resolve())
    else:
        seeds = list(SEEDS) if given.seed is None else [given.seed]
        measure_all(names, seeds, given.data.resolve(), given.runs.resolve())


if __name__ == "__main__":
    main()
