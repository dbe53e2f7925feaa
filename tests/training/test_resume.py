"""Runs that are resumed with another length, rate or decay: what goes on, and what may change."""

import csv
import json
import os
import shutil
import signal
import time

import pytest
from states import assert_bitwise, state

from img2img.errors import DataError, Interrupted, UsageError
from img2img.methods import METHODS
from img2img.training import folder, loop
from img2img.training.config import RunConfig
from img2img.training.loop import train
from img2img.training.plan import make_plan
from img2img.training.resume import continued, refuse_fixed, resumed


@pytest.fixture
def finished(trained, tmp_path):
    """A function mode -> a copy of a finished run of 6 steps, which may be trained on."""

    def copy(mode: str, name: str = "run"):
        shutil.copytree(trained(mode), tmp_path / name)
        return tmp_path / name

    return copy


def plan_with(run, quiet, **options):
    return make_plan(resumed(run, RunConfig.load(run), options), quiet)


def column(run, name: str) -> dict[int, float]:
    """A column of metrics.csv by step."""
    with (run / "metrics.csv").open(newline="") as file:
        return {int(row["step"]): float(row[name]) for row in csv.DictReader(file)}


def interrupt_at(monkeypatch, step: int) -> None:
    original = loop.Loop.step

    def stopping(self, batch):
        original(self, batch)
        if self.trainer.step == step:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.01)

    monkeypatch.setattr(loop.Loop, "step", stopping)


@pytest.mark.parametrize("mode", METHODS.builtin)
def test_a_longer_run_that_is_interrupted_is_the_one_in_one_go(mode, finished, quiet, monkeypatch):
    whole, parts = finished(mode, "whole"), finished(mode, "parts")
    options = {"steps": 14, "generator_lr": 1e-4, "decay": 0.25}
    train(plan_with(whole, quiet, **options), whole, quiet)
    with monkeypatch.context() as patch:
        interrupt_at(patch, 9)
        with pytest.raises(Interrupted):
            train(plan_with(parts, quiet, **options), parts, quiet)
    assert state(parts)["step"] == 9
    train(plan_with(parts, quiet, **options), parts, quiet)  # the same command again
    assert state(whole)["step"] == state(parts)["step"] == 14
    assert_bitwise(state(whole), state(parts))
    assert RunConfig.load(whole).history == RunConfig.load(parts).history


def test_the_rate_goes_on_constant_and_falls_over_the_last_part_of_what_is_added(finished, quiet):
    run = finished("pix2pix")
    before = column(run, "generator_lr")
    train(plan_with(run, quiet, steps=16, generator_lr=1e-4, decay=0.4), run, quiet)
    rates = column(run, "generator_lr")
    assert {step: rates[step] for step in before} == before  # what was, stays
    # Ten steps were added, and the last four of them fall: 4/5, 3/5, 2/5, 1/5. A row has the rate
    # of the step that follows.
    assert rates[8] == rates[10] == 1e-4
    assert rates[12] == pytest.approx(0.8e-4)
    assert rates[14] == pytest.approx(0.4e-4)
    config = RunConfig.load(run)
    assert (config.method.steps, config.method.decay) == (16, 0.4)
    [past] = config.history
    assert past.model_dump() == {
        "until": 6,
        "epochs": None,
        "steps": 6,
        "decay": 0.5,
        "generator_lr": 2e-4,
        "discriminator_lr": 2e-4,
        "patience": None,
    }


def test_optimizers_and_averages_go_on(finished, quiet):
    run = finished("cyclegan")
    before = state(run)
    plan = plan_with(run, quiet, steps=8)
    trainer = loop._new_trainer(plan, run, loop.Ranks())
    trainer.load_state_dict(before)
    assert_bitwise(trainer.state_dict(), before)
    train(plan, run, quiet)
    after = state(run)
    for side in ("generators", "discriminators"):
        assert after["optimizers"][side]["state"][0]["step"] == 8


def test_only_the_rate_of_an_unfinished_run_changes_and_its_decay_stays(
    make_config, quiet, tmp_path, monkeypatch
):
    plan, run = make_plan(make_config("pix2pix", steps=10), quiet), tmp_path / "run"
    with monkeypatch.context() as patch:
        interrupt_at(patch, 7)
        with pytest.raises(Interrupted):
            train(plan, run, quiet)
    lower = plan_with(run, quiet, generator_lr=1e-4)
    factors = [plan.schedule.rate_factor(step) for step in range(10)]
    assert [lower.schedule.rate_factor(step) for step in range(10)] == factors
    train(lower, run, quiet)
    assert state(run)["step"] == 10
    assert column(run, "generator_lr")[8] == pytest.approx(1e-4 * factors[8])
    assert column(run, "discriminator_lr")[8] == pytest.approx(2e-4 * factors[8])


def test_the_same_length_again_adds_nothing(finished, quiet):
    run = finished("pix2pix")
    train(plan_with(run, quiet, steps=8), run, quiet)
    saved, written = (run / "config.json").read_text(), state(run)
    for options in ({"steps": 8}, {}):
        plan = plan_with(run, quiet, **options)
        assert plan.config == RunConfig.load(run)
        train(plan, run, quiet)
    assert (run / "config.json").read_text() == saved
    assert_bitwise(state(run), written)


def test_settings_that_were_never_trained_with_leave_no_trace(finished, quiet):
    run = finished("pix2pix")
    first = plan_with(run, quiet, steps=20, decay=0.0).config
    (run / "config.json").write_text(first.to_json())  # and killed before the first step
    second = plan_with(run, quiet, steps=12).config
    assert [past.steps for past in second.history] == [6]
    assert second.method.steps == 12


def test_a_length_in_epochs_follows_one_in_steps_and_back(finished, quiet):
    run = finished("pix2pix")
    in_epochs = plan_with(run, quiet, epochs=2)
    assert (in_epochs.config.method.epochs, in_epochs.config.method.steps) == (2, None)
    assert in_epochs.total == 2 * in_epochs.schedule.epoch_steps
    (run / "config.json").write_text(in_epochs.config.to_json())
    assert plan_with(run, quiet, steps=9).config.method.epochs is None


@pytest.mark.parametrize(
    "options", [{"steps": 6, "decay": 0.1}, {"steps": 5}, {"generator_lr": 1.0}]
)
def test_a_run_with_nothing_left_to_train_says_so(options, finished, quiet):
    run = finished("pix2pix")
    saved = (run / "config.json").read_text()
    with pytest.raises(UsageError, match=r"The run has done 6 steps.*nothing is left to train"):
        plan_with(run, quiet, **options)
    assert (run / "config.json").read_text() == saved


@pytest.mark.parametrize(
    "name", ["size", "mode", "seed", "batch", "d_layers", "ema", "objective", "test_a", "preset"]
)
def test_what_can_not_change_is_refused_by_name(name):
    option = "--" + name.replace("_", "-")
    with pytest.raises(UsageError, match=f"--resume takes {option} from the run.*--generator-lr"):
        refuse_fixed(["steps", "device", name])


def test_a_value_that_is_not_allowed_is_refused(finished, quiet):
    run = finished("pix2pix")
    with pytest.raises(UsageError, match=r"--decay 2\.0: must be at most 1"):
        plan_with(run, quiet, decay=2.0)
    with pytest.raises(UsageError, match="epochs or steps"):
        plan_with(run, quiet, epochs=5, steps=100)


def test_patience_is_checked_like_that_of_a_new_run(finished):
    run = finished("pix2pix")
    saved = RunConfig.load(run)
    with pytest.raises(UsageError, match="patience -1: must be at least 1"):
        resumed(run, saved, {"patience": -1})
    never = saved.model_copy(update={"eval_every": 0})
    with pytest.raises(UsageError, match="--patience would change nothing: --eval-every 0"):
        resumed(run, never, {"steps": 9, "patience": 3})


def test_the_same_command_without_patience_says_how_to_go_on(finished):
    run = finished("pix2pix")
    given = RunConfig.load(run)
    folder.record(run, resumed(run, given, {"patience": 3}))
    with pytest.raises(UsageError, match=r"--resume .* --patience none$"):
        continued(run, given, keep_batch=False)


def test_patience_may_change_and_is_recorded(finished):
    run = finished("pix2pix")
    folder.record(run, resumed(run, RunConfig.load(run), {"patience": 3}))
    config = RunConfig.load(run)
    assert (config.patience, config.history[0].patience) == (3, None)


def test_where_it_computes_may_change_and_is_not_recorded(finished, quiet):
    run = finished("pix2pix")
    saved = (run / "config.json").read_text()
    plan = plan_with(run, quiet, workers=2, compile=False)
    assert (plan.config.workers, plan.config.compile) == (2, False)
    train(plan, run, quiet)
    assert (run / "config.json").read_text() == saved


def test_the_same_command_with_another_length_says_how_to_go_on(finished):
    run = finished("pix2pix")
    saved = RunConfig.load(run)
    longer = saved.with_method(steps=20, decay=0.25)
    with pytest.raises(UsageError, match=r"--resume \S+ --decay 0.25 --steps 20$"):
        continued(run, longer, keep_batch=False)
    other = saved.with_method(steps=20).model_copy(update={"seed": 5})
    with pytest.raises(UsageError, match=r"seed 0, not 5, steps 6, not 20.*another --name"):
        continued(run, other, keep_batch=False)


def test_a_damaged_checkpoint_is_told_before_anything_is_changed(finished):
    run = finished("pix2pix")
    saved = (run / "config.json").read_text()
    (run / "checkpoints" / "last.pt").write_bytes(b"")
    with pytest.raises(DataError, match="damaged"):
        resumed(run, RunConfig.load(run), {"steps": 10})
    assert (run / "config.json").read_text() == saved


def test_a_new_run_from_the_config_of_a_longer_one_has_no_history(finished, quiet):
    from img2img.training.settings import layered

    run = finished("pix2pix")
    train(plan_with(run, quiet, steps=8), run, quiet)
    values = layered(json.loads((run / "config.json").read_text()), {}, {}, {})
    assert RunConfig.build(values).history == ()
