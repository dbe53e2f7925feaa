"""Training from Python: the same as by the command, and what a run tells."""

import os
import signal

import pytest
from conftest import TINY
from states import assert_bitwise, state

from img2img import Callback, Run, Translator, train
from img2img.errors import DataError, Interrupted, UsageError
from img2img.training.config import RunConfig

SETTINGS = {**TINY["pix2pix"], "steps": 4, "precision": "fp32", "device": "cpu", "workers": 0}
SETTINGS |= {"log_every": 2, "save_every": 2, "held_out": 2}


@pytest.fixture(scope="module")
def run(emoji, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    a, b = emoji / "flat", emoji / "3d"
    return train("pix2pix", a=a, b=b, out=folder, quiet=True, keep="all", **SETTINGS)


def test_a_run_is_trained_by_one_call(run):
    assert run.path.name == "pix2pix-flat-3d"
    assert run.config == RunConfig.load(run.path)
    assert (run.config.mode, run.config.method.size.width, run.config.keep) == (
        "pix2pix",
        32,
        "all",
    )
    assert state(run.path)["step"] == 4


def test_a_run_tells_what_is_in_its_folder(run):
    assert [row["step"] for row in run.metrics] == [2, 4]
    assert all(isinstance(row["g/l1"], float) for row in run.metrics)
    assert "health/gradient" not in run.metrics[0]  # columns that a row lacks are left out
    assert run.metrics[1]["health/gradient"] > 0
    assert [path.name for path in run.samples] == ["step-0000004.png"]
    assert run.weights.stat().st_size > 0
    assert list(run.checkpoints) == [2, 4]
    assert isinstance(run.findings, list)
    assert str(run.path) in repr(run)


def test_a_run_is_exported_and_translates(run, emoji):
    [path] = run.export(quiet=True)
    assert path == run.path / "export" / "pix2pix-flat-3d.onnx"
    picture = next((emoji / "flat").iterdir())
    assert Translator(path)(picture).shape[-1] == 3


def test_several_folders_of_a_are_several_inputs(emoji, tmp_path):
    several, b = [emoji / "flat", emoji / "3d"], emoji / "3d"
    run = train("pix2pix", a=several, b=b, out=tmp_path, quiet=True, **SETTINGS | {"steps": 1})
    assert run.path.name == "pix2pix-flat-3d-3d"
    assert run.config.sources.inputs == tuple(several)
    assert [part.name for part in run.config.method.intensities["a"].parts] == ["flat", "3d"]


def test_the_same_call_makes_a_folder_of_its_own(run, emoji):
    again = train(
        "pix2pix",
        a=emoji / "flat",
        b=emoji / "3d",
        out=run.path.parent,
        quiet=True,
        **SETTINGS | {"steps": 1},
    )
    assert again.path.name == "pix2pix-flat-3d-2"
    with pytest.raises(UsageError, match="exists"):
        train(
            "pix2pix",
            a=emoji / "flat",
            b=emoji / "3d",
            out=run.path.parent,
            name="pix2pix-flat-3d",
            quiet=True,
            **SETTINGS,
        )


def test_a_run_that_was_stopped_is_resumed_bitwise(run, emoji, tmp_path):
    class Stop(Callback):
        def on_step(self, step, terms):
            if step == 3:
                os.kill(os.getpid(), signal.SIGINT)

    seen = []

    class Count(Callback):
        def on_step(self, step, terms):
            seen.append(step)

    with pytest.raises(Interrupted, match="Stopped and saved at step 3"):
        train(
            "pix2pix",
            a=emoji / "flat",
            b=emoji / "3d",
            out=tmp_path,
            name="stopped",
            callbacks=[Stop()],
            quiet=True,
            **SETTINGS,
        )
    stopped = Run(tmp_path / "stopped")
    assert stopped.resume(callbacks=[Count()], quiet=True).path == stopped.path
    assert seen == [4]
    assert_bitwise(state(run.path), state(stopped.path))
    assert stopped.resume(steps=6, generator_lr=1e-4, quiet=True).config.history[0].until == 4
    assert state(stopped.path)["step"] == 6
    with pytest.raises(UsageError, match="--resume takes --size from the run"):
        stopped.resume(size=64, quiet=True)
    with pytest.raises(UsageError, match=r"no setting epoch. Did you mean epochs\?"):
        stopped.resume(epoch=64, quiet=True)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"mode": "pix3pix"}, "pix3pix"),
        ({"mode": "pix2pix", "nonsense": 1}, "nonsense"),
        ({"mode": "pix2pix", "size": 33}, "33"),
        ({"mode": "pix2pix", "name": "a/b"}, "a plain name"),
        ({"mode": "pix2pix", "direction": "BA"}, "direction 'BA': it must be 'ab' or 'ba'"),
        ({"mode": "cyclegan", "attribute": ["Smiling"]}, "Given: --a, --b, --attribute."),
        ({"mode": "pix2pix", "attributes": "list.csv"}, "Given: --a, --b, --attributes."),
        ({"mode": "pix2pix", "epochs": 1, "steps": 1}, "epochs or steps"),
    ],
)
def test_a_wrong_argument_is_a_usage_error(arguments, reason, emoji, tmp_path):
    with pytest.raises(UsageError, match=reason):
        train(a=emoji / "flat", b=emoji / "3d", out=tmp_path, max_minutes=0.0, **arguments)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_no_run_is_a_data_error(tmp_path):
    with pytest.raises(DataError, match=r"is not a run: it has no config\.json"):
        Run(tmp_path)


def test_direction_and_data_are_given_as_on_the_command_line(emoji, tmp_path):
    run = train(
        "stargan",
        data=emoji,
        out=tmp_path,
        quiet=True,
        check=False,
        max_minutes=0.0,
        **TINY["stargan"],
        steps=4,
        device="cpu",
    )
    assert run.path.name == f"stargan-{emoji.name}"
    assert state(run.path)["step"] == 1  # the time was over
