"""What export asks of a generator, beyond running it: the sizes it takes and how far it sees."""

import copy
from typing import ClassVar

import torch
from torch import nn

DROPPED = (nn.InstanceNorm2d, nn.BatchNorm2d, nn.Dropout)


class Generator(nn.Module):
    """image [N, C, H, W] in [-1, 1] (and domain [N, D]) -> the same range and size."""

    size_multiple: int  # H and W are multiples of it
    min_size: int  # and no smaller than this; itself a multiple of size_multiple
    local: ClassVar[bool]  # whether an output pixel depends on the pixels near it alone


def reach(generator: Generator, channels: int, domains: int = 0) -> int | None:
    """The most pixels between an output pixel and an input pixel that it depends on; None where
    that is all of the picture. What the norms' statistics carry does not count.

    Measured, so that it holds for any layers: by the gradient of a copy without norms, whose
    weights are all positive, so that nothing cancels.
    """
    if not generator.local:
        return None
    linear = _without_norms(copy.deepcopy(generator).float().eval()).requires_grad_(False)
    for parameter in linear.parameters():
        # An average; biases are nothing, which keeps every ReLU open and the tanh straight.
        parameter.data.fill_(1 / parameter[0].numel() if parameter.dim() > 1 else 0)
    given = [torch.zeros(1, domains)] if domains else []
    multiple, side = generator.size_multiple, 64 * generator.size_multiple
    while True:
        shape = (1, channels, generator.min_size, side)  # kernels are square: one axis tells
        image = torch.full(shape, 1e-6, requires_grad=True)
        output = linear(image, *given)
        farthest = 0
        for column in range(side // 2, side // 2 + multiple):  # one of every phase
            [gradient] = torch.autograd.grad(output[..., column].sum(), image, retain_graph=True)
            seen = gradient.abs().sum((0, 1, 2)).nonzero()
            farthest = max(farthest, column - int(seen.min()), int(seen.max()) - column)
        if farthest < side // 2 - multiple:  # no border was met
            return farthest
        side *= 2


def _without_norms(module: nn.Module) -> nn.Module:
    for parent in list(module.modules()):
        for name, child in parent.named_children():
            if isinstance(child, DROPPED):
                setattr(parent, name, nn.Identity())
    return module
