"""JSON in place of files: `{"image": "BASE64", "format": "webp"}`, and answers of the same kind."""

import base64
import json
import secrets
from collections import Counter
from typing import Any

from fastapi import HTTPException
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from img2img.app.body import MAX_FIELDS
from img2img.app.parameters import Parameters

JSON = "application/json"
DATA_URL = "data:"  # data:image/png;base64,...


class JsonBodies:
    """Middleware that turns a body of JSON into the form that the routes take, when they ask for
    it, and pictures into JSON for clients that accept nothing else.
    """

    def __init__(self, app: ASGIApp):
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        if is_json(headers):
            boundary = secrets.token_hex(16)
            form = f"multipart/form-data; boundary={boundary}".encode()
            others = [
                (name, value)
                for name, value in scope["headers"]
                if name not in (b"content-type", b"content-length")
            ]
            scope = {**scope, "headers": [*others, (b"content-type", form)]}
            receive = _converted(receive, boundary)
        if headers.get("accept", "").partition(";")[0].strip().lower() == JSON:
            send = _Wrapped(send)
        await self.app(scope, receive, send)


def is_json(headers: Headers) -> bool:
    """Whether a request's body is JSON."""
    return headers.get("content-type", "").partition(";")[0].strip().lower() == JSON


def _converted(receive: Receive, boundary: str) -> Receive:
    """Receives all of the JSON, and gives one message with the form."""

    async def form() -> Message:
        chunks, more = [], True
        while more:
            message = await receive()
            if message["type"] != "http.request":
                return message
            chunks.append(message.get("body", b""))
            more = message.get("more_body", False)
        body = b"".join(chunks)
        converted = await run_in_threadpool(_form, body, boundary) if body else b""
        return {"type": "http.request", "body": converted, "more_body": False}

    return form


def _form(body: bytes, boundary: str) -> bytes:
    """The multipart body with the same fields. Raises HTTPException for JSON that can't be one."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(pairs) > MAX_FIELDS:
            raise HTTPException(422, f"The JSON has more than {MAX_FIELDS} fields in an object.")
        for name, count in Counter(name for name, _ in pairs).items():
            if count > 1:
                message = f"The JSON field {name[:100]!r} is given {count} times. Give it once."
                raise HTTPException(422, message)
        return dict(pairs)

    try:
        fields = json.loads(body, object_pairs_hook=once)
    except (ValueError, RecursionError):
        raise HTTPException(400, "The body is not JSON, as its Content-Type says.") from None
    if not isinstance(fields, dict):
        raise HTTPException(400, 'The JSON is not an object, such as {"image": "BASE64"}.')
    parts = []
    for name, value in fields.items():
        if value is None:
            continue
        plain = name.isprintable() and {'"', "\\"}.isdisjoint(name)  # as names of inputs are
        if not plain or isinstance(value, dict | list):
            raise HTTPException(422, f"There is no JSON field {name[:100]!r} of this kind.")
        disposition = f'Content-Disposition: form-data; name="{name}"'
        if name in Parameters.model_fields:
            content = _text(name, value)
        else:
            content, disposition = _decoded(name, value), f'{disposition}; filename="{name}"'
        parts += [b"--" + boundary.encode(), disposition.encode(), b"", content]
    return b"\r\n".join([*parts, b"--" + boundary.encode() + b"--", b""])


def _text(name: str, value: object) -> bytes:
    """A parameter's value. JSON can write halves of characters ("\\ud800"), which are no text."""
    try:
        return str(value).encode()
    except UnicodeEncodeError:
        raise HTTPException(422, f"`{name}` is not text: it has half a character in it.") from None


def _decoded(name: str, text: object) -> bytes:
    """The bytes of a file in base64, or in a data URL."""
    if isinstance(text, str):
        encoded = text.partition(",")[2] if text.startswith(DATA_URL) else text
        try:
            return base64.b64decode(encoded, validate=True)
        except ValueError:
            pass
    raise HTTPException(400, f"`{name}` is not a file in base64.")


class _Wrapped:
    """Sends a picture as JSON; other answers as they are."""

    def __init__(self, send: Send):
        self.send = send
        self.start: Message | None = None  # of a picture
        self.chunks: list[bytes] = []  # of its body

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            kind = Headers(raw=message["headers"]).get("content-type", "")
            if message["status"] == 200 and not kind.startswith((JSON, "text/")):
                self.start = message
                return
        elif self.start and message["type"] == "http.response.body":
            self.chunks.append(message.get("body", b""))
            if message.get("more_body"):
                return
            headers = MutableHeaders(raw=list(self.start["headers"]))
            answer = {
                "image": base64.b64encode(b"".join(self.chunks)).decode(),
                "media_type": headers["content-type"],
            }
            message = {"type": "http.response.body", "body": json.dumps(answer).encode()}
            headers["content-type"] = JSON
            headers["content-length"] = str(len(message["body"]))
            await self.send({**self.start, "headers": headers.raw})
            self.start = None
        await self.send(message)
