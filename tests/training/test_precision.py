"""--precision auto: the faster format, chosen when a run starts, and kept when it is resumed."""

import json

import pytest
import torch

from img2img.training import precision
from img2img.training.config import RunConfig
from img2img.training.loop import train
from img2img.training.plan import make_plan
from img2img.training.precision import GAIN, SECONDS, faster, settled
from img2img.training.ranks import Ranks
from img2img.training.resume import resumed
from img2img.training.runtime import Runtime
from img2img.training.settings import layered

AUTO = {"precision": "auto", "device": "cpu"}


class Machine:
    """Steps of given lengths, in seconds of a clock of its own; the last one is repeated."""

    def __init__(self, **lengths: list[float]):
        self.now, self.done = 0.0, []
        self.lengths = lengths

    def clock(self) -> float:
        return self.now

    def choice(self) -> str:
        def step(name):
            def run():
                at = min(self.done.count(name), len(self.lengths[name]) - 1)
                self.now += self.lengths[name][at]
                self.done.append(name)

            return run

        return faster({name: step(name) for name in self.lengths}, self.clock)


@pytest.mark.parametrize(
    ("ratio", "chosen"),
    [(2.0, "bf16"), (1.2, "bf16"), (1.05, "fp32"), (1.0, "fp32"), (0.5, "fp32")],
)
def test_the_faster_format_is_chosen_and_fp32_in_a_tie(ratio, chosen):
    assert (ratio > GAIN) == (chosen == "bf16")
    machine = Machine(fp32=[0.01 * ratio], bf16=[0.01])
    assert machine.choice() == chosen
    assert machine.now == pytest.approx(SECONDS, rel=0.2)


def test_the_first_step_and_interruptions_do_not_count():
    assert Machine(fp32=[0.01], bf16=[0.1, 0.09, 0.005, 0.09]).choice() == "bf16"
    assert Machine(fp32=[0.001, 0.01], bf16=[0.01]).choice() == "fp32"


def test_a_slow_machine_does_one_step_more():
    machine = Machine(fp32=[2.0], bf16=[1.0])
    assert machine.choice() == "bf16"
    assert machine.done == ["fp32", "bf16"] * 2


@pytest.fixture
def measured(monkeypatch):
    """A function (the result) -> the list of measurements of a CPU with bf16."""

    def give(result):
        calls = []
        monkeypatch.setattr(precision, "has_bf16", lambda: True)
        monkeypatch.setattr(precision, "faster", lambda steps: calls.append(steps) or result)
        return calls

    return give


@pytest.mark.parametrize("result", ["fp32", "bf16"])
def test_a_run_records_what_it_computes_in(result, measured, make_config, quiet, tmp_path):
    calls, run = measured(result), tmp_path / "run"
    plan = make_plan(make_config("pix2pix", AUTO, steps=1), quiet)
    assert not calls  # --dry-run ends here
    assert plan.config.computed_in == "auto"
    train(plan, run, quiet)
    assert len(calls) == 1
    saved = RunConfig.load(run)
    assert (saved.precision, saved.number_format, saved.computed_in) == ("auto", result, result)


def test_a_resumed_run_keeps_its_format(measured, make_config, quiet, tmp_path):
    run, computed = tmp_path / "run", []
    measured("bf16")
    train(make_plan(make_config("pix2pix", AUTO, steps=1), quiet), run, quiet)
    calls = measured("fp32")
    longer = make_plan(resumed(run, RunConfig.load(run), {"steps": 2}), quiet)
    original = Runtime.of
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            Runtime, "of", lambda *given: computed.append(original(*given)) or computed[0]
        )
        train(longer, run, quiet)
    assert [runtime.bf16 for runtime in computed] == [True]
    assert not calls
    assert RunConfig.load(run).computed_in == "bf16"


def test_a_run_from_before_it_was_recorded_computes_as_it_did(
    measured, make_config, quiet, tmp_path, monkeypatch
):
    run = tmp_path / "run"
    train(make_plan(make_config("pix2pix", {"precision": "fp32"}, steps=1), quiet), run, quiet)
    values = json.loads((run / "config.json").read_text()) | {"precision": "auto"}
    del values["number_format"], values["deterministic"]
    (run / "config.json").write_text(json.dumps(values))
    calls = measured("bf16")
    for has_tiles in (True, False):
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda has=has_tiles: has)
        assert Runtime.of(RunConfig.load(run)).bf16 == has_tiles
    train(make_plan(RunConfig.load(run), quiet), run, quiet)
    assert not calls
    assert RunConfig.load(run).number_format is None


def test_a_given_format_is_not_measured(measured, make_config):
    calls = measured("bf16")
    for given in ("fp32", "bf16"):
        config = make_config("pix2pix", {"precision": given})
        assert settled(config, Ranks()) is config
        assert config.computed_in == given
    assert not calls


def test_a_cpu_without_bf16_is_not_measured(measured, make_config, monkeypatch):
    calls = measured("bf16")
    monkeypatch.setattr(precision, "has_bf16", lambda: False)
    assert settled(make_config("pix2pix", AUTO), Ranks()).number_format == "fp32"
    assert not calls


def test_the_first_rank_chooses_for_all(measured, make_config):
    class Second(Ranks):
        def from_first(self, value):
            return "bf16"

    calls = measured("fp32")
    assert settled(make_config("pix2pix", AUTO), Second(1, 2)).number_format == "bf16"
    assert not calls


def test_a_config_of_a_run_does_not_choose_for_another(make_config):
    config = make_config("pix2pix", AUTO).model_copy(update={"number_format": "bf16"})
    again = RunConfig.build(layered(config.model_dump(mode="json"), {}, {}, {}))
    assert again.number_format is None


@pytest.mark.parametrize("number_format", ["fp32", "bf16"])
@pytest.mark.parametrize("channels_last", [False, True])
def test_what_is_compared_computes_gradients_in_its_format(number_format, channels_last):
    runtime = Runtime("cpu", number_format, channels_last)
    step = precision._convolution(runtime, (2, 8, 6, 6))
    step()
    step()


@pytest.mark.parametrize("size", [64, 256, 1024])
@pytest.mark.parametrize("batch", [1, 64])
@pytest.mark.parametrize("width", [4, 64, 512])
def test_what_is_compared_is_bounded(width, batch, size, make_config):
    config = make_config(
        "cyclegan", AUTO, size=size, resize=None, batch=batch, generator={"width": width}
    )
    pictures, channels, height, side = precision._shape(config, Ranks())
    assert channels == min(4 * width, 256)
    assert 1 <= pictures <= batch
    assert 8 <= side == height <= max(size // 4, 8)
    least = 9 * channels**2 * 8 * 8
    work = 9 * channels**2 * pictures * side**2
    assert work <= max(precision.WORK * torch.get_num_threads(), least)
