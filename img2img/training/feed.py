"""The batches of a run, which other processes prepare, and the cache of its decoded pictures."""

import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from img2img.data.cache import Cache
from img2img.data.stream import Batch, Stream, messages, split
from img2img.errors import DataError, Img2ImgError
from img2img.training.plan import Plan
from img2img.training.ranks import Ranks
from img2img.training.runtime import Runtime, default_workers


class WorkerError(Img2ImgError):
    """A process that decodes pictures died. The state of the training is not affected."""


class Feed:
    """This rank's share of each batch of a run, on its device."""

    def __init__(self, plan: Plan, run: Path, runtime: Runtime, ranks: Ranks):
        self.plan, self.run, self.runtime, self.ranks = plan, run, runtime, ranks
        self.cache: Cache | None = None
        self.on_child_exit: Any = None  # torch's handler of the signal, while it is not in force

    def batches(self, start: int) -> Iterator[Batch]:
        """The batches from step `start` to the end: float pictures [N, C, H, W] in [-1, 1] and
        labels, by name.

        Raises DataError for a picture that can't be read or a cache that has no room, and
        WorkerError if a process that decodes pictures died.
        """
        config, runtime, ranks = self.plan.config, self.runtime, self.ranks
        # A name that is removed with the other temporary files of a process that was killed.
        path = self.run / f".img2img-cache-{ranks.rank}"
        self.cache = self.plan.new_cache(path) if config.cache else None
        augment = self.plan.augment(training=True, cache=self.cache)
        batch, seed = config.method.batch, config.seed
        stream = Stream(self.plan.training, augment, seed, batch, ranks.rank, ranks.count)
        workers = config.workers
        if workers is None:
            workers = default_workers(runtime.device, ranks)
        pin = runtime.device.type == "cuda"
        prepared = iter(messages(stream, start, self.plan.total, workers, pin))
        self._postpone_failures()
        failure: Img2ImgError | None = None
        while failure is None:
            try:
                message = next(prepared)
            except StopIteration:
                return
            except DataError as error:  # from a worker it has the traceback in its text
                reason = str(error).strip().splitlines()[-1]
                failure = DataError(reason.removeprefix("img2img.errors.DataError: "))
            except (RuntimeError, OSError):
                failure = WorkerError(
                    "A process that decodes pictures died, perhaps because memory or /dev/shm is "
                    "full. --workers 0 needs no such processes."
                )
            else:
                yield from map(runtime.place, split(runtime.move(message), stream.share))
        del prepared  # ends the workers; within the except, the traceback would keep them alive
        raise failure

    def _postpone_failures(self) -> None:
        """Let the death of a worker be an error when the next message is asked for. Torch's handler
        of the signal would raise it wherever the process is, such as amid a step, whose state
        can't be saved.
        """
        signals_children = hasattr(signal, "SIGCHLD")  # Windows does not
        if signals_children and threading.current_thread() is threading.main_thread():
            self.on_child_exit = signal.signal(signal.SIGCHLD, signal.SIG_DFL)

    def close(self) -> None:
        """Delete the cache, and give torch its handler back."""
        if self.cache:
            self.cache.close()
        if self.on_child_exit is not None:
            signal.signal(signal.SIGCHLD, self.on_child_exit)
