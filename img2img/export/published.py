"""Published checkpoints: a generator's file becomes a run.

The authors' pix2pix/CycleGAN repository saves `*_net_G.pth`, `*_net_G_A.pth` and `*_net_G_B.pth`,
StarGAN's `*-G.ckpt`: plain state dicts of generators. Others save them among more.
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
from img2img.files import write_whole
from img2img.manifest import Labels, LabelSet
from img2img.methods import METHODS
from img2img.training import checkpoint
from img2img.training.config import RunConfig

# The authors', aitorzip's and PyTorch-GAN's names.
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
# Settings that names only hint at, each where it was read as one of these.
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
PUBLISHED_LABELS = [Labels(sets=sets) for sets in ((CELEBA,), (RAFD,), (CELEBA, RAFD))]


def find(path: Path) -> dict[str, Path]:
    """The generators' files by direction; of a folder the latest ones.

    Raises DataError where there is none, or where files of several methods are mixed.
    """
    if path.is_file():
        match = FILES.fullmatch(path.name)
        return {"ba" if match and _side(match) in BACK else "ab": path}
    if not path.is_dir():
        raise DataError(f"There is no file or folder {path}.")
    newest: dict[str, tuple[float, Path]] = {}
    for file in sorted(path.iterdir()):
        if match := FILES.fullmatch(file.name):
            counted = re.fullmatch(r"(?:iter_)?(\d+)", match["when"] or match["epoch"] or "")
            age = float(counted[1]) if counted else float("inf")  # latest_net_G.pth
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
    """Read the architecture off the file. Nothing in it is executed.

    key: of the network, in a file of several. Raises DataError for anything that holds no known
    generator, or several where `key` chooses none; UsageError for a key that is none of them.
    """
    ordered = path.suffix != ".safetensors"  # which sorts by name
    parts = _parts(path)
    generators: dict[str, Recognized] = {}
    reasons: dict[str, Unrecognized] = {}
    for name, state in parts.items():
        try:
            generators[name] = recognize(state, ordered)
        except Unrecognized as reason:
            reasons[name] = reason
            # Of a module that holds several networks, as Lightning saves it. Of another, the rest
            # would be left out in silence.
            for owner, tensors in _by_owner(state).items():
                if GENERATOR.match(owner):
                    with contextlib.suppress(Unrecognized):
                        generators[owner] = recognize(tensors, ordered)
    if key is not None and generators:
        if key not in generators:
            names = ", ".join(name or "one alone, without a key" for name in generators)
            raise UsageError(f"{path} has no generator of --key {key}; it has {names}.")
        return generators[key]
    if len(generators) > 1:
        names = ", ".join(generators)
        raise DataError(f"{path} holds several generators: {names}. Choose one with --key.")
    if generators:
        return next(iter(generators.values()))
    first = next(iter(parts))
    among = f" It holds {', '.join(parts)}; of {first}:" if len(parts) > 1 else ""
    some = ", ".join(f"{k} {list(tensor.shape)}" for k, tensor in list(parts[first].items())[:4])
    raise DataError(
        f"{path} is no generator known here.{among} {reasons[first]}. Expected {EXPECTED}; "
        f"found {some}, ... ({len(parts[first])} tensors)."
    )


def fit(layers: list[Layer], network: nn.Module, path: Path) -> State:
    """The network's state dict, from layers in the order of its own.

    Running statistics of instance norm go: the authors drop them, too. A bias before a norm, which
    takes the mean away, does nothing: one that is missing is 0, one too many goes into BatchNorm's
    running mean. (With norm "none" the authors have no bias there, either.) The other biases that
    networks written without any lack are 0, too, but for the last one. Raises DataError where the
    rest does not fit.
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
    theirs: dict[str, str] = {}  # the file's stem for each of ours
    for name, layer in zip(names, layers, strict=True):
        convolution, others = {"weight": layer.weight}, dict(layer.norm)
        norm, bias = norms.get(name, f"{name}.norm"), layer.bias
        if f"{norm}.running_mean" in target:  # torch before 0.4.1 did not count
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
        theirs |= {name: layer.name, norm: layer.norm_name or layer.name}
        fitted |= {f"{name}.{leaf}": tensor for leaf, tensor in convolution.items()}
        fitted |= {f"{norm}.{leaf}": tensor for leaf, tensor in others.items()}

    def called(key: str) -> str:
        stem, _, leaf = key.rpartition(".")
        return f"{theirs[stem]}.{leaf}"

    wrong = [
        f"{called(key)}: expected {_shape(target, key)}, found {_shape(fitted, key)}"
        for key in dict.fromkeys((*target, *fitted))
        if _shape(target, key) != _shape(fitted, key)
    ]
    wrong += [
        f"{called(key)}: not all of it are finite numbers"
        for key, tensor in target.items()
        if not wrong and tensor.is_floating_point() and not _finite(fitted[key])
    ]
    if wrong:
        more = f" (and {len(wrong) - 3} more)" if len(wrong) > 3 else ""
        raise DataError(f"{path} does not fit: {'; '.join(wrong[:3])}{more}.")
    return {key: fitted[key].to(tensor.dtype) for key, tensor in target.items()}


def _normed(network: nn.Module) -> Iterator[tuple[str, str]]:
    """The names of each convolution that a norm, or its placeholder, follows, and of that."""
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
    """Make a run of a published generator, or of a folder with CycleGAN's two. Gives what the
    first was recognized as.

    mode: the method of the run, by default the one whose paper has such a generator; direction:
    "ba" where a lone generator of CycleGAN translates b to a; domains, labels: StarGAN's, where
    they are not those of the published models; settings: of the method's Config, over what was
    read; key: of the generator, in a file of several networks.

    Raises DataError for a file that is no such generator, UsageError for options that do not fit.
    """
    files = find(path)
    parts = {to: read(file, key) for to, file in files.items()}
    first = next(iter(parts))
    usual, read_off = parts[first].mode, dict(parts[first].settings)
    kind = mode or usual
    if METHODS[kind].Config.conditional != METHODS[usual].Config.conditional:
        raise UsageError(f"{files[first]} holds a generator of {usual}, not of {mode}.")
    if kind != "cyclegan" and len(files) > 1:
        names = ", ".join(file.name for file in files.values())
        raise DataError(f"A generator of {kind} stands alone, but {path} has {names}. Give one.")
    if direction and (kind != "cyclegan" or len(files) > 1):
        raise UsageError("--direction is for a lone generator of CycleGAN: leave it out.")
    if len({part.reading for part in parts.values()}) > 1:
        readings = "; ".join(f"{files[to].name} is {part.reading}" for to, part in parts.items())
        raise DataError(f"The two generators are of different networks: {readings}. Give one.")
    # The key in our method's generators, in place of what the file's name made of it.
    only = {"pix2pix": "ab", "stargan": "any"}.get(kind, direction)
    if only:
        files, parts, first = {only: files[first]}, {only: parts[first]}, only
    if first == "ba":
        read_off |= {"in_channels": read_off["out_channels"]}
        read_off |= {"out_channels": parts[first].settings["in_channels"]}
    if kind == "cyclegan" and read_off["in_channels"] != read_off["out_channels"]:
        read_off["identity"] = 0.0
    if kind == "stargan":
        read_off["labels"] = _labels(parts[first].label_width, domains, labels)
    elif domains:
        raise UsageError(f"--domain is for StarGAN, and {files[first]} is of {kind}.")
    settings = settings or {}
    for setting, values in SETTABLE.items():
        if setting in settings and read_off.get(setting) not in values:
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
            "method": {**read_off, **settings},
            "sources": {},
            "licence": licence,
        }
    )
    with torch.device("meta"):  # nothing is allocated for shapes that the file only claims
        generators = METHODS[kind](config.method).generators
    for name in list(generators):
        if name in parts:
            fitted = fit(parts[name].layers, generators[name], files[name])
            own = {key: tensor.clone() for key, tensor in fitted.items()}  # several may share one
            generators[name].load_state_dict(own, assign=True)
        else:
            del generators[name]
    write_whole(run / "config.json", config.to_json())
    said = {"weights": "plain", "step": "0", "imported": origin}
    checkpoint.save_weights(run / "weights.safetensors", generators, said)
    write_whole(
        run / "README.md",
        f"# {run.name}\n\nA {kind} generator, imported from {origin}.\n"
        f"Read as {reading}.\n"
        f"Licence of the weights: {licence or 'not stated'}.\n",
    )
    return replace(parts[first], reading=reading)


def _labels(width: int, names: tuple[str, ...], kind: str) -> Labels:
    """The labels of a StarGAN whose label vector has that width."""
    if not names:
        known = [labels for labels in PUBLISHED_LABELS if labels.width == width]
        if known:
            return known[0]
        names = tuple(f"domain-{number}" for number in range(1, width + 1))
    if len(names) != width:
        raise UsageError(f"This generator has {width} domains; --domain was given {len(names)}.")
    return Labels(sets=(LabelSet(kind=kind, domains=names),))


def _parts(path: Path) -> dict[str, State]:
    """The state dicts of a file by their keys; by "" where the file is one."""
    if path.suffix == ".safetensors":
        loaded: Any = checkpoint.load_weights(path)[0]
    else:
        loaded = checkpoint.load(path)
    if not isinstance(loaded, dict):
        raise DataError(f"{path} holds no state dict. Expected {EXPECTED}.")
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
        raise DataError(f"{path} holds no state dict. Expected {EXPECTED}.")
    return {name: _tensors(state, path) for name, state in states.items()}


def _is_state(value: dict[str, object]) -> bool:
    return bool(value) and all(isinstance(tensor, Tensor) for tensor in value.values())


def _tensors(state: State, path: Path) -> State:
    """What DataParallel and torch.compile put before the names is taken off."""
    for key, tensor in state.items():
        plain = tensor.layout is torch.strided and tensor.device.type == "cpu"
        if not plain or tensor.is_quantized or tensor.is_complex():
            raise DataError(f"{path}: {key} is no plain tensor of numbers.")
        if tensor.untyped_storage().nbytes() < tensor.numel() * tensor.element_size():
            raise DataError(f"{path}: {key} claims to be larger than what the file holds.")
    return {
        str(key).replace("_orig_mod.", "").removeprefix("module."): tensor
        for key, tensor in state.items()
    }


def _by_owner(state: State) -> dict[str, State]:
    """The tensors by the first parts of their names."""
    owners: dict[str, State] = {}
    for key, tensor in state.items():
        owner, _, rest = key.partition(".")
        owners.setdefault(owner, {})[rest] = tensor
    return owners


def _finite(tensor: Tensor) -> bool:
    return tensor.is_floating_point() and bool(tensor.isfinite().all())


def _shape(state: State, key: str) -> list[int] | None:
    return list(state[key].shape) if key in state else None
