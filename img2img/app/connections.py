"""Connections of clients that are slow, and of very many: each has its time, and all have a bound.

uvicorn has a time limit for connections without a request, but none for a request's header, for
its body, and for an answer that is not read. Each connection takes a file descriptor; without any
left, asyncio accepts nobody and writes thousands of lines to the log.
"""

import asyncio
import logging
from functools import cache
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

try:
    import resource
except ImportError:  # Windows, which has no such limit
    resource = None  # type: ignore[assignment]

HEADER = 10.0  # seconds for a request's header, from the connection or its first byte
BODY = 30.0  # seconds without a byte of a body
ANSWER = 30.0  # seconds without a byte of an answer read
KEPT = 10  # seconds that a connection is kept for another request
MOST = 2000  # connections
DESCRIPTORS = 8192  # that are asked for, where the system allows more than it grants
LATE = b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
FULL = b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nRetry-After: 1\r\n"
FULL += b"Content-Length: 0\r\n\r\n"


@cache
def descriptors() -> int:
    """How many files and connections this process may have, raised where that is permitted."""
    if resource is None:
        return DESCRIPTORS
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = DESCRIPTORS if hard == resource.RLIM_INFINITY else min(DESCRIPTORS, hard)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return DESCRIPTORS if soft == resource.RLIM_INFINITY else soft
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    except (OSError, ValueError):
        return soft
    return wanted


def most() -> int:
    """The bound on connections. Half of the descriptors are kept for files, and for connections
    that were just accepted.
    """
    return min(MOST, descriptors() // 2)


def settings() -> dict[str, Any]:
    """uvicorn's settings for these limits. Connections are accepted in bursts of an eighth of the
    descriptors at most.
    """
    return {
        "http": Bounded,
        "ws": "none",
        "backlog": min(1024, descriptors() // 8),
        "timeout_keep_alive": KEPT,
    }


class Once(logging.Filter):
    """Lets one message in a minute pass about a process that has no descriptor left: asyncio writes
    as many in a second as connections wait.
    """

    until = 0.0

    def filter(self, record: logging.LogRecord) -> bool:
        if not record.getMessage().startswith("socket.accept() out of system resource"):
            return True
        passes, now = record.created >= self.until, record.created
        if passes:
            self.until = now + 60
        return passes


logging.getLogger("asyncio").addFilter(Once())


class Bounded(H11Protocol):
    """HTTP/1.1 with time limits. Beyond `most()` connections, those that still send their requests
    are closed, the oldest first.
    """

    _limit: asyncio.TimerHandle | None = None  # of what the client is to send
    _reading: asyncio.TimerHandle | None = None  # of what it is to read
    _since = 0.0  # when the client began to send

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        # Every byte that is not read at once pauses writing, and so starts the wait for the reader:
        # by default only those beyond 64 KiB would, and a closed connection keeps its descriptor
        # until the last one is read.
        transport.set_write_buffer_limits(high=0)
        self._since = self.loop.time()
        self._start(HEADER)
        if len(self.connections) > most():
            self._make_room()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop()
        if self._reading:
            self._reading.cancel()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._wait_for_reader(self.transport.get_write_buffer_size() + 1)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._reading:
            self._reading.cancel()

    def _wait_for_reader(self, before: int) -> None:
        """Close the connection unless less is left to be read than `before`, and ask again."""
        left = self.transport.get_write_buffer_size()
        if left < before:
            self._reading = self.loop.call_later(ANSWER, self._wait_for_reader, left)
        else:
            self.transport.abort()

    @property
    def is_sending(self) -> bool:
        """Whether the client has not yet sent all of its request."""
        return self.conn.their_state in (h11.IDLE, h11.SEND_BODY)

    def _watch(self) -> None:
        """Start or stop the time limit, by what the client is doing."""
        if self.conn.their_state is h11.SEND_BODY:
            self._start(BODY)
        elif self.conn.their_state is not h11.IDLE:
            self._stop()
        # A header that has begun; uvicorn limits how long one may not begin.
        elif self._limit is None and self.conn.trailing_data[0]:
            self._since = self.loop.time()
            self._start(HEADER)

    def _start(self, seconds: float) -> None:
        self._stop()
        self._limit = self.loop.call_later(seconds, self._hang_up)

    def _stop(self) -> None:
        if self._limit:
            self._limit.cancel()
            self._limit = None

    def _hang_up(self) -> None:
        if self.flow.read_paused:  # it is the server that does not read
            self._start(BODY)
        elif not self.transport.is_closing():
            if (
                not (answer := self.cycle)
                or answer.response_complete
                or not answer.response_started
            ):
                self.transport.write(LATE)
            self.transport.close()

    def _make_room(self) -> None:
        """Close the connection that has been sending its request for the longest time; this one
        where all others wait for their answers.
        """
        others = [
            each for each in self.connections if isinstance(each, Bounded) and each.is_sending
        ]
        oldest = min(others, key=lambda each: each._since, default=self)
        self.connections.discard(oldest)
        oldest.transport.write(FULL)
        oldest.transport.close()
        if oldest.transport.get_write_buffer_size():  # its client does not read
            oldest.transport.abort()
