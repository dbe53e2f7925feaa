"""Train every objective alike, and each preset; measure them; write docs/objectives.md's tables.

    python examples/emoji/build.py data/emoji --size 64
    python examples/emoji/build.py data/emoji128 --size 128     # for the task "authors" alone
    python examples/earth/build.py data/earth --size 64
    python benchmarks/objectives.py data                    # hours on a CPU
    python benchmarks/objectives.py data --cost             # minutes, with nothing else running
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
    "psnr": "PSNR",
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
    data: str = "emoji"  # or another folder of DATA

    @property
    def metrics(self) -> list[str]:
        """Those of the table that make sense: a domain has no truths, pairs no classifier."""
        domains = "stargan" in self.options
        without = (
            {"l1", "psnr", f"{self.judge}_perceptual"} if domains else {"classification_error"}
        )
        others = {metric for metric in METRICS if metric.startswith("lite")} - {
            f"{self.judge}_kernel",
            f"{self.judge}_perceptual",
        }
        return [metric for metric in METRICS if metric not in without | others]

    @property
    def ways(self) -> tuple[str, ...]:
        return ("ab", "ba") if "cyclegan" in self.options else ("ab",)


EACH = {name: f"--objective {name}" for name in OBJECTIVES}
UNTOUCHED = "the untouched input"  # a row beside the candidates
PRESETS = {"paper": "--preset paper", "modern": "--preset modern"}
BEFORE = (  # the modern preset of pix2pix until 2026-11-26
    "--objective rpgan --norm instance --no-dropout --ema 0.999 --penalty-every 4 "
    "--augment colour,translation,cutout"
)
PAIRS = {**PRESETS, "modern before": BEFORE}
DRAWN_ANEW = (  # for inputs whose lines have to go
    "--preset modern --residual off --discriminator patch --objective rpgan --r1 2 --r2 2 "
    "--penalty-every 4 --generator-lr 4e-4"
)
PIX2PIX = {
    **PAIRS,
    "without the input added": "--preset modern --residual off",
    "without the gate": "--preset modern --residual plain",
    "without the perceptual loss": "--preset modern --perceptual 0",
    "with a PatchGAN": "--preset modern --discriminator patch",
    "with transposed convolutions": "--preset modern --upsample transposed",
    "with enlarged pictures": "--preset modern --margin enlarge",
}
CYCLEGAN = {  # as many steps as take about five minutes
    "paper": "--preset paper --blocks 3 --d-width 16 --steps 3000",
    "modern before": "--objective rpgan --generator-lr 5e-4 --discriminator-lr 5e-4 --ema 0.999 "
    "--penalty-every 4 --blocks 3 --d-width 16 --steps 2300",
    "modern": "--preset modern --levels 5 --steps 1500",
}
STARGAN = {
    "paper": "--preset paper --d-layers 5 --steps 600",
    # A generator step with every critic step: half as many take as long.
    "modern before": "--objective rpgan --d-steps 1 --generator-lr 2e-4 --discriminator-lr 2e-4 "
    "--ema 0.999 --penalty-every 4 --d-layers 5 --steps 300",
    "modern": "--preset modern --steps 300",
    "modern, colors kept": "--preset modern --residual off --classification 0 --color 3 "
    "--padding replicate --discriminator mixture --d-norm instance --generator-lr 4e-4 "
    "--discriminator-lr 6e-4 --steps 250",
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
    "drawings": Task(
        "pix2pix, line art -> 3D",
        f"--mode pix2pix {SMALL.replace(' --d-width 16', '')} --batch 4 --levels 5 --steps 1000",
        ("lineart", "3d"),
        {
            **PAIRS,
            "modern, drawn anew": DRAWN_ANEW,
        },
        judge="lite2",
    ),
    "authors": Task(
        "pix2pix, line art -> 3D at 128 px",
        "--mode pix2pix --size 128 --batch 1 --steps 10000 --no-check --workers 0 --eval-every 0",
        ("lineart", "3d"),
        {
            **PRESETS,
            "modern, drawn anew": DRAWN_ANEW,
        },
        judge="lite2",
        data="emoji128",
    ),
    "earth": Task(
        "pix2pix, relief -> satellite, South America held out",
        f"--mode pix2pix {SMALL.replace(' --d-width 16', '')} --batch 4 --levels 5 --steps 1000",
        ("relief", "satellite"),
        {
            **PAIRS,
            "modern, padded by the border": "--preset modern --padding replicate",
            "modern, drawn anew": "--preset modern --residual off --l1 15 --perceptual 4 "
            "--augment translation,cutout --generator-lr 5e-4 --padding replicate",
        },
        judge="lite2",
        data="earth",
    ),
    "cyclegan": Task(
        "CycleGAN, flat <-> Noto, mean of both ways",
        f"--mode cyclegan {SMALL.replace(' --d-width 16', '')}",
        ("flat", "noto"),
        CYCLEGAN,
        judge="lite2",
    ),
    "stargan": Task(
        "StarGAN, line art, flat and 3D, mean of the domains",
        f"--mode stargan {SMALL} --blocks 3",
        ("lineart", "flat", "3d"),
        STARGAN,
        judge="lite2",
    ),
}


def sources(task: Task, data: Path, part: str, prefix: str = "") -> list[str]:
    """The options that name the folders of a part, train or test."""
    folder = data / task.data
    if "stargan" not in task.options:
        pairs = zip("ab", task.styles, strict=True)
        return [x for side, s in pairs for x in (f"--{prefix}{side}", str(folder / part / s))]
    domains = folder / f"domains-{part}"
    for style in task.styles:
        link(domains / style, folder / part / style)
    return [f"--{prefix}data", str(domains)]


def link(place: Path, path: Path) -> None:
    place.parent.mkdir(exist_ok=True)
    if not place.exists():
        place.symlink_to(path.resolve())


def untouched(name: str, data: Path) -> dict:
    """What the inputs are worth as they are: as translations to each style of another one."""
    task = TASKS[name]
    test, domains = data / task.data / "test", "stargan" in task.options
    ways = []
    for target in task.styles if len(task.ways) > 1 or domains else task.styles[1:]:
        others = [style for style in task.styles if style != target]
        fakes = test / others[0]
        if domains:
            fakes = data / task.data / f"not-{target}"
            for style in others:
                for file in (test / style).iterdir():
                    link(fakes / f"{style}-{file.name}", file)
        metrics = [metric for metric in task.metrics if metric != "classification_error"]
        ways.append(measured(task, metrics, ["--fake", str(fakes), "--real", str(test / target)]))
    return row(name, UNTOUCHED, "", 0, ways)


def measured(task: Task, metrics: list[str], given: list[str]) -> dict[str, list[float]]:
    """The metrics of what `img2img evaluate` is given, over the domains if there are some."""
    values: dict[str, list[float]] = {}
    how = ["--bootstrap", "0", "--metrics", ",".join(metrics), "--json"]
    told = command("evaluate", *given, *how, "--extractor", f"efficientnet-{task.judge}")
    for metric in json.loads(told)["metrics"]:
        *domain, name = metric["name"].split("/")
        if name in metrics and (not domain or domain[0] in task.styles):
            values.setdefault(name, []).append(metric["value"])
    return values


def run(name: str, candidate: str, seed: int, data: Path, runs: Path) -> dict:
    """Train, export and measure once."""
    task = TASKS[name]
    folder = runs / f"{name}-{candidate.replace(' ', '-')}-{seed}"
    options = f"{task.options} {task.candidates[candidate]}"
    if not folder.exists():
        where = ["--out", str(runs), "--name", folder.name, "--seed", str(seed)]
        folders = sources(task, data, "train") + sources(task, data, "test", "test-")
        command("train", *folders, *options.split(), *where)
    else:  # interrupted, or trained but not measured: then it returns at once
        command("train", "--resume", str(folder))
    command("export", str(folder), "--checkpoint", "last")
    ways = []
    for way in task.ways:
        folders = sources(task, data, "test")
        if way == "ba":
            folders = [folders[0], folders[3], folders[2], folders[1]]
        model = folder / "export" / f"{folder.name}{f'-{way}' * (len(task.ways) > 1)}.onnx"
        ways.append(measured(task, task.metrics, ["-m", str(model), *folders]))
    return row(name, candidate, options, seed, ways)


def row(
    name: str, candidate: str, options: str, seed: int, ways: list[dict[str, list[float]]]
) -> dict:
    """A line of the results, with the means of each metric over all ways."""
    means = {m: statistics.fmean([x for way in ways for x in way[m]]) for m in ways[0]}
    return {
        "task": name,
        "name": candidate,
        "options": options,
        "seed": seed,
        "measured": means,
    }


def results() -> list[dict]:
    return [json.loads(line) for line in RESULTS.read_text().splitlines()]


def measure_all(names: list[str], seeds: list[int], data: Path, runs: Path) -> None:
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.touch()
    for seed in seeds:
        for name in names:
            candidates = [*TASKS[name].candidates]
            if TASKS[name].judge != "lite0" and seed == 0:
                candidates.append(UNTOUCHED)
            for candidate in candidates:
                there = {(r["task"], r["name"], r["seed"]) for r in results()}
                if (name, candidate, seed) in there:
                    continue
                if candidate == UNTOUCHED:
                    line = untouched(name, data)
                else:
                    line = run(name, candidate, seed, data, runs)
                with RESULTS.open("a") as file:
                    file.write(json.dumps(line) + "\n")


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
    costs = json.loads(COSTS.read_text()).get(name, {"ms": {}})["ms"]
    metrics = [metric for metric in METRICS if metric in rows[0]["measured"]]
    heads = ["", *(METRICS[metric] for metric in metrics), "cost of a step", "seeds"]
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    for candidate in (UNTOUCHED, *TASKS[name].candidates):
        own = [row["measured"] for row in rows if row["name"] == candidate]
        if not own:
            continue
        cells = []
        for metric in metrics:
            values = [row[metric] for row in own if metric in row]
            spread = f" ± {statistics.stdev(values):.3f}" if len(values) > 1 else ""
            cells.append(f"{statistics.fmean(values):.3f}{spread}" if values else "")
        cost = f"{costs[candidate] / next(iter(costs.values())):.2f}" if candidate in costs else ""
        seeds = "" if candidate == UNTOUCHED else str(len(own))
        lines.append(f"| {candidate} | {' | '.join(cells)} | {cost} | {seeds} |")
    return "\n".join(lines)


def write() -> None:
    """Put the tables into the page, between its marks."""
    on: dict[str, list[str]] = {}
    for name, cost in json.loads(COSTS.read_text()).items():
        on.setdefault(f"{cost['machine']}, {cost['date']}", []).append(name)
    measured = {row["task"] for row in results()}
    parts = {
        name: f"{task.title} (`{task.options}`)\n\n{table(name)}"
        for name, task in TASKS.items()
        if name in measured
    }
    costs = (f"{', '.join(names)} on {where}" for where, names in on.items())
    parts["machine"] = f"Cost of a step: {'; '.join(costs)}."
    for name, text in parts.items():
        page.fill(PAGE, name, text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, nargs="?", help="with emoji/ and earth/")
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
