"""Memory that is not sufficient for a step: batches go on in parts, or a message says why not."""

import pytest
import torch
from rich.console import Console
from states import assert_bitwise, state

from img2img.errors import OutOfMemory
from img2img.methods import METHODS
from img2img.training import folder
from img2img.training.accumulate import differs_in_parts, in_more_parts
from img2img.training.config import RunConfig
from img2img.training.loop import train
from img2img.training.plan import make_plan
from img2img.training.resume import continued
from img2img.training.trainer import Trainer

ERRORS = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allo"),
    MemoryError(),
]
IN_PARTS = {"norm": "instance", "batch": 4, "dropout": False}


def fail_at(monkeypatch, step: int, parts: int, error: Exception) -> None:
    """Batches of fewer parts don't fit from this step on."""
    original = Trainer.update

    def failing(self, batch, draws=None):
        if self.step >= step and self.method.config.accumulate < parts:
            raise error
        return original(self, batch, draws)

    monkeypatch.setattr(Trainer, "update", failing)


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_a_run_goes_on_in_parts_and_keeps_their_number(
    make_config, quiet, tmp_path, monkeypatch, error
):
    plan = make_plan(make_config("pix2pix", {"log_every": 1}, **IN_PARTS), quiet)
    fail_at(monkeypatch, 3, 4, error)
    console = Console(record=True, width=200)
    train(plan, tmp_path / "r", console)
    told = console.export_text()
    assert "From step 0 on, batches are computed in 2 parts (accumulate)" in told
    assert "From step 0 on, batches are computed in 4 parts (accumulate)" in told
    assert RunConfig.load(tmp_path / "r").method.accumulate == 4
    steps = [line.split(",")[0] for line in (tmp_path / "r/metrics.csv").read_text().splitlines()]
    assert steps == ["step", "1", "2", "3", "4", "5", "6"]


def test_it_ends_as_a_run_that_had_these_parts_from_the_start(
    make_config, quiet, tmp_path, monkeypatch
):
    settings = {**IN_PARTS, "accumulate": 2}
    train(make_plan(make_config("pix2pix", **settings), quiet), tmp_path / "expected", quiet)
    fail_at(monkeypatch, 2, 2, ERRORS[0])
    train(make_plan(make_config("pix2pix", **IN_PARTS), quiet), tmp_path / "found", quiet)
    assert_bitwise(state(tmp_path / "found"), state(tmp_path / "expected"))


def test_it_goes_on_from_the_last_checkpoint_and_can_be_resumed(
    make_config, quiet, tmp_path, monkeypatch
):
    plan = make_plan(make_config("pix2pix", {"save_every": 2}, **IN_PARTS), quiet)
    console = Console(record=True, width=200)
    with monkeypatch.context() as patch:
        fail_at(patch, 3, 2, ERRORS[1])
        train(plan, tmp_path / "r", console)
    assert "From step 2 on, batches are computed in 2 parts" in console.export_text()
    # The same command again is no other one.
    assert continued(tmp_path / "r", plan.config, keep_batch=False).method.accumulate == 2


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"norm": "batch", "batch": 4}, "BatchNorm normalizes over the pictures"),
        ({"d_norm": "batch", "norm": "instance", "batch": 4}, "BatchNorm normalizes"),
        ({"minibatch": "std", "norm": "instance", "batch": 4}, "minibatch layers compare"),
        ({"spectral": True, "norm": "instance", "batch": 4}, "spectral normalization moves"),
        ({"unroll": 1, "norm": "instance", "batch": 4}, "--unroll does steps"),
        ({"objective": "mmd", "norm": "instance", "batch": 4}, "mmd compares"),
    ],
    ids=lambda value: str(value),
)
def test_what_parts_would_change_is_not_done_but_told(settings, reason):
    config = METHODS["cyclegan"].Config(**settings)
    assert reason in differs_in_parts(config)
    with pytest.raises(OutOfMemory, match=rf"4 pictures of 256 px\..*{reason}.*--recompute"):
        in_more_parts(config, 1)


@pytest.mark.parametrize(("batch", "parts", "more"), [(4, 1, 2), (6, 2, 6), (9, 1, 3), (8, 4, 8)])
def test_parts_are_equal_and_as_few_as_possible(batch, parts, more):
    config = METHODS["cyclegan"].Config(batch=batch, accumulate=parts, norm="instance")
    assert in_more_parts(config, 1) == more


def test_a_single_picture_can_not_be_split():
    config = METHODS["cyclegan"].Config(batch=1, recompute=True)
    with pytest.raises(OutOfMemory, match=r"1 picture of 256 px\. Start a new run with a smaller"):
        in_more_parts(config, 1)


def test_several_processes_are_told_what_to_do():
    config = METHODS["cyclegan"].Config(batch=8, norm="instance")
    with pytest.raises(OutOfMemory, match=r"4 pictures of 256 px.*several processes.*--batch"):
        in_more_parts(config, 2)


def test_a_look_that_does_not_fit_is_told_and_the_run_can_go_on(
    make_config, quiet, tmp_path, monkeypatch
):
    from img2img.training.looks import Looks

    def failing(self, stopped):
        raise ERRORS[0]

    plan = make_plan(make_config("pix2pix", {"eval_every": 4, "save_every": 2}), quiet)
    monkeypatch.setattr(Looks, "look", failing)
    with pytest.raises(OutOfMemory, match=r"a look at held-out pictures.* saved at step 2"):
        train(plan, tmp_path / "r", quiet)
    assert folder.is_begun(tmp_path / "r")


def test_other_errors_of_torch_are_not_taken_for_missing_memory(
    make_config, quiet, tmp_path, monkeypatch
):
    fail_at(monkeypatch, 0, 2, RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    with pytest.raises(RuntimeError, match="cannot be multiplied"):
        train(make_plan(make_config("pix2pix", **IN_PARTS), quiet), tmp_path / "r", quiet)
