"""What the settings of generators and discriminators share."""

from abc import ABC
from collections.abc import Mapping
from typing import Any, ClassVar, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    SerializerFunctionWrapHandler,
    model_serializer,
)

from img2img.sizes import Size
from img2img.table import Table


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


N = TypeVar("N", bound=NetworkConfig)


def chosen(table: Table[type[N]], settings: Mapping[str, Any]) -> N:
    """Settings, validated with the class in the table that their "name" chooses.

    Raises UsageError for a name that is in no row, ValidationError for settings that are wrong.
    """
    rest = {name: value for name, value in settings.items() if name != "name"}
    return table.choose(settings["name"])(**rest)


def _listed(value: Any) -> Any:
    if isinstance(value, str):
        return tuple(part for part in map(str.strip, value.split(",")) if part)
    return value


COMMAS = BeforeValidator(_listed)  # has a field accept "a,b" for a list
