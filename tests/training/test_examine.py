"""Looks at a run: what they measure, that they change nothing, and which weights are kept."""

import csv
import hashlib
import io
import json
import os
import signal
import time
from typing import NamedTuple

import numpy as np
import pytest
import torch
from rich.console import Console
from states import assert_bitwise

from img2img.data.augment import Augment
from img2img.data.paired import Pairs
from img2img.data.sources import Sources
from img2img.data.unpaired import Unpaired
from img2img.errors import DataError, Img2ImgError, Interrupted, UsageError
from img2img.evaluate import diagnose, features
from img2img.export import graph
from img2img.features.efficientnet import VARIANTS
from img2img.files import pictures
from img2img.infer.registry import shipped
from img2img.methods import METHODS
from img2img.run import Run
from img2img.training import checkpoint, examine, loop
from img2img.training.config import RunConfig
from img2img.training.examine import DiagnosisLog, Examiner, Look, gradient_norms
from img2img.training.folder import model_card
from img2img.training.loop import train
from img2img.training.plan import make_plan
from img2img.training.runtime import Runtime
from img2img.training.schedule import Schedule
from img2img.training.trainer import Trainer

MODES = list(METHODS)
TIMES = ("seconds", "images_per_second", "data_wait", "peak_gib")  # differ from run to run


class Colours(NamedTuple):
    """An extractor that costs nothing: the picture in 4x4 pixels."""

    name: str = "colours"
    kernel: str = "colour_kernel"
    frechet: str = "colour_frechet"
    side: int = 16
    dimensions: int = 48
    sha256: str = "0" * 64
    device: torch.device = torch.device("cpu")

    def __call__(self, pictures):
        small = torch.nn.functional.avg_pool2d(pictures.float() / 255, 4).flatten(1)
        return features.Activations(small, small, small)


@pytest.fixture
def colours(monkeypatch):
    monkeypatch.setattr(features, "extractor", lambda *_, **__: Colours())


def rows(run):
    with (run / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def many(make_config, emoji, tmp_path):
    """A function (mode, run settings) -> a run config with 20 held-out pictures of each side."""

    def make(mode, run=None, **method):
        config = make_config(mode, run=run, **method)
        folders = {"data": (emoji,)} if mode == "stargan" else {}
        if not folders:
            folders = {"a": emoji / "flat", "b": emoji / "3d"}
        return config.model_copy(update={"test": Sources(**folders)})

    return make


@pytest.mark.parametrize("mode", MODES)
def test_a_run_with_looks_ends_with_the_same_weights_as_one_without(
    mode, many, quiet, tmp_path, colours
):
    for name, settings in (
        ("blind", {"eval_every": 0}),
        ("seen", {"eval_every": 1, "extractor": "efficientnet-lite0"}),
    ):
        config = many(mode, run=settings, ema=0.5, steps=4)
        train(make_plan(config, quiet), tmp_path / name, quiet)
    states = [checkpoint.load(tmp_path / n / "checkpoints" / "last.pt") for n in ("blind", "seen")]
    first, second = (state["trainer"]["method"] for state in states)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not (tmp_path / "blind" / "checkpoints" / "best.safetensors").exists()
    assert not any(name.startswith(("held_out", "health")) for name in rows(tmp_path / "blind")[0])
    ways = {
        "pix2pix": ["ab"],
        "cyclegan": ["ab", "ba"],
        "stargan": ["3d", "flat"],
        "cut": ["ab"],
    }[mode]
    assert [int(row["step"]) for row in rows(tmp_path / "seen")] == [1, 2, 3, 4]
    for row in rows(tmp_path / "seen"):
        for way in ways:
            assert float(row[f"held_out/{way}/colour_kernel"]) > 0
            assert 0 <= float(row[f"health/{way}/d_right_held_out"]) <= 1
            if mode == "pix2pix":
                assert float(row["held_out/ab/l1"]) > 0
            elif mode != "cut":  # which has no way back
                assert float(row[f"held_out/{way}/cycle_l1"]) > 0


def test_the_best_weights_are_those_of_the_least_distance(many, quiet, tmp_path, colours):
    """With rates that let the distance go up and down; the loss says nothing about it."""
    settings = {"eval_every": 1, "extractor": "efficientnet-lite0", "log_every": 1}
    config = many("cyclegan", run=settings, steps=8, ema=0.2, generator_lr=0.02)
    run = tmp_path / "run"
    train(make_plan(config, quiet), run, quiet)
    ways = ("ab", "ba")
    means = [
        np.mean([float(row[f"held_out/{way}/colour_kernel"]) for way in ways]) for row in rows(run)
    ]
    _, said = checkpoint.load_weights(run / "checkpoints" / "best.safetensors")
    assert int(said["step"]) == 1 + int(np.argmin(means))
    assert float(said["value"]) == pytest.approx(min(means))
    assert said["metric"] == "colour_kernel"
    _, _, chosen = graph.load_run(run)
    assert chosen["step"] == said["step"]
    _, _, last = graph.load_run(run, chosen="last")
    assert last["step"] == "8"
    with pytest.raises(UsageError, match="only the average is kept"):
        graph.load_run(run, "plain", "best")


def test_without_a_distance_there_are_no_best_weights(trained):
    with pytest.raises(DataError, match="no distance was measured"):
        graph.load_run(trained("pix2pix"), chosen="best")
    assert graph.load_run(trained("pix2pix"))[2]["step"] == "6"


def test_a_resumed_run_keeps_the_best_that_it_had(many, quiet, tmp_path, colours, monkeypatch):
    settings = {"eval_every": 1, "extractor": "efficientnet-lite0"}
    run = tmp_path / "run"
    plan = make_plan(many("pix2pix", run=settings, steps=4), quiet)
    with monkeypatch.context() as patch:
        patch.setattr(loop, "SAVE_AT_LEAST_EVERY", 0.0)
        patch.setattr(Examiner, "look", lambda *_: Look({}, [], 0.001, {}))
        train(plan, run, quiet, max_minutes=0.0)
    best = (run / "checkpoints" / "best.safetensors").read_bytes()
    train(make_plan(RunConfig.load(run), quiet), run, quiet)
    assert (run / "checkpoints" / "best.safetensors").read_bytes() == best


def test_distances_need_held_out_folders_of_some_size(many, make_config, quiet, monkeypatch):
    """By default they are measured where the user gave at least 50 pictures."""

    def measured_by(config):
        return make_plan(config, quiet).config.measured_by

    assert measured_by(make_config("pix2pix")) == "none"
    assert measured_by(make_config("stargan", run={"held_out": 0})) == "none"
    assert measured_by(many("pix2pix")) == "none"  # 20 pictures
    with pytest.raises(UsageError, match="at least 20 held-out pictures; there are 2"):
        measured_by(make_config("pix2pix", run={"extractor": "efficientnet-lite0"}))
    monkeypatch.setattr(examine, "FEWEST_HELD_OUT", 20)
    assert measured_by(many("pix2pix")) == "efficientnet-lite0"
    assert measured_by(many("pix2pix", run={"eval_every": 0})) == "none"
    damaged = DataError("The file is damaged.")
    monkeypatch.setattr(features, "extractor", lambda *_, **__: (_ for _ in ()).throw(damaged))
    assert measured_by(many("pix2pix")) == "none"
    with pytest.raises(DataError, match="damaged"):
        measured_by(many("pix2pix", run={"extractor": "inception"}))


@pytest.mark.parametrize("settings", [{"perceptual": 1.0}, {"discriminator": "projected"}])
def test_looks_measure_by_a_network_that_takes_no_part_in_training(
    settings, many, quiet, monkeypatch
):
    monkeypatch.setattr(examine, "FEWEST_HELD_OUT", 20)
    config = make_plan(many("pix2pix", **settings), quiet).config
    assert config.measured_by == "efficientnet-lite2"
    assert config.feature_networks == {
        "efficientnet-lite0": VARIANTS["efficientnet-lite0"].sha256,
    }
    card = model_card(config, 1, 1, "2 pairs", {})
    assert "those of efficientnet-lite2, by which it is measured, did not." in card


def test_a_judge_that_takes_part_in_training_is_allowed_and_named(many):
    console = Console(file=io.StringIO(), width=1000)
    asked = many("pix2pix", run={"extractor": "efficientnet-lite0"}, perceptual=1.0)
    config = make_plan(asked, console).config
    assert config.measured_by == "efficientnet-lite0"
    sentence = "so distances measured by efficientnet-lite0 flatter the model."
    assert sentence in console.file.getvalue()
    assert sentence in model_card(config, 1, 1, "2 pairs", {})


def test_a_run_is_not_continued_with_another_feature_network(many, quiet):
    config = many("pix2pix", perceptual=1.0).model_copy(
        update={"feature_networks": {"efficientnet-lite0": "0" * 64}}
    )
    with pytest.raises(DataError, match="efficientnet-lite0 is not the file with which the run"):
        make_plan(config, quiet)


def test_a_run_is_not_continued_with_other_weights_of_the_perceptual_loss(many, quiet, tmp_path):
    path = tmp_path / "lin.safetensors"
    path.write_bytes(b"some weights")
    asked = many("pix2pix", perceptual=1.0, perceptual_weights=path)
    config = make_plan(asked, quiet).config
    assert config.feature_weights == {str(path): hashlib.sha256(b"some weights").hexdigest()}
    assert make_plan(config, quiet).config == config
    path.write_bytes(b"other weights")
    with pytest.raises(DataError, match=r"lin\.safetensors is not the file with which the run"):
        make_plan(config, quiet)
    path.unlink()
    with pytest.raises(DataError, match=r"lin\.safetensors can't be read"):
        make_plan(config, quiet)


def test_weights_that_are_not_finite_are_never_the_best(
    many, quiet, tmp_path, colours, monkeypatch
):
    settings = {"eval_every": 2, "extractor": "efficientnet-lite0"}
    original = Trainer.update

    def breaking(self, batch):
        terms = original(self, batch)
        if self.step == 2:
            next(self.method.generators.parameters()).data.fill_(float("nan"))
        return terms

    monkeypatch.setattr(Trainer, "update", breaking)
    with pytest.raises(Img2ImgError, match="diverged at step 2: the weights"):
        train(make_plan(many("pix2pix", run=settings), quiet), tmp_path / "run", quiet)
    assert not (tmp_path / "run" / "checkpoints" / "best.safetensors").exists()


def look_at(method, emoji, training=None, batch=2, count=20):
    """One look at a method that was not trained, on all 20 emoji."""
    opened = Pairs if method.name == "pix2pix" else Unpaired
    data = opened.open(Sources(a=emoji / "flat", b=emoji / "3d"), (3, 3))
    trainer = Trainer(method, Runtime("cpu", "fp32"), 0, Schedule.of(method.config, 10))
    examiner = Examiner(
        training or data, data, Augment(32, 32, None, False, False), batch, count, None
    )
    return examiner.look(trainer, {})


def test_a_generator_that_has_collapsed_is_told(make_config, emoji):
    method = METHODS["pix2pix"](make_config("pix2pix", dropout=False).method)
    for parameter in method.generators.parameters():
        torch.nn.init.normal_(parameter, 0, 1e-4)  # it answers grey to everything
    assert "mode collapse" in {finding.check for finding in look_at(method, emoji).findings}


def test_a_healthy_run_is_told_nothing(make_config):
    """Two sets of the same style, between which leaving all as it is is perfect."""
    method = METHODS["cyclegan"](make_config("cyclegan").method)
    for way in method.generators:
        same = torch.nn.Conv2d(3, 3, 1, bias=False)
        torch.nn.init.eye_(same.weight.data.view(3, 3))
        method.generators[way] = same
    flat = pictures(shipped("quickstart") / "test" / "flat")
    data = Unpaired(a=flat[:60], b=flat[-60:])
    train = Unpaired(a=flat[20:80], b=flat[40:100])
    examiner = Examiner(train, data, Augment(32, 32, None, False, False), 4, 60, Colours())
    history = {f"held_out/{way}/coverage": [0.9, 0.9, 0.9] for way in method.generators}
    found = examiner.look(
        Trainer(method, Runtime("cpu", "fp32"), 0, Schedule.of(method.config, 10)), history
    )
    assert [str(finding) for finding in found.findings] == []
    assert found.row["held_out/ab/coverage"] > 0.8
    assert found.row["held_out/ab/cycle_l1"] == pytest.approx(0, abs=1e-5)
    assert 0 < found.row["health/ab/cycle_l1_after_noise"] < 0.02
    assert abs(found.score) < 0.01


def test_a_discriminator_that_tells_nothing_is_told(make_config, emoji):
    method = METHODS["cyclegan"](make_config("cyclegan").method)
    assert "vanishing gradient" not in {f.check for f in look_at(method, emoji).findings}
    for parameter in method.discriminators.parameters():
        torch.nn.init.zeros_(parameter)
    found = look_at(method, emoji)
    assert "vanishing gradient" in {finding.check for finding in found.findings}
    assert found.row["health/gradient"] == 0


def test_gradient_norms_are_those_of_the_terms(make_config, emoji):
    method = METHODS["pix2pix"](make_config("pix2pix", dropout=False, norm="instance").method)
    runtime = Runtime("cpu", "fp32")
    batch = {name: torch.randint(0, 256, (2, 32, 32, 3), dtype=torch.uint8) for name in ("a", "b")}
    adversarial, others = gradient_norms(method, runtime, batch, torch.tensor(0.0))
    placed = runtime.place(batch)
    draws = method.draws(placed, torch.tensor(0.0), 1.0)
    for name, norm in (("adversarial", adversarial), ("l1", others)):
        method.zero_grad()
        method.g_terms(placed, method.scene(placed, draws), draws)[name].backward()
        grads = [p.grad for p in method.generators.parameters() if p.grad is not None]
        assert torch.stack([g.square().sum() for g in grads]).sum().sqrt() == pytest.approx(
            norm, rel=1e-4
        )


def test_findings_are_told_once_and_written_every_time(tmp_path):
    def look(*checks):
        findings = [diagnose.Finding(check, "ab", "seen", "means", "advice") for check in checks]
        return Look({}, findings, None, {})

    log = DiagnosisLog(tmp_path, 0)
    assert [f.check for f in log.add(10, look("a", "b"))] == ["a", "b"]
    assert log.add(20, look("a")) == []
    assert [f.check for f in log.add(30, look("a", "b"))] == ["b"]
    written = [(row["step"], row["check"]) for row in diagnose.read_findings(tmp_path)]
    assert written == [(10, "a"), (10, "b"), (20, "a"), (30, "a"), (30, "b")]
    resumed = DiagnosisLog(tmp_path, 20)
    assert [f.check for f in resumed.add(30, look("a", "b"))] == ["b"]
    assert [row["step"] for row in diagnose.read_findings(tmp_path)] == [10, 10, 20, 30, 30]


def test_kinds_that_are_never_made_become_a_sheet(tmp_path):
    finding = diagnose.Finding("mode dropping", "ab", "seen", "means", "advice", (3, 5))
    real = [np.full((16, 16, 3), 40 * i, np.uint8) for i in range(2)]
    DiagnosisLog(tmp_path, 0).add(70, Look({}, [finding], None, {"ab": real}))
    [row] = diagnose.read_findings(tmp_path)
    assert row["pictures"] == "diagnosis/step-0000070-ab.png"
    assert (tmp_path / row["pictures"]).stat().st_size > 0
    assert json.loads((tmp_path / diagnose.LOG).read_text())["step"] == 70


def test_a_run_that_is_resumed_sees_what_the_whole_one_saw(
    many, quiet, tmp_path, colours, monkeypatch
):
    settings = {"eval_every": 1, "extractor": "efficientnet-lite0", "save_every": 1}
    plan = make_plan(many("cyclegan", run=settings, steps=4), quiet)
    train(plan, tmp_path / "whole", quiet)
    with monkeypatch.context() as patch:
        patch.setattr(Examiner, "look", failing_at(3, Examiner.look))
        with pytest.raises(DataError, match="Saved at step 3"):
            train(plan, tmp_path / "parts", quiet)
    train(make_plan(RunConfig.load(tmp_path / "parts"), quiet), tmp_path / "parts", quiet)
    timeless = [
        [{k: v for k, v in row.items() if k not in TIMES} for row in rows(tmp_path / name)]
        for name in ("whole", "parts")
    ]
    assert timeless[0] == timeless[1]  # the look that failed was made up for
    files = [tmp_path / n / "checkpoints" / "best.safetensors" for n in ("whole", "parts")]
    tensors = [checkpoint.load_weights(path)[0] for path in files]
    assert_bitwise(*tensors)


def test_a_stop_does_not_wait_for_a_look_which_is_made_up_for(many, quiet, tmp_path, monkeypatch):
    plan = make_plan(many("cyclegan", run={"eval_every": 2}, steps=4), quiet)
    train(plan, tmp_path / "whole", quiet)
    chunks, original = [], Examiner._chunks

    def stopping(self, *where):
        for chunk in original(self, *where):
            chunks.append(chunk)
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.01)
            yield chunk

    with monkeypatch.context() as patch:
        patch.setattr(Examiner, "_chunks", stopping)
        with pytest.raises(Interrupted, match="saved at step 2"):
            train(plan, tmp_path / "parts", quiet)
    assert len(chunks) == 1
    assert "health/gradient" not in rows(tmp_path / "parts")[-1]
    train(make_plan(RunConfig.load(tmp_path / "parts"), quiet), tmp_path / "parts", quiet)
    timeless = [
        [{k: v for k, v in row.items() if k not in TIMES} for row in rows(tmp_path / name)]
        for name in ("whole", "parts")
    ]
    assert timeless[0] == timeless[1]


def test_a_stop_in_the_last_look_is_made_up_for_too(many, quiet, tmp_path, monkeypatch):
    plan = make_plan(many("pix2pix", run={"eval_every": 4}, steps=4), quiet)
    with monkeypatch.context() as patch:
        patch.setattr(
            Examiner, "_check_for_stop", lambda self: os.kill(os.getpid(), signal.SIGTERM) or stop()
        )
        with pytest.raises(Interrupted, match="saved at step 4"):
            train(plan, tmp_path / "run", quiet)
    assert "health/gradient" not in rows(tmp_path / "run")[-1]
    train(make_plan(RunConfig.load(tmp_path / "run"), quiet), tmp_path / "run", quiet)
    assert float(rows(tmp_path / "run")[-1]["health/gradient"]) > 0


SCORES = {1: 0.5, 2: 0.3, 3: 0.4, 4: 0.3, 5: 0.2, 6: 0.1, 7: 0.1, 8: 0.1}


@pytest.fixture
def scripted(colours, monkeypatch):
    """Looks that measure SCORES by step."""
    monkeypatch.setattr(
        Examiner,
        "look",
        lambda self, trainer, *_: Look({"health/gradient": 1.0}, [], SCORES[trainer.step], {}),
    )


@pytest.mark.parametrize(("patience", "last"), [(1, 3), (2, 4), (3, 8), (None, 8)])
@pytest.mark.parametrize("stopped_at", [None, 1, 2])
def test_a_run_ends_early_where_its_distance_no_longer_improves(
    patience, last, stopped_at, many, tmp_path, scripted, monkeypatch
):
    """As early when it was interrupted; going on again, it stays ended."""
    settings = {"eval_every": 1, "extractor": "efficientnet-lite0", "patience": patience}
    text, run = io.StringIO(), tmp_path / "run"
    console = Console(file=text, width=500)
    plan = make_plan(many("cyclegan", run=settings, steps=8), console)
    if stopped_at:
        with monkeypatch.context() as patch:
            patch.setattr(Trainer, "update", stopping_at(stopped_at, Trainer.update))
            with pytest.raises(Interrupted):
                train(plan, run, console)
    for _ in range(2):
        config = RunConfig.load(run) if run.exists() else plan.config
        train(make_plan(config, console), run, console)
        assert checkpoint.load(run / checkpoint.LAST)["trainer"]["step"] == last
        assert (run / "samples" / f"step-{last:07d}.png").exists()
        ended = f"stopped early, at step {last} of 8" in text.getvalue()
        assert ended == (last < 8)
        if ended:
            assert f"not improved for {patience} looks" in text.getvalue()
            assert f"--patience {2 * patience}" in text.getvalue()
        else:
            assert "is complete" in text.getvalue() or "Done" in text.getvalue()
        text.seek(0)
        text.truncate()
    assert [int(row["step"]) for row in rows(run)] == list(range(1, last + 1))


def test_more_patience_trains_on(many, quiet, tmp_path, scripted):
    settings = {"eval_every": 1, "extractor": "efficientnet-lite0", "patience": 1}
    run = tmp_path / "run"
    train(make_plan(many("cyclegan", run=settings, steps=8), quiet), run, quiet)
    assert Run(run).metrics[-1]["step"] == 3
    Run(run).resume(patience=2, quiet=True, keep=1)
    assert Run(run).metrics[-1]["step"] == 4
    Run(run).resume(patience=3, quiet=True)
    assert Run(run).metrics[-1]["step"] == 8
    assert [(past.until, past.patience) for past in Run(run).config.history] == [(3, 1), (4, 2)]
    with pytest.raises(UsageError, match="keep"):
        Run(run).resume(keep="some")


def stopping_at(step, original):
    def update(self, *arguments):
        terms = original(self, *arguments)
        if self.step == step:
            os.kill(os.getpid(), signal.SIGTERM)
        return terms

    return update


def test_patience_needs_a_distance(make_config, quiet):
    config = make_config("pix2pix", run={"patience": 3})
    with pytest.raises(UsageError, match="--patience needs a held-out distance"):
        make_plan(config, quiet)
    with pytest.raises(UsageError, match="--patience would change nothing: --eval-every 0"):
        make_config("pix2pix", run={"patience": 3, "eval_every": 0})


def stop():
    raise examine.LookStopped


def failing_at(step, original):
    def look(self, trainer, history, *stopping):
        if trainer.step == step:
            raise DataError("A held-out picture is gone.")
        return original(self, trainer, history)

    return look
