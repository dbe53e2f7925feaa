"""Requests that arrive together, run together."""

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

Run = Callable[[list[np.ndarray], np.ndarray | None], list[np.ndarray]]


@dataclass(frozen=True, eq=False)
class Waiting:
    pixels: np.ndarray  # uint8 [H, W, C]
    domain: np.ndarray | None
    answer: "asyncio.Future[np.ndarray]"

    def fits(self, other: "Waiting") -> bool:
        """Whether both can be of one batch."""
        if self.pixels.shape != other.pixels.shape:
            return False
        if self.domain is None or other.domain is None:
            return self.domain is other.domain
        return np.array_equal(self.domain, other.domain)


class Batcher:
    """One model's queue: a thread runs what waits, in batches of one size and domain, in order."""

    def __init__(self, run: Run, most: int, window: float):
        """most: pictures of a batch. window: seconds that a batch waits to fill up, only where
        others wait, too.
        """
        self.run, self.most, self.window = run, most, window
        self.waiting: deque[Waiting] = deque()
        self._thread = ThreadPoolExecutor(1)
        self._worker: asyncio.Task[None] | None = None

    async def __call__(self, pixels: np.ndarray, domain: np.ndarray | None) -> np.ndarray:
        """Raises whatever the model does."""
        answer: asyncio.Future[np.ndarray] = asyncio.get_running_loop().create_future()
        self.waiting.append(Waiting(pixels, domain, answer))
        if self._worker is None:
            self._worker = asyncio.create_task(self._work())
        return await answer

    async def _work(self) -> None:
        """Until nothing waits."""
        loop = asyncio.get_running_loop()
        try:
            while self.waiting:
                if self.most > 1 and 1 < len(self.waiting) < self.most:
                    await asyncio.sleep(self.window)
                batch = self._next()
                if not batch:
                    continue
                pixels = [each.pixels for each in batch]
                try:
                    done = await loop.run_in_executor(
                        self._thread, self.run, pixels, batch[0].domain
                    )
                except Exception as error:
                    for each in batch:
                        if not each.answer.done():
                            each.answer.set_exception(error)
                    continue
                for each, result in zip(batch, done, strict=True):
                    if not each.answer.done():
                        each.answer.set_result(result)
        finally:
            self._worker = None

    def _next(self) -> list[Waiting]:
        """The first that waits, and those that fit to it; who has given up is left out."""
        kept: deque[Waiting] = deque()
        batch: list[Waiting] = []
        while self.waiting:
            each = self.waiting.popleft()
            if each.answer.done():
                continue
            if not batch or (len(batch) < self.most and each.fits(batch[0])):
                batch.append(each)
            else:
                kept.append(each)
        self.waiting = kept
        return batch

    def close(self) -> None:
        self._thread.shutdown()
