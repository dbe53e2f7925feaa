"""The exported graph, from stored pixels to stored pixels, and its manifest."""

import copy
import datetime
import logging
import warnings
from collections.abc import Collection
from pathlib import Path
from typing import Any, Literal, cast

import onnx
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from img2img import __version__, checksum
from img2img.errors import DataError, UsageError
from img2img.export.rewrite import halved, precomputed, subpixel
from img2img.export.values import TYPES, FromNetwork, ToNetwork
from img2img.manifest import METADATA_KEY, Manifest, Precision
from img2img.methods import METHODS
from img2img.methods.base import ExportSpec, Method
from img2img.nets.colors import OneHotInput, nearest, scaled
from img2img.nets.generator import Generator, reach
from img2img.nets.norm import image_statistics
from img2img.sizes import Size
from img2img.training import checkpoint
from img2img.training.config import RunConfig
from img2img.training.keep import kept_checkpoints

Checkpoint = Literal["best", "last"] | int  # a number: the step of kept weights
OPSET = 20  # the newest that DirectML supports; the other runtimes support newer ones, too
OUTPUT = "translated"  # a graph's input and output can't both be called `image`


class Pixels(nn.Module):
    """image [N, H, W, C] (and domain float32 [N, D]) -> [N, H, W, C'], any N, H, W; uint8, or the
    types of the intensities.

    Pictures are padded to a size that the network accepts by repeating the border, and the output
    is cropped back. If it is a label map, every pixel gets the nearest color of the palette.
    """

    colors: Tensor
    palette: Tensor

    def __init__(self, spec: ExportSpec, precision: Precision = "fp32"):
        """precision: fp16 computes in half precision except for the norms; int8 is the float graph
        in a form that quantizes well.
        """
        super().__init__()
        running = spec.statistics == "running"
        generator = copy.deepcopy(spec.module) if running else image_statistics(spec.module)
        generator = precomputed(generator)
        if precision == "fp16":
            generator = halved(generator)
        elif precision == "int8":
            generator = subpixel(generator)
        self.generator, self.computes_in_half = generator, precision == "fp16"
        self.gives_labels = bool(spec.palette)
        if spec.palette:
            self.register_buffer("colors", scaled(spec.palette))
            self.register_buffer("palette", torch.tensor(spec.palette, dtype=torch.uint8))
        self.multiple, self.least = spec.module.size_multiple, spec.module.min_size
        self.to_network = ToNetwork(spec.intensity_in) if spec.intensity_in else None
        self.from_network = FromNetwork(spec.intensity_out) if spec.intensity_out else None

    def forward(self, image: Tensor, domain: Tensor | None = None) -> Tensor:
        height, width = image.shape[1], image.shape[2]
        missing = None
        if self.to_network:
            x, missing = self.to_network(image)
        else:
            x = image.permute(0, 3, 1, 2).to(torch.float32) / 127.5 - 1
        # Written so that each side is a multiple of one symbol, and the sizes of all layers are
        # short expressions: tracing takes a third of the time. Of positive numbers, because ONNX
        # divides integers toward 0.
        multiple, least = self.multiple, self.least // self.multiple
        below, right = (
            multiple * torch.sym_max((side + multiple - 1) // multiple, least) - side
            for side in (height, width)
        )
        # A symbolic integer while the graph is recorded.
        padding = cast(tuple[int, ...], (0, right, 0, below))
        x = F.pad(x, padding, mode="replicate")
        if self.computes_in_half:
            x = x.half()
        y = (self.generator(x) if domain is None else self.generator(x, domain)).float()
        y = y[:, :, :height, :width]
        if self.gives_labels:
            return self.palette[nearest(y, self.colors)]
        if self.from_network:
            values: Tensor = self.from_network(y, missing)
            return values
        y = y.permute(0, 2, 3, 1)
        pixels: Tensor = ((y + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
        return pixels


def load_run(
    run: Path, weights: str | None = None, chosen: Checkpoint | None = None
) -> tuple[RunConfig, Method, dict[str, str]]:
    """A run's config, its method with the generators' weights, and the metadata of the weights.

    weights: "ema" or "plain"; by default the average if the run has one. chosen: the last weights,
    those with the best held-out distance, or those of a step that the run keeps; by default the
    best if a distance was measured. The metadata have `weights` ("ema" or "plain") and `step`, and
    `metric` and `value` of the best. Raises DataError for a run without such weights, UsageError
    for a run without an average.
    """
    config = RunConfig.load(run)
    method = METHODS[config.mode](config.method)
    best = run / checkpoint.BEST
    if chosen is None:
        fits = best.exists() and weights in (None, checkpoint.load_weights(best)[1].get("weights"))
        chosen = "best" if fits else "last"
    if isinstance(chosen, int):
        path = _kept(run, chosen)
    else:
        path = best if chosen == "best" else run / checkpoint.WEIGHTS
    if not path.exists():
        reason = (
            "no distance was measured during training; see --eval-every"
            if chosen == "best"
            else "it was never saved. Resume it first"
        )
        raise DataError(f"{run} has no {chosen} weights: {reason}.")
    tensors, metadata = checkpoint.load_weights(path)
    if weights and weights != metadata.get("weights"):
        if weights == "ema":
            raise UsageError(f"{run} has no average of its weights; train with --ema 0.999")
        if chosen != "last":
            raise UsageError(
                "Of the best weights and of past saves, only the average is kept: leave --weights "
                "out."
            )
        state = checkpoint.load(run / checkpoint.LAST)["trainer"]
        prefix = "generators."
        tensors = {
            name.removeprefix(prefix): tensor
            for name, tensor in state["method"].items()
            if name.startswith(prefix)
        }
        metadata = {"weights": "plain", "step": str(state["step"])}
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise DataError(
                f"The weights {path} are not finite ({name}), so they give no pictures. Choose "
                "others with --checkpoint best, last or the number of a step, or train again."
            )
    for name in list(method.generators):  # an imported run may have only one direction
        if not any(key.startswith(f"{name}.") for key in tensors):
            del method.generators[name]
    try:
        method.generators.load_state_dict(tensors)
    except RuntimeError as error:
        reason = str(error).splitlines()[1].strip()
        raise DataError(f"The weights of {run} don't fit its config.json: {reason}") from None
    return config, method, metadata


def _kept(run: Path, step: int) -> Path:
    """The file of a step's weights. Raises DataError if the run doesn't keep them."""
    kept = kept_checkpoints(run)
    if step not in kept:
        steps = ", ".join(map(str, kept))
        others = f"it has those of {steps}" if kept else "train with --keep to keep some"
        raise DataError(f"{run} has no weights of step {step}: {others}.")
    return kept[step]


def make_manifest(
    config: RunConfig,
    direction: str,
    spec: ExportSpec,
    metadata: dict[str, str],
    metrics: dict[str, float],
    precision: Precision = "fp32",
    half_weights: bool = False,
) -> Manifest:
    """The manifest of a bundle. It contains nothing about the training machine, such as paths.

    metadata: those of the weights; metrics: their latest values at the step of the weights.
    """
    tiled, channels = config.method.generator.local, spec.in_channels
    network: Generator = spec.module
    if isinstance(
        network, OneHotInput
    ):  # it works pixel by pixel, so the reach is that of the inner network
        channels, network = network.colors.shape[0], network.network
    return Manifest(
        name=config.name if direction != "ba" else f"{config.name} (back)",
        method=config.mode,
        direction=direction,
        in_channels=spec.in_channels,
        out_channels=spec.out_channels,
        intensity_in=spec.intensity_in,
        intensity_out=spec.intensity_out,
        size_multiple=spec.module.size_multiple,
        min_size=spec.module.min_size,
        reach=reach(network, channels, spec.labels.width) if tiled else None,
        trained_size=config.method.size,
        labels=spec.labels,
        palette=spec.palette,
        statistics=spec.statistics,
        weights=metadata.get("weights", "plain"),
        precision=precision,
        half_weights=half_weights,
        licence=config.licence,
        step=int(metadata.get("step", 0)),
        seed=config.seed,
        config=_without_folders(
            config.method.model_dump(mode="json"), config.feature_networks | config.feature_weights
        ),
        feature_networks={Path(name).name: sha for name, sha in config.feature_networks.items()},
        feature_weights={Path(name).name: sha for name, sha in config.feature_weights.items()},
        data=_origin(config, metadata),
        metrics=metrics,
        created_with=f"img2img {__version__}, torch {torch.__version__}",
        created=datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    )


def _without_folders(settings: Any, files: Collection[str]) -> Any:
    """The settings, in which the names of these files are without their folders."""
    if isinstance(settings, dict):
        return {name: _without_folders(value, files) for name, value in settings.items()}
    if isinstance(settings, list):  # the parts of a mixture
        return [_without_folders(value, files) for value in settings]
    return Path(settings).name if isinstance(settings, str) and settings in files else settings


def _origin(config: RunConfig, metadata: dict[str, str]) -> dict[str, object]:
    """Where the weights come from: the imported files, or the training data."""
    if "imported" in metadata:
        return {"imported": metadata["imported"]}
    pretrained = {"pretrained": config.pretrained.name} if config.pretrained else {}
    return {"fingerprint": config.fingerprint, **pretrained}


def trace(
    spec: ExportSpec, size: Size, opset: int = OPSET, precision: Precision = "fp32"
) -> onnx.ModelProto:
    """The graph of one direction as an ONNX model with dynamic N, H and W.

    For int8 it is the float graph that quantize.py quantizes. Raises UsageError for an opset to
    which the model can't be exported.
    """
    pixels = Pixels(spec, precision).eval()
    traced = size.plus(
        12, 4
    )  # needs padding, and has no size that the tracer could take for a constant
    dtype = TYPES[spec.intensity_in.dtype if spec.intensity_in else "uint8"]
    image = torch.zeros(2, *traced.shape, spec.in_channels, dtype=dtype)
    axes = {0: "batch", 1: "height", 2: "width"}
    inputs, shapes = {"image": image}, {"image": axes}
    if spec.labels.sets:
        inputs["domain"] = torch.zeros(2, spec.labels.width)
        shapes["domain"] = {0: "batch"}
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            pixels,
            kwargs=inputs,
            dynamic_shapes={name: shapes.get(name) for name in inputs},
            input_names=list(inputs),
            output_names=[OUTPUT],
            opset_version=opset,
            dynamo=True,
            verbose=False,
        )
    assert program is not None  # it is None only without dynamo
    model = program.model_proto
    if model.opset_import[0].version != opset:
        raise UsageError(f"This model can't be exported with --opset {opset}; try {OPSET}.")
    return _tidied(model, axes)


def write(model: onnx.ModelProto, manifest: Manifest, path: Path) -> None:
    """Write the model to one file, with the manifest and a checksum of all in its metadata."""
    stated = {METADATA_KEY: manifest.model_dump_json(exclude_defaults=False)}
    onnx.helper.set_model_props(model, {**stated, checksum.KEY: checksum.EMPTY})
    model.producer_name, model.producer_version = "img2img", __version__
    path.write_bytes(checksum.seal(model.SerializeToString()))


def _tidied(model: onnx.ModelProto, axes: dict[int, str]) -> onnx.ModelProto:
    """Name the output's N, H and W like the input's, and remove the exporter's stack traces."""
    for axis, name in axes.items():
        model.graph.output[0].type.tensor_type.shape.dim[axis].dim_param = name
    graph = model.graph
    for part in (*graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        del part.metadata_props[:]
    del graph.value_info[:]
    del model.metadata_props[:]
    return model
