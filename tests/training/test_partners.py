"""Runs on folders of which half have partners: --mode cyclegan --paired, pix2pix --unpaired."""

import csv
import io
import math
import os
import shutil
import signal
import sys
import time
from contextlib import redirect_stderr

import pytest
from states import assert_bitwise, state

from img2img.cli import main
from img2img.errors import Interrupted, UsageError
from img2img.export.run import export_run
from img2img.training import loop
from img2img.training.config import RunConfig
from img2img.training.loop import train
from img2img.training.plan import make_plan

USES = {"cyclegan": {"paired": 10.0}, "cut": {"paired": 10.0}, "pix2pix": {"unpaired": True}}
TINY = ["--size", "32", "--width", "4", "--d-width", "4", "--d-layers", "2", "--batch", "2"]
TINY += ["--steps", "4", "--device", "cpu", "--workers", "0", "--log-every", "2"]


@pytest.fixture(scope="session")
def halves(emoji, tmp_path_factory):
    """flat/ with 16 pictures and 3d/ with 14, of which 10 are pairs."""
    folder = tmp_path_factory.mktemp("halves")
    for style, first, last in (("flat", 0, 16), ("3d", 6, 20)):
        (folder / style).mkdir()
        for path in sorted((emoji / style).iterdir())[first:last]:
            shutil.copy(path, folder / style)
    return folder


def sources(folder):
    return {"sources": {"a": folder / "flat", "b": folder / "3d"}}


def rows(run):
    with (run / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def cli(*arguments):
    """The command's exit code, and what it wrote to stderr, in one line."""
    written, code = io.StringIO(), 0
    with pytest.MonkeyPatch.context() as patch, redirect_stderr(written):
        patch.setattr(sys, "argv", ["img2img", *map(str, arguments)])
        patch.setenv("COLUMNS", "500")
        try:
            main()
        except SystemExit as ended:
            code = ended.code or 0
    return code, " ".join(written.getvalue().split())


@pytest.mark.parametrize(
    ("mode", "options", "announced", "terms"),
    [
        (
            "cyclegan",
            ["--paired", "10", "--blocks", "1"],
            "cyclegan on 15 pictures of a, 13 of b, 9 pairs among them; 4 steps",
            {"g/paired_ab", "g/paired_ba"},
        ),
        (
            "pix2pix",
            ["--unpaired", "--levels", "4"],
            "pix2pix on 9 pairs and 6 inputs without a partner; 4 steps",
            {"g/l1"},
        ),
    ],
)
def test_the_command_trains_on_both(halves, tmp_path, mode, options, announced, terms):
    folders = ["--a", halves / "flat", "--b", halves / "3d", "--out", tmp_path, "--name", "run"]
    code, written = cli("train", "--mode", mode, *folders, *TINY, *options)
    assert code == 0
    assert announced in written
    assert terms <= set(rows(tmp_path / "run")[-1])
    if mode == "pix2pix":
        left_out = (
            "4 pictures of b have no partner, without which the discriminator can't judge them"
        )
        assert f"{left_out}, and are left out: " in written
    assert (tmp_path / "run" / "samples").exists()


STEADY = {"norm": "instance", "dropout": False}


@pytest.mark.parametrize(
    ("mode", "settings"),
    [
        ("pix2pix", {"unroll": 2, "augment": ("translation",), "noise": 0.1, "recompute": True}),
        ("pix2pix", {"objective": "rpgan", "accumulate": 2, **STEADY}),
        ("pix2pix", {"objective": "ebgan", "feature_matching": 1.0}),
        ("pix2pix", {"minibatch": "discrimination", "d_steps": 2}),
        ("cyclegan", {"objective": "mmd", "d_steps": 2}),
        ("cyclegan", {"accumulate": 2, "recompute": True, "unroll": 1}),
    ],
)
def test_it_goes_with_other_settings_in_bf16(mode, settings, halves, make_config, quiet, tmp_path):
    run = sources(halves) | {"precision": "bf16"}
    config = make_config(mode, run, **{**USES[mode], "steps": 4, **settings})
    train(make_plan(config, quiet), tmp_path / "run", quiet)
    terms = rows(tmp_path / "run")[-1]
    assert all(math.isfinite(float(terms[name])) for name in terms if name.startswith(("g/", "d/")))


@pytest.mark.parametrize("mode", USES)
def test_an_interrupted_run_is_the_one_in_one_go(
    mode, halves, make_config, quiet, tmp_path, monkeypatch
):
    config = make_config(mode, sources(halves), **USES[mode])
    plan = make_plan(config, quiet)
    train(plan, tmp_path / "whole", quiet)
    original = loop.Loop.step

    def stopping(self, batch):
        original(self, batch)
        if self.trainer.step == 3:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.01)

    with monkeypatch.context() as patch:
        patch.setattr(loop.Loop, "step", stopping)
        with pytest.raises(Interrupted):
            train(plan, tmp_path / "parts", quiet)
    again = make_plan(RunConfig.load(tmp_path / "parts"), quiet)  # with the same files as pairs
    train(again, tmp_path / "parts", quiet)
    assert_bitwise(state(tmp_path / "whole"), state(tmp_path / "parts"))
    for _, parity in export_run(tmp_path / "parts", quiet, tmp_path / "model.onnx"):
        assert parity["max_levels"] <= 1


def test_looks_measure_held_out_pairs(halves, emoji, make_config, quiet, tmp_path):
    """With truths for all, for a part, and for none of the held-out pictures."""
    kinds = {"all": emoji, "part": halves}
    none = tmp_path / "none"
    for style, first in (("flat", 0), ("3d", 10)):
        (none / style).mkdir(parents=True)
        for path in sorted((emoji / style).iterdir())[first : first + 10]:
            shutil.copy(path, none / style)
    measured = {}
    for kind, folder in {**kinds, "none": none}.items():
        run = tmp_path / f"run-{kind}"
        test = {"test": sources(folder)["sources"], "eval_every": 2, "extractor": "none"}
        config = make_config("cyclegan", sources(halves) | test, paired=10.0, steps=2)
        train(make_plan(config, quiet), run, quiet)
        measured[kind] = rows(run)[-1].get("held_out/ab/l1")
    assert float(measured["all"]) > 0
    assert float(measured["part"]) > 0
    assert measured["none"] is None


@pytest.mark.parametrize(
    ("mode", "folder", "message"),
    [
        ("cyclegan", "none", "--paired needs pairs, and no picture of a has a partner"),
        ("cut", "none", "--paired needs pairs, and no picture of a has a partner"),
        ("pix2pix", "all", "--unpaired would change nothing: every picture of a has a partner"),
    ],
)
def test_folders_without_what_is_used_are_refused(
    mode, folder, message, emoji, make_config, quiet, tmp_path
):
    data = emoji
    if folder == "none":
        data = tmp_path
        shutil.copytree(emoji / "flat", data / "flat")
        (data / "3d").mkdir()
        for path in (emoji / "3d").iterdir():
            shutil.copy(path, data / "3d" / f"other-{path.name}")
    with pytest.raises(UsageError, match=message):
        make_plan(make_config(mode, sources(data), **USES[mode]), quiet)


def test_pairs_side_by_side_have_no_unpaired_inputs(emoji, make_config, quiet):
    given = {"sources": {"pairs": emoji / "flat"}}
    with pytest.raises(UsageError, match="with --unpaired --a and --b, or --data with two sets"):
        make_plan(make_config("pix2pix", given, unpaired=True), quiet)
