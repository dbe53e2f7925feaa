"""What a discriminator says of itself by its settings."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer
from torch import nn


class DiscriminatorConfig(BaseModel, ABC):
    """The settings of a discriminator. A row of `img2img.nets.DISCRIMINATORS` is such a class."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: ClassVar[str]  # in the table, and in config.json
    classifies: ClassVar[bool] = False  # gives (logits, class logits [N, domains]), not logits
    energy: ClassVar[bool] = False  # its logit is minus the error of rebuilding its input
    most_answers: ClassVar[int | None] = None  # channels that its logits can have at most

    spectral: bool = Field(False, description="spectral normalization of the discriminators")

    @property
    def batch_norm(self) -> bool:
        """Whether its layers normalize over the batch: no picture has a slope of its own."""
        return False

    @property
    def compares(self) -> bool:
        """Whether a layer compares the pictures of a batch."""
        return False

    @property
    def mixes(self) -> bool:
        """Whether the answer to a picture depends on the others of the call."""
        return self.batch_norm or self.compares

    def require_size(self, size: int) -> None:
        """Raise ValueError where pictures of `size` x `size` pixels are none that it takes."""

    @abstractmethod
    def build(self, size: int, channels: int, answers: int = 1, domains: int = 0) -> nn.Module:
        """A new network: [N, channels, size, size] in [-1, 1] -> logits [N, answers, h, w], and
        class logits [N, domains] beside them where it `classifies`.

        Spectral normalization is not yet in it: the method adds it to initialized weights.
        """

    @model_serializer(mode="wrap")
    def _with_name(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {"name": self.name, **handler(self)}
