"""The examples that drive a bundle without this package."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from img2img import Translator

ROOT = Path(__file__).parents[1]
MODEL, FOLDER = ROOT / "weights" / "flat-to-3d.onnx", ROOT / "examples" / "onnxruntime"
NODE = shutil.which("node")
INSTALLED = (FOLDER / "node_modules" / "onnxruntime-web").is_dir()


@pytest.fixture
def drawing(tmp_path) -> Path:
    source = next((ROOT / "examples" / "quickstart" / "test" / "flat").iterdir())
    picture = Image.open(source).convert("RGB").crop((0, 0, 61, 47))
    picture.save(tmp_path / "in.png")
    return tmp_path / "in.png"


def check(command: list, drawing: Path) -> None:
    out = drawing.with_name("out.png")
    subprocess.run([*command, MODEL, drawing, out], check=True, timeout=120)
    ours = Translator(MODEL, "cpu")(drawing)
    theirs = np.asarray(Image.open(out).convert("RGB"))
    assert np.abs(ours.astype(int) - theirs).max() <= 1


def test_plain_onnxruntime_gives_the_same_picture(drawing):
    check([sys.executable, FOLDER / "translate.py"], drawing)


@pytest.mark.skipif(not (NODE and INSTALLED), reason="npm install in examples/onnxruntime first")
def test_javascript_gives_the_same_picture(drawing):
    check([NODE, FOLDER / "translate.mjs"], drawing)
