"""Naming the libraries of CUDA that are missing."""

import sys

import onnxruntime as ort
import pytest

from img2img.infer import cuda_libraries


def test_all_that_onnxruntime_prints_are_named(monkeypatch, capsys):
    monkeypatch.setattr(ort, "get_available_providers", lambda: ["CUDAExecutionProvider"])
    printed = "Failed to load libcurand.so.10: no such file\nFailed to load liba.so.1: none\n"
    monkeypatch.setattr(ort, "preload_dlls", lambda: print(printed), raising=False)
    monkeypatch.setitem(cuda_libraries.CUDNN, sys.platform, "libnone.so.9")
    assert cuda_libraries.missing() == ["libcurand.so.10", "liba.so.1", "libnone.so.9"]
    assert capsys.readouterr().out == ""


def test_a_build_without_cuda_needs_none(monkeypatch):
    monkeypatch.setattr(ort, "get_available_providers", lambda: ["CPUExecutionProvider"])
    assert cuda_libraries.missing() == []


@pytest.mark.skipif(sys.platform == "win32", reason="names a .so")
def test_the_command_that_installs_them_is_told():
    assert cuda_libraries.needed("none").endswith("pip install 'img2img-gan[cuda]'")
