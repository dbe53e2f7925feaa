"""The examples of other servers give what a Translator gives."""

import io
import os
import secrets
import socket
import subprocess
import sys
import time
import urllib.request
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from img2img import Translator

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples" / "serving"
PICTURE = next((ROOT / "examples" / "quickstart" / "test" / "flat").iterdir())
# `serve run` without its command line, on one core and this machine alone.
ON_RAY = """
import sys, time
from ray_serve import app
import ray
from ray import serve
ray.init("local", num_cpus=2, include_dashboard=False)
serve.start(http_options={"host": "127.0.0.1", "port": int(sys.argv[1])})
serve.run(app)
time.sleep(600)
"""

pytestmark = pytest.mark.slow


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def answer(line: list, port: int, request: urllib.request.Request, tmp_path: Path) -> bytes:
    """What a server answers, which is started and ended; fails with its messages if it ends."""
    env = {
        **os.environ,
        "PYTHONPATH": f"{EXAMPLES}{os.pathsep}{ROOT}",
        "BENTOML_HOME": str(tmp_path),
    }
    env["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"  # listens to this machine alone
    env |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}  # not in the home
    with (tmp_path / "log").open("w+") as log:
        server = subprocess.Popen(line, cwd=EXAMPLES, env=env, stdout=log, stderr=log)
        try:
            deadline = time.monotonic() + 240
            while True:
                try:
                    return urllib.request.urlopen(request, timeout=120).read()
                except OSError:
                    log.seek(0)
                    assert server.poll() is None, log.read()
                    assert time.monotonic() < deadline, log.read()
                    time.sleep(0.5)
        finally:
            server.terminate()
            server.wait(60)


def require_translated(png: bytes) -> None:
    expected = Translator("flat-to-3d", "cpu", threads=1)(PICTURE)
    difference = np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int) - expected
    assert np.abs(difference).max() <= 1  # it may run on another provider


@pytest.mark.skipif(not find_spec("ray"), reason="pip install -e '.[ray]' 'ray[serve]' first")
def test_ray_serve_answers_with_the_translation(tmp_path):
    pytest.importorskip("ray.serve")
    port = free_port()
    request = urllib.request.Request(f"http://127.0.0.1:{port}/", PICTURE.read_bytes())
    line = [sys.executable, "-c", ON_RAY, str(port)]
    require_translated(answer(line, port, request, tmp_path))


@pytest.mark.skipif(not find_spec("bentoml"), reason="pip install bentoml first")
def test_bentoml_answers_with_the_translation(tmp_path):
    port, mark = free_port(), "img2img-boundary"
    head = f'--{mark}\r\nContent-Disposition: form-data; name="image"; filename="a.webp"\r\n'
    body = f"{head}Content-Type: image/webp\r\n\r\n".encode() + PICTURE.read_bytes()
    body += f"\r\n--{mark}--\r\n".encode()
    url = f"http://127.0.0.1:{port}/translate"
    kind = {"Content-Type": f"multipart/form-data; boundary={mark}"}
    request = urllib.request.Request(url, body, kind)
    line = [sys.executable, "-m", "bentoml", "serve", "bento:Translate"]
    line += ["--host", "127.0.0.1", "--port", str(port)]
    require_translated(answer(line, port, request, tmp_path))
