"""The folders of a data set."""

from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from img2img.rasters.pages import Mode
from img2img.shards import is_remote


def _several(value: Any) -> Any:
    return (value,) if isinstance(value, str | Path) else value or ()


class Sources(BaseModel):
    """The folders of a data set by option. `Dataset.accepts` checks which ones a layout reads.

    A list of folders as `a` is the first one and `more_a`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    a: Path | None = None
    # Further folders of a: files of one name in all of them are bands of one picture.
    more_a: tuple[Path, ...] = ()
    b: Path | None = None
    pairs: Path | None = None  # each file shows a on its left half, b on its right
    swap: bool = False  # pairs show b on the left; or: translate from b to a
    data: Annotated[
        tuple[Path, ...], BeforeValidator(_several)
    ] = ()  # of domains (one or more sets), or published data sets
    attributes: Path | None = None  # a list in CelebA's format or CSV, of the first set's pictures
    attribute: tuple[str, ...] = ()  # the columns of that list to learn
    # Of files with several pages, which make up a picture; None: such files are refused.
    pages: Mode | None = None
    neighbors: int = Field(0, ge=0)  # pages before and after one that are further bands of its a

    @model_validator(mode="before")
    @classmethod
    def _first_of_a(cls, values: Any) -> Any:
        if not isinstance(values, dict) or not isinstance(values.get("a"), list | tuple):
            return values
        first, *more = values["a"] or (None,)
        return {**values, "a": first, "more_a": (*more, *values.get("more_a", ()))}

    def given(self) -> bool:
        """Whether there is any folder."""
        return any((self.a, self.b, self.pairs, self.data))

    @property
    def inputs(self) -> tuple[Path, ...]:
        """All folders of a, in the order of their bands."""
        return (*((self.a,) if self.a else ()), *self.more_a)

    def listed(self) -> bool:
        """Whether an attribute list, or a column of one, was given."""
        return bool(self.attributes or self.attribute)

    def options(self) -> tuple[str, ...]:
        """What was given, as it is written on a command line."""
        values: tuple[tuple[str, Any], ...] = (
            *(("a", folder) for folder in self.inputs),
            ("b", self.b),
            ("pairs", self.pairs),
            ("direction ba", self.swap),
            ("data", self.data),
            ("attributes", self.attributes),
            ("attribute", self.attribute),
        )
        return tuple(f"--{name}" for name, value in values if value)

    def folders(self) -> tuple[Path, ...]:
        """All folders of pictures."""
        return tuple(path for path in (*self.inputs, self.b, self.pairs, *self.data) if path)

    def absolute(self) -> "Sources":
        """The same with absolute paths."""
        paths = {"a": self.a, "b": self.b, "pairs": self.pairs, "attributes": self.attributes}
        update: dict[str, Any] = {name: path and _absolute(path) for name, path in paths.items()}
        lists = {"more_a": self.more_a, "data": self.data}
        update |= {name: tuple(map(_absolute, paths)) for name, paths in lists.items()}
        return self.model_copy(update=update)


def _absolute(path: Path) -> Path:
    """The absolute path; that of a URL of shards as it is."""
    return path if is_remote(path) else path.absolute()
