"""What the settings of generators and discriminators share."""

from abc import ABC
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, SerializerFunctionWrapHandler, model_serializer

from img2img.sizes import Size


class NetworkConfig(BaseModel, ABC):
    """The settings of a network, by which it describes itself, and which build it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: ClassVar[str]  # in its table, and in config.json

    @property
    def batch_norm(self) -> bool:
        """Whether its layers normalize over the batch in training."""
        return False

    def require_size(self, size: Size) -> None:
        """Raise ValueError where it can't be trained on pictures of that size."""

    @model_serializer(mode="wrap")
    def _with_name(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {"name": self.name, **handler(self)}
