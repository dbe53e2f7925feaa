"""What a request may ask for, in the query or in the fields of a form; all else is refused."""

from collections.abc import Collection
from typing import Annotated, Any, Literal

from fastapi import HTTPException
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field, ValidationError
from pydantic.json_schema import SkipJsonSchema
from starlette.datastructures import ImmutableMultiDict

LARGEST_SIDE = 8192  # px, that a picture can be made smaller to

Format = Literal["png", "webp", "jpeg"]
Name = Annotated[str, Field(min_length=1)]
Side = Annotated[int, Field(ge=1, le=LARGEST_SIDE)]
Missing = SkipJsonSchema[None]  # no value that a client could send


class Parameters(BaseModel):
    """How a picture is translated. None is what was not given: /docs would send another default
    along with every form.
    """

    model: Name | Missing = Field(None, description="By default the first.")
    to: Name | Missing = Field(None, description="Target domain; attributes with commas, or none.")
    format: Format | Missing = Field(None, description="Of the answer, by default png.")
    max_side: Side | Missing = Field(None, description="Make a larger picture smaller, px.")


def require_known(given: ImmutableMultiDict[str, Any], known: Collection[str], kind: str) -> None:
    """HTTPException 422 for a name that does not exist or is given more than once: an answer
    without it would be to another question.

    kind: what the names are, such as "form field".
    """
    names = [name for name, _ in given.multi_items()]
    for name in names:
        if name not in known:
            which = f"There are: {', '.join(known)}." if known else "None is taken here."
            raise HTTPException(422, f"There is no {kind} {name!r}. {which}")
        if names.count(name) > 1:
            raise HTTPException(422, f"`{name}` is given {names.count(name)} times. Give it once.")


def together(query: Parameters, fields: dict[str, object]) -> Parameters:
    """The parameters of the query and of a form's fields, with a format. HTTPException 422 for a
    wrong value, and for one that both give differently.
    """
    try:
        form = Parameters.model_validate(fields)
    except ValidationError as error:
        raise HTTPException(422, sentence(error)) from None
    in_query, in_form = (asked.model_dump(exclude_unset=True) for asked in (query, form))
    for name, value in in_form.items():
        if in_query.get(name, value) != value:
            both = f"{in_query[name]!r} in the query and {value!r} in the form"
            raise HTTPException(422, f"`{name}` is {both}. Give it once.")
    return query.model_copy(update={"format": query.format or "png", **in_form})


def sentence(error: RequestValidationError | ValidationError) -> str:
    """What the first wrong value should be."""
    first = error.errors()[0]
    name = next(part for part in first["loc"] if part in Parameters.model_fields)
    return f"`{name}`: {first['msg']}."
