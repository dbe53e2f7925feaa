"""The ranges of values by rules, such as percentiles and decibels, and what `auto` chooses."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from img2img.errors import DataError, UsageError
from img2img.intensity import Intensity, as_dtype, representable

# Windows of computed tomography in Hounsfield units (level minus and plus half of the width), as
# radiologists' workstations name them.
WINDOWS = {
    "hu": (-1024.0, 3071.0),  # all that a scanner of 12 bits stores
    "lung": (-1350.0, 150.0),
    "soft-tissue": (-160.0, 240.0),
    "mediastinum": (-125.0, 225.0),
    "brain": (0.0, 80.0),
    "bone": (-500.0, 1300.0),
}
NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?"
RULES = (
    "full (of the type), 0:10000, 0.1%:99.9% (percentiles of the training pictures, for each "
    "band), -25dB:5dB (of powers), 4sigma (around the mean, for each band), or a CT window: "
    + ", ".join(WINDOWS)
)
GRAMMAR = f"auto, {RULES}"
FARTHEST = 2**10  # times its width, that a range may be from 0: fp32 has 2**24 steps
SIDES = ("a", "b")
ROUGHLY = 1 / 8  # of a range: where less of it is used, percentiles serve better


def items_of(option: str, texts: Sequence[str]) -> tuple[str, ...]:
    """The items of an option that may be given several times, for a side each. Raises UsageError
    where a text after the first one names no side, to which one would the items belong.
    """
    for text in texts[1:]:
        if "=" not in text.partition(",")[0]:
            raise UsageError(
                f"{option} {text}: it is given before. Name the side of each: {option} a=... "
                f"{option} b=..."
            )
    items = [item.strip() for text in texts for item in text.split(",")]
    return tuple(item for item in items if item)


def by_side(items: Sequence[str], option: str, inputs: Sequence[str] = ()) -> dict[str, list[str]]:
    """The items of an option by the sides they are for: "a=4", "3", "b=1" -> a: 4, 3 and b: 1.
    Arguments and errors are those of `with_sides`.
    """
    chosen: dict[str, list[str]] = {}
    for name, item in with_sides(items, option, inputs):
        chosen.setdefault(name, []).append(item)
    return chosen


def with_sides(
    items: Sequence[str], option: str, inputs: Sequence[str] = ()
) -> list[tuple[str, str]]:
    """The items of an option in their order, each with the side it is for: "a=4", "3", "b=1" ->
    (a, 4), (a, 3), (b, 1). Items before the first side are for both.

    inputs: the names of the input folders of a, which items may be for, too, where there are
    several. Raises UsageError for another side.
    """
    chosen: list[tuple[str, str]] = []
    sides: tuple[str, ...] = SIDES
    for item in items:
        side, equals, rest = item.partition("=")
        if equals:
            if side.strip() not in (*SIDES, *inputs):
                named = f", and the inputs {', '.join(inputs)}" if inputs else ""
                raise UsageError(f"{option} {item}: the sides are {' and '.join(SIDES)}{named}.")
            sides = (side.strip(),)
        chosen += [(name, (rest if equals else item).strip()) for name in sides]
    return chosen


@dataclass(frozen=True)
class Statistics:
    """Of a side's training pictures: the type, the names of the bands, and some of their values."""

    dtype: str
    bands: tuple[str, ...]
    values: np.ndarray  # [N, bands], of pixels that are not missing
    unit: str = ""
    nodata: float | None = None
    is_map: bool = False  # the files are georeferenced
    picked: tuple[int, ...] = ()
    file_bands: int = 0


class Limits(NamedTuple):
    """The two ends of the range of each band, in dB with decibels."""

    low: tuple[float, ...]
    high: tuple[float, ...]
    decibels: bool = False


def fitted(rule: str, statistics: Statistics) -> Intensity:
    """The intensity by a rule of GRAMMAR. Raises UsageError for another text, and for a rule that
    does not go with the values.
    """
    text, values = rule.strip().lower(), statistics.values
    values = values[np.isfinite(values).all(1)]
    if not len(values):
        raise DataError("The pictures have no pixel with a value, so no range can be chosen.")
    why = text
    if text == "auto":
        text, why = _chosen(statistics, values)
    low, high, decibels = limits_of(text, "--range", statistics.dtype, values)
    return Intensity(
        dtype=as_dtype(statistics.dtype),
        bands=statistics.bands,
        picked=statistics.picked,
        file_bands=statistics.file_bands,
        low=low,
        high=high,
        decibels=decibels,
        unit=statistics.unit,
        nodata=representable(statistics.nodata, statistics.dtype),
        rule=why,
    )


def require_fp32(intensity: Intensity) -> None:
    """Raise UsageError for a range that is too narrow, so far from 0, for networks in fp32."""
    for low, high in zip(intensity.low, intensity.high, strict=True):
        if max(abs(low), abs(high)) > FARTHEST * (high - low):
            raise UsageError(
                f"--range: {low:g} to {high:g} ({intensity.rule}) is too narrow so far from 0 for "
                "the fp32 of an exported model. Subtract a constant from the files first."
            )


def limits_of(rule: str, option: str, dtype: str, values: np.ndarray | None) -> Limits:
    """The limits by a rule of RULES, of each band of the values [N, bands], which are finite.

    option: which has the rule, for errors. Without values, there is one band. Raises UsageError
    for another text, for a rule that does not go with the values, and for one that needs some.
    """
    text, bands = rule.strip().lower(), 1 if values is None else values.shape[1]
    decibels = False
    if text == "full":
        low, high = _full(option, dtype, bands)
    elif text in WINDOWS:
        low, high = _same(WINDOWS[text], bands)
    elif match := re.fullmatch(rf"({NUMBER})%:({NUMBER})%", text):
        first, last = float(match[1]), float(match[2])
        if not 0 <= first < last <= 100:
            raise UsageError(
                f"{option} {rule}: percentiles are from 0% to 100%, the lower one first."
            )
        low, high = percentiles(_given(option, rule, values), first, last)
    elif match := re.fullmatch(rf"({NUMBER})db:({NUMBER})db", text):
        low, high = _same((float(match[1]), float(match[2])), bands)
        decibels = True
        if values is not None and values.min() < 0:
            raise UsageError(
                f"{option} {rule}: decibels are of powers, and some values are negative."
            )
    elif match := re.fullmatch(rf"({NUMBER})sigma", text):
        low, high = _around_mean(_given(option, rule, values), float(match[1]))
    elif match := re.fullmatch(rf"({NUMBER}):({NUMBER})", text):
        low, high = _same((float(match[1]), float(match[2])), bands)
    else:
        choices = GRAMMAR if option == "--range" else RULES
        raise UsageError(f"{option} {rule}: there is no such range. Choose {choices}.")
    if text.endswith(("%", "sigma")):  # of values that may be all alike
        low, high = _apart(low, high)
    limits = list(zip(low, high, strict=True))
    if not np.isfinite(limits).all():
        raise UsageError(f"{option} {rule}: both ends must be finite numbers.")
    if not all(a < b for a, b in limits):
        raise UsageError(f"{option} {rule}: the first number must be less than the second.")
    return Limits(low, high, decibels)


def _given(option: str, rule: str, values: np.ndarray | None) -> np.ndarray:
    """The values. Raises UsageError where there are none."""
    if values is None:
        raise UsageError(
            f"{option} {rule}: that is computed from training pictures, so only train takes it. "
            "Give two numbers, such as 0:3000."
        )
    return values


def _chosen(statistics: Statistics, values: np.ndarray) -> tuple[str, str]:
    """The rule that `auto` chooses, and the reason in words. values: those that are finite."""
    if statistics.dtype == "uint8":
        return "full", "all of uint8"
    low, high = float(values.min()), float(values.max())
    if statistics.unit == "HU":
        return "hu", "Hounsfield units of 12 bits"
    if statistics.dtype == "float32":
        if low >= 0 and high <= 1:
            return "0:1", "all values are from 0 to 1"
        if low >= -1 and high <= 1:
            return "-1:1", "all values are from -1 to 1"
    if statistics.dtype != "uint16":
        return "0.1%:99.9%", "the percentiles 0.1 and 99.9 of each band"
    usual = float(np.percentile(values, 99.9))
    if statistics.is_map and len(statistics.bands) > 2 and 2000 < usual <= 10_000:
        return "0:10000", "reflectance times 10,000, as satellites have it"
    bits = next(bits for bits in (8, 10, 12, 14, 16) if high < 2**bits)
    if usual < ROUGHLY * 2**bits:
        return "0.1%:99.9%", f"few of {bits} bits are used: the percentiles 0.1 and 99.9"
    if bits == 16:
        return "full", "all of uint16"
    return f"0:{2**bits - 1}", f"{bits} bits in 16"


def _full(option: str, dtype: str, bands: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    if dtype == "float32":
        choices = GRAMMAR if option == "--range" else RULES
        raise UsageError(
            f"{option} full: float32 has no range of values to use. Choose another one: {choices}."
        )
    limits = np.iinfo(dtype)
    return _same((float(limits.min), float(limits.max)), bands)


def _same(limits: tuple[float, float], bands: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    return (limits[0],) * bands, (limits[1],) * bands


def percentiles(
    values: np.ndarray, low: float, high: float
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Two percentiles of the values [N, bands] of each band, or, where these are equal, its least
    and its largest value.
    """
    limits = np.percentile(values, [low, high], axis=0)
    # Of a band in which few pixels are not 0, both may be 0.
    equal = limits[0] == limits[1]
    limits = np.where(equal, [values.min(0), values.max(0)], limits)
    return _floats(limits[0]), _floats(limits[1])


def _around_mean(values: np.ndarray, sigmas: float) -> tuple[tuple[float, ...], tuple[float, ...]]:
    mean, deviation = values.mean(0, dtype=np.float64), values.std(0, dtype=np.float64)
    return _floats(mean - sigmas * deviation), _floats(mean + sigmas * deviation)


def _apart(
    low: Sequence[float], high: Sequence[float]
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """The limits of bands of which all values are equal, such as an empty one, moved apart."""
    return tuple(low), tuple(
        b + (b == a) * max(1.0, abs(b) / 1000) for a, b in zip(low, high, strict=True)
    )


def _floats(values: np.ndarray) -> tuple[float, ...]:
    return tuple(float(value) for value in values)
