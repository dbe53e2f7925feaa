"""Being asked to stop: by a signal, or because the time is over."""

import math
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

# Windows has no SIGHUP, which a terminal that is closed sends to what runs in it.
HANGUP = getattr(signal, "SIGHUP", None)


@contextmanager
def stop_signals() -> Iterator[threading.Event]:
    """An event that SIGINT, SIGTERM or SIGHUP sets; a later one acts as if nothing were installed.
    Where SIGHUP is ignored, as under nohup, it stays so.

    Supervisors send a process and its group the same signal at once: that counts as one.
    """
    stop, first = threading.Event(), math.inf
    previous: dict[int, Any] = {}  # handlers

    def request(number: int, frame: object) -> None:
        nonlocal first
        first = min(first, time.monotonic())
        if number == HANGUP:
            _leave_closed_terminal()
        if stop.is_set() and time.monotonic() - first > 1:
            signal.signal(number, previous[number])
            signal.raise_signal(number)
        stop.set()

    if threading.current_thread() is threading.main_thread():
        numbers = [signal.SIGINT, signal.SIGTERM]
        if HANGUP is not None and signal.getsignal(HANGUP) is not signal.SIG_IGN:
            numbers.append(HANGUP)
        for number in numbers:
            previous[number] = signal.signal(number, request)
    try:
        yield stop
    finally:
        for caught, handler in previous.items():
            signal.signal(caught, handler)


def _leave_closed_terminal() -> None:
    """Let output that nobody reads any more go nowhere: an error of it would prevent saving."""
    for stream in (sys.__stdout__, sys.__stderr__):
        if stream is None or stream.closed:
            continue
        reader = select.poll()
        reader.register(stream.fileno(), select.POLLOUT)
        if any(event & (select.POLLERR | select.POLLHUP) for _, event in reader.poll(0)):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)
