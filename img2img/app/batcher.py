"""Dynamic batching: requests that arrive at about the same time run in one batch."""

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

Run = Callable[[list[np.ndarray], np.ndarray | None], list[np.ndarray]]


@dataclass(frozen=True, eq=False)
class Waiting:
    """A request in the queue."""

    pixels: np.ndarray  # [H, W, C], uint8 of photographs, else of the model's type
    domain: np.ndarray | None
    answer: "asyncio.Future[np.ndarray]"

    def fits(self, other: "Waiting") -> bool:
        """Whether both can run in one batch."""
        if self.pixels.shape != other.pixels.shape:
            return False
        if self.domain is None or other.domain is None:
            return self.domain is other.domain
        return np.array_equal(self.domain, other.domain)


class Batcher:
    """The queue of one model. A thread runs the requests in order, in batches of one size and
    domain.
    """

    def __init__(self, run: Run, most: int, window: float):
        """most: pictures per batch. window: seconds for which a batch waits to fill up, if more
        than one request is in the queue.
        """
        self.run, self.most, self.window = run, most, window
        self.waiting: deque[Waiting] = deque()
        self._thread = ThreadPoolExecutor(1)
        self._worker: asyncio.Task[None] | None = None

    async def __call__(self, pixels: np.ndarray, domain: np.ndarray | None) -> np.ndarray:
        """The translation of one picture; raises what the model raises."""
        answer: asyncio.Future[np.ndarray] = asyncio.get_running_loop().create_future()
        self.waiting.append(Waiting(pixels, domain, answer))
        if self._worker is None:
            self._worker = asyncio.create_task(self._work())
        return await answer

    async def _work(self) -> None:
        """Run batches until the queue is empty."""
        loop = asyncio.get_running_loop()
        try:
            while self.waiting:
                if self.most > 1 and 1 < len(self.waiting) < self.most:
                    await asyncio.sleep(self.window)
                batch = self._next()
                if not batch:
                    continue
                pixels = [request.pixels for request in batch]
                try:
                    results = await loop.run_in_executor(
                        self._thread, self.run, pixels, batch[0].domain
                    )
                except Exception as error:
                    for request in batch:
                        if not request.answer.done():
                            request.answer.set_exception(error)
                    continue
                for request, result in zip(batch, results, strict=True):
                    if not request.answer.done():
                        request.answer.set_result(result)
        finally:
            self._worker = None

    def _next(self) -> list[Waiting]:
        """The first request, and those that fit into its batch. Canceled requests are dropped."""
        kept: deque[Waiting] = deque()
        batch: list[Waiting] = []
        while self.waiting:
            request = self.waiting.popleft()
            if request.answer.done():
                continue
            if not batch or (len(batch) < self.most and request.fits(batch[0])):
                batch.append(request)
            else:
                kept.append(request)
        self.waiting = kept
        return batch

    def close(self) -> None:
        self._thread.shutdown()
