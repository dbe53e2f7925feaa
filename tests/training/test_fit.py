"""The batch that memory takes."""

import pytest

from img2img.errors import Img2ImgError
from img2img.training import fit
from img2img.training.fit import fit_batch
from img2img.training.plan import make_plan
from img2img.training.ranks import Ranks

MIB = 2**20


@pytest.fixture
def memory_of(monkeypatch):
    """A function: what is there, what a run needs, and what each picture adds, MiB."""

    def set_up(there, fixed, each):
        def peak(config, batch):
            need = (fixed + each * batch) * MIB
            return None if need > there * MIB else need

        monkeypatch.setattr(fit, "_peak", peak)
        monkeypatch.setattr(fit.memory, "available", lambda: there * MIB)

    return set_up


@pytest.mark.parametrize(
    ("there", "expected"), [(1000, 6), (1250, 8), (750, 4), (650, 3), (450, 2), (10**6, 18)]
)
def test_four_fifths_of_what_is_there_is_used(make_config, quiet, memory_of, there, expected):
    plan = make_plan(make_config("cyclegan"), quiet)
    assert len(plan.training) == 18  # more than these make no batch
    memory_of(there, 200, 100)
    found = fit_batch(plan, quiet, Ranks())
    assert found.config.method.batch == expected
    assert found.schedule.epoch_steps == -(-18 // expected)
    assert found.config.method.model_copy(update={"batch": 2}) == plan.config.method


def test_parts_and_ranks_make_a_batch_larger(make_config, quiet, memory_of):
    plan = make_plan(make_config("cyclegan", accumulate=2), quiet)
    memory_of(1000, 200, 100)
    assert fit_batch(plan, quiet, Ranks()).config.method.batch == 12


def test_where_nothing_fits_it_is_told(make_config, quiet, memory_of):
    memory_of(300, 200, 100)
    with pytest.raises(Img2ImgError, match=r"Not even 2 pictures fit.*smaller --size"):
        fit_batch(make_plan(make_config("cyclegan"), quiet), quiet, Ranks())


@pytest.mark.parametrize("mode", ["pix2pix", "stargan"])
def test_more_pictures_are_measured_to_need_more(make_config, mode):
    sizes = {"width": 32, "d_width": 8, "size": 64, "resize": 64}
    small, large = (fit._peak(make_config(mode, **sizes), count) for count in (2, 32))
    assert 100 * MIB < small < large - 10 * MIB


def test_a_step_that_fails_for_another_reason_is_told(make_config, monkeypatch):
    monkeypatch.setattr(fit.sys, "executable", "false")
    with pytest.raises(Img2ImgError, match="A step of training failed"):
        fit._peak(make_config("pix2pix"), 2)
