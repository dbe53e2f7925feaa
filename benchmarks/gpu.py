"""The figures of one NVIDIA GPU, in under 9 minutes: training against the textbook's, the share of
the card's peak, what compiling gains, waiting for data, and inference.

    python benchmarks/gpu.py            # prints, and saves benchmarks/results/gpu-CARD.json
    python benchmarks/gpu.py --write    # docs/performance.md, too

Needs what `train` needs; what is missing (albumentations, onnxruntime's CUDA) is left out and said.
The parts are in the order of their worth: what the time is too short for is left out, too.
"""

import argparse
import csv
import datetime
import importlib.util
import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import machine
import page
import torch
import train_step
from torch.utils.flop_counter import FlopCounterMode

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "performance.md"
SAMPLE = ROOT / "examples" / "quickstart" / "train"
LIMIT = 510.0  # seconds
STEPS = [  # mode, size, batch
    *((mode, 256, batch) for mode in ("cyclegan", "pix2pix") for batch in (1, 8)),
    ("stargan", 128, 8),
    *((mode, 128, batch) for mode in ("cyclegan", "pix2pix") for batch in (1, 8)),
    ("stargan", 256, 8),
]
BEST = [("cyclegan", 256, 16), ("pix2pix", 256, 64), ("stargan", 128, 64)]  # for the share of peak


class Clock:
    def __init__(self, limit: float):
        self.end = time.monotonic() + limit

    @property
    def left(self) -> float:
        return self.end - time.monotonic()


def matrix_rate(device: str, side: int) -> float:
    """Products of bf16 matrices, floating-point operations a second: the best of some."""
    a, b = (torch.randn(side, side, device=device, dtype=torch.bfloat16) for _ in range(2))
    best = 0.0
    for _ in range(5):
        began = time.perf_counter()
        for _ in range(10):
            a @ b
        synchronize(device)
        best = max(best, 10 * 2 * side**3 / (time.perf_counter() - began))
    return best


def synchronize(device: str) -> None:
    if device != "cpu":
        torch.cuda.synchronize()


def steps(cases: list[tuple], device: str, clock: Clock) -> list[dict]:
    """Seconds of the textbook's step, ours, and ours compiled."""
    rows = []
    for mode, size, batch in cases:
        if clock.left < 240:
            break
        turn = 10 if device != "cpu" else (5 if mode == "stargan" else 1)
        found = train_step.pair(mode, size, batch, device)
        found |= {"compiled": train_step.ours(mode, size, batch, device, compiled=True)}
        rows.append(
            {"mode": mode, "size": size, "batch": batch}
            | train_step.seconds(found, turn, 4, device)
        )
        print(rows[-1], flush=True)
    return rows


def shares(cases: list[tuple], device: str, rate: float, clock: Clock) -> list[dict]:
    """Of the matrix rate, what a step's convolutions and products need, at large batches."""
    rows = []
    for mode, size, batch in cases:
        if clock.left < 150:
            break
        step = train_step.ours(mode, size, batch, device)
        turn = 5 if mode == "stargan" else 1
        step()
        with FlopCounterMode(display=False) as counter:
            for _ in range(turn):
                step()
        found = train_step.seconds({"plain": step}, 2 * turn, 3, device)
        operations = counter.get_total_flops() / turn
        seconds = found["plain"]
        rows.append(
            {"mode": mode, "size": size, "batch": batch, "seconds": seconds}
            | {"operations": operations, "share": operations / seconds / rate}
        )
        print(rows[-1], flush=True)
    return rows


def layouts(cases: list[tuple], device: str, clock: Clock) -> list[dict]:
    """Seconds of our step with pictures laid out either way."""
    rows = []
    for mode, size, batch in cases:
        if clock.left < 120:
            break
        turn = 5 if mode == "stargan" else 1
        both = {
            name: train_step.ours(mode, size, batch, device, channels_last=last)
            for name, last in (("channels first", False), ("channels last", True))
        }
        rows.append(
            {"mode": mode, "size": size, "batch": batch}
            | train_step.seconds(both, 2 * turn, 3, device)
        )
    return rows


def wait(device: str, count: int) -> dict:
    """The share of a run's time spent waiting for pictures, and its pictures a second."""
    with tempfile.TemporaryDirectory() as folder:
        line = [sys.executable, "-m", "img2img", "train", "--mode", "cyclegan", "--name", "run"]
        line += ["--a", SAMPLE / "flat", "--b", SAMPLE / "3d", "--size", "256", "--batch", "1"]
        line += ["--steps", count, "--log-every", count // 2, "--device", device]
        line += ["--out", folder, "--eval-every", "0", "--sample-every", 10 * count]
        line += ["--no-check", "--no-compile"]
        subprocess.run(list(map(str, line)), check=True, capture_output=True)
        with (Path(folder) / "run" / "metrics.csv").open(newline="") as file:
            last = list(csv.DictReader(file))[-1]  # the first half started the workers
    return {name: float(last[name]) for name in ("data_wait", "images_per_second", "peak_gib")}


def inference(device: str, size: int) -> dict:
    """Pictures a second at batch 8: torch in bf16, and our bundles where the provider binds."""
    import inference as ours

    from img2img import Translator

    provider = "cuda" if device != "cpu" else "cpu"
    pictures = ours.sample_pictures(size)
    found: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, spec in ours.specs(size).items():
            to = "a" if spec.labels.sets else None
            network = spec.module.to(device).eval()
            image = torch.randn(8, 3, size, size, device=device)
            more = (torch.zeros(8, spec.labels.width, device=device),) if to else ()

            def plain(network=network, image=image, more=more) -> None:
                kind = torch.device(device).type
                with torch.inference_mode(), torch.autocast(kind, torch.bfloat16):
                    network(image, *more)

            runs = {"torch bf16": plain}
            spec.module.cpu()
            for precision in ("fp32", "fp16"):
                path = ours.save(spec, precision, pictures, Path(folder))
                translator = Translator(path, provider)
                runs[f"img2img {precision}"] = lambda t=translator, to=to: t(pictures, to)
            spec.module.to(device)
            seconds = train_step.seconds(runs, 5, 4, device)
            found[name] = {title: 8 / value for title, value in seconds.items()}
    return found


def table(result: dict) -> str:
    lines = [
        f"{result['rate'] / 1e12:.0f} TFLOP/s in bf16 matrices, measured."
        if "rate" in result
        else "",
        "",
        "| | size | batch | textbook | img2img | compiled | times faster |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in result.get("steps", ()):
        plain, best = row["textbook"], min(row["img2img"], row["compiled"])
        cells = " | ".join(f"{1000 * row[n]:.1f} ms" for n in ("textbook", "img2img", "compiled"))
        lines.append(
            f"| {row['mode']} | {row['size']} | {row['batch']} | {cells} | {plain / best:.2f} |"
        )
    lines.append("")
    for row in result.get("shares", ()):
        where = f"{row['mode']}, {row['size']} px, batch {row['batch']}"
        lines.append(f"Share of the matrix rate, {where}: {row['share']:.0%}.")
    for row in result.get("layouts", ()):
        first, last = row["channels first"], row["channels last"]
        lines.append(f"Channels last, {row['mode']}: {first / last:.2f} times as fast as first.")
    if "wait" in result:
        lines.append(
            f"Waiting for data, CycleGAN 256 px, batch 1: {result['wait']['data_wait']:.1%}."
        )
    for name, rates in result.get("inference", {}).items():
        told = ", ".join(f"{title} {rate:.0f}" for title, rate in rates.items())
        lines.append(f"{name}, pictures a second at batch 8: {told}.")
    if "pipeline" in result:
        rates = result["pipeline"]
        lines.append(
            f"Folder pipeline: {rates['folder']:.0f} pictures a second, the session alone "
            f"{rates['session']:.0f}."
        )
    lines += [f"{what}: not measured ({why})." for what, why in result["left_out"].items()]
    source = f"{result['machine']}; torch {result['versions']['torch']}; {result['date']}"
    return "\n".join([*lines, "", f"{source}; `benchmarks/gpu.py`."])


def measure(given: argparse.Namespace) -> dict:
    """Every part that its needs are there for, and the time."""
    clock, device = Clock(given.limit), given.device
    small = device == "cpu"  # to try this script out
    cases = [(mode, 32, 2) for mode in train_step.TEXTBOOK] if small else STEPS
    best = cases if small else BEST
    if device != "cpu":
        described = torch.cuda.get_device_name()
    else:
        described = machine.describe(torch.get_num_threads())
    result: dict = {
        "machine": described,
        "versions": machine.versions("torch", "onnxruntime-gpu", "albumentations"),
        "date": datetime.date.today().isoformat(),
        "left_out": {},
    }

    def pipeline() -> dict:
        import inference as ours

        size = 64 if small else 256
        pictures = ours.sample_pictures(size)
        return ours.pipeline("cpu" if small else "cuda", size, 2, pictures, 20 if small else 400)

    parts = {
        "rate": (None, 10, lambda: matrix_rate(device, 256 if small else 8192)),
        "steps": (None, 240, lambda: steps(cases, device, clock)),
        "shares": (None, 150, lambda: shares(best, device, result["rate"], clock)),
        "wait": ("albumentations", 60, lambda: wait(device, 10 if small else 300)),
        "inference": ("onnxruntime", 60, lambda: inference(device, 64 if small else 256)),
        "pipeline": ("onnxruntime", 30, pipeline),
        "layouts": (None, 30, lambda: layouts(best, device, clock)),
    }
    for name, (package, needed, part) in parts.items():
        if package and importlib.util.find_spec(package) is None:
            result["left_out"][name] = f"{package} is not installed"
        elif clock.left < needed:
            result["left_out"][name] = "the time was over"
        else:
            began = time.monotonic()
            try:
                result[name] = part()
            except (Exception, SystemExit) as error:  # the others are worth having
                result["left_out"][name] = f"{type(error).__name__}: {error}".splitlines()[0]
            print(f"{name}: {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
        if device != "cpu":
            torch.cuda.empty_cache()
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda", help="cpu: tiny sizes, to try it out")
    parser.add_argument("--limit", type=float, default=LIMIT, help="seconds")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results")
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args()
    if given.device != "cpu" and not torch.cuda.is_available():
        raise SystemExit("There is no CUDA GPU here. --device cpu tries the script out.")
    result = measure(given)
    name = "trial" if given.device == "cpu" else result["machine"]
    card = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    path = given.out / f"gpu-{card}.json"
    path.write_text(json.dumps(result, indent=2) + "\n")
    if given.write:
        page.fill(PAGE, "gpu", table(result))
    print(table(result))
    print(f"Saved: {path}")


if __name__ == "__main__":
    main()
