"""Exporting a run: every direction traced, checked against torch, and only then put in place."""

import tempfile
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx
from rich.console import Console
from torch import nn

from img2img import images
from img2img.data.dataset import Dataset
from img2img.data.sources import Sources
from img2img.errors import DataError, UsageError
from img2img.export import graph, parity, quantize, statistics
from img2img.files import find_pictures, spread
from img2img.infer.registry import shipped
from img2img.manifest import BF16_DB, Manifest, Precision
from img2img.methods import METHODS
from img2img.methods.base import ExportSpec
from img2img.sizes import Size
from img2img.training.config import RunConfig
from img2img.training.log import read_rows

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

    calibration: pictures that int8 takes its ranges from and is judged on, in place of the run's.
    """
    config, method, said = graph.load_run(run, weights, chosen)
    generator = config.method.generator
    if precision not in generator.precisions:
        raise UsageError(
            f"The generator {generator.name} can't be exported in {precision}; it can in "
            f"{', '.join(generator.precisions)}."
        )
    if "metric" in said:
        distance = f"{said['metric']} {float(said['value']):.4f}"
        console.print(f"of step {int(said['step']):,}, the best by {distance}")
    elif isinstance(chosen, int):
        console.print(f"of step {chosen:,}")
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
    for advice in {_statistics_advice(config, spec) for spec in wanted.values()} - {None}:
        console.print(advice)
    metrics = _last_row(run, int(said.get("step", 0)))
    done: list[tuple[Path, onnx.ModelProto, Manifest]] = []
    for name, spec in wanted.items():
        # -o names the one that was asked for.
        named = (len(specs) > 1 or name == "ba") and not (output and direction)
        path = _output_path(run, config, output, name, named, precision)
        with console.status(f"exporting {path}"):
            size, inputs = config.method.size, _inputs(config, name, spec.in_channels)
            proto = graph.trace(spec, size, opset, precision)
            if precision == "int8":
                training, inputs = _int8_pictures(config, name, calibration, spec.in_channels)
                learned = _feeds(spec, training, size, CALIBRATED)
                judged = _feeds(spec, inputs, size, JUDGED)
                proto, left = quantize.quantized(proto, learned, judged)
                console.print(
                    f"{left} convolutions stay in float; ranges of {len(learned)} pictures, judged "
                    f"on {len(judged)} others"
                    + (f" ({JUDGED} would tell more)" if len(judged) < JUDGED else "")
                )
            pictures = parity.pictures_to_compare(
                inputs.files, inputs.read, size, labels=spec.from_labels
            )
            manifest = graph.make_manifest(config, name, spec, said, metrics, precision)
            with tempfile.TemporaryDirectory() as folder:
                trial = Path(folder) / "trial.onnx"
                graph.write(proto, manifest, trial)
                result = parity.measure(spec, trial, pictures)
                result |= parity.measure_bf16(spec, trial, pictures)
            parity.require(result, path, precision)
            manifest = manifest.model_copy(update={"parity": result})
            if not manifest.is_near_in_bf16:
                console.print(
                    f"{path} is {result['bf16_psnr_mean']:.1f} dB from itself in bf16, where "
                    f"{BF16_DB:.0f} are not seen: CPUs run it in {precision} (--provider openvino "
                    "takes bf16 nevertheless)"
                )
            done.append((path, proto, manifest))
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


class _Inputs(NamedTuple):
    """Files, and what gives the input in one, uint8 [H, W, channels]."""

    files: list[Path]
    read: Callable[[Path], np.ndarray]


def _plain(files: Iterable[Path], channels: int) -> _Inputs:
    """Pictures that are inputs as they are."""
    return _Inputs(list(files), lambda path: images.read(path, channels).pixels)


def _of(dataset: Dataset, direction: str, channels: int) -> _Inputs:
    """The files of a data set that the direction translates."""
    return _Inputs(dataset.inputs(direction), lambda path: dataset.read_input(path, channels))


def _feeds(spec: ExportSpec, inputs: _Inputs, size: Size, most: int) -> list[quantize.Feed]:
    """Pictures from all over the list, as the graph takes them; in turn to every domain."""
    feeds, labels = [], spec.labels
    for number, index in enumerate(spread(most, len(inputs.files))):
        picture = inputs.read(inputs.files[index])
        feed = {"image": images.resize(picture, *size, labels=spec.from_labels)[None]}
        if labels.sets:
            which = number % len(labels.sets)
            domains = labels.sets[which].domains
            name = domains[number // len(labels.sets) % len(domains)]
            feed["domain"] = labels.vector(which, {name})[None]
        feeds.append(feed)
    return feeds


def _inputs(config: RunConfig, direction: str, channels: int) -> _Inputs:
    """Pictures that the direction takes: held-out ones, else the run's, else the sample."""
    sources = config.held_out_sources if config.test.given() else config.sources
    if sources.given():  # an imported run has none
        try:
            return _of(_open(config, sources), direction, channels)
        except DataError:
            pass  # the run was moved to a machine without them; for the parity others serve
    return _plain(find_pictures(shipped("quickstart") / "test" / "flat"), channels)


def _int8_pictures(
    config: RunConfig, direction: str, calibration: Path | None, channels: int
) -> tuple[_Inputs, _Inputs]:
    """Pictures that int8 takes its ranges from, and others that it is judged on: the run's held-out
    ones; of a folder, or of a run without any, every fourth.
    """
    if calibration:
        learned, judged = _plain(find_pictures(calibration), channels), _plain((), channels)
    elif config.sources.given():
        training, held_out = _split(config)
        learned, judged = (_of(data, direction, channels) for data in (training, held_out))
    else:
        raise UsageError(
            "int8 is calibrated on the run's training pictures, and this run has none: give some "
            "of their kind with --calibration DIR."
        )
    files = learned.files
    if len(files) + len(judged.files) < 2:
        raise UsageError(
            "int8 is judged on other pictures than it is calibrated on, and there is one alone: "
            "give more of their kind with --calibration DIR."
        )
    if not judged.files:
        judged = learned._replace(files=files[::4])
        learned = learned._replace(files=[p for index, p in enumerate(files) if index % 4])
    return learned, judged


def _statistics_advice(config: RunConfig, spec: ExportSpec) -> str | None:
    """Whether the other statistics would be better, of a BatchNorm that saw several pictures."""
    together = config.method.batch // config.method.accumulate
    if together == 1 or not any(isinstance(m, nn.BatchNorm2d) for m in spec.module.modules()):
        return None
    running = spec.statistics == "running"
    if config.sources.given():
        try:
            held_out = _split(config)[1]
            if held_out.paired and len(held_out):
                return statistics.compare(spec, config.method, held_out).advice(together, running)
        except DataError:
            pass  # the run was moved to a machine without its pictures
    return (
        f"Trained with BatchNorm at batch {together}. There are no held-out pairs to tell whether "
        "the running averages (--running-stats) or each picture's own statistics are better: try "
        "both."
    )


def _split(config: RunConfig) -> tuple[Dataset, Dataset]:
    """The training and the held-out pictures; DataError where they are not here."""
    training = _open(config, config.sources)
    if config.test.given():
        return training, _open(config, config.held_out_sources)
    return training.split(config.held_out)


def _open(config: RunConfig, sources: Sources) -> Dataset:
    channels = (config.method.in_channels, config.method.out_channels)
    return METHODS[config.mode].open_data(sources, channels, config.method)


def _last_row(run: Path, step: int) -> dict[str, float]:
    """The newest value of every loss and distance up to the step."""
    rows = [row for row in read_rows(run) if int(row["step"]) <= step]
    newest = {k: float(v) for row in rows for k, v in row.items() if v and k and "/" in k}
    return {name: value for name, value in newest.items() if not name.startswith("health/")}
