"""Requests that arrive together run together, each with its own answer."""

import asyncio
import threading

import numpy as np
import pytest

from img2img.app.batcher import Batcher


def picture(value: int, side: int = 4) -> np.ndarray:
    return np.full((side, side, 3), value, np.uint8)


class Model:
    """Inverts, adds the domain, and remembers what ran together."""

    def __init__(self):
        self.batches: list[int] = []
        self.go_on = threading.Event()
        self.go_on.set()

    def __call__(self, pixels, domain):
        self.go_on.wait(10)
        self.batches.append(len(pixels))
        if any(each.shape[0] == 13 for each in pixels):
            raise ValueError("thirteen")
        return [255 - each + np.uint8(0 if domain is None else domain[0]) for each in pixels]


def together(model: Model, requests, most=4):
    """The answers (or errors) to requests that all come at once."""

    async def ask():
        batcher = Batcher(model, most, 0.001)
        try:
            return await asyncio.gather(
                *(batcher(*each) for each in requests), return_exceptions=True
            )
        finally:
            batcher.close()

    return asyncio.run(ask())


def test_every_request_gets_its_own_answer_in_few_batches():
    model = Model()
    answers = together(model, [(picture(value), None) for value in range(10)])
    assert [int(answer[0, 0, 0]) for answer in answers] == [255 - value for value in range(10)]
    assert model.batches == [4, 4, 2]


def test_only_what_is_alike_runs_together():
    model, one, two = Model(), np.array([1.0]), np.array([2.0])
    requests = [(picture(0), one), (picture(0), two), (picture(0, 8), one), (picture(0), one)]
    answers = together(model, requests)
    assert [answer.shape[0] for answer in answers] == [4, 4, 8, 4]
    assert sorted(model.batches) == [1, 1, 2]


def test_an_error_goes_to_those_whose_batch_it_was():
    answers = together(Model(), [(picture(1, 13), None), (picture(1), None)])
    assert isinstance(answers[0], ValueError)
    assert int(answers[1][0, 0, 0]) == 254


def test_who_gave_up_is_not_run():
    async def ask():
        model = Model()
        batcher = Batcher(model, 1, 0.001)
        model.go_on.clear()
        first = asyncio.create_task(batcher(picture(1), None))
        second = asyncio.create_task(batcher(picture(2), None))
        await asyncio.sleep(0.05)
        second.cancel()
        await asyncio.sleep(0)
        model.go_on.set()
        await first
        with pytest.raises(asyncio.CancelledError):
            await second
        await batcher(picture(3), None)
        batcher.close()
        return model.batches

    assert asyncio.run(ask()) == [1, 1]
