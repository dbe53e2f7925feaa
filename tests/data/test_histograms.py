"""Histograms of values: exact counts, and warnings where a range does not fit, and only there."""

import numpy as np
import pytest
from PIL import Image

from img2img.data.histograms import BINS, histogram, values_of_sides
from img2img.data.labelled import Labelled
from img2img.data.sources import Sources
from img2img.data.unpaired import Unpaired
from img2img.errors import DataError, UsageError

RGB = (3, 3)
RANDOM = np.random.default_rng(0)


def counted(values, limits, usual=None, integers=False):
    values = np.asarray(values, np.float64)
    return histogram("1", values, limits, usual or limits, integers)


def test_each_value_is_counted_in_its_bin():
    values = [0, 0.5, 1, 1.5, 31.9, 32]
    counts = counted(values, (0.0, 32.0)).counts
    assert len(counts) == BINS
    assert (counts[0], counts[1], counts[31]) == (2, 2, 2)  # the last bin has its end, too
    assert sum(counts) == 6


def test_integers_have_equally_many_values_in_each_bin():
    told = counted(np.arange(100), (0, 99), integers=True)
    assert (told.start, told.width, told.last) == (0, 4, 99)
    assert told.counts == (4,) * 25
    few = counted([0, 1, 1, 3], (0, 3), integers=True)
    assert (few.width, few.counts, few.last) == (1, (1, 2, 0, 1), 3)
    halves = counted([0, 1, 2, 2], (0.4, 1.6), integers=True)  # a range that percentiles gave
    assert (halves.start, halves.counts) == (0, (1, 1, 2))
    assert halves.clipped == 0.75


def test_bins_cover_the_range_and_the_usual_values_and_others_are_counted_beside_them():
    values = [-9, -3, 0, 1, 2, 50, 700]
    told = counted(values, (0.0, 10.0), usual=(-4.0, 60.0))
    assert (told.start, told.last) == (-4, 60)
    assert (told.below, sum(told.counts), told.above) == (1, 5, 1)
    assert (told.least, told.largest) == (-9, 700)
    assert told.clipped == 4 / 7
    assert told.used == 6.4


@pytest.fixture
def sides(tmp_path):
    """Saves arrays as files of a -> the data set."""

    def save(*a):
        for side, arrays in (("a", a), ("b", [np.zeros((4, 4), np.float32)])):
            (tmp_path / side).mkdir(exist_ok=True)
            for number, array in enumerate(arrays):
                np.save(tmp_path / side / f"{number}.npy", array)
        return Unpaired.open(Sources(a=tmp_path / "a", b=tmp_path / "b"), RGB)

    return save


def values_of_a(dataset, ranges=(), bands=()):
    return values_of_sides(dataset, ranges, bands)[0]


def warnings(side) -> list[str]:
    assert all(finding.level == "warning" for finding in side.findings())
    return [finding.what for finding in side.findings()]


def even(count, low, high, dtype=np.uint16):
    return np.linspace(low, high, count * count).reshape(count, count).astype(dtype)


def test_photographs_have_no_histogram(tmp_path):
    for side in "ab":
        (tmp_path / side).mkdir()
        Image.new("RGB", (8, 8)).save(tmp_path / side / "x.png")
    assert (
        values_of_sides(Unpaired.open(Sources(a=tmp_path / "a", b=tmp_path / "b"), RGB), (), ())
        == []
    )


def test_every_pixel_of_small_files_is_counted(sides):
    told = values_of_a(sides(*[even(64, 0, 4095)] * 3))
    assert told.kind == "uint16, 1 band, 0:4095 (12 bits in 16)"
    assert (told.files, told.files_seen, told.pixels_seen) == (3, 3, 3 * 64 * 64)
    [band] = told.histograms
    assert sum(band.counts) == 3 * 64 * 64
    assert np.ptp(band.counts) <= 3
    assert warnings(told) == []


def test_no_more_pixels_of_no_more_files_are_seen_than_of_ranges(sides):
    told = values_of_a(sides(*[even(160, 0, 4095)] * 70))
    assert (told.files, told.files_seen, told.pixels_seen) == (70, 64, 64 * 2**14)


def test_bands_are_those_that_are_chosen(sides):
    stacked = np.stack([even(16, low, low + 50) for low in (0, 100, 200)], -1)
    told = values_of_a(sides(stacked), ["a=0:300"], ["a=3", "1"])
    assert [(band.band, band.least, band.largest) for band in told.histograms] == [
        ("3", 200, 250),
        ("1", 0, 50),
    ]


@pytest.mark.parametrize(
    ("rule", "share"), [("0:900", "10.0 %"), ("500:1000", "50.0 %"), ("10%:90%", "20.0 %")]
)
def test_a_range_that_clips_is_told_with_one_that_does_not(sides, rule, share):
    [what] = warnings(values_of_a(sides(even(100, 0, 1000, np.float32)), [f"a={rule}"]))
    assert f"a: of the values, {share} lie beyond the range" in what
    assert "--range a=0.1%:99.9%" in what


def test_the_advised_range_is_not_told(sides):
    data = sides(even(100, 0, 1000, np.float32))
    assert warnings(values_of_a(data, ["a=0.1%:99.9%"])) == []
    assert warnings(values_of_a(data, ["a=0:996"])) == []  # 0.4 % are clipped


def test_bands_that_are_clipped_are_named(sides):
    stacked = np.stack([even(50, 0, high) for high in (1000, 2000, 1000, 4000)], -1)
    [what] = warnings(values_of_a(sides(stacked), ["0:1000"]))
    assert "50.0 % in band 2, 75.0 % in band 4 lie" in what


@pytest.mark.parametrize(("high", "told"), [(8_100, True), (8_300, False)])
def test_a_range_of_which_little_is_used_is_told(sides, high, told):
    said = warnings(values_of_a(sides(even(100, 0, high)), ["a=full"]))  # an eighth is 8,192
    assert bool(said) == told
    if told:
        assert "99.8 % of the values lie in a small part of the range (12.3 %)" in said[0]
        assert "Use them: --range a=0.1%:99.9%." in said[0]


def test_a_few_bright_pixels_do_not_hide_what_is_wasted(sides):
    dim = even(100, 0, 300)
    dim[0, :5] = 65_000
    told = values_of_a(sides(dim), ["a=full"])
    assert "wastes" in warnings(told)[0]
    chosen = values_of_a(sides(dim))  # auto takes percentiles
    assert warnings(chosen) == []
    assert chosen.histograms[0].above == 6  # these, and the only 300


def test_a_band_of_one_value_is_told(sides):
    stacked = np.stack([even(16, 0, 4000), np.full((16, 16), 7, np.uint16)], -1)
    [what] = warnings(values_of_a(sides(stacked)))
    assert "bands of one value, 2 (7)" in what


def test_decibels_are_counted_in_decibels_and_zero_is_beyond(sides):
    powers = (10 ** (np.linspace(-40, -10, 10_000) / 10)).reshape(100, 100).astype(np.float32)
    powers[0, :100] = 0
    told = values_of_a(sides(powers), ["a=-30dB:0dB"])
    [band] = told.histograms
    assert (band.low, band.high) == (-30, 0)
    assert band.clipped == pytest.approx(1 / 3, abs=0.01)
    [what] = warnings(told)
    assert "--range a=-40dB:-10dB" in what


def test_missing_pixels_are_no_values_and_their_share_is_told(sides):
    values = even(20, 0, 1, np.float32)
    values[:, :5] = np.nan
    told = values_of_a(sides(values))
    assert told.missing == 0.25
    assert told.pixels_seen == sum(told.histograms[0].counts) == 300


def test_domains_are_one_set_of_values(tmp_path):
    for domain in ("dim", "bright"):
        (tmp_path / domain).mkdir()
        np.save(tmp_path / domain / "x.npy", even(50, 0, 1000))
    data = Labelled.open(Sources(data=(tmp_path,)), RGB)
    [told] = values_of_sides(data, ["0:100"], [])
    assert (told.side, told.files) == ("a and b", 2)
    assert "--range 0.1%:99.9%." in told.findings()[0].what


def test_files_and_options_that_can_not_be_used_are_errors_as_in_training(sides):
    data = sides(even(8, 0, 100), even(8, 0, 100, np.int16))
    with pytest.raises(DataError, match=r"1\.npy \(1 band of int16\) is not"):
        values_of_sides(data, (), ())
    with pytest.raises(UsageError, match="--bands 2: there is no such band"):
        values_of_sides(sides(*[even(8, 0, 100)] * 2), (), ["a=2"])
