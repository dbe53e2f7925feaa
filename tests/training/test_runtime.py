"""What a run computes with."""

import torch

from img2img.methods import METHODS
from img2img.training import runtime
from img2img.training.schedule import Schedule
from img2img.training.trainer import Trainer


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


def test_without_a_c_compiler_a_gpu_runs_networks_that_are_not_compiled(monkeypatch, make_config):
    config = make_config("pix2pix", {})
    here = runtime.Runtime("cpu", "fp32")
    method, told = METHODS["pix2pix"](config.method), []
    trainer = Trainer(method, here, 0, Schedule.of(config.method, 10))
    monkeypatch.setattr(trainer, "compile", lambda: told.append("compiled"))
    monkeypatch.setattr(here, "device", torch.device("cuda"))
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr(runtime.shutil, "which", lambda name: None)
    trainer.compile_if_it_pays(True, 10_000, told.append)
    assert told == ["Not compiled, because there is no C compiler: install gcc for faster steps."]
    monkeypatch.setattr(runtime.shutil, "which", lambda name: "/usr/bin/gcc")
    trainer.compile_if_it_pays(True, 10_000, told.append)
    assert told[1] == "compiled"
