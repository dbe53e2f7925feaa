"""What a run computes with."""

import torch

from img2img.training import runtime


def test_torch_has_no_more_threads_than_a_container_has_cores(monkeypatch):
    before = torch.get_num_threads()
    monkeypatch.setattr(runtime, "usable_cores", lambda: 2)
    try:
        for threads, used in ((4, 2), (1, 1)):
            torch.set_num_threads(threads)
            runtime.Runtime("cpu", "fp32")
            assert torch.get_num_threads() == used
    finally:
        torch.set_num_threads(before)
