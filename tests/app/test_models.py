"""Which models an application offers."""

import hashlib

import pytest

from img2img.app.models import Models
from img2img.errors import DataError


@pytest.fixture
def damaged(bundle, tmp_path, monkeypatch):
    """A folder with weights/good.onnx, and files beside it that are no bundles or half ones."""
    good = bundle("weights/good.onnx", name="good").read_bytes()
    (tmp_path / "weights" / "cut.onnx").write_bytes(good[: len(good) // 2])
    (tmp_path / "weights" / "empty.onnx").write_bytes(b"")
    (tmp_path / "weights" / "text.onnx").write_text("a page that says 404")
    (tmp_path / "weights" / "manifest.onnx").write_bytes(good.replace(b'"method"', b'"mothed"'))
    (tmp_path / "weights" / "utf.onnx").write_bytes(good.replace(b'"method"', b'"m\xffthod"'))
    (tmp_path / "weights" / "folder.onnx").mkdir()
    bundle("weights/foreign.onnx", manifest=False)
    bundle("weights/swapped.onnx", name="another")
    (tmp_path / "weights" / "SHA256SUMS").write_text(
        f"{hashlib.sha256(good).hexdigest()}  good.onnx\n{'0' * 64}  swapped.onnx\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("img2img.infer.registry.shipped", lambda folder: tmp_path / "none")
    return tmp_path


def test_a_damaged_model_that_was_not_asked_for_is_left_out_with_a_warning(damaged):
    with pytest.warns(UserWarning, match="Left out: ") as warned:
        models = Models([], "cpu")
    assert models.names == ["good"]
    assert models.get("good").manifest.name == "good"
    for name in ("cut", "empty", "text", "manifest", "utf", "folder", "foreign", "swapped"):
        assert any(f"{name}.onnx" in str(each.message) for each in warned), name


@pytest.mark.parametrize("name", ["cut", "empty", "text", "manifest", "utf", "foreign", "swapped"])
def test_a_damaged_model_that_was_asked_for_is_an_error(damaged, name):
    with pytest.raises(DataError, match=f"{name}.onnx"):
        Models(["weights/good.onnx", f"weights/{name}.onnx"], "cpu")
