"""Requests to `serve`: the bytes of a connection, through its parsers to its answer."""

import asyncio
import logging
from functools import cache
from pathlib import Path

from img2img.errors import DataError

BUNDLES = Path(__file__).parent / "corpus" / "bundle"
POST = "POST /v1/translate HTTP/1.1\r\nHost: localhost\r\nContent-Type: {}\r\n"
POST += "Content-Length: {}\r\n\r\n"


def connection(content: bytes) -> None:
    """All that a client sends."""
    if not content:  # asyncio passes nothing on, either
        raise DataError("Nothing was sent.")
    answer = _server().run_until_complete(_answered(content))
    status = answer.partition(b" ")[2][:3]
    assert not status.startswith(b"5"), answer[:1000]
    if not status.startswith(b"2"):
        raise DataError(f"The server answered with {status.decode(errors='replace')}.")


def form(content: bytes) -> None:
    """The body of a form."""
    connection(_post("multipart/form-data; boundary=x", content))


def json_body(content: bytes) -> None:
    connection(_post("application/json", content))


def _post(kind: str, body: bytes) -> bytes:
    return POST.format(kind, len(body)).encode() + body


@cache
def _server() -> asyncio.AbstractEventLoop:
    """The loop in which the server is."""
    logging.disable()
    return asyncio.new_event_loop()


@cache
def _config():
    """uvicorn's, with the application."""
    import uvicorn

    from img2img.app import api, connections, models

    limits = api.Limits(max_bytes=20_000, max_pixels=4096, max_decoded=10_000)
    bundles = models.Models(map(str, sorted(BUNDLES.glob("*.onnx"))), "cpu", threads=1)
    app = api.create_app(bundles, limits)
    config = uvicorn.Config(app, server_header=False, **connections.settings())
    config.load()
    return config


async def _answered(content: bytes) -> bytes:
    from uvicorn.server import ServerState

    config, state, transport = _config(), ServerState(), _Transport()
    protocol = config.http_protocol_class(
        config=config, server_state=state, app_state={}, _loop=asyncio.get_running_loop()
    )
    protocol.connection_made(transport)
    protocol.data_received(content)
    while state.tasks:
        if protocol.is_sending or transport.closed:  # no further bytes come
            protocol.connection_lost(None)
        await asyncio.wait(state.tasks, timeout=0.01)
    if protocol in state.connections:
        protocol.connection_lost(None)
    return bytes(transport.written)


class _Transport(asyncio.Transport):
    """Keeps what is written, for a client at this machine."""

    def __init__(self) -> None:
        super().__init__({"peername": ("127.0.0.1", 1), "sockname": ("127.0.0.1", 8000)})
        self.written, self.closed = bytearray(), False

    def write(self, data: bytes) -> None:
        self.written += data

    def close(self) -> None:
        self.closed = True

    abort = close

    def is_closing(self) -> bool:
        return self.closed

    def set_write_buffer_limits(self, high=None, low=None) -> None:
        pass

    def get_write_buffer_size(self) -> int:
        return 0

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass
