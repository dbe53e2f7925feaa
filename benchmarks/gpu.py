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
import traceback
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import machine
import page
import torch
import train_step
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from img2img.methods import METHODS

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "performance.md"
SAMPLE = ROOT / "examples" / "quickstart" / "train"
LIMIT = 510.0  # seconds
Keep = Callable[[dict], None]  # of a row that was measured
STEPS = [  # mode, size, batch; what matters most comes first
    ("cyclegan", 256, 1),
    ("pix2pix", 256, 1),
    ("cyclegan", 256, 8),
    ("pix2pix", 256, 8),
    ("stargan", 128, 8),
    ("cyclegan", 128, 1),
    ("pix2pix", 128, 1),
    ("cyclegan", 128, 8),
    ("pix2pix", 128, 8),
    ("stargan", 256, 8),
]
BEST = [("cyclegan", 256, 16), ("pix2pix", 256, 64), ("stargan", 128, 64)]  # for the share of peak
AFTER = 180.0  # seconds that the parts after the steps need


class Operations(TorchDispatchMode):
    """Counts floating-point operations of products and convolutions, there and back. Torch's own
    counter follows modules, too, and fails where a penalty takes the slope of a slope.
    """

    total = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        found = func(*args, **(kwargs or {}))
        if count := flop_registry.get(func._overloadpacket):
            self.total += count(*args, **(kwargs or {}), out_val=found)
        return found


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


def steps(cases: list[tuple], device: str, clock: Clock, keep: Keep) -> None:
    """Seconds of the textbook's step, ours, and ours compiled."""
    turn, longest = (10 if device != "cpu" else 5), 0.0
    for mode, size, batch in cases:
        if clock.left < AFTER + 1.2 * longest:
            break
        began = time.monotonic()
        torch._dynamo.reset()  # it compiles a function for so many shapes, then no more
        found = train_step.pair(mode, size, batch, device)
        found["compiled"] = train_step.ours(mode, size, batch, device, compiled=True)
        seconds = train_step.seconds(found, turn, 3, device)
        keep({"mode": mode, "size": size, "batch": batch} | seconds)
        longest = max(longest, time.monotonic() - began)


def shares(cases: list[tuple], device: str, rate: float, keep: Keep) -> None:
    """Of the matrix rate, what a step's convolutions and products need, at large batches; and what
    the other layout of pictures would take.
    """
    for mode, size, batch in cases:
        turn = 5 if mode == "stargan" else 2
        last = METHODS[mode].channels_last
        both = {
            "seconds": train_step.ours(mode, size, batch, device),
            "other layout": train_step.ours(mode, size, batch, device, channels_last=not last),
        }
        with Operations() as counter:
            for _ in range(turn):
                both["seconds"]()
        found = train_step.seconds(both, turn, 3, device)
        operations = counter.total / turn
        keep(
            {"mode": mode, "size": size, "batch": batch, **found}
            | {"operations": operations, "share": operations / found["seconds"] / rate}
        )


def wait(device: str, count: int) -> dict:
    """The share of a run's time spent waiting for pictures, and its pictures a second."""
    with tempfile.TemporaryDirectory() as folder:
        line = [sys.executable, "-m", "img2img", "train", "--mode", "cyclegan", "--name", "run"]
        line += ["--a", SAMPLE / "flat", "--b", SAMPLE / "3d", "--size", "256", "--batch", "1"]
        line += ["--steps", count, "--log-every", count // 2, "--device", device]
        line += ["--out", folder, "--eval-every", "0", "--sample-every", 10 * count]
        line += ["--no-check", "--no-compile"]
        subprocess.run(list(map(str, line)), check=True, stdout=subprocess.DEVNULL, timeout=120)
        with (Path(folder) / "run" / "metrics.csv").open(newline="") as file:
            last = list(csv.DictReader(file))[-1]  # the first half started the workers
    return {name: float(last[name]) for name in ("data_wait", "images_per_second", "peak_gib")}


def inference(device: str, size: int, keep: Keep) -> None:
    """Pictures a second at batch 8: torch in bf16, and our bundle where the provider binds, in both
    precisions, and in fp16 also with channels first.
    """
    import inference as ours

    from img2img import Translator
    from img2img.errors import DeviceError
    from img2img.infer import nvidia

    provider = "cuda" if device != "cpu" else "cpu"
    pictures = ours.sample_pictures(size)
    with tempfile.TemporaryDirectory() as folder:
        for name, spec in ours.specs(size).items():
            to, runs = ("a" if spec.labels.sets else None), {}
            path = ours.save(spec, "fp32", pictures, Path(folder))
            for title, precision, last in (
                ("fp32", "fp32", nvidia.has_tensor_cores()),
                ("fp16", "fp16", nvidia.has_tensor_cores()),
                ("fp16, channels first", "fp16", False),
            ):
                try:
                    with mock.patch.object(nvidia, "has_tensor_cores", lambda last=last: last):
                        translator = Translator(path, provider, precision=precision)
                except DeviceError as error:
                    print(error, file=sys.stderr)
                    continue
                runs[f"img2img {title}"] = lambda t=translator, to=to: t(pictures, to)
            network = spec.module.to(device).eval()
            image = torch.randn(8, 3, size, size, device=device)
            more = (torch.zeros(8, spec.labels.width, device=device),) if to else ()

            def plain(network=network, image=image, more=more) -> None:
                kind = torch.device(device).type
                with torch.inference_mode(), torch.autocast(kind, torch.bfloat16):
                    network(image, *more)

            seconds = train_step.seconds({"torch bf16": plain, **runs}, 5, 3, device)
            keep({"network": name} | {title: 8 / value for title, value in seconds.items()})


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
        other = row["other layout"] / row["seconds"]
        lines.append(
            f"Share of the matrix rate, {where}: {row['share']:.0%}; the other layout of pictures "
            f"takes {other:.2f} times as long."
        )
    if "wait" in result:
        share = result["wait"]["data_wait"]
        lines.append(f"Waiting for data, CycleGAN 256 px, batch 1: {share:.1%}.")
    for rates in result.get("inference", ()):
        told = ", ".join(f"{title} {rate:.0f}" for title, rate in list(rates.items())[1:])
        lines.append(f"{rates['network']}, pictures a second at batch 8: {told}.")
    if "pipeline" in result:
        rates = result["pipeline"]
        lines.append(
            f"Folder pipeline: {rates['folder']:.0f} pictures a second, the session alone "
            f"{rates['session']:.0f}."
        )
    lines += [f"{what}: not measured ({why})." for what, why in result["left_out"].items()]
    source = f"{result['machine']}; torch {result['versions']['torch']}; {result['date']}"
    return "\n".join([*lines, "", f"{source}; `benchmarks/gpu.py`."])


def measure(given: argparse.Namespace) -> tuple[dict, Path]:
    """Every part that its needs are there for, and the time; the file holds what is done so far."""
    clock, device = Clock(given.limit), given.device
    small = device == "cpu"  # to try this script out
    cases = [(mode, 32, 2) for mode in train_step.TEXTBOOK] if small else STEPS
    best = cases if small else BEST
    described = machine.describe(torch.get_num_threads()) if small else torch.cuda.get_device_name()
    card = "trial" if small else re.sub(r"[^a-z0-9]+", "-", described.lower()).strip("-")
    path = given.out / f"gpu-{card}.json"
    result: dict = {
        "machine": described,
        "versions": machine.versions("torch", "onnxruntime-gpu", "albumentations"),
        "date": datetime.date.today().isoformat(),
        "left_out": {},
    }

    def keeper(part: str) -> Keep:
        def keep(row: dict) -> None:
            result.setdefault(part, []).append(row)
            print(part, row, flush=True)
            path.write_text(json.dumps(result, indent=2) + "\n")

        return keep

    def pipeline() -> dict:
        import inference as ours

        size = 64 if small else 256
        pictures = ours.sample_pictures(size)
        if small:
            return ours.pipeline("cpu", size, 2, pictures, 20)
        return ours.pipeline("cuda", size, 2, pictures, 3000, "fp16")

    side = 64 if small else 256
    parts = {  # what it needs: a package, seconds; what it does
        "rate": (None, 5, lambda: matrix_rate(device, 256 if small else 8192)),
        "steps": (None, AFTER, lambda: steps(cases, device, clock, keeper("steps"))),
        "shares": (None, 90, lambda: shares(best, device, result["rate"], keeper("shares"))),
        "wait": ("albumentations", 60, lambda: wait(device, 10 if small else 300)),
        "inference": ("onnxruntime", 50, lambda: inference(device, side, keeper("inference"))),
        "pipeline": ("onnxruntime", 20, pipeline),
    }
    for name, (package, needed, part) in parts.items():
        if package and importlib.util.find_spec(package) is None:
            result["left_out"][name] = f"{package} is not installed"
        elif clock.left < needed:
            result["left_out"][name] = "the time was over"
        else:
            began = time.monotonic()
            try:
                found = part()
                if found is not None:
                    result[name] = found
            except (Exception, SystemExit) as error:  # the others are worth having
                traceback.print_exc()
                said = str(error).splitlines()[0] if str(error) else ""
                result["left_out"][name] = f"{type(error).__name__}: {said}"
            print(f"{name}: {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
        if not small:
            torch.cuda.empty_cache()
        path.write_text(json.dumps(result, indent=2) + "\n")
    return result, path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda", help="cpu: tiny sizes, to try it out")
    parser.add_argument("--limit", type=float, default=LIMIT, help="seconds")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results")
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args()
    if given.device != "cpu" and not torch.cuda.is_available():
        raise SystemExit("There is no CUDA GPU here. --device cpu tries the script out.")
    result, path = measure(given)
    if given.write:
        page.fill(PAGE, "gpu", table(result))
    print(table(result))
    print(f"Saved: {path}")


if __name__ == "__main__":
    main()
