"""The base classes of generators and of their settings, and the reach of a generator."""

import copy
from abc import abstractmethod
from typing import ClassVar

import torch
from torch import Tensor, nn

from img2img.manifest import Precision
from img2img.nets.config import NetworkConfig
from img2img.sizes import Size

DROPPED = (nn.InstanceNorm2d, nn.BatchNorm2d, nn.GroupNorm, nn.Dropout)


class Generator(nn.Module):
    """image [N, C, H, W] in [-1, 1] (and domain [N, D]) -> image of the same range and size."""

    size_multiple: int  # of which H and W must be multiples
    min_size: int  # smallest H and W; a multiple of size_multiple

    def encode(self, image: Tensor) -> list[Tensor]:
        """Features of the image for contrastive losses, from the first layer to the deepest.

        Each is [N, C, h, w], with the channels of `GeneratorConfig.feature_channels`. Layers after
        the deepest one are not run. Raises NotImplementedError if the generator has no features.
        """
        raise NotImplementedError(f"{type(self).__name__} provides no features (encodes = False)")


class GeneratorConfig(NetworkConfig):
    """The settings of a generator. A row of `img2img.nets.GENERATORS` is such a class."""

    local: ClassVar[bool]  # output pixels depend on nearby pixels only, so it can be tiled
    conditional: ClassVar[bool] = False  # takes a domain vector [N, D], too
    precisions: ClassVar[tuple[Precision, ...]] = ("fp32", "fp16", "int8")  # of its exported models
    encodes: ClassVar[bool] = False  # whether `Generator.encode` is available

    @abstractmethod
    def size_multiple(self, size: Size) -> int:
        """The number of which H and W must be multiples in a network that is built for `size`."""

    def require_size(self, size: Size) -> None:
        multiple = self.size_multiple(size)
        if not size.divisible_by(multiple):
            raise ValueError(f"size {size} must be a multiple of {multiple} for {self.name}")

    def require_channels(self, in_channels: int, out_channels: int, one_hot: bool) -> None:
        """Raise ValueError if the network can't map pictures of in_channels to out_channels.

        one_hot: it gets label maps, with a channel for each color, in place of these pictures.
        """

    def feature_channels(self, in_channels: int) -> list[int]:
        """The number of channels of each feature that `Generator.encode` returns."""
        raise NotImplementedError(f"{self.name} provides no features (encodes = False)")

    def feature_sizes(self, height: int, width: int) -> list[tuple[int, int]]:
        """The (height, width) of each of these features for a picture of height x width pixels."""
        raise NotImplementedError(f"{self.name} provides no features (encodes = False)")

    @abstractmethod
    def build(self, size: Size, in_channels: int, out_channels: int, domains: int = 0) -> Generator:
        """Build the network, to be trained on pictures of `size`.

        domains: length of the domain vector, if the generator is `conditional`.
        """


def reach(generator: Generator, channels: int, domains: int = 0) -> int:
    """The largest distance, in pixels, between an output pixel and an input pixel on which it
    depends. Dependencies through the statistics of norm layers are not counted. The generator must
    be `local`.

    It is measured rather than derived, so that it holds for any layers: by the gradient of a copy
    without norm layers, with positive weights, so that nothing cancels.
    """
    linear = _without_norms(copy.deepcopy(generator).float().eval()).requires_grad_(False)
    for parameter in linear.parameters():
        # Weights average, and biases are 0, so that ReLU and tanh stay in their linear range.
        parameter.data.fill_(1 / parameter[0].numel() if parameter.dim() > 1 else 0)
    conditions = [torch.zeros(1, domains)] if domains else []
    multiple, side = generator.size_multiple, 64 * generator.size_multiple
    while True:
        shape = (1, channels, generator.min_size, side)  # kernels are square, so one axis is enough
        image = torch.full(shape, 1e-6, requires_grad=True)
        output = linear(image, *conditions)
        farthest = 0
        for column in range(side // 2, side // 2 + multiple):  # one for each phase
            [gradient] = torch.autograd.grad(output[..., column].sum(), image, retain_graph=True)
            columns = gradient.abs().sum((0, 1, 2)).nonzero()
            farthest = max(farthest, column - int(columns.min()), int(columns.max()) - column)
        if farthest < side // 2 - multiple:  # the border was not reached
            return farthest
        side *= 2


def _without_norms(module: nn.Module) -> nn.Module:
    for parent in list(module.modules()):
        for name, child in parent.named_children():
            if isinstance(child, DROPPED):
                setattr(parent, name, nn.Identity())
    return module
