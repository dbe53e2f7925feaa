"""Whole tiny runs: exact resume, signals, divergence, and what a run folder holds."""

import contextlib
import csv
import errno
import json
import multiprocessing
import os
import select
import shlex
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import psutil
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from states import assert_bitwise, state

from img2img.errors import DataError, Img2ImgError, Interrupted, UsageError
from img2img.features import feature_network
from img2img.methods import METHODS
from img2img.training import checkpoint, loop
from img2img.training.config import RunConfig
from img2img.training.folder import RunFolder
from img2img.training.log import MetricsLog, read_rows
from img2img.training.loop import train
from img2img.training.plan import make_plan
from img2img.training.trainer import Trainer

MODES = list(METHODS)


def stop_at(monkeypatch, step: int) -> None:
    """Let the run believe, after this step, that a signal came."""
    original = loop.Loop.step

    def stopping(self, batch):
        original(self, batch)
        if self.trainer.step == step:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.01)

    monkeypatch.setattr(loop.Loop, "step", stopping)


def train_whole_and_in_parts(plan, folder, quiet, monkeypatch) -> None:
    """Train to the end in folder/whole; in folder/parts, stopped after step 2 and resumed."""
    train(plan, folder / "whole", quiet)
    with monkeypatch.context() as patch:
        stop_at(patch, 2)
        with pytest.raises(Interrupted, match="--resume"):
            train(plan, folder / "parts", quiet)
    train(make_plan(RunConfig.load(folder / "parts"), quiet), folder / "parts", quiet)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("where", ["inside an epoch", "between epochs"])
def test_resume_is_bitwise_exact(mode, where, make_config, quiet, tmp_path, monkeypatch):
    # 18 training samples in batches of 9: an epoch is two steps (StarGAN: 38 by 19).
    config = make_config(mode, batch=19 if mode == "stargan" else 9, ema=0.9, decay=0.5)
    plan = make_plan(config, quiet)
    assert plan.schedule.epoch_steps == 2
    train(plan, tmp_path / "whole", quiet)
    with monkeypatch.context() as patch:
        stop_at(patch, 3 if where == "inside an epoch" else 4)
        with pytest.raises(Interrupted, match="--resume"):
            train(plan, tmp_path / "parts", quiet)
    again = make_plan(RunConfig.load(tmp_path / "parts"), quiet)
    train(again, tmp_path / "parts", quiet)
    assert state(tmp_path / "parts")["step"] == 6
    assert_bitwise(state(tmp_path / "whole"), state(tmp_path / "parts"))


def test_the_probability_of_augmentation_goes_on_where_it_was(
    make_config, quiet, tmp_path, monkeypatch
):
    adaptive = {"augment": "colour", "augment_target": 0.01, "augment_ramp": 20}
    learning = {"objective": "rpgan", "discriminator_lr": 5e-3, "batch": 9}
    plan = make_plan(make_config("cyclegan", **adaptive, **learning), quiet)
    train(plan, tmp_path / "whole", quiet)
    with monkeypatch.context() as patch:
        stop_at(patch, 3)
        with pytest.raises(Interrupted):
            train(plan, tmp_path / "parts", quiet)
    train(make_plan(RunConfig.load(tmp_path / "parts"), quiet), tmp_path / "parts", quiet)
    assert_bitwise(state(tmp_path / "whole"), state(tmp_path / "parts"))
    rows = read_rows(tmp_path / "whole")
    assert all(0 <= float(row["d/augment"]) <= 1 and row["d/sign_a"] for row in rows)
    assert any(float(row["d/augment"]) > 0 for row in rows)


def test_a_run_with_frozen_networks_resumes_bitwise(make_config, quiet, tmp_path, monkeypatch):
    parts = [
        {"network": {"name": "patch", "width": 4, "layers": 2}, "weight": 1.0},
        {"network": {"name": "projected", "width": 4}, "weight": 0.5},
    ]
    weights = tmp_path / "lin.safetensors"
    channels = enumerate(feature_network("efficientnet-lite0").channels)
    save_file({f"lin{n}": torch.linspace(0, 1, count) for n, count in channels}, weights)
    critic = {"discriminator": {"name": "mixture", "parts": parts}, "perceptual": 1.0}
    critic["perceptual_weights"] = weights
    config = make_config("pix2pix", objective="hinge", augment=("colour",), steps=4, **critic)
    train_whole_and_in_parts(make_plan(config, quiet), tmp_path, quiet, monkeypatch)
    whole = state(tmp_path / "whole")
    assert_bitwise(whole, state(tmp_path / "parts"))
    names = {name.split(".")[4] for name in whole["method"] if "judges.1" in name}
    assert names == {"mixing", "heads"}


@pytest.mark.parametrize("mode", ["cyclegan", "stargan"])
def test_a_run_with_cutmix_resumes_bitwise(mode, make_config, quiet, tmp_path, monkeypatch):
    judge = {"discriminator": {"name": "unet", "width": 4, "levels": 2, "cutmix": 1.0}}
    config = make_config(mode, objective="lsgan", steps=4, **judge)
    train_whole_and_in_parts(make_plan(config, quiet), tmp_path, quiet, monkeypatch)
    assert_bitwise(state(tmp_path / "whole"), state(tmp_path / "parts"))
    values = [v for k, v in read_rows(tmp_path / "parts")[-1].items() if "consistency" in k]
    assert values
    assert all(float(value) > 0 for value in values)


@pytest.mark.parametrize("mode", MODES)
def test_a_run_begins_with_the_generators_of_another(mode, trained, make_config, quiet, tmp_path):
    source = trained(mode)
    weights, _ = checkpoint.load_weights(source / "weights.safetensors")
    networks = METHODS[mode](RunConfig.load(source).method).generators
    names = [name for name, _ in networks.named_parameters()]  # no norm's averages

    def distance(**run) -> float:
        """How far one step at a hardly noticeable rate ends from the other run's weights."""
        config = make_config(mode, {"seed": 1, **run}, steps=2, generator_lr=1e-9)
        to = tmp_path / ("with" if run else "without")
        train(make_plan(config, quiet), to, quiet)
        found, _ = checkpoint.load_weights(to / "weights.safetensors")
        return max(float((found[name] - weights[name]).abs().max()) for name in names)

    assert distance(pretrained=source) < 1e-6
    assert distance() > 1e-2


def test_one_direction_alone_can_be_begun_with(trained, make_config, quiet, tmp_path):
    tensors, _ = checkpoint.load_weights(trained("cyclegan") / "weights.safetensors")
    lone = {name: value for name, value in tensors.items() if name.startswith("ba.")}
    save_file(lone, tmp_path / "ba.safetensors")
    generators = METHODS["cyclegan"](make_config("cyclegan").method).generators
    before = {name: value.clone() for name, value in generators["ab"].state_dict().items()}
    checkpoint.begin_with(generators, tmp_path / "ba.safetensors")
    assert_bitwise(before, dict(generators["ab"].state_dict()))
    assert_bitwise(lone, dict(generators["ba"].state_dict(prefix="ba.")))


def test_a_run_that_began_with_weights_goes_on_without_them(
    trained, make_config, quiet, tmp_path, monkeypatch
):
    weights = tmp_path / "weights.safetensors"
    shutil.copy(trained("pix2pix") / "weights.safetensors", weights)
    plan = make_plan(make_config("pix2pix", run={"pretrained": weights}), quiet)
    train(plan, tmp_path / "whole", quiet)
    with monkeypatch.context() as patch:
        stop_at(patch, 3)
        with pytest.raises(Interrupted):
            train(plan, tmp_path / "parts", quiet)
    weights.unlink()
    train(make_plan(RunConfig.load(tmp_path / "parts"), quiet), tmp_path / "parts", quiet)
    assert_bitwise(state(tmp_path / "whole"), state(tmp_path / "parts"))


def test_weights_of_other_networks_are_refused_before_anything_is_written(
    trained, make_config, quiet, tmp_path
):
    plan = make_plan(make_config("pix2pix", {"pretrained": trained("pix2pix")}, width=8), quiet)
    with pytest.raises(
        DataError, match=r"don't fit the networks of this run: size mismatch for.*--width"
    ):
        train(plan, tmp_path / "run", quiet)
    assert not (tmp_path / "run").exists()
    deeper = make_config("cyclegan", {"pretrained": trained("cyclegan")}, blocks=2)
    with pytest.raises(DataError, match=r"only one of the two has ab\.\S+\. Give.*--blocks"):
        train(make_plan(deeper, quiet), tmp_path / "run", quiet)
    missing = make_config("pix2pix", {"pretrained": tmp_path / "nowhere"})
    with pytest.raises(DataError, match="nowhere can't be loaded"):
        train(make_plan(missing, quiet), tmp_path / "run", quiet)


@pytest.mark.parametrize("mode", MODES)
def test_a_run_folder_holds_what_the_design_says(mode, trained):
    run = trained(mode)
    assert {path.name for path in run.iterdir()} == {
        ".lock",
        "config.json",
        "environment.json",
        "metrics.csv",
        "events",
        "samples",
        "checkpoints",
        "weights.safetensors",
        "README.md",
    }
    config = RunConfig.load(run)
    assert config.mode == mode
    assert len(config.fingerprint) == 64
    assert "torch" in json.loads((run / "environment.json").read_text())
    with (run / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["step"]) for row in rows] == [2, 4, 6]
    kinds = {name: name.split("/")[0] for name in rows[0] if "/" in name}
    assert {"d", "g", "health"} <= set(kinds.values()) <= {"d", "g", "health", "held_out"}
    assert all(0 <= float(row["data_wait"]) <= 1 for row in rows)
    assert all(float(row["peak_gib"]) > 0.1 for row in rows)  # torch alone takes as much
    losses = [name for name in rows[0] if kinds.get(name, "d") in ("d", "g")]
    assert all(row[name] != "" for row in rows for name in losses)
    assert float(rows[-1]["health/gradient"]) > 0  # a look at the last step
    assert list((run / "samples").iterdir())
    assert f"img2img translate PHOTOS -o OUT -m {config.name}" in (run / "README.md").read_text()


def test_a_complete_run_is_told_so_and_left_alone(trained, quiet):
    run = trained("pix2pix")
    before = (run / "checkpoints" / "last.pt").stat().st_mtime_ns
    train(make_plan(RunConfig.load(run), quiet), run, quiet)
    assert (run / "checkpoints" / "last.pt").stat().st_mtime_ns == before


def test_metrics_after_the_resumed_step_are_dropped(make_config, quiet, tmp_path, monkeypatch):
    plan, run = make_plan(make_config("pix2pix", run={"log_every": 1}), quiet), tmp_path / "run"
    with monkeypatch.context() as patch:
        stop_at(patch, 3)
        with pytest.raises(Interrupted):
            train(plan, run, quiet)
    with (run / "metrics.csv").open("a") as file:  # rows of steps whose checkpoint was lost
        file.write("4,0,0,0,0,0,0,0,0,0\n")
    train(plan, run, quiet)
    with (run / "metrics.csv").open(newline="") as file:
        assert [int(row["step"]) for row in csv.DictReader(file)] == [1, 2, 3, 4, 5, 6]


def test_a_stop_before_the_first_generator_step_can_be_resumed(
    make_config, quiet, tmp_path, monkeypatch
):
    plan, run = make_plan(make_config("stargan", d_steps=3), quiet), tmp_path / "run"
    with monkeypatch.context() as patch:
        stop_at(patch, 1)
        with pytest.raises(Interrupted):
            train(plan, run, quiet)
    train(plan, run, quiet)
    with (run / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["step"]) for row in rows] == [1, 3, 6]
    assert rows[0]["g/adversarial"] == ""
    assert rows[1]["g/adversarial"] != ""


@pytest.mark.parametrize("workers", [0, 1])
def test_a_picture_that_breaks_during_training_is_told_and_the_work_is_saved(
    workers, make_config, quiet, tmp_path, emoji
):
    data = tmp_path / "data"
    shutil.copytree(emoji, data)
    config = make_config("cyclegan", run={"workers": workers})
    config = config.model_copy(
        update={"sources": config.sources.model_copy(update={"a": data / "flat"})}
    )
    plan = make_plan(config, quiet)
    for path in plan.training.a:
        path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(
        DataError, match=r"header can.t be read.* Saved at step 0\. Continue with"
    ) as caught:
        train(plan, tmp_path / "run", quiet)
    assert "Traceback" not in str(caught.value)
    assert state(tmp_path / "run")["step"] == 0


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="kills a process")
def test_a_worker_that_is_killed_costs_no_work(make_config, quiet, tmp_path, monkeypatch):
    plan = make_plan(make_config("cyclegan", steps=400, run={"workers": 1}), quiet)
    original = Trainer.update
    others = set(multiprocessing.active_children())  # of a test whose traceback is still held

    def killing(self, batch):
        if self.step == 3:  # amid a step, which is completed
            [worker] = set(multiprocessing.active_children()) - others
            worker.kill()
            while psutil.Process(worker.pid).status() != psutil.STATUS_ZOMBIE:
                time.sleep(0.01)  # the signal of its death comes here
        return original(self, batch)

    monkeypatch.setattr(Trainer, "update", killing)
    with pytest.raises(Img2ImgError, match=r"decodes pictures died.* Saved at step \d+\. Continue"):
        train(plan, tmp_path / "run", quiet)
    assert state(tmp_path / "run")["step"] >= 4
    assert callable(signal.getsignal(signal.SIGCHLD))  # torch's handler, for other loaders


def test_one_signal_sent_twice_at_once_is_one(make_config, quiet, tmp_path, monkeypatch):
    """As by what signals a process and then its whole group."""
    plan = make_plan(make_config("pix2pix"), quiet)
    original = loop.Loop.step

    def stopping(self, batch):
        original(self, batch)
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.01)

    monkeypatch.setattr(loop.Loop, "step", stopping)
    with pytest.raises(Interrupted):
        train(plan, tmp_path / "run", quiet)
    assert state(tmp_path / "run")["step"] == 1


def test_a_run_folder_is_never_shared(make_config, quiet, tmp_path):
    plan = make_plan(make_config("pix2pix", steps=1), quiet)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "notes.txt").touch()
    with pytest.raises(UsageError, match="exists already"):
        train(plan, tmp_path / "run", quiet)


def test_of_two_that_make_a_run_one_gets_it(make_config, quiet, tmp_path, monkeypatch):
    """The other one looked before there was anything, and got the lock after."""
    plan, run = make_plan(make_config("pix2pix", steps=1), quiet), tmp_path / "run"
    train(plan, run, quiet)
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    late = replace(plan, config=plan.config.model_copy(update={"name": "late"}))
    monkeypatch.setattr(loop, "is_begun", lambda run: False)
    with pytest.raises(UsageError, match="exists already"):
        train(late, run, quiet)
    lock = {run / ".lock": (run / ".lock").read_bytes()}  # which names its last holder
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before | lock


@pytest.mark.parametrize("left", ["nothing", "half a file"])
def test_a_folder_in_which_no_run_was_begun_is_taken(left, make_config, quiet, tmp_path):
    """As a process leaves it that is killed between making it and config.json."""
    run = tmp_path / "run"
    run.mkdir()
    if left == "half a file":
        (run / ".img2img-0123.part").write_text("{")
    train(make_plan(make_config("pix2pix", steps=1), quiet), run, quiet)
    assert RunConfig.load(run).method.steps == 1
    assert state(run)["step"] == 1
    assert not list(run.glob(".img2img-*"))


@pytest.mark.skipif(sys.platform == "win32", reason="names of bytes")
def test_a_name_that_config_json_can_not_hold_leaves_no_folder(make_config, quiet, tmp_path):
    plan = make_plan(make_config("pix2pix", steps=1), quiet)
    odd = plan.config.model_copy(update={"name": os.fsdecode(b"na\xefve")})
    with pytest.raises(DataError, match=r"is not UTF-8.* Rename it"):
        train(replace(plan, config=odd), tmp_path / "runs" / "run", quiet)
    assert not (tmp_path / "runs").exists()


def test_weights_without_a_checkpoint_are_not_trained_over(trained, quiet, tmp_path):
    run = tmp_path / "my run"
    shutil.copytree(trained("pix2pix"), run)
    (run / "checkpoints" / "last.pt").unlink()
    before = (run / "weights.safetensors").read_bytes()
    with pytest.raises(DataError, match=r"has weights, but no .*last\.pt") as caught:
        train(make_plan(RunConfig.load(run), quiet), run, quiet)
    advice = shlex.split(str(caught.value).partition("img2img train ")[2])
    assert advice == ["--config", str(run / "config.json"), "--pretrained", str(run)]
    assert (run / "weights.safetensors").read_bytes() == before


def test_a_run_that_was_killed_before_its_first_save_begins_anew(
    make_config, quiet, tmp_path, monkeypatch
):
    config = make_config("pix2pix", run={"log_every": 1, "eval_every": 2})
    plan, run = make_plan(config, quiet), tmp_path / "run"
    original = loop.Loop.step

    def dying(self, batch):
        original(self, batch)
        if self.trainer.step == 3:
            raise KeyboardInterrupt  # and nothing after it

    with monkeypatch.context() as patch:
        patch.setattr(loop.Loop, "step", dying)
        with pytest.raises(KeyboardInterrupt):
            train(plan, run, quiet)
    assert (run / "metrics.csv").exists()
    assert not (run / "weights.safetensors").exists()
    train(plan, run, quiet)
    train(plan, tmp_path / "whole", quiet)
    assert_bitwise(state(run), state(tmp_path / "whole"))


@pytest.mark.parametrize("killed_at", range(1, 5))
def test_killed_while_it_saves_a_run_can_go_on(
    killed_at, make_config, quiet, tmp_path, monkeypatch
):
    """Before each file of the first save and of the second."""
    plan = make_plan(make_config("pix2pix", steps=4, run={"save_every": 2}), quiet)
    run, writes = tmp_path / "run", 0

    def counted(original):
        def write(*arguments):
            nonlocal writes
            writes += 1
            if writes == killed_at:
                raise KeyboardInterrupt
            original(*arguments)

        return write

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "save", counted(checkpoint.save))
        patch.setattr(checkpoint, "save_weights", counted(checkpoint.save_weights))
        with pytest.raises(KeyboardInterrupt):
            train(plan, run, quiet)
    train(plan, run, quiet)
    train(plan, tmp_path / "whole", quiet)
    assert_bitwise(state(run), state(tmp_path / "whole"))
    _, told = checkpoint.load_weights(run / "weights.safetensors")
    assert told["step"] == "4"


def test_weights_that_are_gone_from_a_complete_run_are_written_again(trained, quiet, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(trained("pix2pix"), run)
    before = checkpoint.load_weights(run / "weights.safetensors")
    (run / "weights.safetensors").unlink()
    train(make_plan(RunConfig.load(run), quiet), run, quiet)
    assert_bitwise(before, checkpoint.load_weights(run / "weights.safetensors"))


def test_held_out_domains_must_be_those_of_training(make_config, quiet, tmp_path, emoji):
    for name in ("3d", "other"):
        shutil.copytree(emoji / "3d", tmp_path / name)
    config = make_config("stargan", run={"test": {"data": tmp_path}})
    with pytest.raises(DataError, match="domains 3d, other, the training pictures 3d, flat"):
        make_plan(config, quiet)


def test_held_out_pairs_are_read_in_the_direction_of_training(make_config, quiet, tmp_path):
    both = np.zeros((40, 80, 3), np.uint8)
    both[:, 40:] = 255
    for part in ("train", "test"):
        (tmp_path / part).mkdir()
        for number in range(3):
            Image.fromarray(both).save(tmp_path / part / f"{number}.png")
    sources = {"pairs": tmp_path / "train", "swap": True}
    config = make_config("pix2pix", run={"sources": sources, "test": {"pairs": tmp_path / "test"}})
    plan = make_plan(config, quiet)
    augment = plan.augment(training=False)
    for dataset in (plan.training, plan.held_out):
        assert dataset.sample(0, augment, np.random.default_rng(0))["a"].min() == 255


def test_a_checkpoint_of_other_settings_is_refused(trained, quiet, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(trained("pix2pix"), run)
    config = (run / "config.json").read_text().replace('"width": 4', '"width": 5')
    (run / "config.json").write_text(config)
    with pytest.raises(DataError, match=r"last\.pt doesn't fit"):
        train(make_plan(RunConfig.load(run), quiet), run, quiet)


def test_a_loss_that_is_not_finite_stops_with_the_good_checkpoint_kept(
    make_config, quiet, tmp_path, monkeypatch
):
    config = make_config("pix2pix", run={"log_every": 1, "save_every": 2})
    plan, run = make_plan(config, quiet), tmp_path / "run"
    original = METHODS["pix2pix"].g_terms

    def diverging(self, batch, scene, draws):
        terms = original(self, batch, scene, draws)
        diverging.calls += 1
        if diverging.calls == 5:
            terms["l1"] = terms["l1"] * float("nan")
        return terms

    diverging.calls = 0
    monkeypatch.setattr(METHODS["pix2pix"], "g_terms", diverging)
    with pytest.raises(Img2ImgError, match=r"step 5: g/l1 is not finite.*of step 4, is"):
        train(plan, run, quiet)
    saved = state(run)
    assert saved["step"] == 4
    assert all(tensor.isfinite().all() for tensor in saved["method"].values())


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (
            OSError(errno.ENOSPC, "No space"),
            "run can't be read or written (No space). Free disk space.",
        ),
        (
            OSError(errno.EFBIG, "Too large", "a"),
            "a can't be read or written (Too large). Raise the limit",
        ),
        (checkpoint.NotWritten("last.pt can't be written. Why."), "last.pt can't be written. Why."),
        (
            FileNotFoundError(errno.ENOENT, "No such file", "metrics.csv"),
            "metrics.csv can't be read or written (No such file). The last",
        ),
    ],
    ids=["full", "limited", "not written", "moved"],
)
def test_a_file_that_cannot_be_written_is_told_with_a_cure(
    error, words, make_config, quiet, tmp_path, monkeypatch
):
    def fails(*args):
        raise error

    monkeypatch.setattr(MetricsLog, "add", fails)
    plan = make_plan(make_config("pix2pix", steps=2, run={"log_every": 1}), quiet)
    with pytest.raises(Img2ImgError) as raised:
        train(plan, tmp_path / "run", quiet)
    assert words in str(raised.value)
    assert str(raised.value).endswith("run")
    assert "The last checkpoint was saved at step 0. Continue with: img2img train" in str(
        raised.value
    )


def test_resume_refuses_other_pictures(make_config, quiet, tmp_path, emoji):
    config = make_config("cyclegan").model_copy(update={"fingerprint": "0" * 64})
    with pytest.raises(DataError, match="not those with which the run was started"):
        make_plan(config, quiet)


def test_the_time_limit_stops_cleanly(make_config, quiet, tmp_path):
    plan = make_plan(make_config("pix2pix"), quiet)
    train(plan, tmp_path / "run", quiet, max_minutes=0.0)
    assert state(tmp_path / "run")["step"] == 1


def test_before_the_time_is_over_a_step_and_a_save_still_fit(
    make_config, quiet, tmp_path, monkeypatch
):
    now = 0.0

    def update(self, batch, original=Trainer.update):
        nonlocal now
        now += 10  # seconds
        return original(self, batch)

    def save(self, *state, original=RunFolder.save):
        nonlocal now
        before = self.longest_save
        original(self, *state)
        now += 6
        self.longest_save = before + 6

    monkeypatch.setattr(loop, "time", SimpleNamespace(monotonic=lambda: now))
    monkeypatch.setattr(Trainer, "update", update)
    monkeypatch.setattr(RunFolder, "save", save)
    plan = make_plan(make_config("pix2pix", steps=100, run={"save_every": 2}), quiet)
    train(plan, tmp_path / "run", quiet, max_minutes=55 / 60)
    # Two steps of 10 and a save of 6, and a third step: a fourth and a save could take until 58.
    assert state(tmp_path / "run")["step"] == 3
    assert now <= 55


def test_a_cache_changes_nothing_and_is_cleared_away(make_config, quiet, tmp_path):
    for name, cache in (("plain", False), ("kept", True)):
        config = make_config("cyclegan", run={"cache": cache, "workers": 1}, steps=20)
        train(make_plan(config, quiet), tmp_path / name, quiet)
    assert_bitwise(state(tmp_path / "plain"), state(tmp_path / "kept"))
    assert not list((tmp_path / "kept").glob(".img2img-*"))


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
@pytest.mark.parametrize("how", ["SIGTERM", "SIGHUP", "SIGKILL"])
def test_a_process_that_is_stopped_or_killed_goes_on_bitwise(how, emoji, tmp_path):
    """The command line, in processes of its own, with data workers and checkpoints."""
    settings = ["save_every=5", "log_every=5", "width=4", "d_width=4", "d_layers=2", "batch=2"]
    command = [sys.executable, "-m", "img2img", "train"]
    start = [
        *("--mode", "pix2pix", "--a", emoji / "flat", "--b", emoji / "3d", "--size", "32"),
        *("--steps", "60", "--precision", "fp32", "--workers", "1", "--out", tmp_path),
        *(part for setting in settings for part in ("--set", setting)),
    ]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    subprocess.run([*command, *start, "--name", "whole"], check=True, **quiet)
    process = subprocess.Popen(
        [*command, *start, "--name", "parts"], start_new_session=True, **quiet
    )
    saved = tmp_path / "parts" / "checkpoints" / "last.pt"
    deadline = time.monotonic() + 120
    while not saved.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    os.killpg(process.pid, signal.Signals[how])  # the data workers too, as a supervisor does
    said = process.communicate()[1]
    if how != "SIGKILL":
        assert process.returncode == 130
        assert f"--resume {tmp_path / 'parts'}" in said
        assert "Traceback" not in said
    assert state(tmp_path / "parts")["step"] < 60
    subprocess.run([*command, "--resume", tmp_path / "parts"], check=True, **quiet)
    assert_bitwise(state(tmp_path / "whole"), state(tmp_path / "parts"))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="controlling terminals")
def test_what_was_done_when_the_terminal_is_closed_is_saved(emoji, tmp_path):
    """The hangup comes from the kernel, and output to the terminal is an error from then on."""
    import pty  # Windows has none

    sizes = ("--size", "32", "--width", "4", "--d-width", "4", "--d-layers", "2", "--batch", "2")
    pid, terminal = pty.fork()
    if pid == 0:
        line = [sys.executable, "-m", "img2img", "train", "--mode", "pix2pix", *sizes]
        line += ["--a", emoji / "flat", "--b", emoji / "3d", "--out", tmp_path, "--name", "run"]
        line += ["--steps", "100000", "--log-every", "1", "--eval-every", "0", "--workers", "1"]
        os.execv(sys.executable, list(map(str, line)))
    rows, deadline, shown = tmp_path / "run" / "metrics.csv", time.monotonic() + 120, b""
    while not rows.exists() and time.monotonic() < deadline:
        if select.select([terminal], [], [], 0.02)[0]:  # a full terminal would hold it up
            shown += os.read(terminal, 2**16)
    assert rows.exists(), shown
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 130
    assert state(tmp_path / "run")["step"] >= 1
    assert running(tmp_path) == ""  # nor do the data workers stay


def running(run) -> str:
    """The command lines of this machine's processes that name the folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            line = path.read_bytes().decode(errors="replace")
            found += [line] * (str(run) in line)
    return "\n".join(found)
