"""Exporting a run: every direction traced, checked against torch, and only then put in place."""

import csv
import tempfile
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from torch import nn

from img2img.errors import DataError, UsageError
from img2img.export import graph, parity
from img2img.files import find_pictures
from img2img.infer.registry import shipped
from img2img.methods import METHODS
from img2img.train.config import RunConfig

Written = tuple[Path, dict[str, float]]


def export_run(
    run: Path,
    console: Console,
    output: Path | None = None,
    direction: str | None = None,
    weights: str | None = None,
    opset: int = graph.OPSET,
    running_statistics: bool = False,
    chosen: graph.Checkpoint | None = None,
) -> list[Written]:
    """Write the run's bundles; each with its parity. Raises where one differs from torch."""
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
    written = []
    for name, spec in wanted.items():
        # -o names the one that was asked for.
        named = (len(specs) > 1 or name == "ba") and not (output and direction)
        path = _output_path(run, config, output, name, named)
        with console.status(f"exporting {path}"):
            proto = graph.trace(spec, config.method.size, opset)
            pictures = parity.test_pictures(
                _inputs(config, name), spec.in_channels, config.method.size
            )
            manifest = graph.make_manifest(config, name, spec, said, metrics)
            with tempfile.TemporaryDirectory() as folder:
                trial = Path(folder) / "trial.onnx"
                graph.write(proto, manifest, trial)
                result = parity.measure(spec, trial, pictures)
            parity.require(result, path)
            graph.write(proto, manifest.model_copy(update={"parity": result}), path)
            written.append((path, result))
    return written


def _output_path(
    run: Path, config: RunConfig, output: Path | None, direction: str, several: bool
) -> Path:
    base = output or run / "export" / f"{config.name}.onnx"
    if base.suffix != ".onnx":
        raise UsageError(f"-o {base}: the file's name must end in .onnx.")
    return base.with_name(f"{base.stem}-{direction}.onnx") if several else base


def _inputs(config: RunConfig, direction: str) -> list[Path]:
    """Pictures that the direction takes: held-out or training ones, else the sample that ships."""
    sources = config.held_out_sources if config.test.given() else config.sources
    channels = (config.method.in_channels, config.method.out_channels)
    if sources.given():  # an imported run has none
        try:
            return METHODS[config.mode].data.open(sources, channels).inputs(direction)
        except DataError:
            pass  # the run was moved to a machine without them
    return list(find_pictures(shipped("quickstart") / "test" / "flat"))


def _last_row(path: Path, step: int) -> dict[str, float]:
    """The newest value of every loss and distance up to the step."""
    if not path.exists():
        return {}
    with path.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if int(row["step"]) <= step]
    found = {k: float(v) for row in rows for k, v in row.items() if v and k and "/" in k}
    return {name: value for name, value in found.items() if not name.startswith("health/")}
