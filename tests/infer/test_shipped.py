"""The models that ship: what their manifests tell, and that they take any size."""

from pathlib import Path

import numpy as np
import pytest

from img2img import images
from img2img.files import find_pictures
from img2img.infer.folder import Settings, translate_files
from img2img.infer.plan import make_plan
from img2img.infer.registry import shipped
from img2img.infer.session import available
from img2img.infer.translator import Translator

NAMES = [path.stem for path in sorted(shipped("weights").glob("*.onnx"))]


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    return images.read(next(find_pictures(shipped("quickstart") / "test" / "flat"))).pixels


@pytest.mark.parametrize("provider", ["cpu", "openvino"])
@pytest.mark.parametrize("name", NAMES)
def test_sides_down_to_a_pixel_are_taken(name, provider, picture):
    if provider not in available():
        pytest.skip("it is not installed")
    translator = Translator(name, provider)
    to = next(iter(translator.manifest.labels.names), None)
    for size in [(1, 1), (1, 50), (50, 2), (3, 3), (4, 50), (5, 4)]:
        assert translator(picture[: size[0], : size[1]], to).shape == (*size, 3)


@pytest.mark.parametrize("name", NAMES)
def test_their_manifests_tell_what_tiles_and_auto_ask(name):
    manifest = Translator(name, "cpu").manifest
    least, reach = {
        "flat-to-3d": (64, None),  # U-Nets of 6 levels
        "strokes-to-3d": (64, None),
        "dark-to-light": (64, None),
        "map-to-satellite": (64, None),
        "relief-to-satellite": (64, None),
        "flat-noto-ab": (32, None),  # of 5 levels
        "flat-noto-ba": (32, None),
        "three-styles": (8, 40),
    }[name]
    assert (manifest.min_size, manifest.reach) == (least, reach)
    assert manifest.is_near_in_bf16


def test_a_panorama_made_smaller_is_translated(save, tmp_path, monkeypatch):
    """To 64x4 pixels."""
    monkeypatch.chdir(tmp_path)
    save(Path("in/a.png"), np.tile(np.arange(6000, dtype=np.uint8)[None, :, None], (350, 1, 3)))
    jobs = make_plan(["in"], Path("out"), "keep", "1/1")
    summary = translate_files(Translator("flat-noto-ab", "cpu"), jobs, None, Settings(max_side=64))
    assert (summary.done, summary.failed) == (1, [])
    assert images.read(Path("out/a.png")).pixels.shape == (4, 64, 3)
