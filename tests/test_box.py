"""Rectangles of pictures."""

import numpy as np
import pytest

from img2img.box import Box, boxes


def test_a_box_is_a_view_and_has_coordinates_in_another():
    pixels = np.arange(48).reshape(6, 8)
    outer, inner = Box(1, 5, 2, 8), Box(2, 4, 3, 6)
    np.testing.assert_array_equal(inner.within(outer).of(outer.of(pixels)), inner.of(pixels))
    assert (inner.height, inner.width) == (2, 3)
    assert Box(0, 3, 0, 5).common(Box(2, 9, 4, 9)) == Box(2, 3, 4, 5)
    apart = Box(0, 2, 0, 2).common(Box(5, 6, 5, 6))
    assert (apart.height, apart.width) == (0, 0)


@pytest.mark.parametrize("shape", [(10, 10), (64, 65), (100, 150), (128, 64), (1, 200)])
@pytest.mark.parametrize("step", [16, 64])
def test_boxes_cover_a_picture_and_are_of_one_size(shape, step):
    seen = np.zeros(shape, int)
    parts = boxes(*shape, 64, step)
    for box in parts:
        box.of(seen)[:] += 1
        assert (box.height, box.width) == (min(64, shape[0]), min(64, shape[1]))
    assert seen.min() > 0
    assert len(set(parts)) == len(parts)
