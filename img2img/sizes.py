"""The width and height of pictures, as settings and manifests have them, and ways to get there."""

import re
from collections.abc import Sequence
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import AfterValidator, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

# How pictures of another shape get that of the model, and what is around training pictures that are
# smaller than their load size: --fit and --margin.
Fit = Literal["squash", "crop", "pad"]
Margin = Literal["enlarge", "auto", "reflect", "edge"]


class Size(NamedTuple):
    """Width and height in pixels. Written as 256, of a square, or as "512x256"."""

    width: int
    height: int

    @classmethod
    def of(cls, value: Any) -> "Size":
        """From a Size, 256, "256", "512x256" or [512, 256]; ValueError for anything else."""
        sides: Sequence[Any] = ()
        if isinstance(value, str) and re.fullmatch(r"\d+(x\d+)?", value.strip().lower()):
            sides = [int(side) for side in value.strip().lower().split("x")]
        elif isinstance(value, list | tuple):
            sides = value
        elif not isinstance(value, str):
            sides = [value]
        whole = all(isinstance(side, int) and not isinstance(side, bool) for side in sides)
        if not sides or len(sides) > 2 or not whole or min(sides) < 1:
            raise ValueError(f"{value} is no size: write it as 256, or width x height as 512x256")
        return cls(sides[0], sides[-1])

    def __str__(self) -> str:
        return str(self.plain)

    @property
    def plain(self) -> int | str:
        """What JSON and YAML have: 256, or "512x256"."""
        square = self.width == self.height
        return self.width if square else f"{self.width}x{self.height}"

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width, as arrays have them."""
        return self.height, self.width

    def divisible_by(self, number: int) -> bool:
        """Whether both sides are multiples of the number."""
        return self.width % number == 0 == self.height % number

    def scaled(self, factor: float) -> "Size":
        """Both sides times the factor, rounded."""
        return Size(round(self.width * factor), round(self.height * factor))

    def plus(self, width: int, height: int) -> "Size":
        """So many pixels wider and higher."""
        return Size(self.width + width, self.height + height)

    def fits_in(self, other: "Size") -> bool:
        """Whether a picture of the other size has room for one of this."""
        return self.width <= other.width and self.height <= other.height

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            cls.of,
            serialization=core_schema.plain_serializer_function_ser_schema(
                lambda size: Size.of(size).plain
            ),
        )

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return {"anyOf": [{"type": "integer"}, {"type": "string"}]}


def _at_least_eight(size: Size) -> Size:
    if min(size) < 8:
        raise ValueError(f"{size} is too small: no side may be under 8 px")
    return size


TrainingSize = Annotated[Size, AfterValidator(_at_least_eight)]
