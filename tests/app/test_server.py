"""The server's processes: what they share, and leave."""

import os
import tempfile
from pathlib import Path

import pytest

from img2img import locks
from img2img.app import server
from img2img.app.access import LOCAL
from img2img.app.api import Limits


@pytest.mark.skipif(not locks.AVAILABLE, reason="without locks, nothing is taken for a leftover")
def test_metrics_of_a_killed_server_are_deleted_by_the_next_one(invert, tmp_path, monkeypatch):
    left, during = tmp_path / ".img2img-0123.part", []
    left.mkdir()
    (left / "counter_1.db").write_bytes(b"0")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    for name in ("PROMETHEUS_MULTIPROC_DIR", server.SETTINGS):  # which are restored afterwards
        monkeypatch.setenv(name, "")

    def served(*_, **__) -> None:
        during.append((Path(os.environ["PROMETHEUS_MULTIPROC_DIR"]), list(tmp_path.iterdir())))

    monkeypatch.setattr(server.uvicorn, "run", served)
    models = (str(invert.path),)
    server.run(server.Settings(models, "cpu", "auto", 1, Limits(), LOCAL, ""), 0, 2)
    [(folder, there)] = during
    assert there == [folder]
    assert not list(tmp_path.iterdir())
