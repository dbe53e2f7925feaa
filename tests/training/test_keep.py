"""Weights of past saves: which stay, and that they can be exported."""

import io
import shutil

import pytest
from rich.console import Console
from states import assert_bitwise

from img2img.errors import DataError, UsageError
from img2img.export import graph
from img2img.run import Run
from img2img.training import checkpoint
from img2img.training.config import RunConfig
from img2img.training.keep import Keep, kept_checkpoints
from img2img.training.loop import train
from img2img.training.plan import make_plan


@pytest.mark.parametrize(
    ("text", "keep"),
    [
        ("none", Keep()),
        ("0", Keep()),
        ("all", Keep(every=1)),
        ("5", Keep(every=1, newest=5)),
        ("every 1000", Keep(every=1000)),
        ("every-1000", Keep(every=1000)),
    ],
)
def test_what_to_keep_is_written_in_words(text, keep):
    assert Keep.parse(text) == keep


@pytest.mark.parametrize("text", ["", "some", "-1", "every", "every 0", "1.5", "5 every"])
def test_what_is_none_of_these_is_refused(text, make_config):
    with pytest.raises(UsageError, match=r"keep.* use none, all, a number of saves"):
        make_config("pix2pix", run={"keep": text})


@pytest.mark.parametrize(
    ("keep", "save_every", "steps"),
    [
        ("none", 1, []),
        ("all", 2, [2, 4, 5]),
        (2, 1, [4, 5]),
        ("every 2", 1000, [2, 4]),
    ],
)
def test_saves_stay_as_the_setting_says(keep, save_every, steps, make_config, quiet, tmp_path):
    config = make_config("pix2pix", run={"keep": keep, "save_every": save_every}, steps=5)
    train(make_plan(config, quiet), tmp_path / "run", quiet)
    assert list(Run(tmp_path / "run").checkpoints) == steps


def test_a_run_that_is_killed_when_its_checkpoint_is_written_keeps_the_weights(
    make_config, quiet, tmp_path, monkeypatch
):
    config = make_config("pix2pix", run={"keep": "every 2", "save_every": 2}, steps=4)
    plan, run, save = make_plan(config, quiet), tmp_path / "run", checkpoint.save

    def killed(path, state):
        save(path, state)
        if state["trainer"]["step"] == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "save", killed)
        with pytest.raises(KeyboardInterrupt):
            train(plan, run, quiet)
    train(plan, run, quiet)
    assert list(Run(run).checkpoints) == [2, 4]


@pytest.fixture(scope="module")
def kept(make_config, quiet, tmp_path_factory):
    """A run of 4 steps with an average, which keeps the saves of steps 2 and 4."""
    run = tmp_path_factory.mktemp("kept") / "run"
    config = make_config("pix2pix", run={"keep": "all", "save_every": 2}, steps=4, ema=0.9)
    train(make_plan(config, quiet), run, quiet)
    return run


def test_kept_weights_are_those_of_their_step(kept, make_config, quiet, tmp_path):
    first, last = (checkpoint.load_weights(path) for path in kept_checkpoints(kept).values())
    assert (first[1]["step"], last[1]["step"]) == ("2", "4")
    assert_bitwise(last[0], checkpoint.load_weights(kept / "weights.safetensors")[0])
    shorter = RunConfig.load(kept).model_copy(update={"name": "short"})
    method = shorter.method.model_copy(update={"steps": 2, "decay": 0.0})
    plan = make_plan(shorter.model_copy(update={"method": method}), quiet)
    train(plan, tmp_path / "short", quiet)
    short, _ = checkpoint.load_weights(tmp_path / "short" / "weights.safetensors")
    assert_bitwise(short, first[0])


def test_a_kept_checkpoint_can_be_exported(kept, tmp_path):
    _, method, about = graph.load_run(kept, chosen=2)
    tensors, _ = checkpoint.load_weights(kept_checkpoints(kept)[2])
    assert_bitwise(dict(method.generators.state_dict()), tensors)
    assert about["step"] == "2"
    [path] = Run(kept).export(tmp_path / "early.onnx", checkpoint=2, quiet=True)
    assert path == tmp_path / "early.onnx"
    with pytest.raises(DataError, match=r"no weights of step 3: it has those of 2, 4"):
        Run(kept).export(checkpoint=3)
    with pytest.raises(UsageError, match="only the average is kept"):
        Run(kept).export(checkpoint=2, weights="plain")


def test_of_a_run_that_keeps_none_this_is_told(trained):
    with pytest.raises(DataError, match="no weights of step 2: train with --keep to keep some"):
        Run(trained("pix2pix")).export(checkpoint=2)


def test_another_file_in_the_folder_is_no_checkpoint(kept, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(kept, run)
    (run / "checkpoints" / "step-mine.safetensors").touch()
    assert list(kept_checkpoints(run)) == [2, 4]


def test_the_console_names_the_step(kept, tmp_path):
    from img2img.export.run import export_run

    text = io.StringIO()
    export_run(kept, Console(file=text), tmp_path / "x.onnx", chosen=4)
    assert "of step 4" in text.getvalue()
