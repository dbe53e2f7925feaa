"""Feature networks from a user's file: ONNX, or TorchScript."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Self

import torch
from torch import Tensor, nn

from img2img.errors import DataError, UsageError, needs_extra
from img2img.features.base import FeatureNetwork
from img2img.features.torchscript_file import load as load_torchscript

TORCHSCRIPT = (".pt", ".pth", ".ts", ".torchscript")
SUFFIXES = (".onnx", *TORCHSCRIPT)


class UserNetwork(FeatureNetwork):
    """The network of a file. Its features are the file's four-dimensional outputs, in their order.

    The network gets RGB in [-1, 1], unless the metadata of an ONNX file have `mean` and `std`,
    three numbers each, with commas between them: then it gets RGB in [0, 1], minus mean, divided
    by std.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, name: str, stages: tuple[int, ...] | None = None):
        """stages: the indices of the outputs among those that are four-dimensional; all by default.

        Raises DataError for a file that can't be read or does not work as a feature network, and
        UsageError for an output that it does not have.
        """
        super().__init__()
        path = Path(name)
        try:
            content = path.read_bytes()
        except OSError as error:
            raise DataError(f"The network {path} can't be read ({error.strerror}).") from None
        self.name, self.sha256 = name, hashlib.sha256(content).hexdigest()
        metadata: dict[str, str] = {}
        with torch.random.fork_rng(devices=[]):  # constructors draw weights
            if path.suffix.lower() in TORCHSCRIPT:
                module = load_torchscript(content, path)
            else:
                module, metadata = _load_onnx(content, path)
        scale, shift = _normalization(metadata, path)
        self.register_buffer("scale", scale, persistent=False)
        self.register_buffer("shift", shift, persistent=False)
        # In a list: the layers of a submodule would be initialized, trained and saved.
        for parameter in module.parameters():  # Module.requires_grad_ refuses TorchScript
            parameter.requires_grad_(False)
        self._network = [module]
        self.stages = None
        channels = _trial(self, path)
        if stages is not None and list(stages) != sorted(set(stages) & set(range(len(channels)))):
            raise UsageError(
                f"{path} has no outputs {', '.join(map(str, stages))}. Give different numbers from "
                f"0 to {len(channels) - 1} in increasing order."
            )
        self.stages = tuple(range(len(channels))) if stages is None else stages
        self.channels = [channels[stage] for stage in self.stages]

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        self._network[0]._apply(fn)  # type: ignore[no-untyped-call]
        return super()._apply(fn, recurse)  # type: ignore[no-any-return, no-untyped-call]

    def features(self, image: Tensor) -> list[Tensor]:
        result = self._network[0](image * self.scale + self.shift)
        outputs = [result] if isinstance(result, Tensor) else list(result)
        maps = [output for output in outputs if output.ndim == 4]
        return maps if self.stages is None else [maps[stage] for stage in self.stages]


def _load_onnx(content: bytes, path: Path) -> tuple[nn.Module, dict[str, str]]:
    try:
        from img2img.features.onnx_file import load  # here, because onnx is slow to import
    except ImportError as error:
        raise needs_extra("train", error) from None
    return load(content, path)


def _normalization(metadata: dict[str, str], path: Path) -> tuple[Tensor, Tensor]:
    """Factor and summand [3, 1, 1] that take [-1, 1] to the network's range."""
    if "mean" not in metadata and "std" not in metadata:
        return torch.ones(3, 1, 1), torch.zeros(3, 1, 1)
    try:
        mean, std = (
            torch.tensor([float(part) for part in metadata[name].strip("[]() ").split(",")])
            for name in ("mean", "std")
        )
        if mean.shape != (3,) or std.shape != (3,) or not bool((std > 0).all()):
            raise ValueError
    except (KeyError, ValueError):
        raise DataError(
            f"{path}: the metadata mean and std must both be three numbers, such as "
            "0.485,0.456,0.406, and those of std positive."
        ) from None
    return (0.5 / std)[:, None, None], ((0.5 - mean) / std)[:, None, None]


def _trial(network: UserNetwork, path: Path) -> list[int]:
    """The channels of all features. Raises DataError if the network does not take pictures of any
    size and number, or if no gradient flows to the picture.
    """
    channels = []
    try:
        for shape in ((2, 3, 64, 96), (1, 3, 96, 64)):
            image = torch.zeros(shape).uniform_(-1, 1, generator=torch.Generator().manual_seed(0))
            features = network(image.requires_grad_())
            channels = [feature.shape[1] for feature in features]
            if any(len(feature) != shape[0] for feature in features):
                raise ValueError("its outputs are not one for each picture")
            if any(feature.dtype != torch.float32 for feature in features):
                raise ValueError("its outputs are not float32")
            if features:
                (slope,) = torch.autograd.grad(sum(f.square().sum() for f in features), image)
                if not bool(slope.isfinite().all() and slope.any()):
                    raise ValueError("no gradient flows to the picture")
    except Exception as error:  # whatever its operations raise
        reason = (str(error).strip().splitlines() or [type(error).__name__])[-1].rstrip(".")
        raise DataError(
            f"{path} can't be used as a feature network, which takes RGB pictures [N, 3, H, W] of "
            f"any size and number, and passes gradients: {reason}."
        ) from None
    if not channels:
        raise DataError(
            f"{path} has no output [N, C, h, w]. Make the intermediate features that you want to "
            "use outputs of the model."
        )
    return channels
