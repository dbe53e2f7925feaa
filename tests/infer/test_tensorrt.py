"""What TensorRT's provider is asked for, and which pictures its engine takes."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from img2img.infer import tensorrt
from img2img.infer.tensorrt import RangedSession
from img2img.manifest import Labels, Manifest
from img2img.sizes import Size

LABELS = Labels(sets=[{"kind": "classes", "domains": ("dawn", "noon", "dusk")}])


def manifest(size: Size | int = 512, labels: Labels = Labels()) -> Manifest:
    return Manifest(
        name="m",
        method="-",
        direction="ab",
        size_multiple=4,
        trained_size=Size.of(size),
        labels=labels,
    )


def test_all_inputs_have_a_range_of_sizes(tmp_path):
    options = tensorrt.options(tmp_path, True, manifest(Size(256, 128), LABELS))
    assert options["trt_profile_min_shapes"] == "image:1x1x1x3,domain:1x3"
    assert options["trt_profile_opt_shapes"] == "image:8x128x256x3,domain:8x3"
    assert options["trt_profile_max_shapes"] == "image:8x512x512x3,domain:8x3"


def test_the_range_contains_the_size_of_training():
    assert tensorrt.largest_side(manifest(Size(768, 1024))) == 1024
    assert tensorrt.largest_side(manifest()) == 512


class Named:
    """A session that gives its number."""

    def __init__(self, number: int):
        self.number = number

    def run(self, outputs: None, feed: dict[str, np.ndarray]) -> list[np.ndarray]:
        return [np.array(self.number)]


@pytest.mark.parametrize(
    ("shape", "expected"),
    [((8, 100, 100, 3), 1), ((1, 101, 5, 3), 2), ((1, 5, 101, 3), 2), ((9, 5, 5, 3), 2)],
)
def test_what_is_beyond_the_range_goes_to_the_other_session(shape, expected):
    session = RangedSession(Named(1), 100, lambda: Named(2))
    assert session.run(None, {"image": np.empty(shape, np.uint8)})[0] == expected


def test_the_other_session_is_opened_once_and_only_when_it_is_needed():
    opened: list[threading.Thread] = []

    def other() -> Named:
        opened.append(threading.current_thread())
        return Named(2)

    session = RangedSession(Named(1), 100, other)
    session.run(None, {"image": np.empty((1, 100, 100, 3), np.uint8)})
    assert not opened
    large = {"image": np.empty((1, 200, 200, 3), np.uint8)}
    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(lambda _: session.run(None, large)[0] == 2, range(8)))
    assert len(opened) == 1
