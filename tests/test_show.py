"""The notation of --show."""

import numpy as np
import pytest

from img2img.errors import UsageError
from img2img.intensity import Intensity, stacked
from img2img.show import declared, false_colors

# Bands 8, 4, 3 and 2 of files with 12.
CHOSEN = Intensity(
    dtype="uint16",
    bands=("8", "4", "3", "2"),
    picked=(7, 3, 2, 1),
    file_bands=12,
    low=(0,) * 4,
    high=(10_000,) * 4,
)
NAMED = Intensity(dtype="float32", bands=("vv", "vh@10m"), low=(0, 0), high=(1, 1))
VALUES = [np.arange(1001.0) * (band + 1) for band in range(4)]


def told(text: str, intensity: Intensity = CHOSEN, values=VALUES) -> str:
    colors = false_colors([("a", item) for item in text.split(",")], "a", intensity, values)
    return colors.describe(intensity.bands)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("4,3,2", "4, 3, 2 as red, green, blue (0:10000)"),
        ("8", "8 as gray (0:10000)"),
        ("4,3,2@0:3000", "4, 3, 2 as red, green, blue (0:3000)"),
        ("8@0:1,4,3@0:2", "8 (0:1), 4 (0:2), 3 (0:2) as red, green, blue"),
        ("8@0:1,4,3", "8 (0:1), 4 (0:10000), 3 (0:10000) as red, green, blue"),
        ("@-20dB:0dB", "8, 4, 3 as red, green, blue (-20:0 dB)"),
        ("8@2%:98%", "8 as gray (20:980)"),
        ("4@2%:98%", "4 as gray (40:1960)"),
        ("8@full", "8 as gray (0:65535)"),
        ("8@Soft-Tissue", "8 as gray (-160:240)"),
    ],
)
def test_bands_and_stretches(text, words):
    assert told(text) == words


def test_bands_are_named_too():
    assert told("vh@10m", NAMED) == "vh@10m as gray (0:1)"
    assert told("vv@0:5", NAMED) == "vv as gray (0:5)"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1,4,3", r"--show 1: a has no such band that is used\. There are 8, 4, 3, 2\."),
        ("4,3", r"--show: of a, 2 bands are given\. One is shown as gray, or three"),
        ("4@auto", r"--show auto: there is no such range\. Choose full"),
        ("4@3:1", "--show 3:1: the first number must be less"),
        ("4@", "--show 4@: after @, write the stretch"),
    ],
)
def test_what_is_not_there_is_refused(text, message):
    with pytest.raises(UsageError, match=message):
        told(text)


def test_without_training_pictures_there_are_no_percentiles():
    assert told("8@0:300", values=None) == "8 as gray (0:300)"
    with pytest.raises(UsageError, match="so only train takes it"):
        told("8@2%:98%", values=None)


def test_a_side_without_a_declaration_has_none():
    assert false_colors([("b", "1")], "a", CHOSEN) is None


def test_bands_of_several_inputs_are_given_by_input_or_by_their_names_in_the_stack():
    optical = CHOSEN.model_copy(update={"name": "optical"})
    radar = Intensity(
        name="sar", dtype="float32", bands=("1",), low=(-25,), high=(5,), decibels=True
    )
    stack = stacked([optical, radar])
    of_optical = [("optical", "4"), ("optical", "3@0:3000")]
    by_input = false_colors([*of_optical, ("sar", "1")], "a", stack)
    words = "optical 4 (0:3000), optical 3 (0:3000), sar 1 (-25:5 dB) as red, green, blue"
    assert by_input.describe(stack.bands) == words
    assert false_colors([("sar", "1")], "a", stack).bands == (4,)
    names = ("sar 1", "optical 8", "optical 2")
    by_name = false_colors([("a", name) for name in names], "a", stack)
    assert by_name.bands == (4, 0, 3)
    with pytest.raises(UsageError, match=r"There are optical 8, .*an input .*: optical=1\."):
        false_colors([("a", "4")], "a", stack)
    with pytest.raises(UsageError, match=r"give a= or its inputs \(sar=\), not both"):
        false_colors([("a", "sar 1"), ("sar", "1")], "a", stack)


def test_bands_of_several_inputs_are_shown_in_the_order_in_which_they_are_given():
    optical = CHOSEN.model_copy(update={"name": "optical"})
    stack = stacked(
        [optical, Intensity(name="sar", dtype="uint16", bands=("1",), low=(0,), high=(9,))]
    )
    items = ["optical=4", "sar=1", "optical=3@0:3000"]
    shown = declared(items, {"a": stack})["a"].describe_show()
    assert shown == ("optical 4 (0:3000), sar 1 (0:9), optical 3 (0:3000) as red, green, blue")
