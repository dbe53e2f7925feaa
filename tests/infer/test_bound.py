"""Sessions with bound buffers, run on the CPU, which shows all but the copies to a GPU."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnxruntime as ort
import pytest

from img2img.infer import bound
from img2img.infer.bound import BoundSession
from img2img.manifest import Labels


@pytest.fixture
def asked(monkeypatch) -> list[int]:
    """The sizes of the buffers that were asked for, in bytes."""
    sizes: list[int] = []

    def pinned(size: int) -> np.ndarray:
        sizes.append(size)
        return np.empty(size, np.uint8)

    monkeypatch.setattr(bound.nvidia, "pinned", pinned)
    return sizes


def opened(path) -> BoundSession:
    return BoundSession(ort.InferenceSession(path, providers=["CPUExecutionProvider"]))


def picture(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def test_it_gives_what_the_session_gives_and_keeps_its_buffers(bundle, asked):
    session = opened(bundle())
    results = []
    for number, shape in enumerate([(2, 5, 7, 3), (1, 4, 4, 3), (2, 5, 7, 3), (3, 8, 8, 3)]):
        image = picture(number, *shape)
        [result] = session.run(None, {"image": image})
        assert np.array_equal(result, 255 - image)
        results.append((result, image))
    assert asked == [2 * 5 * 7 * 3] * 2 + [3 * 8 * 8 * 3] * 2  # for input and output, only to grow
    assert all(np.array_equal(result, 255 - image) for result, image in results)


def test_domains_are_bound_too(bundle, asked):
    labels = Labels(sets=[{"kind": "classes", "domains": ("dawn", "noon")}])
    session = opened(bundle(labels=labels))
    image = np.zeros((2, 3, 3, 3), np.uint8)
    domain = np.array([[1, 0], [0, 1]], np.float32)
    [result] = session.run(None, {"image": image, "domain": domain})
    assert (result[0] == 10).all()
    assert (result[1] == 20).all()


def test_pictures_that_are_too_large_go_without(bundle, asked, monkeypatch):
    monkeypatch.setattr(bound, "LARGEST", 100)
    image = picture(0, 1, 6, 6, 3)
    [result] = opened(bundle()).run(None, {"image": image})
    assert np.array_equal(result, 255 - image)
    assert not asked


def test_threads_do_not_share_buffers(bundle, asked):
    """All are within their calls at the same time."""
    session = opened(bundle())
    inner, barrier = session._session, threading.Barrier(4)

    class Slow:
        io_binding = inner.io_binding

        def run_with_iobinding(self, binding):
            barrier.wait(60)
            inner.run_with_iobinding(binding)

    session._session = Slow()
    images = [picture(number, 1, 9, 9, 3) for number in range(4)]
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda image: session.run(None, {"image": image})[0], images))
    assert all(np.array_equal(r, 255 - i) for r, i in zip(results, images, strict=True))
    assert len(asked) == 8


def test_a_call_that_fails_leaves_the_session_usable(bundle, asked):
    session = opened(bundle(only_size=(4, 4)))
    with pytest.raises(Exception, match=r"INVALID_ARGUMENT|Got invalid dimensions"):
        session.run(None, {"image": picture(0, 1, 5, 5, 3)})
    image = picture(1, 1, 4, 4, 3)
    assert np.array_equal(session.run(None, {"image": image})[0], 255 - image)
