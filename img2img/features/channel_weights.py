"""Learned weights of the channels of a feature network, such as LPIPS has them, from a file."""

import pickle
import re
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from img2img.errors import DataError
from img2img.features.base import FeatureNetwork


def channel_weights(path: Path, network: FeatureNetwork) -> list[Tensor]:
    """The weights of each depth's channels, [C] in float32, finite and not negative.

    path: of a safetensors file, or of one that torch.save has written, from which nothing but
    tensors is loaded. It has a tensor [C] or [1, C, 1, 1] for each depth of the network. The first
    number in a tensor's name gives the order: lin0.model.1.weight (as in the published files of
    LPIPS) is of the first depth.

    Raises DataError for a file that can't be read, or does not fit the network.
    """
    tensors = _read(path)
    numbers = {int(n.group()): name for name in tensors if (n := re.search(r"\d+", name))}
    if len(numbers) < len(tensors) or len(tensors) != len(network.channels):
        raise _unfit(path, network, f"its tensors are {', '.join(tensors) or 'none'}")
    weights = []
    for number, channels in zip(sorted(numbers), network.channels, strict=True):
        name = numbers[number]
        weight = tensors[name]
        if weight.shape not in ((channels,), (1, channels, 1, 1)):
            raise _unfit(path, network, f"{name} has the shape {list(weight.shape)}")
        weight = weight.detach().float().flatten()
        if not bool(weight.isfinite().all() and (weight >= 0).all()):
            raise _unfit(path, network, f"{name} has negative or infinite values, or NaN")
        weights.append(weight)
    return weights


def _read(path: Path) -> dict[str, Tensor]:
    """The tensors of the file by name. Raises DataError for a file that has anything else."""
    try:
        path.open("rb").close()  # safetensors reports every OS error as a missing file
        if path.suffix == ".safetensors":
            return load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise DataError(f"The weights {path} can't be read ({error.strerror}).") from None
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError):
        raise DataError(
            f"The weights {path} can't be read: it is neither a .safetensors file nor one of "
            "tensors alone that torch.save has written."
        ) from None
    if not isinstance(content, dict) or not all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in content.items()
    ):
        raise DataError(f"The weights {path} must be a state dict: tensors by name.")
    return content


def _unfit(path: Path, network: FeatureNetwork, reason: str) -> DataError:
    expected = ", ".join(map(str, network.channels))
    return DataError(
        f"The weights {path} do not fit {network.name}: {reason}. Expected are as many tensors as "
        f"the network has depths, {len(network.channels)}, whose names have different numbers "
        f"(lin0.model.1.weight), with one number that is not negative for each channel: {expected}."
    )
