"""Normalization layers by name, and their replacement by each picture's own statistics."""

import copy
from contextlib import AbstractContextManager
from typing import Literal, TypeVar

import torch
from torch import Tensor, nn

M = TypeVar("M", bound=nn.Module)

Norm = Literal["batch", "instance", "instance_affine", "none"]


def norm_layer(norm: Norm, channels: int) -> nn.Module:
    """The layer of that name. BatchNorm is affine and keeps running statistics; InstanceNorm keeps
    none, and is affine if it is instance_affine; none is the identity.
    """
    if norm == "batch":
        return nn.BatchNorm2d(channels)
    if norm == "none":
        return nn.Identity()
    return nn.InstanceNorm2d(channels, affine=norm == "instance_affine")


def needs_bias(norm: Norm) -> bool:
    """Whether a convolution before the norm layer has a bias: in the published code, unless it is
    BatchNorm, whose affine part has one.
    """
    return norm != "batch"


def spectral_normalize(module: nn.Module) -> None:
    """Divide every convolution's weight by its largest singular value (Miyato et al. 2018)."""
    for layer in list(module.modules()):
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            nn.utils.parametrizations.spectral_norm(layer)


class RunningAveragesKept(AbstractContextManager[None]):
    """Keep the running averages of BatchNorm layers in train mode unchanged within the block, in
    which the same pictures pass through a second time.

    It may be entered several times, since a retained graph may be run through several times, and
    `recompute` computes its activations again each time.
    """

    def __init__(self, module: nn.Module):
        self.layers = _batch_norms(module)

    def __enter__(self) -> None:
        self.before = [(layer.momentum, _calls(layer).clone()) for layer in self.layers]
        for layer in self.layers:
            layer.momentum = 0.0  # copying the averages back would invalidate the autograd graph

    def __exit__(self, *failure: object) -> None:
        for layer, (momentum, count) in zip(self.layers, self.before, strict=True):
            layer.momentum = momentum
            _calls(layer).copy_(count)


class PartAverages:
    """Running averages of BatchNorm layers for a batch that is processed in several parts.

    Each part updates the averages from their values before the first part; in the end they become
    the mean of these results. Since an update is linear in the statistics of a call, this equals
    one update by the mean of the parts' statistics, for each call that the whole batch would make.
    """

    def __init__(self, module: nn.Module):
        self.buffers = [buffer for layer in _batch_norms(module) for buffer in layer.buffers()]
        self.before = [buffer.clone() for buffer in self.buffers]
        self.moved: list[list[Tensor]] = [[] for _ in self.buffers]

    def end_part(self) -> None:
        """To be called after the backward pass of a part, which may still need the buffers."""
        for buffer, before, moved in zip(self.buffers, self.before, self.moved, strict=True):
            moved.append(buffer.clone())
            buffer.copy_(before)

    def end(self) -> None:
        """To be called after the last part."""
        for buffer, moved in zip(self.buffers, self.moved, strict=True):
            count = (
                not buffer.is_floating_point()
            )  # the counter of calls, which is equal for all parts
            buffer.copy_(moved[-1] if count else torch.stack(moved).mean(0))


def _calls(layer: nn.BatchNorm2d) -> Tensor:
    """The buffer that counts the calls of a layer made by `norm_layer`."""
    assert layer.num_batches_tracked is not None
    return layer.num_batches_tracked


def _batch_norms(module: nn.Module) -> list[nn.BatchNorm2d]:
    return [layer for layer in module.modules() if isinstance(layer, nn.BatchNorm2d)]


def image_statistics(module: M) -> M:
    """A copy that normalizes each picture by its own statistics, without dropout, in eval mode.

    This is how the papers run their generators (batch 1, train mode): BatchNorm in train mode at
    batch 1 is affine instance normalization. Parameters are copied, not shared.
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
