"""What it costs to notice damage when a file is loaded, and to survive a power failure when one is
written.

    python benchmarks/durable.py [--write]    # results, and the table of docs/reliability.md
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from zipfile import ZipFile

import machine
import onnx
import page
import torch
from torch import nn

from img2img import checksum
from img2img.infer import session
from img2img.infer.registry import shipped
from img2img.training import checkpoint
from img2img.writing import write_whole

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "durable.json"
PAGE = ROOT / "docs" / "reliability.md"
MODEL = "flat-to-3d"
PICTURES, PICTURE = 100, bytes(20_000)


def seconds(work: Callable[[], object], clock: Callable[[], float] = time.process_time) -> float:
    """The median of five."""
    took = []
    for _ in range(5):
        began = clock()
        work()
        took.append(clock() - began)
    return statistics.median(took)


def loading(folder: Path) -> dict[str, tuple[float, float, float]]:
    """MB, and processor seconds of the load and of the check alone, for each kind of file."""
    layers = nn.ModuleList(nn.Conv2d(512, 512, 3) for _ in range(8))
    last, weights, bundle = folder / "last.pt", folder / "w.safetensors", folder / "m.onnx"
    checkpoint.save(last, {"layers": layers.state_dict()})
    checkpoint.save_weights(weights, layers, {})
    model = onnx.load(shipped("weights") / f"{MODEL}.onnx")
    model.metadata_props.add(key=checksum.KEY, value=checksum.EMPTY)
    bundle.write_bytes(checksum.seal(model.SerializeToString()))
    content = bundle.read_bytes()
    checks: dict[Path, tuple[Callable[[], object], Callable[[], object]]] = {
        last: (lambda: checkpoint.load(last), lambda: ZipFile(last).testzip()),
        weights: (
            lambda: checkpoint.load_weights(weights),
            lambda: checksum.require_intact(weights.read_bytes(), weights, ""),
        ),
        bundle: (
            lambda: session.load(bundle, "cpu", threads=1),
            lambda: checksum.require_intact(content, bundle, ""),
        ),
    }
    return {
        path.name: (path.stat().st_size / 1e6, seconds(load), seconds(check))
        for path, (load, check) in checks.items()
    }


def writing(folder: Path) -> dict[str, float]:
    """Milliseconds of a small picture, by what waits for the disk."""
    number = iter(range(10**6))

    def write(sync: bool) -> None:
        for _ in range(PICTURES):
            write_whole(folder / f"{next(number)}.png", PICTURE, sync)

    def plainly() -> None:
        for _ in range(PICTURES):
            (folder / f"{next(number)}.png").write_bytes(PICTURE)

    took = {
        "nothing": seconds(plainly, time.monotonic),
        "the file": seconds(lambda: write(False), time.monotonic),
        "the file and its folder": seconds(lambda: write(True), time.monotonic),
    }
    return {name: 1000 * value / PICTURES for name, value in took.items()}


def table(results: dict[str, dict]) -> str:
    """The tables of the page."""
    kinds = {"last.pt": "checkpoint", "w.safetensors": "weights", "m.onnx": "bundle"}
    lines = ["| loaded | size | processor time of all | of these, the check |", "|---|---|---|---|"]
    for name, (size, load, check) in results["loading"].items():
        share = f"{1000 * check:.0f} ms, {check / load:.0%}"
        lines.append(f"| {kinds[name]} | {size:.0f} MB | {1000 * load:.0f} ms | {share} |")
    lines += ["", "| what waits for the disk | a picture of 20 kB | 10,000 |", "|---|---|---|"]
    for name, took in results["writing"].items():
        lines.append(f"| {name} | {took:.2f} ms | {took * 10:.0f} s |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("--write", action="store_true", help="the results and the page")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        results = {"loading": loading(Path(name)), "writing": writing(Path(name))}
    print(table(results))
    if options.write:
        told = {**machine.measured(1), **results}
        RESULTS.write_text(json.dumps(told, indent=2) + "\n")
        page.fill(PAGE, "durable", f"{table(results)}\n\n{told['machine']}; {told['date']}.")


if __name__ == "__main__":
    main()
