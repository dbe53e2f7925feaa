"""Slow clients, and many of them: each connection has its time, and the others are served."""

import asyncio
import logging
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator

import pytest
import uvicorn

from img2img.app import connections
from img2img.infer.registry import shipped

HEAD = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n"
LARGE = 20_000_000  # bytes of an answer, more than the buffers of both sides hold
SMALL = 50_000  # less than asyncio buffers without pausing, more than small buffers of sockets hold


async def answering(scope, receive, send) -> None:
    """An application that answers with the length of the body, or with LARGE or SMALL bytes."""
    if scope["type"] != "http":
        return
    length, more = 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        length, more = length + len(message["body"]), message["more_body"]
    sizes = {"/large": LARGE, "/small": SMALL}
    body = bytes(sizes[scope["path"]]) if scope["path"] in sizes else str(length).encode()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})


@pytest.fixture
def server(monkeypatch) -> Iterator[uvicorn.Server]:
    """A server with the limits, which are short."""
    for name in ("HEADER", "BODY", "ANSWER"):
        monkeypatch.setattr(connections, name, 0.3)
    config = uvicorn.Config(
        answering, port=0, log_level="warning", lifespan="off", **connections.settings()
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=lambda: asyncio.run(server.serve()))
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield server
    server.should_exit = True
    thread.join(10)


@pytest.fixture
def port(server) -> int:
    return server.servers[0].sockets[0].getsockname()[1]


@pytest.fixture
def connect(port) -> Iterator[Callable[..., socket.socket]]:
    """A function that connects and sends the start of a request; with `buffer`, by a socket that
    holds about as many bytes that were not read.
    """
    opened = []

    def start(sent: bytes, buffer: int | None = None) -> socket.socket:
        opened.append(socket.socket())
        opened[-1].settimeout(10)
        if buffer:
            opened[-1].setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        opened[-1].connect(("127.0.0.1", port))
        opened[-1].sendall(sent)
        return opened[-1]

    yield start
    for each in opened:
        each.close()


def until_closed(connection: socket.socket) -> bytes:
    received = bytearray()
    try:
        while part := connection.recv(2**20):
            received += part
    except ConnectionResetError:
        pass
    return bytes(received)


@pytest.mark.parametrize(
    "sent",
    [b"", b"GET / HT", HEAD, HEAD + b"\r\n", HEAD + b"\r\n" + b"x" * 99],
    ids=["nothing", "half a line", "half a header", "no body", "half a body"],
)
def test_who_sends_no_whole_request_is_told_so_and_closed(connect, sent):
    assert until_closed(connect(sent)).startswith(b"HTTP/1.1 408 ")


def test_a_header_that_comes_byte_by_byte_has_no_more_time_than_another(connect):
    slow = connect(b"GET / HTTP/1.1\r\nX: ")
    slow.settimeout(0.05)
    for _ in range(200):
        try:
            slow.sendall(b"x")
            assert slow.recv(100).startswith(b"HTTP/1.1 408 ")
            break
        except TimeoutError:
            continue
        except (BrokenPipeError, ConnectionResetError):
            break
    else:
        raise AssertionError("it is still open")


def test_a_body_that_keeps_coming_is_taken(connect):
    slow = connect(HEAD + b"\r\n")
    for _ in range(20):
        time.sleep(0.05)
        slow.sendall(b"xxxxx")
    assert slow.recv(1000).startswith(b"HTTP/1.1 200 OK")


def test_a_second_request_has_the_same_time(connect):
    kept = connect(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    first = b""
    while not first.endswith(b"\r\n0\r\n\r\n"):
        first += kept.recv(1000)
    kept.sendall(b"GET / HTTP")
    assert until_closed(kept).startswith(b"HTTP/1.1 408 ")


def test_who_does_not_read_the_answer_is_closed(connect):
    idle = connect(b"GET /large HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    time.sleep(1.5)
    assert len(until_closed(idle)) < LARGE
    reader = connect(b"GET /large HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    assert len(until_closed(reader)) > LARGE


@pytest.fixture
def ask_without_reading(server, connect) -> Callable[[str], socket.socket]:
    """A function that asks for the SMALL answer with a header and reads nothing of it, by sockets
    whose buffers hold less than that.
    """
    server.servers[0].sockets[0].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)

    def ask(header: str) -> socket.socket:
        request = f"GET /small HTTP/1.1\r\nHost: localhost\r\n{header}\r\n"
        idle = connect(request.encode(), buffer=4096)
        while not server.server_state.total_requests:
            time.sleep(0.01)
        return idle

    return ask


@pytest.mark.parametrize("header", ["", "Connection: close\r\n"], ids=["kept", "closed"])
def test_who_does_not_read_the_last_bytes_is_closed(server, ask_without_reading, header):
    idle = ask_without_reading(header)
    until = time.monotonic() + 5
    while server.server_state.connections and time.monotonic() < until:
        time.sleep(0.01)
    assert not server.server_state.connections
    assert len(until_closed(idle)) < SMALL


def test_room_is_made_at_once_of_a_connection_that_does_not_read(
    connect, ask_without_reading, monkeypatch
):
    for name in ("HEADER", "ANSWER"):
        monkeypatch.setattr(connections, name, 60.0)
    monkeypatch.setattr(connections, "most", lambda: 1)
    idle = ask_without_reading("")
    second = connect(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert second.recv(100).startswith(b"HTTP/1.1 200")
    assert len(until_closed(idle)) < SMALL


def test_of_too_many_connections_the_oldest_without_a_request_is_closed(connect, monkeypatch):
    monkeypatch.setattr(connections, "HEADER", 60.0)
    monkeypatch.setattr(connections, "most", lambda: 3)
    slow = [connect(b"GET / HT") for _ in range(3)]
    time.sleep(0.2)
    assert (
        connect(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").recv(100).startswith(b"HTTP/1.1 200")
    )
    assert until_closed(slow[0]).startswith(b"HTTP/1.1 503 ")
    slow[2].sendall(b"TP/1.1\r\nHost: localhost\r\n\r\n")
    assert slow[2].recv(100).startswith(b"HTTP/1.1 200")


def test_a_process_without_descriptors_says_so_once():
    records = [
        logging.LogRecord("asyncio", 40, "", 1, f"{text}\nsocket: 1", None, None)
        for text in ["socket.accept() out of system resource"] * 3 + ["another"] * 2
    ]
    once = connections.Once()
    assert [once.filter(record) for record in records] == [True, False, False, True, True]


@pytest.mark.skipif(sys.platform == "win32", reason="no limit on descriptors")
def test_the_bound_is_half_of_the_descriptors_and_those_are_raised_where_permitted():
    code = """
import resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (100, int(sys.argv[1])))
from img2img.app import connections
print(connections.most(), connections.settings()["backlog"])
"""

    def told(hard: int) -> str:
        line = [sys.executable, "-c", code, str(hard)]
        return subprocess.run(line, capture_output=True, text=True, check=True).stdout.strip()

    assert told(256) == "128 32"
    assert told(100) == "50 12"


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="no limit on descriptors")
def test_400_slow_clients_starve_nobody_where_there_are_256_descriptors():
    command = f"ulimit -n 256; exec {sys.executable} -m img2img serve --port 0 --provider cpu -m "
    command += str(shipped("weights") / "flat-to-3d.onnx")
    process = subprocess.Popen(["bash", "-c", command], stderr=subprocess.PIPE, text=True)
    lines: list[str] = []
    try:
        for line in process.stderr:
            if found := re.search(r"running on http://127\.0\.0\.1:(\d+)", line):
                break
        threading.Thread(target=lambda: lines.extend(process.stderr), daemon=True).start()
        address = ("127.0.0.1", int(found[1]))
        slow: list[socket.socket] = []
        answered = 0
        until = time.monotonic() + 25
        while time.monotonic() < until:
            for each in slow[: len(slow) - 399]:
                each.close()
            slow = slow[-399:]
            slow.append(socket.create_connection(address, timeout=30))
            slow[-1].sendall(b"GET /healthz HTTP/1.1\r\nX: ")
            if len(slow) % 20 == 0:
                with socket.create_connection(address, timeout=10) as honest:
                    honest.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
                    assert honest.recv(100).startswith(b"HTTP/1.1 200"), answered
                answered += 1
    finally:
        process.terminate()
        process.wait(60)
    assert answered > 20
    assert sum(map(len, lines)) < 100_000
