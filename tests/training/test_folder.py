"""The folder of a run: who may write it, and what damage and kills leave of it."""

import errno
import io
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console
from states import assert_bitwise, state
from torch import nn

from img2img import locks
from img2img.errors import DataError, UsageError
from img2img.training import checkpoint
from img2img.training.folder import RunFolder, is_vacant
from img2img.training.loop import train
from img2img.training.plan import make_plan


@pytest.fixture
def plan(make_config, quiet):
    return make_plan(make_config("pix2pix", steps=6, run={"save_every": 2, "log_every": 1}), quiet)


@pytest.fixture
def done(plan, quiet, tmp_path):
    """A finished run of 6 steps, saved every second one."""
    train(plan, tmp_path / "run", quiet)
    return tmp_path / "run"


def flip(path, at: float) -> None:
    """Flip a bit of the file, at this share of its length."""
    content = bytearray(path.read_bytes())
    content[int(at * len(content))] ^= 1
    path.write_bytes(content)


def spoken() -> Console:
    return Console(file=io.StringIO(), width=1000)


def test_the_last_checkpoint_and_the_one_before_are_there(done):
    steps = [
        checkpoint.load(done / path)["trainer"]["step"]
        for path in (checkpoint.LAST, checkpoint.PREVIOUS)
    ]
    assert steps == [6, 4]
    assert len(list((done / "checkpoints").iterdir())) == 2


@pytest.mark.parametrize("how", ["a flipped bit", "missing", "cut in half"])
def test_a_run_goes_on_from_the_checkpoint_before_a_damaged_one(how, done, plan, tmp_path):
    shutil.copytree(done, tmp_path / "whole")
    last = done / checkpoint.LAST
    if how == "missing":  # killed where a disk has no hard links
        last.unlink()
    elif how == "cut in half":
        last.write_bytes(last.read_bytes()[: last.stat().st_size // 2])
    else:
        flip(last, 0.5)
    damaged = last.read_bytes() if last.exists() else None
    console = spoken()
    train(plan, done, console)
    assert_bitwise(state(done), state(tmp_path / "whole"))
    steps = [line.split(",")[0] for line in (done / "metrics.csv").read_text().splitlines()]
    assert steps == ["step", *map(str, range(1, 7))]
    said = f"Going on from the one before, {done / checkpoint.PREVIOUS}."
    assert (said in console.file.getvalue()) == (how != "missing")
    if damaged:
        assert f"{last} is damaged" in console.file.getvalue() or how != "a flipped bit"
        assert (done / checkpoint.DAMAGED).read_bytes() == damaged
    assert checkpoint.load(done / checkpoint.PREVIOUS)["trainer"]["step"] == 4


def test_without_a_good_checkpoint_the_file_is_refused_with_what_to_do(done, plan, quiet):
    for path in (checkpoint.LAST, checkpoint.PREVIOUS):
        flip(done / path, 0.5)
    before = (done / checkpoint.LAST).read_bytes()
    said = r"last\.pt is damaged: the checksum of \S+ in it does not match\. Start a new run from"
    with pytest.raises(DataError, match=said):
        train(plan, done, quiet)
    assert (done / checkpoint.LAST).read_bytes() == before


def test_a_flipped_bit_is_noticed_or_changes_nothing(done):
    """A bit of the zip's padding, and of dates in it, changes nothing."""
    path, silent = done / checkpoint.LAST, 0
    content, before = path.read_bytes(), state(done)
    for at in np.random.default_rng(0).integers(0, len(content), 100):
        path.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
        try:
            after = state(done)
        except DataError:
            continue
        assert_bitwise(before, after)
        silent += 1
    assert silent < 10


@pytest.mark.parametrize("at", [0.001, 0.02, 0.5, 0.999])
def test_a_flipped_bit_of_weights_is_noticed(done, at):
    flip(done / checkpoint.WEIGHTS, at)
    with pytest.raises(DataError, match=r"weights\.safetensors"):
        checkpoint.load_weights(done / checkpoint.WEIGHTS)


def test_a_flipped_bit_of_the_checksum_is_noticed(done):
    path = done / checkpoint.WEIGHTS
    content = path.read_bytes()
    place = content.index(b'img2img.sha256":"') + 20
    for bit in range(8):
        changed = bytearray(content)
        changed[place] ^= 1 << bit
        path.write_bytes(changed)
        with pytest.raises(DataError, match=r"weights\.safetensors"):
            checkpoint.load_weights(path)


def test_without_hard_links_the_checkpoint_before_is_kept_by_one_move(tmp_path, monkeypatch):
    def refuse(self, target):
        raise OSError(errno.EPERM, "no hard links")

    def killed(state, path):
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    for step in (1, 2):
        checkpoint.save_newest(tmp_path, {"step": step})
    last, before = tmp_path / checkpoint.LAST, tmp_path / checkpoint.PREVIOUS
    assert [checkpoint.load(path)["step"] for path in (last, before)] == [2, 1]
    monkeypatch.setattr(torch, "save", killed)
    with pytest.raises(KeyboardInterrupt):
        checkpoint.save_newest(tmp_path, {"step": 3})
    path, state = checkpoint.load_newest(tmp_path, pytest.fail)
    assert (path, state) == (before, {"step": 2})


def test_damaged_best_weights_are_told_and_count_no_longer(tmp_path):
    said: list[str] = []
    run = RunFolder.__new__(RunFolder)
    run.best = tmp_path / "best.safetensors"
    metadata = {"metric": "kid", "value": "0.5"}
    checkpoint.save_weights(run.best, nn.Linear(2, 2), metadata)
    assert run.best_value("kid", said.append) == 0.5
    flip(run.best, 0.9)
    assert run.best_value("kid", said.append) == float("inf")
    assert len(said) == 1
    assert "best.safetensors is damaged" in said[0]
    assert said[0].endswith("The weights of the next look take its place.")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc")
def test_the_rows_of_a_checkpoint_are_on_the_disk_before_it(plan, quiet, tmp_path, monkeypatch):
    synced, real, save = [], os.fsync, checkpoint.save_newest

    def spy(descriptor):
        synced.append(os.path.basename(os.readlink(f"/proc/self/fd/{descriptor}")))
        real(descriptor)

    def saving(run, state):
        rows = (run / "metrics.csv").read_text().count("\n") - 1
        assert rows == state["trainer"]["step"]
        assert synced[::-1].index("metrics.csv") < len(synced)
        synced.clear()
        save(run, state)

    monkeypatch.setattr(os, "fsync", spy)
    monkeypatch.setattr(checkpoint, "save_newest", saving)
    train(plan, tmp_path / "run", quiet)


# --- two processes --------------------------------------------------------------------------


@pytest.mark.skipif(os.name == "nt", reason="POSIX locks")
def test_while_a_run_is_trained_a_second_process_is_told_by_whom(done, plan, quiet):
    before = {path: path.read_bytes() for path in done.rglob("*") if path.is_file()}
    with (
        locks.held(done / ".lock", f"{done} is being trained"),
        pytest.raises(UsageError, match=rf"is being trained by process {os.getpid()} on"),
    ):
        train(plan, done, quiet)
    before[done / ".lock"] = (done / ".lock").read_bytes()
    assert {path: path.read_bytes() for path in done.rglob("*") if path.is_file()} == before


def test_a_folder_that_a_process_only_locked_is_taken(plan, quiet, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    (run / ".lock").write_text("process 1 on elsewhere")
    assert is_vacant(run)
    train(plan, run, quiet)
    assert state(run)["step"] == 6


@pytest.mark.parametrize("folder", ["", "checkpoints", "samples", "export"])
def test_temporary_files_of_a_killed_process_are_cleared(folder, done, plan, quiet):
    left = done / folder / ".img2img-0123.part"
    left.parent.mkdir(exist_ok=True)
    left.touch()
    train(plan, done, quiet)
    assert not left.exists()
