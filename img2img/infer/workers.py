"""What decodes and encodes pictures while the model runs: threads, or processes."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import BrokenExecutor, Executor, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from typing import NamedTuple

from img2img.errors import Img2ImgError

FROM_CORES = 4  # below, processes take cores away from each other and from the model
FROM_JOBS = 500  # below, the processes' start, about a second, takes longer than they save
TOGETHER = 4  # pictures in one task of a process, to hand over fewer messages


class Pool(NamedTuple):
    """What reads and writes pictures."""

    executor: Executor
    workers: int  # its threads or processes
    together: int  # pictures to give it in one task


@contextmanager
def workers(count: int, jobs: int, in_threads: bool) -> Iterator[Pool]:
    """A context with an executor of so many workers. At its end, all tasks are done.

    Threads share Python's lock with the one that runs the model: they reach some hundreds of
    pictures a second, which is plenty for a model on a CPU, and for pictures that come from other
    machines, where more threads than cores wait. A GPU is faster, so many pictures are for
    processes there. Raises Img2ImgError where the system ends one of them.
    """
    if in_threads or count < FROM_CORES or jobs < FROM_JOBS:
        with ThreadPoolExecutor(count) as threads:
            yield Pool(threads, count, 1)
        return
    context = multiprocessing.get_context("spawn")  # a fork would share the GPU's state
    try:
        with ProcessPoolExecutor(count, context, initializer=_follow_parent) as processes:
            yield Pool(processes, count, TOGETHER)
    except BrokenExecutor:
        raise Img2ImgError(
            "The system ended a process that reads and writes pictures, most likely because memory "
            "ran out. Run the same command to continue."
        ) from None


def _follow_parent() -> None:
    """In a worker: leave Ctrl-C to the parent, and end when the parent has, even if killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
