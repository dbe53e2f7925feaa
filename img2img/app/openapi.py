"""What the API's schema says beyond FastAPI's own: the request body, and the possible answers."""

from typing import Any

from img2img.app.parameters import Format, Parameters

SUFFIXES: dict[Format, str] = {"png": ".png", "webp": ".webp", "jpeg": ".jpg"}

PICTURE = {"type": "string", "format": "binary"}
FORM = {
    "type": "object",
    "required": ["image"],
    "properties": {"image": PICTURE, **Parameters.model_json_schema()["properties"]},
    "additionalProperties": False,
}
REQUEST_BODY = {
    "required": True,
    "content": {
        "multipart/form-data": {"schema": FORM},
        "application/octet-stream": {"schema": PICTURE},
        **{f"image/{kind}": {"schema": PICTURE} for kind in SUFFIXES},
    },
}
SENTENCE = {
    "application/json": {"schema": {"type": "object", "properties": {"detail": {"type": "string"}}}}
}
REFUSED: dict[int | str, dict[str, Any]] = {
    422: {"description": "An unknown or invalid parameter.", "content": SENTENCE}
}
ERRORS = {
    400: "Not a picture, or a domain that the model does not have.",
    404: "No such model.",
    413: "More bytes or pixels than allowed.",
    429: "Too many requests are waiting.",
    504: "The request took too long.",
}
RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The translation, in the size of the picture.",
        "content": {f"image/{kind}": {"schema": PICTURE} for kind in SUFFIXES},
    },
    **{status: {"description": text, "content": SENTENCE} for status, text in ERRORS.items()},
    **REFUSED,
}
