"""`img2img models`: the list, and adding a model."""

import json
import os
from pathlib import Path

import pytest
from bundles import make_bundle
from command_line import run


@pytest.fixture(autouse=True)
def _data(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))


def test_an_added_model_is_listed_and_used_by_its_name(tmp_path):
    path = make_bundle(tmp_path / "night.onnx")
    done = run("models", "add", path, cwd=tmp_path)
    assert done.returncode == 0
    assert "data/img2img/models/night.onnx".replace("/", os.sep) in done.stdout
    Path(path).unlink()
    rows = json.loads(run("models", "--json", cwd=tmp_path).stdout)
    assert [row["name"] for row in rows][-1] == "night"
    assert rows[0]["name"] == "strokes-to-3d"
    assert "night" in run("models", cwd=tmp_path).stdout
    assert run("info", "night", cwd=tmp_path).returncode == 0


@pytest.mark.parametrize("name", ["https://example.org/m.onnx", "weights.pth", "text.onnx"])
def test_what_is_no_model_is_not_added(name, tmp_path):
    (tmp_path / "weights.pth").write_bytes(b"torch")
    (tmp_path / "text.onnx").write_text("text")
    done = run("models", "add", name, cwd=tmp_path)
    assert done.returncode == 3
    assert "ONNX" in done.stderr
    assert not (tmp_path / "data").exists()
