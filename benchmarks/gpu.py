"""The figures of one NVIDIA GPU, in under five minutes: inference, the folder pipeline, runs of
`img2img train`, determinism, losses in bf16, and a step in every way it can be computed.

    python benchmarks/gpu.py            # prints, and saves benchmarks/results/gpu-CARD.json
    python benchmarks/gpu.py --write    # docs/performance.md, too

Needs what `train` needs. Cheap cases come first, and every row is saved at once. A part that fails,
that lacks a package or for which the time is too short is left out and named; the others go on.
"""

import argparse
import csv
import datetime
import importlib.util
import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import machine
import page
import torch
import train_step
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from img2img.training.graph import WARM_UP

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "performance.md"
SAMPLE = ROOT / "examples" / "quickstart" / "train"
LIMIT = 290.0  # seconds
Row = dict[str, Any]
VARIANTS: dict[str, dict[str, bool]] = {  # how our step is computed, the cheapest to start first
    "plain": {},
    "graph": {"graph": True},
    "compiled": {"compiled": True},
    "compiled, graph": {"compiled": True, "graph": True},
    "compiled, graph, other layout": {"compiled": True, "graph": True, "other_layout": True},
}
CASES = [  # mode, size, batch; what matters most comes first
    ("pix2pix", 256, 1),
    ("cyclegan", 256, 1),
    ("cyclegan", 256, 8),
    ("cyclegan", 256, 16),
    ("pix2pix", 256, 64),
    ("stargan", 256, 2),
    ("stargan", 256, 16),
]
RUNS = {  # the size of published data: mode, pictures in an epoch
    "facades": ("pix2pix", 400),
    "horse2zebra": ("cyclegan", 1334),
}


class Operations(TorchDispatchMode):
    """Counts floating-point operations of products and convolutions, there and back. Torch's own
    counter follows modules, too, and fails where a penalty takes the slope of a slope.
    """

    total = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if count := flop_registry.get(func._overloadpacket):
            self.total += count(*args, **(kwargs or {}), out_val=result)
        return result


@dataclass
class Bench:
    """What all parts need: the device, and when the time is over."""

    device: str
    end: float

    @property
    def small(self) -> bool:
        """Whether the script is only tried out."""
        return self.device == "cpu"

    @property
    def left(self) -> float:
        return self.end - time.monotonic()

    def synchronize(self) -> None:
        if not self.small:
            torch.cuda.synchronize()

    def seconds(self, act: Callable[[], object], times: int, rounds: int = 3) -> float:
        """The median of some rounds, of one act."""
        rounds_took = []
        for _ in range(rounds):
            self.synchronize()
            began = time.perf_counter()
            for _ in range(times):
                act()
            self.synchronize()
            rounds_took.append((time.perf_counter() - began) / times)
        return statistics.median(rounds_took)


def rate(bench: Bench) -> Iterator[Row]:
    """Products of bf16 matrices, floating-point operations a second."""
    side = 256 if bench.small else 8192
    a, b = (torch.randn(side, side, device=bench.device, dtype=torch.bfloat16) for _ in range(2))
    bench.seconds(lambda: a @ b, 3, 1)
    yield {"rate": 2 * side**3 / bench.seconds(lambda: a @ b, 10)}


def steps(bench: Bench) -> Iterator[Row]:
    """Milliseconds of a step: the textbook's, and ours in all variants, with the seconds until the
    first step that counts, and the share of the matrix rate.
    """
    [measured] = rate(bench)
    cases = [(mode, 32, 2) for mode in train_step.TEXTBOOK] if bench.small else CASES
    for case in cases:
        turn, operations = 5 if case[0] == "stargan" else 1, 0.0
        for name in ("textbook", *VARIANTS):
            row: Row = dict(zip(("mode", "size", "batch", "variant"), (*case, name), strict=True))
            if bench.left < 30:
                yield row | {"left out": "the time was over"}
                continue
            torch._dynamo.reset()  # it compiles a function for so many shapes, then no more
            began = time.monotonic()
            try:
                if name == "textbook":
                    step = train_step.textbook(*case, bench.device)
                else:
                    step = train_step.ours(*case, bench.device, **VARIANTS[name])
                for _ in range(turn * (WARM_UP + 2)):
                    step()
                bench.synchronize()
                row["start"] = time.monotonic() - began
                row["ms"] = 1000 * bench.seconds(step, turn * (2 if bench.small else 10))
                if name == "plain":
                    with Operations() as counter:
                        for _ in range(turn):
                            step()
                    operations = counter.total / turn
                if operations:
                    row["share"] = operations / (row["ms"] / 1000) / measured["rate"]
            except RuntimeError as error:  # the other variants are worth having
                row["left out"] = f"{type(error).__name__}: {str(error).splitlines()[0]}"
            yield row
            step = None
            if not bench.small:
                torch.cuda.empty_cache()


def losses(bench: Bench) -> Iterator[Row]:
    """The mean terms of the last quarter of some steps, in fp32 and in bf16."""
    count = 8 if bench.small else 200
    for mode in train_step.TEXTBOOK:
        row: Row = {"mode": mode}
        for precision in ("fp32", "bf16"):
            size = 32 if bench.small else 128
            step = train_step.ours(mode, size, 2, bench.device, precision=precision)
            means: dict[str, float] = {}
            for number in range(count):
                terms = step()
                if number >= count * 3 // 4:
                    for name, term in terms.items():
                        means[name] = means.get(name, 0.0) + float(term) * 4 / count
            row[precision] = means
        yield row


def determinism(bench: Bench) -> Iterator[Row]:
    """How far the weights of two equal runs are from each other, with and without --deterministic,
    and the milliseconds of a step.
    """
    size, count = (32, 4) if bench.small else (128, 30)
    for mode in train_step.TEXTBOOK:
        row: Row = {"mode": mode}
        for deterministic in (False, True):
            weights, step = [], None
            for _ in range(2):
                trainer, batch = train_step.training(
                    mode, size, 2, bench.device, deterministic=deterministic
                )
                step = partial(trainer.update, batch)
                with trainer.runtime.algorithms():
                    for _ in range(count):
                        step()
                    ms = 1000 * bench.seconds(step, 5)
                weights.append([w.detach().clone() for w in trainer.method.parameters()])
            name = "deterministic" if deterministic else "usual"
            row[name] = max(float((a - b).abs().max()) for a, b in zip(*weights, strict=True))
            row[f"{name}, ms"] = ms
        yield row


def runs(bench: Bench) -> Iterator[Row]:
    """Some hundred steps of `img2img train`, and the minutes that 200 epochs of published data
    would take.
    """
    for data, (mode, pictures) in RUNS.items():
        count = 10 if bench.small else 400
        with tempfile.TemporaryDirectory() as folder:
            line = [sys.executable, "-m", "img2img", "train", "--mode", mode, "--name", "run"]
            line += ["--a", SAMPLE / "flat", "--b", SAMPLE / "3d", "--batch", "1", "--no-check"]
            line += ["--size", "32" if bench.small else "256", "--steps", count]
            line += ["--log-every", count // 2, "--device", bench.device, "--out", folder]
            line += ["--eval-every", "0", "--sample-every", 10 * count, "--no-compile", "--cache"]
            subprocess.run(
                list(map(str, line)), check=True, stdout=subprocess.DEVNULL, timeout=bench.left
            )
            with (Path(folder) / "run" / "metrics.csv").open(newline="") as file:
                last = list(csv.DictReader(file))[-1]  # the first half starts workers and records
        rate = float(last["images_per_second"])
        yield {
            "data": data,
            "mode": mode,
            "steps": count,
            "pictures a second": rate,
            "waiting": float(last["data_wait"]),
            "minutes for 200 epochs": 200 * pictures / rate / 60,
            "peak_gib": float(last["peak_gib"]),
        }


def inference(bench: Bench) -> Iterator[Row]:
    """Pictures a second: torch in bf16 with its pictures on the card, and our bundles from and to
    numpy, in both precisions, and in fp16 also with channels first.
    """
    import inference as ours

    from img2img import Translator
    from img2img.errors import DeviceError
    from img2img.infer import nvidia

    size = 64 if bench.small else 256
    pictures, last = ours.sample_pictures(size), nvidia.has_tensor_cores()
    ways = {
        "fp32": ("fp32", last),
        "fp16": ("fp16", last),
        "fp16, channels first": ("fp16", False),
    }
    with tempfile.TemporaryDirectory() as folder:
        for name, spec in ours.specs(size).items():
            to = "a" if spec.labels.sets else None
            path = ours.save(spec, "fp32", pictures, Path(folder))
            network = spec.module.to(bench.device).eval()
            for batch in (1, 8):
                row: Row = {"network": name, "batch": batch}
                plain = in_bf16(network, spec.labels.width if to else 0, batch, size, bench)
                row["torch bf16"] = batch / timed(bench, plain)
                for title, (precision, channels_last) in ways.items():
                    try:
                        with mock.patch.object(
                            nvidia, "has_tensor_cores", partial(bool, channels_last)
                        ):
                            provider = "cpu" if bench.small else "cuda"
                            translator = Translator(path, provider, precision=precision)
                    except DeviceError as error:
                        row[f"img2img {title}"] = str(error)
                        continue
                    run = partial(translator, pictures[:batch], to)
                    row[f"img2img {title}"] = batch / timed(bench, run)
                yield row


def in_bf16(
    network: torch.nn.Module, domains: int, batch: int, size: int, bench: Bench
) -> Callable[[], object]:
    """What runs the network on a batch that is on the card."""
    inputs = [torch.randn(batch, 3, size, size, device=bench.device)]
    if domains:
        inputs.append(torch.zeros(batch, domains, device=bench.device))

    @torch.inference_mode()
    def run() -> None:
        with torch.autocast(torch.device(bench.device).type, torch.bfloat16):
            network(*inputs)

    return run


def timed(bench: Bench, run: Callable[[], object]) -> float:
    """Seconds of a run, after three that only warm up."""
    bench.seconds(run, 3, 1)
    return bench.seconds(run, 2 if bench.small else 10)


def pipeline(bench: Bench) -> Iterator[Row]:
    """Pictures a second from files to files, and of the session alone."""
    import inference as ours

    size = 64 if bench.small else 256
    pictures = ours.sample_pictures(size)
    if bench.small:
        yield ours.pipeline("cpu", size, 2, pictures, 20)
    else:
        yield ours.pipeline("cuda", size, 2, pictures, 3000, "fp16")


PARTS = {  # what it needs: a package, seconds; what it does
    "rate": (None, 5, rate),
    "inference": ("onnxruntime", 20, inference),
    "pipeline": ("onnxruntime", 20, pipeline),
    "runs": ("albumentations", 40, runs),
    "determinism": (None, 20, determinism),
    "losses": (None, 30, losses),
    "steps": (None, 60, steps),
}


def measure(given: argparse.Namespace) -> tuple[dict, Path]:
    """Every part that its needs and the time are there for; the file holds what is done so far."""
    bench = Bench(given.device, time.monotonic() + given.limit)
    described = torch.cuda.get_device_name() if not bench.small else machine.describe(1)
    card = "trial" if bench.small else re.sub(r"[^a-z0-9]+", "-", described.lower()).strip("-")
    path = given.out / f"gpu-{card}.json"
    result: dict = {
        "machine": described,
        "versions": machine.versions("torch", "onnxruntime-gpu", "albumentations"),
        "date": datetime.date.today().isoformat(),
        "left_out": {},
    }
    for name, (package, needed, part) in PARTS.items():
        if package and importlib.util.find_spec(package) is None:
            result["left_out"][name] = f"{package} is not installed"
        elif bench.left < needed:
            result["left_out"][name] = "the time was over"
        else:
            began = time.monotonic()
            try:
                for row in part(bench):
                    result.setdefault(name, []).append(row)
                    print(name, row, flush=True)
                    path.write_text(json.dumps(result, indent=2) + "\n")
            except (Exception, SystemExit) as error:  # the others are worth having
                traceback.print_exc()
                reason = str(error).splitlines()[0] if str(error) else ""
                result["left_out"][name] = f"{type(error).__name__}: {reason}"
            print(f"{name}: {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
        if not bench.small:
            torch.cuda.empty_cache()
        path.write_text(json.dumps(result, indent=2) + "\n")
    return result, path


def table(rows: list[Row]) -> str:
    """Rows as they are, with a column for each of their keys."""
    keys = list(dict.fromkeys(key for row in rows for key in row))

    def cell(value: object) -> str:
        if isinstance(value, dict):
            return ", ".join(f"{key} {cell(part)}" for key, part in value.items())
        return f"{value:.4g}" if isinstance(value, float) else str(value)

    lines = ["| " + " | ".join(keys) + " |", "|---" * len(keys) + "|"]
    for row in rows:
        lines.append("| " + " | ".join(cell(row.get(key, "")) for key in keys) + " |")
    return "\n".join(lines)


def text(result: dict) -> str:
    """The page's part: a table for each part, with what it is, and what was left out."""
    sections = []
    for name, (_, _, part) in PARTS.items():
        if name in result:
            what = " ".join((part.__doc__ or "").split())
            sections.append(f"**{name}**: {what}\n\n{table(result[name])}")
    sections += [f"{what}: not measured ({why})." for what, why in result["left_out"].items()]
    source = f"{result['machine']}; torch {result['versions']['torch']}; {result['date']}"
    return "\n\n".join([*sections, f"{source}; `benchmarks/gpu.py`."])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", default="cuda", help="cpu: tiny sizes, to try it out")
    parser.add_argument("--limit", type=float, default=LIMIT, help="seconds")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results")
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args()
    if given.device != "cpu" and not torch.cuda.is_available():
        raise SystemExit("There is no CUDA GPU here. --device cpu tries the script out.")
    result, path = measure(given)
    if given.write:
        page.fill(PAGE, "gpu", text(result))
    print(text(result))
    print(f"Saved: {path}")


if __name__ == "__main__":
    main()
