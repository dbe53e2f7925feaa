"""The parameters of a request, in the query or in a form; any others are refused."""

from collections import Counter
from collections.abc import Collection
from typing import Annotated, Any, Literal

from fastapi import HTTPException
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field, ValidationError
from pydantic.json_schema import SkipJsonSchema
from starlette.datastructures import ImmutableMultiDict

LARGEST_SIDE = 8192  # px, of max_side

Format = Literal["png", "webp", "jpeg", "tiff", "npy"]
Name = Annotated[str, Field(min_length=1)]
Side = Annotated[int, Field(ge=1, le=LARGEST_SIDE)]
Missing = SkipJsonSchema[None]  # None is not part of the schema: clients can't send it


class Parameters(BaseModel):
    """How to translate a picture. Omitted parameters are None, because /docs would send any other
    default with every form.
    """

    model: Name | Missing = Field(None, description="Name of the model. Default: the first.")
    to: Name | Missing = Field(
        None, description="Target domain, or attributes separated by commas, or none."
    )
    format: Format | Missing = Field(
        None,
        description="Format of the answer: png (default), webp or jpeg; for models of values tiff, "
        "npy or png, by default the format that was sent, if it can hold the answer.",
    )
    max_side: Side | Missing = Field(
        None, description="Shrink a larger photograph to this side first, px."
    )


def require_known(
    parameters: ImmutableMultiDict[str, Any], known: Collection[str], kind: str
) -> None:
    """Raises HTTPException 422 for a name that is unknown or appears more than once; to ignore it
    would answer a different request.

    kind: what the names are, such as "form field".
    """
    for name, count in Counter(name for name, _ in parameters.multi_items()).items():
        if name not in known:
            names_text = f"Known: {', '.join(known)}." if known else "None is accepted here."
            raise HTTPException(422, f"There is no {kind} {name!r}. {names_text}")
        if count > 1:
            raise HTTPException(422, f"`{name}` is given {count} times. Give it once.")


def merge(query: Parameters, fields: dict[str, object]) -> Parameters:
    """The parameters of the query and of a form's fields together. Raises HTTPException 422 for an
    invalid value, and for different values of one parameter.
    """
    try:
        form = Parameters.model_validate(fields)
    except ValidationError as error:
        raise HTTPException(422, sentence(error)) from None
    in_query, in_form = (part.model_dump(exclude_unset=True) for part in (query, form))
    for name, value in in_form.items():
        if in_query.get(name, value) != value:
            both = f"{in_query[name]!r} in the query and {value!r} in the form"
            raise HTTPException(422, f"`{name}` is {both}. Give it once.")
    return query.model_copy(update=in_form)


def sentence(error: RequestValidationError | ValidationError) -> str:
    """The first error, as a sentence."""
    first = error.errors()[0]
    name = next(part for part in first["loc"] if part in Parameters.model_fields)
    return f"`{name}`: {first['msg']}."
