"""What the numbers in a picture mean, and how they become the network's [-1, 1] and numbers again.

Photographs need none of this: they are uint8, and all of 0 to 255 is used. Other pictures, such as
those of microscopes, scanners and satellites, have other types, and use a part of their range.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Self, get_args

import numpy as np
from pydantic import BaseModel, ConfigDict, model_validator

from img2img.errors import DataError, UsageError
from img2img.rasters.pages import Mode

Dtype = Literal["uint8", "uint16", "int16", "int32", "float32"]
DTYPES: tuple[str, ...] = get_args(Dtype)
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
GRAMMAR = (
    "auto, full (of the type), 0:10000, 0.1%:99.9% (percentiles of the training pictures, for each "
    "band), -25dB:5dB (of powers), 4sigma (around the mean, for each band), or a CT window: "
    + ", ".join(WINDOWS)
)
FARTHEST = 2**10  # times its width, that a range may be from 0: fp32 has 2**24 steps
ROUGHLY = 1 / 8  # of a range: where less of it is used, percentiles serve better


class Intensity(BaseModel):
    """The type of stored values, and the range of each band that becomes [-1, 1].

    Values beyond a range are clipped. With decibels, a stored value v > 0 counts as 10 log10(v),
    and low and high are in dB.

    With parts, a picture is stacked from one file of each of several input folders: `stacked`.
    """

    model_config = ConfigDict(frozen=True)

    dtype: Dtype
    bands: tuple[str, ...]  # names of the bands that are used
    picked: tuple[int, ...] = ()  # their indices in a file; empty: all, in order
    file_bands: int = 0  # the number of bands in a file; 0: as many as are used
    low: tuple[float, ...]  # of each band: what becomes -1
    high: tuple[float, ...]  # and what becomes 1
    decibels: bool = False
    unit: str = ""
    nodata: float | None = None  # the value of missing pixels; in float32, NaN is missing, too
    rule: str = ""  # by which the range was chosen, for people
    name: str = ""  # of the input folder, of a part
    photographs: bool = False  # whether the files of a part are decoded to 8-bit gray or RGB
    pages: Mode = "each"  # of files with several, which make up a picture
    neighbors: int = 0  # pages before and after one whose bands the picture has, too
    parts: tuple["Intensity", ...] = ()  # of several input folders, whose bands follow each other

    @model_validator(mode="after")
    def _has_ranges(self) -> Self:
        ranges = zip(self.low, self.high, strict=False)
        if not len(self.bands) == len(self.low) == len(self.high) or not self.bands:
            raise ValueError("bands, low and high must have one entry for each band")
        if not all(np.isfinite((low, high)).all() and low < high for low, high in ranges):
            raise ValueError("low must be less than high, and both finite")
        if self.parts and sum(len(part.bands) for part in self.parts) != len(self.bands):
            raise ValueError("the bands must be those of the parts")
        return self

    @property
    def inputs(self) -> tuple["Intensity", ...]:
        """The intensity of each file of a picture: of its parts, or of the one file."""
        return self.parts or (self,)

    @property
    def slices(self) -> list[tuple["Intensity", slice]]:
        """The intensity of each file with the place of its bands in the picture."""
        if not self.parts:
            return [(self, slice(None))]
        ends = np.cumsum([len(part.bands) for part in self.parts]).tolist()
        places = [slice(a, b) for a, b in zip([0, *ends[:-1]], ends, strict=True)]
        return list(zip(self.parts, places, strict=True))

    @property
    def named(self) -> bool:
        """Whether the bands have names, and not numbers alone."""
        return not all(band.isdecimal() for band in self.bands)

    @property
    def is_of_integers(self) -> bool:
        return self.dtype != "float32"

    @property
    def may_miss(self) -> bool:
        """Whether pixels may be missing."""
        return any(part.nodata is not None or not part.is_of_integers for part in self.inputs)

    @property
    def held(self) -> str:
        """The type in which values are held before they are mapped: the stored type, or floats that
        can be NaN where pixels may be missing, which hold all of its values.
        """
        if not self.may_miss:
            return self.dtype
        return "float64" if self.dtype == "int32" else "float32"

    @property
    def missing_value(self) -> float:
        """What stands for a missing pixel: nodata, else NaN, or 0 among integers, where nothing
        does.
        """
        if self.nodata is not None:
            return self.nodata
        return 0.0 if self.is_of_integers else float("nan")

    @property
    def least(self) -> float:
        """With decibels, a power far below the range, in place of 0, which has no logarithm."""
        return float(10 ** (min(self.low) / 10 - 1))

    def to_network(self, values: np.ndarray) -> np.ndarray:
        """Stored values [..., bands], NaN where they are missing -> float32 in [-1, 1], with the
        middle of the range where they are missing.
        """
        if self.parts:
            each = [part.to_network(values[..., bands]) for part, bands in self.slices]
            return np.concatenate(each, -1)
        x = values.astype(np.float64)  # in which a narrow range far from 0 keeps its steps
        if self.decibels:
            x = 10 * np.log10(np.maximum(x, self.least))  # maximum keeps NaN
        low, high = np.array(self.low), np.array(self.high)
        mapped: np.ndarray = np.clip((x - low) * (2 / (high - low)) - 1, -1, 1)
        return np.asarray(np.nan_to_num(mapped, copy=False, nan=0.0), np.float32)

    def from_network(self, x: np.ndarray) -> np.ndarray:
        """[..., bands] in [-1, 1] -> stored values of the type, rounded where it has integers."""
        if self.parts:
            each = [part.from_network(x[..., bands]) for part, bands in self.slices]
            return np.concatenate(each, -1, dtype=self.dtype, casting="safe")
        low, high = np.array(self.low), np.array(self.high)
        values = low + (x.astype(np.float64) + 1) * (high - low) / 2
        if self.decibels:
            values = 10 ** (values / 10)
        if self.is_of_integers:
            limits = np.iinfo(self.dtype)
            values = np.rint(values).clip(limits.min, limits.max)
        stored: np.ndarray = values.astype(self.dtype)
        return stored

    def levels(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """The difference of two arrays of stored values [..., bands], as if the range of each band
        had 255 grey levels; 0 where either is NaN.
        """
        if self.parts:
            both = [(part, first[..., bands], second[..., bands]) for part, bands in self.slices]
            return np.concatenate([part.levels(*pair) for part, *pair in both], -1)
        if self.decibels:
            first, second = (10 * np.log10(np.maximum(x, self.least)) for x in (first, second))
        width = np.array(self.high) - np.array(self.low)
        difference = (first.astype(np.float64) - second.astype(np.float64)) * 255 / width
        return np.asarray(np.nan_to_num(difference, nan=0.0))

    def outside(self, values: np.ndarray) -> float:
        """The share of the values [..., bands] that are beyond their band's range; missing ones
        (NaN) are not counted.
        """
        if self.parts:
            shares = [part.outside(values[..., bands]) for part, bands in self.slices]
            return float(np.average(shares, weights=[len(part.bands) for part in self.parts]))
        low, high = np.array(self.low), np.array(self.high)
        if self.decibels:
            low, high = 10 ** (low / 10), 10 ** (high / 10)
        known = ~np.isnan(values) if values.dtype.kind == "f" else np.ones(values.shape, bool)
        beyond = ((values < low) | (values > high)) & known
        return float(beyond.sum() / max(int(known.sum()), 1))

    def describe(self) -> str:
        """In words: "uint16, 4 bands (blue, green, red, nir), 0:10000"; with parts, "float32, 5
        bands (blue, green, red, nir, sar 1) of 2 inputs: optical, sar".
        """
        count = len(self.bands)
        named = f" ({', '.join(self.bands)})" if count > 1 else ""
        bands = f"{count} band{'s' * (count > 1)}{named}"
        if self.parts:
            names = ", ".join(part.name for part in self.parts)
            return f"{self.dtype}, {bands} of {len(self.parts)} inputs: {names}"
        unit = " dB" if self.decibels else f" {self.unit}" if self.unit else ""
        ranges = dict.fromkeys(f"{low:.9g}:{high:.9g}{unit}" for low, high in self._ranges())
        pages = " of all pages" if self.pages == "stack" else ""
        if self.neighbors:
            pages = f" of pages with {self.neighbors} before and after"
        return f"{self.dtype}, {bands}{pages}, {', '.join(ranges)}"

    @property
    def described(self) -> str:
        """`describe`, and the rule by which the range was chosen, if there is one."""
        return f"{self.describe()} ({self.rule})" if self.rule else self.describe()

    def _ranges(self) -> list[tuple[float, float]]:
        return list(zip(self.low, self.high, strict=True))


def stacked(parts: Sequence[Intensity]) -> Intensity:
    """The intensity of pictures that have the bands of all parts, in their order.

    Its type is the smallest one that holds the values of all parts exactly. A band keeps its name,
    with that of its part in front if it is a number, or another part has a band of that name.
    Raises UsageError for int32 beside float32, since no type holds both.
    """
    by_type = {part.dtype: part.name for part in parts}
    if {"int32", "float32"} <= by_type.keys():
        raise UsageError(
            f"{by_type['int32']} is int32 and {by_type['float32']} is float32, and no type holds "
            "the values of both exactly. Save one of them as the other's type."
        )
    holding = "float32" if "float32" in by_type else np.result_type(*by_type).name
    names = Counter(band for part in parts for band in set(part.bands))
    return Intensity(
        dtype=_dtype(holding),
        bands=tuple(
            f"{part.name} {band}" if band.isdecimal() or names[band] > 1 else band
            for part in parts
            for band in part.bands
        ),
        low=tuple(low for part in parts for low in part.low),
        high=tuple(high for part in parts for high in part.high),
        parts=tuple(parts),
    )


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


def fitted(rule: str, statistics: Statistics) -> Intensity:
    """The intensity by a rule of GRAMMAR. Raises UsageError for another text, and for a rule that
    does not go with the values.
    """
    text, values = rule.strip().lower(), statistics.values
    values = values[np.isfinite(values).all(1)]
    bands = len(statistics.bands)
    if not len(values):
        raise DataError("The pictures have no pixel with a value, so no range can be chosen.")
    why = text
    if text == "auto":
        text, why = _chosen(statistics, values)
    decibels = False
    if text == "full":
        low, high = _full(statistics.dtype, bands)
    elif text in WINDOWS:
        low, high = _same(WINDOWS[text], bands)
    elif match := re.fullmatch(rf"({NUMBER})%:({NUMBER})%", text):
        low, high = percentiles(values, float(match[1]), float(match[2]))
    elif match := re.fullmatch(rf"({NUMBER})db:({NUMBER})db", text):
        low, high = _same((float(match[1]), float(match[2])), bands)
        decibels = True
        if values.min() < 0:
            raise UsageError(
                f"--range {rule}: decibels are of powers, and some values are negative."
            )
    elif match := re.fullmatch(rf"({NUMBER})sigma", text):
        low, high = _around_mean(values, float(match[1]))
    elif match := re.fullmatch(rf"({NUMBER}):({NUMBER})", text):
        low, high = _same((float(match[1]), float(match[2])), bands)
    else:
        raise UsageError(f"--range {rule}: there is no such range. Choose {GRAMMAR}.")
    low, high = _apart(low, high)
    limits = list(zip(low, high, strict=True))
    if not np.isfinite(limits).all():
        raise UsageError(f"--range {rule}: both ends must be finite numbers.")
    if not all(a < b for a, b in limits):
        raise UsageError(f"--range {rule}: the first number must be less than the second.")
    steps = [max(abs(a), abs(b)) / (b - a) for a, b in limits]
    if max(steps) > FARTHEST:
        raise UsageError(
            f"--range {rule}: {low[0]:g} to {high[0]:g} is too narrow so far from 0 for the fp32 "
            "of an exported model. Subtract a constant from the files first."
        )
    return Intensity(
        dtype=_dtype(statistics.dtype),
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


def _dtype(name: str) -> Dtype:
    assert name in DTYPES, name
    return name  # type: ignore[return-value]  # checked above


def _full(dtype: str, bands: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    if dtype == "float32":
        raise UsageError(
            f"--range full: float32 has no range of values to use. Choose another one: {GRAMMAR}."
        )
    limits = np.iinfo(dtype)
    return _same((float(limits.min), float(limits.max)), bands)


def _same(limits: tuple[float, float], bands: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    return (limits[0],) * bands, (limits[1],) * bands


def percentiles(
    values: np.ndarray, low: float, high: float
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Two percentiles of the values [N, bands] of each band, or, where these are equal, its least
    and its largest value. Raises UsageError for percentiles that are none.
    """
    if not 0 <= low < high <= 100:
        raise UsageError(
            f"--range {low:g}%:{high:g}%: percentiles are from 0% to 100%, the lower one first."
        )
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


def representable(nodata: float | None, dtype: str) -> float | None:
    """The value of missing pixels, if the type can hold it; NaN needs no value."""
    if nodata is None or np.isnan(nodata):
        return None
    if dtype == "float32":
        with np.errstate(over="ignore"):
            nearest = float(np.float32(nodata))
        # An infinite marker, such as that of GDAL's float64, is read as NaN, and written as one.
        return nearest if np.isfinite(nearest) else None
    limits = np.iinfo(dtype)
    fits = float(nodata).is_integer() and limits.min <= nodata <= limits.max
    return nodata if fits else None


def gap_of(
    intensity: Intensity | None, declared: float | None, dtype: str
) -> tuple[float, float | None]:
    """The value of missing pixels in an output of the type, and that which its file declares for
    them: those of the outputs' intensity, or else the value that the input's file declares; where
    the type can't hold that, 0, and none.
    """
    if intensity and intensity.may_miss:
        return intensity.missing_value, intensity.nodata
    value = representable(declared, dtype)
    return value or 0.0, value


def _floats(values: np.ndarray) -> tuple[float, ...]:
    return tuple(float(value) for value in values)
