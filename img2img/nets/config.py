"""What the settings of generators and discriminators share."""

from abc import ABC
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, SerializerFunctionWrapHandler, model_serializer

from img2img.sizes import Size


class NetworkConfig(BaseModel, ABC):
    """Base class of the settings of a network. An instance describes the network and builds it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: ClassVar[str]  # in its table, and in config.json

    @property
    def batch_norm(self) -> bool:
        """Whether it has BatchNorm layers, which normalize over the batch in training."""
        return False

    def require_size(self, size: Size) -> None:
        """Raise ValueError if the network can't be trained on pictures of this size."""

    @model_serializer(mode="wrap")
    def _with_name(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {"name": self.name, **handler(self)}
