"""The recipe for Spark gives what the command gives."""

import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from img2img import Translator, images

ROOT = Path(__file__).parents[2]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not find_spec("pyspark"), reason="pip install pyspark first"),
    pytest.mark.skipif(not shutil.which("java"), reason="Spark needs Java: install a JRE first"),
]


def test_the_recipe_translates_every_picture_and_names_what_is_none(tmp_path):
    import pandas as pd

    (tmp_path / "in").mkdir()
    for number in range(6):
        pixels = np.random.default_rng(number).integers(0, 256, (32, 32 + number, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / "in" / f"{number}.png")
    (tmp_path / "in" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    model = ROOT / "weights" / "flat-to-3d.onnx"
    env = {**os.environ, "PYTHONPATH": str(ROOT), "SPARK_LOCAL_IP": "127.0.0.1"}
    done = subprocess.run(
        [sys.executable, ROOT / "examples" / "spark" / "translate.py", model, "in", "out"],
        cwd=tmp_path,
        env=env,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "6 translated" in done.stdout
    assert "broken.png" in done.stderr
    translator = Translator(model, "cpu", threads=1)
    rows = pd.read_parquet(tmp_path / "out").set_index("path")["png"].to_dict()
    assert len(rows) == 7
    for path, png in rows.items():
        if path.endswith("broken.png"):
            assert png is None
        else:
            expected = translator(tmp_path / "in" / Path(path).name)
            assert np.array_equal(images.read(png).pixels, expected)
