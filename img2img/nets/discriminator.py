"""What a discriminator says of itself by its settings."""

from abc import abstractmethod
from typing import ClassVar

from pydantic import Field
from torch import nn

from img2img.nets.config import NetworkConfig
from img2img.sizes import Size


class DiscriminatorConfig(NetworkConfig):
    """The settings of a discriminator. A row of `img2img.nets.DISCRIMINATORS` is such a class."""

    classifies: ClassVar[bool] = False  # gives (logits, class logits [N, domains]), not logits
    energy: ClassVar[bool] = False  # its logit is minus the error of rebuilding its input
    most_answers: ClassVar[int | None] = None  # channels that its logits can have at most

    spectral: bool = Field(False, description="spectral normalization of the discriminators")

    @property
    def compares(self) -> bool:
        """Whether a layer compares the pictures of a batch."""
        return False

    @property
    def mixes(self) -> bool:
        """Whether the answer to a picture depends on the others of the call."""
        return self.batch_norm or self.compares

    @abstractmethod
    def build(self, size: Size, channels: int, answers: int = 1, domains: int = 0) -> nn.Module:
        """A new network: [N, channels, H, W] of that size in [-1, 1] -> logits [N, answers, h, w],
        and class logits [N, domains] beside them where it `classifies`.

        Spectral normalization is not yet in it: the method adds it to initialized weights.
        """
