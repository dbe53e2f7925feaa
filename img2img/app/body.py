"""The files in a request's body, and the fields of a form."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from fastapi import HTTPException, Request
from starlette.datastructures import FormData, UploadFile

from img2img.app.parameters import Parameters, require_known
from img2img.app.values import ONE
from img2img.files import split_suffix

MAX_FIELDS = 32  # of a form: more than exist, so that an unknown one can be named in the error


@dataclass(frozen=True)
class Body:
    """A body that is a file, or a form with files and parameters."""

    form: FormData | None  # whose files are closed
    files: dict[str, tuple[str, bytes]]  # field -> name and content
    fields: dict[str, object]  # the others that are filled in

    def file_name(self, field: str) -> str:
        """The name of a form's file without suffix, in plain letters; "translated" without one."""
        name = PurePosixPath(self.files[field][0].replace("\\", "/")).name
        stem = split_suffix(name)[0]
        return re.sub(r"[^A-Za-z0-9_.-]+", "-", stem).strip("-.")[:100] or "translated"

    def contents(self, inputs: Sequence[str], max_bytes: int) -> list[bytes]:
        """The files of a model's inputs. Raises HTTPException where one is missing, empty or too
        large, and for a field that is unknown.
        """
        if self.form is not None:
            require_known(self.form, (*inputs, *Parameters.model_fields), "form field")
        elif len(inputs) > 1:
            raise HTTPException(
                400,
                f"The model has {len(inputs)} inputs. Send a form with a file in each of the "
                f"fields {', '.join(inputs)}.",
            )
        for name in inputs:
            if name not in self.files:
                raise HTTPException(400, f"The form has no file in the field `{name}`.")
            content = self.files[name][1]
            if not content:
                raise HTTPException(400, "The body contains no picture.")
            if len(content) > max_bytes:
                raise HTTPException(413, f"The picture is larger than {max_bytes:,} bytes.")
        return [self.files[name][1] for name in inputs]


async def read_body(request: Request) -> Body:
    """The body, once all of it has come."""
    if not request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        return Body(None, {ONE: ("", await request.body())}, {})
    files: dict[str, tuple[str, bytes]] = {}
    fields: dict[str, object] = {}
    async with request.form(max_files=MAX_FIELDS, max_fields=MAX_FIELDS) as form:
        for name, value in form.items():
            if isinstance(value, UploadFile) and name not in Parameters.model_fields:
                files[name] = (value.filename or "", await value.read())
            elif value:  # browsers send fields that are not filled in as empty
                fields[name] = value
    return Body(form, files, fields)
