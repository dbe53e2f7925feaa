"""Exporting a run: every direction traced, checked against torch, and only then put in place."""

import csv
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
from rich.console import Console
from torch import nn

from img2img import images
from img2img.errors import DataError, UsageError
from img2img.export import graph, parity, quantize
from img2img.files import find_pictures, spread
from img2img.infer.registry import shipped
from img2img.manifest import Manifest, Precision
from img2img.methods import METHODS
from img2img.methods.base import ExportSpec
from img2img.train.config import RunConfig

Written = tuple[Path, dict[str, float]]
CALIBRATED, JUDGED = 64, 16  # pictures that int8's ranges are taken from, and that it is judged on


def export_run(
    run: Path,
    console: Console,
    output: Path | None = None,
    direction: str | None = None,
    weights: str | None = None,
    opset: int = graph.OPSET,
    running_statistics: bool = False,
    chosen: graph.Checkpoint | None = None,
    precision: Precision = "fp32",
    calibration: Path | None = None,
) -> list[Written]:
    """Write the run's bundles; each with its parity. Raises where one differs from torch by more
    than its precision explains.

    calibration: pictures that int8 takes its ranges from, in place of the run's own.
    """
    config, method, said = graph.load_run(run, weights, chosen)
    if "metric" in said:
        distance = f"{said['metric']} {float(said['value']):.4f}"
        console.print(f"of step {int(said['step']):,}, the best by {distance}")
    specs = method.exports()
    if running_statistics:
        if not any(isinstance(layer, nn.BatchNorm2d) for layer in method.generators.modules()):
            raise UsageError(
                f"{run} has no running statistics; networks with norm=batch keep them."
            )
        specs = {name: replace(spec, statistics="running") for name, spec in specs.items()}
    if direction and direction not in specs:
        raise UsageError(f"{run} has no direction {direction}; it has {', '.join(specs)}.")
    wanted = {direction: specs[direction]} if direction else specs
    metrics = _last_row(run / "metrics.csv", int(said.get("step", 0)))
    done: list[tuple[Path, onnx.ModelProto, Manifest]] = []
    for name, spec in wanted.items():
        # -o names the one that was asked for.
        named = (len(specs) > 1 or name == "ba") and not (output and direction)
        path = _output_path(run, config, output, name, named, precision)
        with console.status(f"exporting {path}"):
            size, files = config.method.size, _inputs(config, name)
            read = _reader(config, spec.in_channels, bool(calibration))
            proto = graph.trace(spec, size, opset, precision)
            if precision == "int8":
                own = list(find_pictures(calibration)) if calibration else []
                training = own or _inputs(config, name, training=True)
                files = own or files
                learned = _feeds(spec, training, read, size, CALIBRATED)
                judged = _feeds(spec, files, read, size, JUDGED)
                proto, left = quantize.quantized(proto, learned, judged)
                console.print(f"{left} convolutions stay in float")
            pictures = parity.test_pictures(files, read, size)
            manifest = graph.make_manifest(config, name, spec, said, metrics, precision)
            with tempfile.TemporaryDirectory() as folder:
                trial = Path(folder) / "trial.onnx"
                graph.write(proto, manifest, trial)
                result = parity.measure(spec, trial, pictures)
            parity.require(result, path, precision)
            done.append((path, proto, manifest.model_copy(update={"parity": result})))
    for path, proto, manifest in done:
        graph.write(proto, manifest, path)
    return [(path, manifest.parity) for path, _, manifest in done]


def _output_path(
    run: Path,
    config: RunConfig,
    output: Path | None,
    direction: str,
    several: bool,
    precision: Precision,
) -> Path:
    base = output or run / "export" / f"{config.name}.onnx"
    if base.suffix != ".onnx":
        raise UsageError(f"-o {base}: the file's name must end in .onnx.")
    marks = [direction] if several else []
    marks += [precision] if precision != "fp32" and (several or not output) else []
    return base.with_name("-".join([base.stem, *marks]) + ".onnx")


def _reader(config: RunConfig, channels: int, foreign: bool) -> Callable[[Path], np.ndarray]:
    """Gives the input in a file, uint8 [H, W, channels]: of a pair side by side, its half."""
    swap = config.sources.swap

    def read(path: Path) -> np.ndarray:
        pixels = images.read(path, channels).pixels
        if foreign or not config.sources.pairs:
            return pixels
        half = pixels.shape[1] // 2
        return pixels[:, half : 2 * half] if swap else pixels[:, :half]

    return read


def _feeds(
    spec: ExportSpec,
    files: list[Path],
    read: Callable[[Path], np.ndarray],
    size: int,
    most: int,
) -> list[quantize.Feed]:
    """Pictures from all over the list, as the graph takes them; in turn to every domain."""
    feeds, labels = [], spec.labels
    for number, index in enumerate(spread(most, len(files))):
        feed = {"image": images.resize(read(files[index]), size, size)[None]}
        if labels.sets:
            which = number % len(labels.sets)
            domains = labels.sets[which].domains
            name = domains[number // len(labels.sets) % len(domains)]
            feed["domain"] = labels.vector(which, {name})[None]
        feeds.append(feed)
    return feeds


def _inputs(config: RunConfig, direction: str, training: bool = False) -> list[Path]:
    """Pictures that the direction takes: held-out ones, else the sample that ships; or training
    ones, which must be there.
    """
    held_out = config.test.given() and not training
    sources = config.held_out_sources if held_out else config.sources
    channels = (config.method.in_channels, config.method.out_channels)
    if sources.given():  # an imported run has none
        try:
            return METHODS[config.mode].data.open(sources, channels).inputs(direction)
        except DataError:
            if training:
                raise
            # The run was moved to a machine without them; for the parity others serve.
    if training:
        raise UsageError(
            "int8 is calibrated on the run's training pictures, and this run has none: give some "
            "of their kind with --calibration DIR."
        )
    return list(find_pictures(shipped("quickstart") / "test" / "flat"))


def _last_row(path: Path, step: int) -> dict[str, float]:
    """The newest value of every loss and distance up to the step."""
    if not path.exists():
        return {}
    with path.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if int(row["step"]) <= step]
    found = {k: float(v) for row in rows for k, v in row.items() if v and k and "/" in k}
    return {name: value for name, value in found.items() if not name.startswith("health/")}
