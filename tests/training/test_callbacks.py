"""What is called while a run trains, and what the ready-made loggers write."""

import csv
import os
import signal
import sys

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from img2img.errors import Interrupted, UsageError
from img2img.run import Run
from img2img.training.callbacks import Callback
from img2img.training.config import RunConfig
from img2img.training.loop import train
from img2img.training.plan import make_plan


class Recorder(Callback):
    """Writes down every call, and whether the files are there by then."""

    def __init__(self):
        self.calls, self.terms = [], []

    def on_begin(self, run, config, step):
        self.calls.append(("begin", config.mode, step))

    def on_step(self, step, terms):
        self.calls.append(("step", step))
        self.terms.append(terms)

    def on_row(self, row):
        self.calls.append(("row", row["step"]))

    def on_look(self, step, look):
        self.calls.append(("look", step))
        assert look.row.keys() >= {"health/gradient"}

    def on_sample(self, step, path):
        self.calls.append(("sample", step))
        assert path.stat().st_size

    def on_save(self, step, path):
        self.calls.append(("save", step))
        assert path.name == "weights.safetensors"
        assert path.stat().st_size

    def on_end(self):
        self.calls.append(("end",))


@pytest.fixture
def start(make_config, quiet, tmp_path):
    """A function (run settings) -> a function (callbacks) that trains in the same folder, on and
    on."""

    def begin(**settings):
        run = tmp_path / "run"
        config = make_config("pix2pix", run={"save_every": 2, "eval_every": 4, **settings}, steps=4)

        def go(*callbacks):
            plan = make_plan(RunConfig.load(run) if run.exists() else config, quiet)
            train(plan, run, quiet, callbacks=callbacks)
            return run

        return go

    return begin


class StopAt(Callback):
    def __init__(self, step):
        self.step = step

    def on_step(self, step, terms):
        if step == self.step:
            os.kill(os.getpid(), signal.SIGINT)


def test_callbacks_are_called_in_the_order_of_events(start):
    recorder = Recorder()
    start()(recorder)
    assert recorder.calls == [
        ("begin", "pix2pix", 0),
        ("step", 1),
        ("step", 2),
        ("row", 2),
        ("save", 2),
        ("step", 3),
        ("step", 4),
        ("look", 4),
        ("row", 4),
        ("sample", 4),
        ("save", 4),
        ("end",),
    ]
    for terms in recorder.terms:
        assert terms.keys() >= {"g/l1", "d/real"}
        assert all(type(term) is torch.Tensor and not term.requires_grad for term in terms.values())


def test_a_run_that_goes_on_says_from_which_step(start):
    go, recorder = start(), Recorder()
    with pytest.raises(Interrupted):
        go(StopAt(3))
    go(recorder)
    assert recorder.calls[:2] == [("begin", "pix2pix", 3), ("step", 4)]


def test_an_error_of_a_callback_ends_the_run_and_all_callbacks(start):
    class Broken(Callback):
        def on_step(self, step, terms):
            raise LookupError("mine")

    recorder = Recorder()
    with pytest.raises(LookupError, match="mine"):
        start()(Broken(), recorder)
    assert recorder.calls == [("begin", "pix2pix", 0), ("end",)]


def rows(run):
    with (run / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_tensorboard_has_what_metrics_csv_has(start):
    go = start(log_every=1)
    with pytest.raises(Interrupted):
        go(StopAt(3))
    run = go()
    events = EventAccumulator(str(run / "events"))
    events.Reload()
    written = rows(run)
    assert set(events.Tags()["scalars"]) == set(written[0]) - {"step"}
    for name in ("g/l1", "health/gradient", "seconds"):
        expected = [(int(row["step"]), float(row[name])) for row in written if row[name]]
        found = [(event.step, event.value) for event in events.Scalars(name)]
        assert [step for step, _ in found] == [step for step, _ in expected]
        for (_, value), (_, number) in zip(found, expected, strict=True):
            assert value == pytest.approx(number, rel=1e-6)


def test_without_loggers_nothing_but_the_folder_is_written(start):
    run = start(loggers="none")()
    assert not (run / "events").exists()
    assert rows(run)


def test_wandb_gets_numbers_settings_and_grids_offline(start, monkeypatch, tmp_path):
    wandb = pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    go = start(loggers="wandb")
    with pytest.raises(Interrupted):
        go(StopAt(3))
    run = go()
    wandb.teardown()  # as at the end of the process: its service writes all that it holds
    sessions = sorted((run / "wandb").glob("offline-run-*"))
    assert len(sessions) == 2
    logs = [next(session.glob("*.wandb")) for session in sessions]
    assert logs[0].name == logs[1].name  # one run there, too
    assert b"g/l1" in logs[0].read_bytes()
    assert b"health/gradient" in logs[1].read_bytes()
    assert b"generator_lr" in logs[0].read_bytes()
    assert list(sessions[1].glob("files/media/images/samples*.png"))


@pytest.fixture
def mlflow(monkeypatch, tmp_path):
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "mlruns").as_uri())
    return mlflow


def test_mlflow_gets_numbers_settings_and_grids_in_a_folder(start, mlflow):
    go = start(loggers="mlflow", log_every=1)
    with pytest.raises(Interrupted):
        go(StopAt(3))
    run, client = go(), mlflow.MlflowClient()
    [logged] = client.search_runs(["0"])
    assert logged.info.run_name == "tiny-pix2pix"
    assert logged.info.status == "FINISHED"
    assert logged.data.params["method.size"] == "32"
    history = client.get_metric_history(logged.info.run_id, "g/l1")
    expected = [(int(row["step"]), float(row["g/l1"])) for row in rows(run)]
    assert [(value.step, value.value) for value in history] == expected
    [grid] = client.list_artifacts(logged.info.run_id, "samples")
    assert grid.path == f"samples/{Run(run).samples[-1].name}"


def test_where_mlflow_can_not_log_is_told(start, mlflow, monkeypatch):
    monkeypatch.delenv("MLFLOW_ALLOW_FILE_STORE")
    with pytest.raises(
        UsageError, match=r"Can't log to MLflow: .* Set MLFLOW_TRACKING_URI .*FILE_STORE=true"
    ):
        start(loggers="mlflow")()


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_a_logger_that_is_not_installed_is_told_before_anything_is_written(
    name, start, monkeypatch, tmp_path
):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(UsageError, match=rf"pip install 'img2img-gan\[{name}\]'"):
        start(loggers=name)()
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("given", "names"),
    [
        ("wandb, tensorboard", ("wandb", "tensorboard")),
        (["mlflow"], ("mlflow",)),
        ("none", ()),
        (["none"], ()),
    ],
)
def test_loggers_are_given_as_a_list_or_as_words(given, names, make_config):
    assert make_config("pix2pix", run={"loggers": given}).loggers == names


def test_a_logger_that_there_is_not_is_refused(make_config):
    with pytest.raises(UsageError, match="loggers"):
        make_config("pix2pix", run={"loggers": "comet"})
