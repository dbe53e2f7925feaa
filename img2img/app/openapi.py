"""What the API's schema says beyond FastAPI's own: the request body, and the possible answers."""

from typing import Any

from img2img.app.parameters import Parameters
from img2img.app.values import BYTES, MEDIA_TYPES

PHOTOGRAPHS = ("image/png", "image/webp", "image/jpeg")
SENT = (BYTES, *PHOTOGRAPHS, "image/tiff", "application/dicom")
PICTURE = {"type": "string", "format": "binary"}
FORM = {
    "type": "object",
    "properties": {"image": PICTURE, **Parameters.model_json_schema()["properties"]},
    # The files of a model with several inputs, in fields of the names that /v1/models tells.
    "additionalProperties": PICTURE,
}
REQUEST_BODY = {
    "required": True,
    "content": {
        "multipart/form-data": {"schema": FORM},
        **{kind: {"schema": PICTURE} for kind in SENT},
    },
}
SENTENCE = {
    "application/json": {"schema": {"type": "object", "properties": {"detail": {"type": "string"}}}}
}
REFUSED: dict[int | str, dict[str, Any]] = {
    422: {"description": "An unknown or invalid parameter.", "content": SENTENCE}
}
ERRORS = {
    400: "Not a picture that the model takes, or a domain or format that it does not give.",
    404: "No such model.",
    413: "More bytes or pixels than allowed.",
    429: "Too many requests are waiting.",
    504: "The request took too long.",
}
RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The translation, in the size of the picture.",
        "headers": {
            "Img2img-Notes": {
                "description": "Remarks, for example that the picture was made smaller.",
                "schema": {"type": "string"},
            },
            "Img2img-Clipped": {
                "description": "Of files of values: the share, from 0 to 1, of the values beyond "
                "the model's range, which are clipped.",
                "schema": {"type": "number"},
            },
        },
        "content": {kind: {"schema": PICTURE} for kind in (*MEDIA_TYPES.values(), BYTES)},
    },
    **{status: {"description": text, "content": SENTENCE} for status, text in ERRORS.items()},
    **REFUSED,
}
