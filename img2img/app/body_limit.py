"""The largest body that is read."""

from fastapi import HTTPException
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from img2img.app.json_bodies import is_json

OVERHEAD = 64 * 2**10  # bytes of a multipart body beside the picture


class LimitBody:
    """Middleware that refuses a body larger than allowed, with or without a content length. JSON
    may be larger by as much as base64 makes of it.
    """

    def __init__(self, app: ASGIApp, most: int):
        self.app, self.most = app, most

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        most, received = self.most, 0
        if is_json(Headers(scope=scope)):
            most = -(-most // 3) * 4

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > most:
                raise HTTPException(413, f"The body is larger than {most:,} bytes.")
            return message

        await self.app(scope, counted, send)
