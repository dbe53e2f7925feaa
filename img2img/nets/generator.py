"""What a generator says of itself: by its settings, and as a network, its sizes and its reach."""

import copy
from abc import abstractmethod
from typing import ClassVar

import torch
from torch import Tensor, nn

from img2img.manifest import Precision
from img2img.nets.config import NetworkConfig
from img2img.sizes import Size

DROPPED = (nn.InstanceNorm2d, nn.BatchNorm2d, nn.Dropout)


class Generator(nn.Module):
    """image [N, C, H, W] in [-1, 1] (and domain [N, D]) -> the same range and size."""

    size_multiple: int  # H and W are multiples of it
    min_size: int  # and no smaller than this; itself a multiple of size_multiple

    def encode(self, image: Tensor) -> list[Tensor]:
        """Features of the image for contrastive losses, from the first layers to the deepest, each
        [N, C, h, w] with the channels of `GeneratorConfig.feature_channels`. Nothing after the
        last of them is computed.
        """
        raise NotImplementedError(f"{type(self).__name__} gives no features (encodes = False)")


class GeneratorConfig(NetworkConfig):
    """The settings of a generator. A row of `img2img.nets.GENERATORS` is such a class."""

    local: ClassVar[bool]  # an output pixel depends on the pixels near it alone: it can be tiled
    conditional: ClassVar[bool] = False  # takes a domain vector [N, D] beside the image
    precisions: ClassVar[tuple[Precision, ...]] = ("fp32", "fp16", "int8")  # of exported models
    encodes: ClassVar[bool] = False  # whether `Generator.encode` gives features

    @abstractmethod
    def size_multiple(self, size: Size) -> int:
        """What the sides of pictures are multiples of, for one built for pictures of that size."""

    def require_size(self, size: Size) -> None:
        multiple = self.size_multiple(size)
        if not size.divisible_by(multiple):
            raise ValueError(f"size {size} is no multiple of {multiple}, as {self.name} needs")

    def feature_channels(self, in_channels: int) -> list[int]:
        """The channels of each of the features that `Generator.encode` gives."""
        raise NotImplementedError(f"{self.name} gives no features (encodes = False)")

    def feature_sizes(self, height: int, width: int) -> list[tuple[int, int]]:
        """The heights and widths of these features, of a picture of height x width pixels."""
        raise NotImplementedError(f"{self.name} gives no features (encodes = False)")

    @abstractmethod
    def build(self, size: Size, in_channels: int, out_channels: int, domains: int = 0) -> Generator:
        """A new network for training on pictures of that size.

        domains: the length of the domain vector, of one that is `conditional`.
        """


def reach(generator: Generator, channels: int, domains: int = 0) -> int:
    """The most pixels between an output pixel and an input pixel that it depends on. What the
    norms' statistics carry does not count. The generator is `local`: of others that is everything.

    Measured, so that it holds for any layers: by the gradient of a copy without norms, whose
    weights are all positive, so that nothing cancels.
    """
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
