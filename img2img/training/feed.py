"""The batches of a run, which other processes prepare, and the cache of its decoded pictures."""

import shutil
import signal
import threading
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from rich.console import Console

from img2img import memory
from img2img.data.cache import Cache
from img2img.data.stream import Batch, Stream, messages, split
from img2img.errors import DataError, Img2ImgError
from img2img.training.plan import Plan
from img2img.training.ranks import Ranks
from img2img.training.runtime import Runtime, default_workers
from img2img.writing import scratch_folder

# What a cache may take by default. The system keeps it in memory as long as nothing else needs that
# memory, so half of it is left to training; more than that would be read from the disk, time and
# again. On the disk, the rest is for checkpoints, samples and other runs.
MEMORY_SHARE, DISK_SHARE = 1 / 2, 1 / 4


class WorkerError(Img2ImgError):
    """A process that decodes pictures died. The state of the training is not affected."""


class Feed:
    """This rank's share of each batch of a run, on its device."""

    def __init__(self, plan: Plan, run: Path, runtime: Runtime, ranks: Ranks, console: Console):
        self.plan, self.run, self.runtime, self.ranks = plan, run, runtime, ranks
        self.console = console
        self.cache: Cache | None = None
        self.on_child_exit: Any = None  # torch's handler of the signal, while it is not in force

    def batches(self, start: int) -> Iterator[Batch]:
        """The batches from step `start` to the end: float pictures [N, C, H, W] in [-1, 1] and
        labels, by name.

        Raises DataError for a picture that can't be read or a cache that has no room, and
        WorkerError if a process that decodes pictures died.
        """
        config, runtime, ranks = self.plan.config, self.runtime, self.ranks
        self.cache = self._open_cache(self.plan.total - start)
        augment = self.plan.augment(training=True, cache=self.cache)
        batch, seed = config.method.batch, config.seed
        stream = Stream(self.plan.training, augment, seed, batch, ranks.rank, ranks.count)
        workers = config.workers
        if workers is None:
            workers = default_workers(runtime.device, ranks)
        pin = runtime.device.type == "cuda"
        with scratch_folder() if workers else nullcontext() as scratch:
            loader = messages(stream, start, self.plan.total, workers, pin, scratch)
            try:
                yield from self._placed(loader, stream.share)
            finally:
                self._restore_handler()

    def _placed(self, loader: Iterable[Batch], share: int) -> Iterator[Batch]:
        prepared = iter(loader)
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
                yield from map(self.runtime.place, split(self.runtime.move(message), share))
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

    def _open_cache(self, steps: int) -> Cache | None:
        """A cache for a session of so many steps, if there should be one; the console says why.

        Raises DataError if there is no room for one that is required.
        """
        wanted, reason = False, ""
        if self.ranks.first:
            wanted, reason = is_cached(self.plan, self.run, steps, self.ranks)
        wanted, reason = self.ranks.from_first((wanted, reason))
        cache = None
        if wanted:
            # A name that is removed with the other temporary files of a process that was killed.
            path = self.run / f".img2img-cache-{self.ranks.rank}"
            try:
                cache = self.plan.new_cache(path)
            except DataError as error:
                if self.plan.config.cache:
                    raise
                reason = f"Decoded pictures are not kept. {error}"
        if reason:
            self.console.print(reason, highlight=False, markup=False, soft_wrap=True)
        return cache

    def _restore_handler(self) -> None:
        if self.on_child_exit is not None:
            signal.signal(signal.SIGCHLD, self.on_child_exit)
            self.on_child_exit = None

    def close(self) -> None:
        """Delete the cache, and give torch its handler back."""
        if self.cache:
            self.cache.close()
        self._restore_handler()


def is_cached(plan: Plan, run: Path, steps: int, ranks: Ranks) -> tuple[bool, str]:
    """Whether a session of so many steps keeps decoded pictures, and a sentence that says why;
    empty for --no-cache.

    Without a setting it does if each rank needs its pictures more than once, and if the caches of
    all ranks take no more than their shares of memory and disk.
    """
    config = plan.config
    if config.cache is False:
        return False, ""
    if config.uncacheable:
        return False, f"Decoded pictures are not kept: a cache needs {config.uncacheable}."
    records, length = plan.cache_shape
    size = records * length
    if config.cache:
        return True, f"Decoded pictures are kept in a cache of {_mebibytes(size)} (--cache)."
    passes = steps / plan.schedule.epoch_steps
    if passes <= ranks.count:
        return False, (
            f"Decoded pictures are not kept: in {passes:,.1f} passes over them, a process needs "
            "hardly any of them twice."
        )
    available, free = memory.available(), shutil.disk_usage(run).free
    for needed, limit, where in (
        (size * ranks.local_count, MEMORY_SHARE * available, "half of the available memory"),
        (size * ranks.count, DISK_SHARE * free, f"a quarter of the free space in {run}"),
    ):
        if needed > limit:
            return False, (
                f"Decoded pictures are not kept: a cache of {_mebibytes(needed)} is more than "
                f"{where}, {limit // 2**20:,.0f} MiB (--cache: keep them nevertheless)."
            )
    return True, (
        f"Decoded pictures are kept in a cache of {_mebibytes(size)} for {passes:,.1f} passes over "
        "them (--no-cache: decode them every time)."
    )


def _mebibytes(size: int) -> str:
    return f"{-(-size // 2**20):,} MiB"
