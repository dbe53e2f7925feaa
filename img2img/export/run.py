"""Exporting a run: all directions are traced and compared with torch before files are written."""

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
from img2img.data.pages import pages_of
from img2img.data.sources import Sources
from img2img.errors import DataError, UsageError
from img2img.export import graph, parity, quantize, statistics
from img2img.export.half_weights import with_half_weights
from img2img.files import find_pictures, spread
from img2img.infer.registry import shipped
from img2img.manifest import NEAR_DB, Manifest, Precision
from img2img.methods import METHODS
from img2img.methods.base import ExportSpec
from img2img.sizes import Size
from img2img.stored import read_stored
from img2img.training.config import RunConfig
from img2img.training.held_out import split
from img2img.training.log import read_rows
from img2img.writing import scratch_folder, whole_files

Written = tuple[Path, dict[str, float]]
CALIBRATED, JUDGED = 64, 16  # pictures for the ranges of int8, and for its PSNR


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
    half_weights: bool = False,
) -> list[Written]:
    """Write the bundles of a run, one for each direction. Returns their paths and their parity.

    output: a file name, by default RUN/export/NAME.onnx. weights and chosen: as of load_run.
    calibration: pictures for int8, in place of the run's. half_weights: the large weights are
    stored in fp16, and computed with in fp32. Raises UsageError for options that don't fit the run
    or each other, and Img2ImgError, before anything is written, if a bundle differs from torch by
    more than its precision explains.
    """
    config, method, metadata = graph.load_run(run, weights, chosen)
    generator = config.method.generator
    if precision not in generator.precisions:
        raise UsageError(
            f"The generator {generator.name} can't be exported in {precision}; it can in "
            f"{', '.join(generator.precisions)}."
        )
    if half_weights and precision != "fp32":
        raise UsageError(
            f"--half-weights is for --precision fp32: {precision} has smaller weights of its own."
        )
    if "metric" in metadata:
        distance = f"{metadata['metric']} {float(metadata['value']):.4f}"
        console.print(f"weights of step {int(metadata['step']):,}, the best by {distance}")
    elif isinstance(chosen, int):
        console.print(f"weights of step {chosen:,}")
    specs = method.exports()
    if running_statistics:
        if not any(isinstance(layer, nn.BatchNorm2d) for layer in method.generators.modules()):
            raise UsageError(
                f"{run} has no running statistics; only networks with norm=batch have them."
            )
        specs = {name: replace(spec, statistics="running") for name, spec in specs.items()}
    if direction and direction not in specs:
        raise UsageError(f"{run} has no direction {direction}; it has {', '.join(specs)}.")
    selected = {direction: specs[direction]} if direction else specs
    for advice in {_statistics_advice(config, spec) for spec in selected.values()} - {None}:
        console.print(advice)
    metrics = _last_row(run, int(metadata.get("step", 0)))
    checked: list[tuple[Path, onnx.ModelProto, Manifest]] = []
    for name, spec in selected.items():
        # With --direction, -o is the name of that one file.
        suffixed = (len(specs) > 1 or name == "ba") and not (output and direction)
        path = _output_path(run, config, output, name, suffixed, precision)
        with console.status(f"exporting {path.name}"):
            size, inputs = config.method.size, _inputs(config, name, spec)
            proto = graph.trace(spec, size, opset, precision)
            if precision == "int8":
                training, inputs = _int8_pictures(config, name, calibration, spec)
                calibrating = _feeds(spec, training, size, CALIBRATED)
                judged = _feeds(spec, inputs, size, JUDGED)
                proto, left = quantize.quantized(proto, calibrating, judged)
                console.print(
                    f"{left} convolutions stay in float; calibrated on {len(calibrating)} "
                    "pictures, "
                    f"PSNR measured on {len(judged)} others"
                    + (f" ({JUDGED} would be more reliable)" if len(judged) < JUDGED else "")
                )
            if half_weights:
                with_half_weights(proto)
            pictures = parity.pictures_to_compare(
                inputs.files, inputs.read, size, labels=not spec.mixes
            )
            manifest = graph.make_manifest(
                config, name, spec, metadata, metrics, precision, half_weights
            )
            with scratch_folder() as folder:
                trial = folder / "trial.onnx"
                graph.write(proto, manifest, trial)
                result = parity.measure(spec, trial, pictures)
                result |= parity.measure_bf16(spec, trial, pictures)
                if precision == "fp32" and "fp16" in generator.precisions:
                    result |= parity.measure_fp16(spec, trial, pictures)
            parity.require(result, path.name, precision, half_weights)
            manifest = manifest.model_copy(update={"parity": result})
            if manifest.has_values:
                console.print(f"{path.name}: all devices compute in {precision}, for exact values")
            elif not manifest.is_near_in_bf16:
                console.print(
                    f"{path.name}: the PSNR of bf16 is {result['bf16_psnr_mean']:.1f} dB, less "
                    f"than the {NEAR_DB:.0f} dB required, so CPUs run it in {precision} "
                    "(--provider openvino uses bf16 nevertheless)"
                )
            near = manifest.is_near_in_fp16 or manifest.has_values
            if "fp16_psnr_worst" in result and not near:
                console.print(
                    f"{path.name}: the worst PSNR of fp16 is {result['fp16_psnr_worst']:.1f} dB, "
                    f"less than the {NEAR_DB:.0f} dB required, so GPUs run it in fp32 (--precision "
                    "fp16 of translate uses fp16 nevertheless)"
                )
            checked.append((path, proto, manifest))
    with whole_files([path for path, *_ in checked]) as temporaries:  # of both ways, or of none
        for temporary, (_, proto, manifest) in zip(temporaries, checked, strict=True):
            graph.write(proto, manifest, temporary)
    return [(path, manifest.parity) for path, _, manifest in checked]


def _output_path(
    run: Path,
    config: RunConfig,
    output: Path | None,
    direction: str,
    suffixed: bool,
    precision: Precision,
) -> Path:
    """The file of a direction. suffixed: the direction is part of its name."""
    base = output or run / "export" / f"{config.name}.onnx"
    if base.suffix != ".onnx":
        raise UsageError(f"-o {base}: the file's name must end in .onnx.")
    suffixes = [direction] if suffixed else []
    suffixes += [precision] if precision != "fp32" and (suffixed or not output) else []
    return base.with_name("-".join([base.stem, *suffixes]) + ".onnx")


class _Inputs(NamedTuple):
    """Files, and the function that reads the input from one, [H, W, channels] of the type of the
    graph's input.
    """

    files: list[Path]
    read: Callable[[Path], np.ndarray]


def _plain(files: Iterable[Path], spec: ExportSpec) -> _Inputs:
    """Files that are inputs as they are, or each page of which is one."""
    intensity, channels = spec.intensity_in, spec.in_channels
    if intensity:
        inputs = [page for pages in pages_of(files, intensity.pages) for page in pages]
        return _Inputs(inputs, lambda path: read_stored(path, intensity).values)
    return _Inputs(list(files), lambda path: images.read(path, channels).pixels)


def _of(dataset: Dataset, direction: str) -> _Inputs:
    """The files of a data set that the direction translates."""
    return _Inputs(dataset.inputs(direction), lambda path: dataset.read_input(path, direction))


def _feeds(spec: ExportSpec, inputs: _Inputs, size: Size, most: int) -> list[quantize.Feed]:
    """Up to `most` pictures, spread over the list, as inputs of the graph. The domains take
    turns.
    """
    feeds, labels = [], spec.labels
    for number, index in enumerate(spread(most, len(inputs.files))):
        picture = inputs.read(inputs.files[index])
        feed = {"image": images.resize(picture, *size, labels=not spec.mixes)[None]}
        if labels.sets:
            which = number % len(labels.sets)
            domains = labels.sets[which].domains
            name = domains[number // len(labels.sets) % len(domains)]
            feed["domain"] = labels.vector(which, {name})[None]
        feeds.append(feed)
    return feeds


def _inputs(config: RunConfig, direction: str, spec: ExportSpec) -> _Inputs:
    """Inputs of the direction: held-out pictures, else the training pictures, else the sample that
    ships, which stands for photographs alone.
    """
    sources = config.held_out_sources if config.test.given() else config.sources
    if sources.given():  # an imported run has none
        try:
            return _of(_open(config, sources), direction)
        except DataError:
            pass  # this machine doesn't have them; for parity, any pictures will do
    if spec.intensity_in:
        raise DataError("The export is checked on training pictures, and none of them is left.")
    return _plain(find_pictures(shipped("quickstart") / "test" / "flat"), spec)


def _int8_pictures(
    config: RunConfig, direction: str, calibration: Path | None, spec: ExportSpec
) -> tuple[_Inputs, _Inputs]:
    """Pictures to calibrate int8 on, and others to measure its PSNR on: the training and the
    held-out pictures. In a folder, or without held-out pictures, every fourth is for the PSNR.
    """
    if calibration and spec.intensity_in and spec.intensity_in.parts:
        raise UsageError(
            "--calibration is one folder, and this model has several inputs. Leave it out, to "
            "calibrate on the run's pictures."
        )
    if calibration:
        calibrating, judged = _plain(find_pictures(calibration), spec), _plain((), spec)
    elif config.sources.given():
        training, held_out = _split(config)
        calibrating, judged = (_of(data, direction) for data in (training, held_out))
    else:
        raise UsageError(
            "int8 is calibrated on training pictures, which this run doesn't have. Give similar "
            "ones "
            "with --calibration DIR."
        )
    files = calibrating.files
    if len(files) + len(judged.files) < 2:
        raise UsageError(
            "int8 needs at least two pictures, one to calibrate on and one to measure its PSNR on. "
            "Give more with --calibration DIR."
        )
    if not judged.files:
        judged = calibrating._replace(files=files[::4])
        others = [path for index, path in enumerate(files) if index % 4]
        calibrating = calibrating._replace(files=others)
    return calibrating, judged


def _statistics_advice(config: RunConfig, spec: ExportSpec) -> str | None:
    """Whether a BatchNorm that was trained on several pictures at once should be exported with its
    other statistics. None without such a norm.
    """
    at_once = config.method.batch // config.method.accumulate
    if at_once == 1 or not any(isinstance(m, nn.BatchNorm2d) for m in spec.module.modules()):
        return None
    running = spec.statistics == "running"
    if config.sources.given():
        try:
            held_out = _split(config)[1]
            if held_out.paired and len(held_out):
                return statistics.compare(spec, config.method, held_out).advice(at_once, running)
        except DataError:
            pass  # this machine doesn't have the pictures of the run
    return (
        f"Trained with BatchNorm at batch {at_once}. Without held-out pairs, it is not known "
        "whether "
        "the running averages (--running-stats) or the statistics of each picture are better: try "
        "both."
    )


def _split(config: RunConfig) -> tuple[Dataset, Dataset]:
    """The training and the held-out pictures. Raises DataError if this machine doesn't have
    them.
    """
    training = _open(config, config.sources)
    if config.test.given():
        return training, _open(config, config.held_out_sources)
    return split(config, training)


def _open(config: RunConfig, sources: Sources) -> Dataset:
    channels = (config.method.in_channels, config.method.out_channels)
    return METHODS[config.mode].open_data(sources, channels, config.method)


def _last_row(run: Path, step: int) -> dict[str, float]:
    """The latest value of each loss and distance up to the step."""
    rows = [row for row in read_rows(run) if int(row["step"]) <= step]
    latest = {k: float(v) for row in rows for k, v in row.items() if v and k and "/" in k}
    return {name: value for name, value in latest.items() if not name.startswith("health/")}
