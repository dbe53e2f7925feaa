"""The ranges that rules give, and what `auto` chooses and says."""

import numpy as np
import pytest

from img2img.errors import DataError, UsageError
from img2img.ranges import Statistics, by_side, fitted, items_of, require_fp32

RANDOM = np.random.default_rng(0)


def of(values, **more) -> Statistics:
    values = np.asarray(values)
    if values.ndim == 1:
        values = values[:, None]
    names = tuple(str(band + 1) for band in range(values.shape[1]))
    return Statistics(dtype=values.dtype.name, bands=names, values=values, **more)


@pytest.mark.parametrize(
    ("values", "more", "low", "high", "why"),
    [
        (np.array([0, 255], np.uint8), {}, 0, 255, "all of uint8"),
        (RANDOM.integers(0, 4096, 5000).astype(np.uint16), {}, 0, 4095, "12 bits in 16"),
        (RANDOM.integers(0, 1024, 5000).astype(np.uint16), {}, 0, 1023, "10 bits in 16"),
        (RANDOM.integers(0, 60_000, 5000).astype(np.uint16), {}, 0, 65_535, "all of uint16"),
        (RANDOM.integers(-900, 1500, 50).astype(np.int16), {"unit": "HU"}, -1024, 3071, "Hounsf"),
        (RANDOM.random(100).astype(np.float32), {}, 0, 1, "from 0 to 1"),
        (RANDOM.random(100).astype(np.float32) - 0.5, {}, -1, 1, "from -1 to 1"),
    ],
)
def test_auto_chooses_what_the_values_use(values, more, low, high, why):
    chosen = fitted("auto", of(values, **more))
    assert (chosen.low, chosen.high) == ((low,), (high,))
    assert why in chosen.rule


def test_auto_knows_reflectance_on_maps_alone():
    values = RANDOM.gamma(2, 900, (5000, 4)).clip(0, 16_000).astype(np.uint16)
    on_map = fitted("auto", of(values, is_map=True))
    assert (on_map.low, on_map.high) == ((0,) * 4, (10_000,) * 4)
    assert "reflectance" in on_map.rule
    assert "reflectance" not in fitted("auto", of(values)).rule


def test_auto_takes_percentiles_where_few_levels_are_used():
    dim = np.append(RANDOM.integers(100, 300, 20_000), [40_000]).astype(np.uint16)
    chosen = fitted("auto", of(dim))
    assert 95 < chosen.low[0] < 105
    assert 295 < chosen.high[0] < 305
    assert "few of 16 bits are used" in chosen.rule


def test_percentiles_and_deviations_are_of_each_band():
    values = np.stack([np.arange(1000), 10 * np.arange(1000)], 1).astype(np.int32)
    chosen = fitted("1%:99%", of(values))
    assert chosen.low == pytest.approx((9.99, 99.9))
    assert chosen.high == pytest.approx((989.01, 9890.1))
    around = fitted("2sigma", of(values))
    assert around.low == pytest.approx(tuple(values.mean(0) - 2 * values.std(0)))


def test_an_empty_band_gets_a_range_nevertheless():
    chosen = fitted("0%:100%", of(np.zeros((10, 2), np.int16)))
    assert (chosen.low, chosen.high) == ((0, 0), (1, 1))


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("loud", "there is no such range. Choose auto, full"),
        ("10:0", "the first number must be less than the second"),
        ("5:5", "the first number must be less than the second"),
        ("99%:1%", "percentiles are from 0% to 100%, the lower one first"),
        ("full", "float32 has no range of values to use"),
        ("-20dB:0dB", "decibels are of powers, and some values are negative"),
    ],
)
def test_a_wrong_range_is_refused_with_what_to_do(rule, message):
    with pytest.raises(UsageError, match="--range") as error:
        fitted(rule, of(np.array([-1, 2], np.float32)))
    assert message in str(error.value)


def test_a_window_of_computed_tomography_has_a_name():
    chosen = fitted("lung", of(np.array([-900, 100], np.int16), unit="HU"))
    assert (chosen.low, chosen.high) == ((-1350,), (150,))
    assert chosen.describe() == "int16, 1 band, -1350:150 HU"


def test_a_band_with_few_values_keeps_them():
    sparse = np.zeros((10_000, 1), np.uint16)
    sparse[:5] = 50_000
    chosen = fitted("0.1%:99.9%", of(sparse))
    assert (chosen.low, chosen.high) == ((0,), (50_000,))


@pytest.mark.parametrize("values", [[np.nan, np.nan], [np.inf, np.nan]])
def test_without_a_value_no_range_is_chosen(values):
    with pytest.raises(DataError, match="have no pixel with a value"):
        fitted("auto", of(np.array(values, np.float32)))


def test_a_range_far_from_zero_is_refused_where_fp32_would_lose_its_steps():
    values = np.array([10**9 - 100, 10**9 + 100], np.int32)
    with pytest.raises(UsageError, match="too narrow so far from 0"):
        require_fp32(fitted("0%:100%", of(values)))
    require_fp32(fitted("0%:100%", of(np.array([290.0, 310.0], np.float32))))


def test_an_infinite_end_is_refused():
    with pytest.raises(UsageError, match="both ends must be finite"):
        fitted("0:1e400", of(np.array([1.0, 2], np.float32)))


def test_decibels_are_chosen_for_powers():
    chosen = fitted("-20dB:10dB", of(np.array([0.01, 0.5, 10], np.float32)))
    assert (chosen.low, chosen.high, chosen.decibels) == ((-20,), (10,), True)


def test_items_of_an_option_are_for_both_sides_or_for_one():
    assert by_side(["4", "3"], "--bands") == {"a": ["4", "3"], "b": ["4", "3"]}
    assert by_side(["a=4", "3", "b=1"], "--bands") == {"a": ["4", "3"], "b": ["1"]}
    with pytest.raises(UsageError, match=r"--range c=full: the sides are a and b\."):
        by_side(["c=full"], "--range")


def test_an_option_may_be_given_once_for_each_side():
    assert items_of("--show", ["a=4,3,2@0:3000", "b=1"]) == ("a=4", "3", "2@0:3000", "b=1")
    assert items_of("--show", ["4, 3 ,2"]) == ("4", "3", "2")
    assert items_of("--show", []) == ()
    with pytest.raises(UsageError, match=r"--show 1: it is given before\. Name the side of each"):
        items_of("--show", ["a=4,3,2", "1"])
