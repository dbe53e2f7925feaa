"""Trying a provider without any model."""

import numpy as np
import pytest

from img2img.errors import UsageError
from img2img.infer import probe, session


def test_a_provider_that_works_has_no_failure():
    assert probe.failure("cpu") is None


def test_a_provider_that_is_missing_tells_what_there_is():
    assert probe.failure("coreml") == (
        f"this onnxruntime does not have it, but {', '.join(session.available())}"
    )


def test_a_provider_without_its_driver_tells_so(monkeypatch):
    monkeypatch.setattr(session, "_has_nvidia_driver", lambda: False)
    monkeypatch.setattr(session, "available", lambda: ["cpu", "cuda"])
    assert probe.failure("cuda") == "there is no NVIDIA driver"


def test_an_unknown_name_is_wrong_usage():
    with pytest.raises(UsageError, match="no provider gpu"):
        probe.failure("gpu")


def test_wrong_results_are_a_failure(monkeypatch):
    class Wrong:
        def run(self, outputs, feed):
            return [np.zeros_like(feed["x"])]

    monkeypatch.setattr(session, "session_of", lambda *arguments, **options: Wrong())
    assert probe.failure("cpu") == "it computes wrong results"


def test_an_error_while_it_runs_is_a_failure(monkeypatch):
    class Failing:
        def run(self, outputs, feed):
            raise RuntimeError("CUDNN_STATUS_NOT_INITIALIZED")

    monkeypatch.setattr(session, "session_of", lambda *arguments, **options: Failing())
    assert probe.failure("cpu") == "CUDNN_STATUS_NOT_INITIALIZED"
