"""Being asked to stop: by a signal, or because the time is over."""

import math
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def stop_signals() -> Iterator[threading.Event]:
    """An event that SIGINT or SIGTERM sets; a later one acts as if nothing were installed.

    Supervisors send a process and its group the same signal at once: that counts as one.
    """
    stop, previous, first = threading.Event(), {}, math.inf

    def request(number: int, frame: object) -> None:
        nonlocal first
        first = min(first, time.monotonic())
        if stop.is_set() and time.monotonic() - first > 1:
            signal.signal(number, previous[number])
            signal.raise_signal(number)
        stop.set()

    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            previous[number] = signal.signal(number, request)
    try:
        yield stop
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
