"""Normalisation layers: chosen by name, and turned into what a generator is run with."""

import copy
from contextlib import AbstractContextManager
from typing import Literal, TypeVar

import torch
from torch import Tensor, nn

M = TypeVar("M", bound=nn.Module)

Norm = Literal["batch", "instance", "instance_affine", "none"]


def norm_layer(norm: Norm, channels: int) -> nn.Module:
    """BatchNorm with affine part and running statistics, InstanceNorm without the latter."""
    if norm == "batch":
        return nn.BatchNorm2d(channels)
    if norm == "none":
        return nn.Identity()
    return nn.InstanceNorm2d(channels, affine=norm == "instance_affine")


def needs_bias(norm: Norm) -> bool:
    """Whether a convolution before the norm has a bias: always in the published code, but there."""
    return norm != "batch"


def spectral_normalise(module: nn.Module) -> None:
    """Divide every convolution's weight by its largest singular value (Miyato et al. 2018)."""
    for layer in list(module.modules()):
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            nn.utils.parametrizations.spectral_norm(layer)


class RunningAveragesKept(AbstractContextManager[None]):
    """Let BatchNorm in train mode leave its averages: the same pictures go through another time.

    It can be entered again after it was left: a graph that is kept may be run through several
    times, and what `recompute` makes again is made each time.
    """

    def __init__(self, module: nn.Module):
        self.layers = _batch_norms(module)

    def __enter__(self) -> None:
        self.before = [(layer.momentum, _calls(layer).clone()) for layer in self.layers]
        for layer in self.layers:
            layer.momentum = 0.0  # to copy the averages back would invalidate a graph

    def __exit__(self, *failure: object) -> None:
        for layer, (momentum, count) in zip(self.layers, self.before, strict=True):
            layer.momentum = momentum
            _calls(layer).copy_(count)


class PartAverages:
    """BatchNorm's running averages while the parts of a batch go through one after the other.

    Each part moves them from where they were before the first; afterwards they are the mean of
    where the parts moved them. As a move is linear in a call's statistics, that is the move by the
    mean of the parts' statistics, once for each call that the whole batch would have made.
    """

    def __init__(self, module: nn.Module):
        self.buffers = [buffer for layer in _batch_norms(module) for buffer in layer.buffers()]
        self.before = [buffer.clone() for buffer in self.buffers]
        self.moved: list[list[Tensor]] = [[] for _ in self.buffers]

    def end_part(self) -> None:
        """Call it after the part's backward pass, which may still need the buffers."""
        for buffer, before, moved in zip(self.buffers, self.before, self.moved, strict=True):
            moved.append(buffer.clone())
            buffer.copy_(before)

    def end(self) -> None:
        """Call it after the last part."""
        for buffer, moved in zip(self.buffers, self.moved, strict=True):
            count = not buffer.is_floating_point()  # of calls, which is the same for all parts
            buffer.copy_(moved[-1] if count else torch.stack(moved).mean(0))


def _calls(layer: nn.BatchNorm2d) -> Tensor:
    """The buffer that counts the layer's calls, which every one of `norm_layer` has."""
    assert layer.num_batches_tracked is not None
    return layer.num_batches_tracked


def _batch_norms(module: nn.Module) -> list[nn.BatchNorm2d]:
    return [layer for layer in module.modules() if isinstance(layer, nn.BatchNorm2d)]


def image_statistics(module: M) -> M:
    """A copy that normalises each picture by its own statistics and drops nothing out.

    This is how the papers run their generators (batch 1, train mode): BatchNorm in train mode at
    batch 1 is instance normalisation with an affine part. Parameters are copied, not shared.
    """
    module = copy.deepcopy(module)
    for parent in list(module.modules()):
        for name, child in parent.named_children():
            if isinstance(child, nn.BatchNorm2d):
                setattr(parent, name, _as_instance_norm(child))
            elif isinstance(child, nn.Dropout):
                setattr(parent, name, nn.Identity())
    return module.eval()


def _as_instance_norm(batch: nn.BatchNorm2d) -> nn.InstanceNorm2d:
    instance = nn.InstanceNorm2d(batch.num_features, eps=batch.eps, affine=batch.affine)
    if batch.affine:
        instance.weight, instance.bias = batch.weight, batch.bias
    return instance
