"""The base class of discriminator settings."""

from abc import abstractmethod
from typing import ClassVar

from pydantic import Field
from torch import nn

from img2img.nets.config import NetworkConfig
from img2img.sizes import Size


class DiscriminatorConfig(NetworkConfig):
    """The settings of a discriminator. A row of `img2img.nets.DISCRIMINATORS` is such a class."""

    classifies: ClassVar[bool] = False  # returns (logits, class logits [N, domains])
    energy: ClassVar[bool] = False  # its logit is the negative error of reconstructing its input
    most_answers: ClassVar[int | None] = None  # upper bound of the channels of its logits

    spectral: bool = Field(
        False, description="Spectral normalization of the discriminators' convolutions."
    )

    @property
    def compares(self) -> bool:
        """Whether a layer compares the pictures of a batch (`minibatch`)."""
        return False

    @property
    def mixes(self) -> bool:
        """Whether the logits of a picture depend on the other pictures of the same call."""
        return self.batch_norm or self.compares

    @abstractmethod
    def build(self, size: Size, channels: int, answers: int = 1, domains: int = 0) -> nn.Module:
        """Build the network: [N, channels, H, W] of `size` in [-1, 1] -> logits [N, answers, h, w],
        or (logits, class logits [N, domains]) if it `classifies`.

        The method adds spectral normalization later, after the weights are initialized.
        """
