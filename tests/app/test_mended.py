"""Gradio's patches: what it caches is whole."""

import numpy as np
import pytest
from PIL import Image

from img2img import locks

mended = pytest.importorskip("img2img.app.mended")


@pytest.mark.skipif(not locks.AVAILABLE, reason="without locks, nothing is taken for a leftover")
def test_a_cached_picture_is_whole_and_what_a_killed_process_left_is_deleted(tmp_path):
    left = tmp_path / ".img2img-0123.part"
    left.mkdir()
    (left / "half.webp").write_bytes(b"RIFF")
    pixels = np.zeros((8, 8, 3), np.uint8)
    path = mended.save_whole(Image.fromarray(pixels), str(tmp_path), format="png")
    assert np.array_equal(Image.open(path), pixels)
    assert mended.save_whole(Image.fromarray(pixels), str(tmp_path), format="png") == path
    assert [folder.name for folder in tmp_path.iterdir()] == [path.split("/")[-2]]
