"""Published checkpoints: from the keys and shapes of a state dict to a method's settings.

The authors' pix2pix/CycleGAN repository saves `*_net_G.pth`, `*_net_G_A.pth` and `*_net_G_B.pth`,
StarGAN's `*-G.ckpt`: plain state dicts of generators. Our networks have the same keys.
"""

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from img2img.errors import DataError, UsageError
from img2img.files import write_whole
from img2img.manifest import Labels, LabelSet
from img2img.methods import METHODS
from img2img.nets.norm import Norm
from img2img.train import checkpoint
from img2img.train.config import RunConfig

State = dict[str, Tensor]
FILES = re.compile(r"(?P<when>.+?)(_net_G(?P<side>_A|_B)?\.pth|-G\.ckpt)")
EXPECTED = (
    "a U-Net (keys model.model.0.weight, ...), a ResNet (model.1.weight and "
    "model.N.conv_block.1.weight, ...) or StarGAN's generator (main.0.weight, ...)"
)
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
RUNNING = ("running_mean", "running_var", "num_batches_tracked")


@dataclass(frozen=True)
class Published:
    """One generator: the method and settings that build it, and its tensors under our keys."""

    mode: str
    settings: dict[str, object]
    state: State
    label_width: int = 0  # of StarGAN


def find(path: Path) -> dict[str, Path]:
    """The generators' files by direction; of a folder the latest ones.

    Raises DataError where there is none, or where files of several methods are mixed.
    """
    if path.is_file():
        found = FILES.fullmatch(path.name)
        return {"ba" if found and found["side"] == "_B" else "ab": path}
    if not path.is_dir():
        raise DataError(f"There is no file or folder {path}.")
    newest: dict[str, tuple[float, Path]] = {}
    for file in sorted(path.iterdir()):
        if found := FILES.fullmatch(file.name):
            counted = re.fullmatch(r"(?:iter_)?(\d+)", found["when"])
            age = float(counted[1]) if counted else float("inf")  # latest_net_G.pth
            side = found["side"] or ""
            newest[side] = max(newest.get(side, (-1.0, file)), (age, file))
    if not newest:
        raise DataError(f"{path} has no generators (*_net_G.pth, *_net_G_A.pth, *-G.ckpt).")
    if "" in newest and len(newest) > 1:
        names = ", ".join(file.name for _, file in newest.values())
        raise DataError(f"{path} has generators of several models ({names}). Give one file.")
    return {"ba" if side == "_B" else "ab": file for side, (_, file) in newest.items()}


def read(path: Path) -> Published:
    """Read the architecture off the file. Nothing in it is executed.

    Raises DataError for anything that is none of the published generators.
    """
    state = _state(path)
    try:
        if "model.model.0.weight" in state:
            return _unet(state)
        if "model.1.weight" in state and any(".conv_block." in key for key in state):
            return _resnet(state)
        if "main.0.weight" in state and any(".main.0.weight" in key for key in state):
            return _stargan(state)
    except (KeyError, IndexError, ValueError, TypeError, OverflowError):
        pass  # some keys are there, others not
    some = ", ".join(f"{key} {list(tensor.shape)}" for key, tensor in list(state.items())[:4])
    hint = " It looks like a discriminator." if "model.0.weight" in state else ""
    raise DataError(
        f"{path} is no generator known here. Expected {EXPECTED}; found {some}, ... "
        f"({len(state)} tensors).{hint}"
    )


def fit(state: State, network: nn.Module, path: Path) -> State:
    """The tensors that the network has, from a state dict that may spell the same otherwise.

    Running statistics of instance norm go: the authors drop them, too. A bias before a norm, which
    takes the mean away, does nothing: one that is missing is 0, one too many goes into BatchNorm's
    running mean. (With norm "none" the authors have no bias there, either.) Raises DataError where
    the rest does not fit.
    """
    target, fitted = network.state_dict(), dict(state)
    for convolution, norm in _normed(network):
        bias, mean = f"{convolution}.bias", f"{norm}.running_mean"
        if bias in target:
            fitted.setdefault(bias, torch.zeros(target[bias].shape))
        elif bias in fitted and mean in fitted:
            fitted[mean] = fitted[mean] - fitted.pop(bias)
        if mean not in target:
            for name in RUNNING:
                fitted.pop(f"{norm}.{name}", None)
        else:  # torch before 0.4.1 did not count
            fitted.setdefault(f"{norm}.num_batches_tracked", torch.tensor(0))
    wrong = [
        f"{key}: expected {_shape(target, key)}, found {_shape(fitted, key)}"
        for key in dict.fromkeys((*target, *fitted))
        if _shape(target, key) != _shape(fitted, key)
    ]
    wrong += [
        f"{key}: not all of it are finite numbers"
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
) -> None:
    """Make a run of a published generator, or of a folder with CycleGAN's two.

    direction: "ba" where a lone generator translates b to a; domains, labels: StarGAN's, where they
    are not those of the published models; settings: of the method's Config, over what was read.
    Raises DataError for a file that is no such generator, UsageError for options that do not fit.
    """
    files = find(path)
    parts = {to: read(file) for to, file in files.items()}
    first = next(iter(parts))
    kind, read_off = parts[first].mode, dict(parts[first].settings)
    if mode not in (None, kind):
        raise UsageError(f"{files[first]} holds a generator of {kind}, not of {mode}.")
    if kind != "cyclegan" and len(files) > 1:
        names = ", ".join(file.name for file in files.values())
        raise DataError(f"A generator of {kind} stands alone, but {path} has {names}. Give one.")
    if direction and (kind != "cyclegan" or len(files) > 1):
        raise UsageError("--direction is for a lone generator of CycleGAN: leave it out.")
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
    origin = ", ".join(
        f"{file.name} (sha256 {hashlib.sha256(file.read_bytes()).hexdigest()[:16]})"
        for file in files.values()
    )
    config = RunConfig.build(
        {
            "name": run.name,
            "mode": kind,
            "method": {**read_off, **(settings or {})},
            "sources": {},
            "licence": licence,
        }
    )
    with torch.device("meta"):  # nothing is allocated for shapes that the file only claims
        generators = METHODS[kind](config.method).generators
    for name in list(generators):
        if name in parts:
            fitted = fit(parts[name].state, generators[name], files[name])
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
        f"Licence of the weights: {licence or 'not stated'}.\n",
    )


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


def _state(path: Path) -> State:
    """A state dict; `module.` of DataParallel and an outer "state_dict" are taken off."""
    if path.suffix == ".safetensors":
        state = checkpoint.load_weights(path)[0]
    else:
        state = checkpoint.load(path)
    if isinstance(state, dict) and isinstance(state.get("state_dict"), dict):
        state = state["state_dict"]
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise DataError(f"{path} holds no state dict. Expected {EXPECTED}.")
    if not state:
        raise DataError(f"{path} is empty. Expected {EXPECTED}.")
    for key, tensor in state.items():
        plain = tensor.layout is torch.strided and tensor.device.type == "cpu"
        if not plain or tensor.is_quantized or tensor.is_complex():
            raise DataError(f"{path}: {key} is no plain tensor of numbers.")
        if tensor.untyped_storage().nbytes() < tensor.numel() * tensor.element_size():
            raise DataError(f"{path}: {key} claims to be larger than what the file holds.")
    return {str(key).removeprefix("module."): tensor for key, tensor in state.items()}


def _unet(state: State) -> Published:
    levels = max(key.split(".").count("model") for key in state) - 1
    width, channels = state["model.model.0.weight"].shape[:2]
    settings = {
        "in_channels": channels,
        "out_channels": state["model.model.3.weight"].shape[1],
        "width": width,
        "levels": levels,
        "size": max(2**levels, 64),
        "norm": _norm(state, "model.model.1.model.1.bias"),
    }
    return Published("pix2pix", settings, state)


def _resnet(state: State) -> Published:
    width, channels = state["model.1.weight"].shape[:2]
    blocks = {key.split(".")[1] for key in state if ".conv_block." in key}
    last = max(int(key.split(".")[1]) for key in state)
    settings = {
        "in_channels": channels,
        "out_channels": len(state[f"model.{last}.weight"]),
        "width": width,
        "blocks": len(blocks),
        # It moves the second convolution from 5 to 6, where else a norm is.
        "dropout": any(k.endswith("conv_block.6.weight") and v.ndim == 4 for k, v in state.items()),
        "size": 256,
        "norm": _norm(state, "model.1.bias"),
    }
    return Published("cyclegan", settings, state)


def _stargan(state: State) -> Published:
    width, planes = state["main.0.weight"].shape[:2]
    last = max(int(key.split(".")[1]) for key in state)
    channels = len(state[f"main.{last}.weight"])
    if planes <= channels:
        raise ValueError("no labels")
    settings = {
        "in_channels": channels,
        "out_channels": channels,
        "width": width,
        "blocks": len({key.split(".")[1] for key in state if ".main.0." in key}),
        "size": 128,
    }
    return Published("stargan", settings, state, planes - channels)


def _norm(state: State, hidden_bias: str) -> Norm:
    """hidden_bias: the key of a convolution's bias before a norm, which BatchNorm goes without."""
    running = any(key.endswith("running_mean") for key in state)
    affine = any(key.endswith("weight") and tensor.ndim == 1 for key, tensor in state.items())
    if affine and running and hidden_bias not in state:
        return "batch"
    return "instance_affine" if affine else "instance"


def _finite(tensor: Tensor) -> bool:
    return tensor.is_floating_point() and bool(tensor.isfinite().all())


def _shape(state: State, key: str) -> list[int] | None:
    return list(state[key].shape) if key in state else None
