"""`--json` prints JSON and nothing else, whatever the runtimes have to say."""

import json
import subprocess
import sys

import pytest
from bundles import make_bundle
from PIL import Image

# As on a machine with an NVIDIA driver, where onnxruntime looks for CUDA's libraries and prints
# those that it does not find.
WITH_DRIVER = """
import sys
import onnxruntime
from img2img.infer import session
print_missing = onnxruntime.preload_dlls
def preload(*arguments, **options):
    print("Failed to load libnone.so.1")
    print_missing(*arguments, **options)
onnxruntime.preload_dlls = preload
session._has_nvidia_driver = lambda: True
from img2img.cli import main
sys.argv[0] = "img2img"
main()
"""


@pytest.fixture
def folder(tmp_path):
    make_bundle(tmp_path / "m.onnx", parity={"bf16_psnr_mean": 60.0})
    for name, color in (("a", "red"), ("b", "blue")):
        (tmp_path / name).mkdir()
        for number in range(3):
            Image.new("RGB", (16 + number, 16), color).save(tmp_path / name / f"{number}.png")
    return tmp_path


@pytest.mark.parametrize(
    "command",
    [
        "translate a -o out -m m.onnx",
        "doctor",
        "evaluate -m m.onnx --a a --b b --metrics l1",
        "bench m.onnx --size 16 --seconds 0.1",
    ],
)
def test_json_is_alone_on_stdout_of_a_process(command, folder):
    line = [sys.executable, "-c", WITH_DRIVER, *command.split(), "--json"]
    done = subprocess.run(line, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    json.loads(done.stdout)
    assert "Failed to load" not in done.stderr
