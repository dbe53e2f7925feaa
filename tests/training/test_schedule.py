"""The length, the rate and the progress of a run, and of one that was resumed with others."""

import pytest

from img2img.errors import UsageError
from img2img.methods import METHODS
from img2img.training.config import PastSettings
from img2img.training.schedule import Schedule

Config = METHODS["pix2pix"].Config
RATES = {"generator_lr": 2e-4, "discriminator_lr": 2e-4, "patience": None}


def past(until: int, epochs: int | None, steps: int | None, decay: float) -> PastSettings:
    return PastSettings(until=until, epochs=epochs, steps=steps, decay=decay, **RATES)


def test_a_finished_run_that_goes_on_for_100_epochs():
    """200 and then 100 more, of 7 steps each: 50 at the full rate, and 50 in which it falls."""
    config = Config(epochs=300)
    schedule = Schedule.of(config, 7, [past(1400, 200, None, 0.5)])
    assert schedule.total == 2100
    assert [schedule.rate_factor(step) for step in (1400, 1749)] == [1, 1]
    first, last = schedule.rate_factor(1750), schedule.rate_factor(2099)
    assert (first, last) == (pytest.approx(50 / 51), pytest.approx(1 / 51))
    alone = Schedule.of(Config(epochs=100), 7)  # the added stretch is a run of its own
    assert [schedule.rate_factor(1400 + step) for step in range(700)] == [
        alone.rate_factor(step) for step in range(700)
    ]


def test_a_stretch_that_begins_inside_an_epoch():
    schedule = Schedule.of(Config(epochs=20), 7, [past(73, 200, None, 0.5)])
    factors = [schedule.rate_factor(step) for step in range(73, 140)]
    assert factors[0] == 1
    assert factors == sorted(factors, reverse=True)
    assert factors[-1] == pytest.approx(1 / 6)  # 10 epochs from the tenth on, 5 of them falling
    assert len(set(factors[4:11])) == 1  # constant within an epoch


def test_another_rate_alone_changes_no_schedule():
    config = Config(epochs=None, steps=100, generator_lr=1e-5)
    plain = Schedule.of(config, 7)
    assert Schedule.of(config, 7, [past(70, None, 100, 0.5)]) == plain


def test_noise_that_has_faded_stays_away():
    done = Schedule.of(Config(epochs=None, steps=300), 7, [past(200, None, 200, 0.5)])
    assert [done.progress(step) for step in (200, 250, 299)] == [1, 1, 1]
    halfway = Schedule.of(Config(epochs=None, steps=300), 7, [past(100, None, 200, 0.5)])
    assert [halfway.progress(step) for step in (100, 200, 300)] == [0.5, 0.75, 1]
    history = [past(100, None, 200, 0.5), past(200, None, 300, 0.5)]
    twice = Schedule.of(Config(epochs=None, steps=400), 7, history)
    assert [twice.progress(step) for step in (200, 300, 400)] == [0.75, 0.875, 1]


def test_a_run_that_was_never_resumed_otherwise_counts_as_ever():
    schedule = Schedule.of(Config(epochs=None, steps=7), 3)
    assert [schedule.progress(step) for step in range(8)] == [step / 7 for step in range(8)]


def test_a_length_that_is_done_already_is_refused():
    with pytest.raises(UsageError, match=r"done 70 steps, .* would be 63.*7 steps each"):
        Schedule.of(Config(epochs=9), 7, [past(70, 10, None, 0.5)])
