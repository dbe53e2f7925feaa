"""Importing published checkpoints: the file of a generator becomes a run.

The authors' pix2pix/CycleGAN repository saves `*_net_G.pth`, `*_net_G_A.pth` and `*_net_G_B.pth`,
StarGAN's `*-G.ckpt`: plain state dicts of generators. Other repositories save several networks, or
more than networks, in one file.
"""

import contextlib
import hashlib
import re
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from img2img.errors import DataError, UsageError
from img2img.export.recognize import RUNNING, Layer, Recognized, State, Unrecognized, recognize
from img2img.manifest import Labels, LabelSet
from img2img.methods import METHODS
from img2img.training import checkpoint
from img2img.training.config import RunConfig
from img2img.writing import write_whole

# File names of the authors, aitorzip and PyTorch-GAN.
FILES = re.compile(
    r"(?P<when>.+?)(_net_G(?P<side>_A|_B)?\.pth|-G\.ckpt)"
    r"|netG_(?P<letters>A2B|B2A)\.pth|G_(?P<pair>AB|BA)_(?P<epoch>\d+)\.pth"
)
BACK = ("_B", "B2A", "BA")
GENERATOR = re.compile(r"(net_?)?(g|G|gen|generator)([_A-Z0-9].*)?$|.*[gG]enerator$")
EXPECTED = (
    "the state dict of a generator: a U-Net of pix2pix, a ResNet of CycleGAN or StarGAN's, by the "
    "order and shapes of its layers"
)
# Settings that can't be read off shapes, each with the readings that an option may override.
SETTABLE = {
    "padding": ("paper", "reflect", "zeros"),
    "upsample": ("nearest",),
    "form": ("flat", "rectified", "aladdinpersson"),
}
CELEBA = LabelSet(
    kind="attributes", domains=("Black_Hair", "Blond_Hair", "Brown_Hair", "Male", "Young")
)
RAFD = LabelSet(
    kind="classes",
    domains=(
        *("angry", "contemptuous", "disgusted", "fearful"),
        *("happy", "neutral", "sad", "surprised"),
    ),
)
MAX_NAME = 500  # characters of a tensor's name, which lists the modules around it
PUBLISHED_LABELS = [Labels(sets=sets) for sets in ((CELEBA,), (RAFD,), (CELEBA, RAFD))]


def find(path: Path) -> dict[str, Path]:
    """The generators' files by direction; in a folder, the latest ones.

    Raises DataError if there are none, or if they belong to several models.
    """
    if path.is_file():
        match = FILES.fullmatch(path.name)
        return {"ba" if match and _side(match) in BACK else "ab": path}
    if not path.is_dir():
        raise DataError(f"There is no file or folder {path}.")
    newest: dict[str, tuple[float, Path]] = {}
    for file in sorted(path.iterdir()):
        if match := FILES.fullmatch(file.name):
            number = re.fullmatch(r"(?:iter_)?(\d+)", match["when"] or match["epoch"] or "")
            age = float(number[1]) if number else float("inf")  # latest_net_G.pth
            side = _side(match)
            newest[side] = max(newest.get(side, (-1.0, file)), (age, file))
    if not newest:
        raise DataError(
            f"{path} has no generators (*_net_G.pth, *_net_G_A.pth, *-G.ckpt, netG_A2B.pth, "
            "G_AB_*.pth). Give the file itself."
        )
    backs = [side in BACK for side in newest]
    if len(set(backs)) < len(backs) or ("" in newest and len(newest) > 1):
        names = ", ".join(file.name for _, file in newest.values())
        raise DataError(f"{path} has generators of several models ({names}). Give one file.")
    return {"ba" if side in BACK else "ab": file for side, (_, file) in newest.items()}


def _side(match: re.Match[str]) -> str:
    return match["side"] or match["letters"] or match["pair"] or ""


def read(path: Path, key: str | None = None) -> Recognized:
    """Recognize the generator in a file. Nothing in the file is executed.

    key: that of the generator, in a file of several networks. Raises DataError for a file without a
    known generator, or with several and no `key`; UsageError for a key that is not in the file.
    """
    ordered = path.suffix != ".safetensors"  # it sorts tensors by name
    parts = _parts(path)
    generators: dict[str, Recognized] = {}
    reasons: dict[str, Unrecognized] = {}
    for name, state in parts.items():
        try:
            generators[name] = recognize(state, ordered)
        except Unrecognized as reason:
            reasons[name] = reason
            # A module of several networks, as Lightning saves it. Only under names of generators:
            # of any other module, a part would be ignored without notice.
            for owner, tensors in _by_owner(state).items():
                if GENERATOR.match(owner):
                    with contextlib.suppress(Unrecognized):
                        generators[owner] = recognize(tensors, ordered)
    if key is not None and generators:
        if key not in generators:
            names = ", ".join(name or "a single one, without a key" for name in generators)
            raise UsageError(f"{path} has no generator of --key {key}; it has {names}.")
        return generators[key]
    if len(generators) > 1:
        names = ", ".join(generators)
        raise DataError(f"{path} has several generators: {names}. Choose one with --key.")
    if generators:
        return next(iter(generators.values()))
    first = next(iter(parts))
    contents = f" It has {', '.join(parts)}; of {first}:" if len(parts) > 1 else ""
    shapes = ", ".join(f"{k} {list(tensor.shape)}" for k, tensor in list(parts[first].items())[:4])
    raise DataError(
        f"{path} is not a known generator.{contents} {reasons[first]}. Expected {EXPECTED}; "
        f"found {shapes}, ... ({len(parts[first])} tensors)."
    )


def fit(layers: list[Layer], network: nn.Module, path: Path) -> State:
    """The network's state dict, from layers in the order of the network's own.

    Running statistics of instance norm are dropped, as the authors do. A bias before a norm has no
    effect, because the norm subtracts the mean: a missing one is 0, and an extra one is subtracted
    from BatchNorm's running mean. (With norm "none" the authors have no bias there, either.) Other
    missing biases are 0, too, except that of the last layer. Raises DataError if anything else does
    not fit.
    """
    target, norms = network.state_dict(), dict(_normed(network))
    names = [
        name
        for name, layer in network.named_modules()
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d)
    ]
    if len(names) != len(layers):
        raise DataError(f"{path} has {len(layers)} convolutions, where {len(names)} are expected.")
    fitted: State = {}
    names_in_file: dict[str, str] = {}  # by the name of our layer
    for name, layer in zip(names, layers, strict=True):
        convolution, others = {"weight": layer.weight}, dict(layer.norm)
        norm, bias = norms.get(name, f"{name}.norm"), layer.bias
        if f"{norm}.running_mean" in target:  # torch before 0.4.1 did not save it
            others.setdefault("num_batches_tracked", torch.tensor(0))
        else:
            others = {leaf: tensor for leaf, tensor in others.items() if leaf not in RUNNING}
        if f"{name}.bias" not in target and name in norms:
            mean = others.get("running_mean")
            if bias is not None and mean is not None and mean.shape == bias.shape:
                others["running_mean"] = mean - bias
            bias = None
        elif f"{name}.bias" in target and bias is None and name != names[-1]:
            bias = torch.zeros(target[f"{name}.bias"].shape)
        if bias is not None:
            convolution["bias"] = bias
        names_in_file |= {name: layer.name, norm: layer.norm_name or layer.name}
        fitted |= {f"{name}.{leaf}": tensor for leaf, tensor in convolution.items()}
        fitted |= {f"{norm}.{leaf}": tensor for leaf, tensor in others.items()}

    def key_in_file(key: str) -> str:
        layer_name, _, leaf = key.rpartition(".")
        return f"{names_in_file[layer_name]}.{leaf}"

    wrong = [
        f"{key_in_file(key)}: expected {_shape(target, key)}, found {_shape(fitted, key)}"
        for key in dict.fromkeys((*target, *fitted))
        if _shape(target, key) != _shape(fitted, key)
    ]
    wrong += [
        f"{key_in_file(key)}: not all numbers are finite"
        for key, tensor in target.items()
        if not wrong and tensor.is_floating_point() and not _finite(fitted[key])
    ]
    if wrong:
        more = f" (and {len(wrong) - 3} more)" if len(wrong) > 3 else ""
        raise DataError(f"{path} does not fit: {'; '.join(wrong[:3])}{more}.")
    return {key: fitted[key].to(tensor.dtype) for key, tensor in target.items()}


def _normed(network: nn.Module) -> Iterator[tuple[str, str]]:
    """The names of each convolution that is followed by a norm or its placeholder, and of that."""
    for name, layers in network.named_modules():
        if isinstance(layers, nn.Sequential):
            for (first, _), (second, norm) in pairwise(layers.named_children()):
                if isinstance(norm, nn.BatchNorm2d | nn.InstanceNorm2d | nn.Identity):
                    yield f"{name}.{first}", f"{name}.{second}"


def import_run(
    path: Path,
    run: Path,
    mode: str | None = None,
    direction: str | None = None,
    domains: tuple[str, ...] = (),
    labels: Literal["classes", "attributes"] = "classes",
    settings: dict[str, object] | None = None,
    licence: str | None = None,
    key: str | None = None,
) -> Recognized:
    """Make a run of a published generator, or of a folder with the two of a CycleGAN. Returns what
    the first generator was recognized as.

    mode: the method of the run, by default the one whose paper has such a generator. direction:
    "ba" if a single generator of CycleGAN translates b to a. domains, labels: of a StarGAN, if they
    are not those of the published models. settings: of the method's Config, which override what was
    recognized. key: that of the generator, in a file of several networks.

    Raises DataError for a file that has no such generator, UsageError for options that don't fit.
    """
    files = find(path)
    parts = {to: read(file, key) for to, file in files.items()}
    first = next(iter(parts))
    published_mode, recognized = parts[first].mode, dict(parts[first].settings)
    kind = mode or published_mode
    if METHODS[kind].Config.conditional != METHODS[published_mode].Config.conditional:
        raise UsageError(f"{files[first]} has a generator of {published_mode}, not of {mode}.")
    if kind != "cyclegan" and len(files) > 1:
        names = ", ".join(file.name for file in files.values())
        raise DataError(f"{kind} has a single generator, but {path} has {names}. Give one file.")
    if direction and (kind != "cyclegan" or len(files) > 1):
        raise UsageError("--direction is for a single generator of CycleGAN: leave it out.")
    if len({part.reading for part in parts.values()}) > 1:
        readings = "; ".join(f"{files[to].name} is {part.reading}" for to, part in parts.items())
        raise DataError(f"The two generators are different networks: {readings}. Give one file.")
    # The direction in the method's own terms, whatever the name of the file suggests.
    single = {"pix2pix": "ab", "stargan": "any"}.get(kind, direction)
    if single:
        files, parts, first = {single: files[first]}, {single: parts[first]}, single
    if first == "ba":
        recognized |= {"in_channels": recognized["out_channels"]}
        recognized |= {"out_channels": parts[first].settings["in_channels"]}
    if kind == "cyclegan" and recognized["in_channels"] != recognized["out_channels"]:
        recognized["identity"] = 0.0
    if kind == "stargan":
        recognized["labels"] = _labels(parts[first].label_width, domains, labels)
    elif domains:
        raise UsageError(f"--domain is for StarGAN, but {files[first]} is a generator of {kind}.")
    settings = settings or {}
    for setting, values in SETTABLE.items():
        if setting in settings and recognized.get(setting) not in values:
            raise UsageError(f"{files[first]} is {parts[first].reading}: leave --{setting} out.")
    given = ", ".join(f"{name} {value}" for name, value in settings.items())
    reading = f"{parts[first].reading}{f'; given: {given}' if given else ''}"
    origin = ", ".join(
        f"{file.name} (sha256 {hashlib.sha256(file.read_bytes()).hexdigest()[:16]})"
        for file in files.values()
    )
    config = RunConfig.build(
        {
            "name": run.name,
            "mode": kind,
            "method": {**recognized, **settings},
            "sources": {},
            "licence": licence,
        }
    )
    with torch.device("meta"):  # so that shapes in the file can't make it allocate memory
        generators = METHODS[kind](config.method).generators
    for name in list(generators):
        if name in parts:
            fitted = fit(parts[name].layers, generators[name], files[name])
            copies = {
                key: tensor.clone() for key, tensor in fitted.items()
            }  # they may share memory
            generators[name].load_state_dict(copies, assign=True)
        else:
            del generators[name]
    write_whole(run / "config.json", config.to_json())
    metadata = {"weights": "plain", "step": "0", "imported": origin}
    checkpoint.save_weights(run / "weights.safetensors", generators, metadata)
    write_whole(
        run / "README.md",
        f"# {run.name}\n\nA {kind} generator, imported from {origin}.\n"
        f"Read as {reading}.\n"
        f"License of the weights: {licence or 'not stated'}.\n",
    )
    return replace(parts[first], reading=reading)


def _labels(width: int, names: tuple[str, ...], kind: str) -> Labels:
    """The labels of a StarGAN whose label vector has `width` numbers.

    Raises UsageError for another number of names.
    """
    if not names:
        known = [labels for labels in PUBLISHED_LABELS if labels.width == width]
        if known:
            return known[0]
        names = tuple(f"domain-{number}" for number in range(1, width + 1))
    if len(names) != width:
        raise UsageError(f"This generator has {width} domains; --domain was given {len(names)}.")
    return Labels(sets=(LabelSet(kind=kind, domains=names),))


def _parts(path: Path) -> dict[str, State]:
    """The state dicts in a file by their keys; the key is "" if the file is one itself."""
    if path.suffix == ".safetensors":
        loaded: Any = checkpoint.load_weights(path)[0]
    else:
        loaded = checkpoint.load(path, require_checksums=False)
    if not isinstance(loaded, dict):
        raise DataError(f"{path} has no state dict. Expected {EXPECTED}.")
    if not loaded:
        raise DataError(f"{path} is empty. Expected {EXPECTED}.")
    if {"state", "param_groups"} <= loaded.keys():
        raise DataError(f"{path} is the state of an optimizer. Expected {EXPECTED}.")
    if _is_state(loaded):
        states = {"": loaded}
    else:
        inner = {str(key): value for key, value in loaded.items() if isinstance(value, dict)}
        states = {
            key: value["state_dict"] if isinstance(value.get("state_dict"), dict) else value
            for key, value in inner.items()
        }
        states = {key: state for key, state in states.items() if _is_state(state)}
    if not states:
        raise DataError(f"{path} has no state dict. Expected {EXPECTED}.")
    return {name: _tensors(state, path) for name, state in states.items()}


def _is_state(value: dict[str, object]) -> bool:
    return bool(value) and all(isinstance(tensor, Tensor) for tensor in value.values())


def _tensors(state: State, path: Path) -> State:
    """The tensors without the prefixes that DataParallel and torch.compile add to their names.

    Raises DataError for names that no network has, and for tensors that are not plain numbers in
    memory.
    """
    for key, tensor in state.items():
        if len(str(key)) > MAX_NAME:
            raise DataError(
                f"{path}: the name of a tensor has {len(str(key)):,} characters "
                f"({str(key)[:40]}...). Expected {EXPECTED}."
            )
        plain = tensor.layout is torch.strided and tensor.device.type == "cpu"
        if not plain or tensor.is_quantized or tensor.is_complex():
            raise DataError(f"{path}: {key} is not a plain tensor of numbers.")
        if tensor.untyped_storage().nbytes() < tensor.numel() * tensor.element_size():
            raise DataError(f"{path}: {key} claims to be larger than its data in the file.")
    return {
        str(key).replace("_orig_mod.", "").removeprefix("module."): tensor
        for key, tensor in state.items()
    }


def _by_owner(state: State) -> dict[str, State]:
    """The tensors grouped by the first part of their names."""
    owners: dict[str, State] = {}
    for key, tensor in state.items():
        owner, _, rest = key.partition(".")
        owners.setdefault(owner, {})[rest] = tensor
    return owners


def _finite(tensor: Tensor) -> bool:
    return tensor.is_floating_point() and bool(tensor.isfinite().all())


def _shape(state: State, key: str) -> list[int] | None:
    return list(state[key].shape) if key in state else None
