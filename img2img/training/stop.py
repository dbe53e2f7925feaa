"""Stopping on a signal."""

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

# Sent when the terminal is closed. Windows has no such signal.
HANGUP = getattr(signal, "SIGHUP", None)


@contextmanager
def stop_signals() -> Iterator[threading.Event]:
    """An event that SIGINT, SIGTERM or SIGHUP sets. A second signal has its usual effect.

    If SIGHUP is ignored, as under nohup, it remains ignored. Signals within a second count as one,
    because supervisors send them both to a process and to its group.
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
        for handled, handler in previous.items():
            signal.signal(handled, handler)


def _leave_closed_terminal() -> None:
    """Discard output to a terminal that was closed: errors of writing it would prevent saving."""
    for stream in (sys.__stdout__, sys.__stderr__):
        if stream is None or stream.closed:
            continue
        reader = select.poll()
        reader.register(stream.fileno(), select.POLLOUT)
        if any(event & (select.POLLERR | select.POLLHUP) for _, event in reader.poll(0)):
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, stream.fileno())
            os.close(null)
