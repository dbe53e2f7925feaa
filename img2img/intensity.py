"""What the numbers in a picture mean, and how they become the network's [-1, 1] and numbers again.

Photographs need none of this: they are uint8, and all of 0 to 255 is used. Other pictures, such as
those of microscopes, scanners and satellites, have other types, and use a part of their range.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Literal, Self, get_args

import numpy as np
from pydantic import BaseModel, ConfigDict, model_validator

from img2img.errors import UsageError
from img2img.false_colors import FalseColors
from img2img.rasters.pages import Mode

Dtype = Literal["uint8", "uint16", "int16", "int32", "float32"]
DTYPES: tuple[str, ...] = get_args(Dtype)


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
    show: FalseColors | None = None  # the declared ones; None: those of the first bands

    @model_validator(mode="after")
    def _has_ranges(self) -> Self:
        ranges = zip(self.low, self.high, strict=False)
        if not len(self.bands) == len(self.low) == len(self.high) or not self.bands:
            raise ValueError("bands, low and high must have one entry for each band")
        if not all(np.isfinite((low, high)).all() and low < high for low, high in ranges):
            raise ValueError("low must be less than high, and both finite")
        if self.parts and sum(len(part.bands) for part in self.parts) != len(self.bands):
            raise ValueError("the bands must be those of the parts")
        if self.show and max(self.show.bands) >= len(self.bands):
            raise ValueError("the bands that are shown must be among those that are used")
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

    def part_of(self, band: int) -> "Intensity":
        """The intensity of the file that has a band."""
        return [part for part in self.inputs for _ in part.bands][band]

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
    def beside_nodata(self) -> np.ndarray:
        """What a known integer that comes to nodata becomes, in each band: the next one in the
        direction of the middle of its range. int64 [bands].
        """
        assert self.nodata is not None
        assert self.is_of_integers
        middle = (np.array(self.low) + np.array(self.high)) / 2
        if self.decibels:
            middle = 10 ** (middle / 10)
        nodata, limits = int(self.nodata), np.iinfo(self.dtype)
        upward = (nodata < limits.max) & ((nodata <= middle) | (nodata == limits.min))
        return nodata + np.where(upward, 1, -1)

    @property
    def least(self) -> float:
        """With decibels, a power far below the range, in place of 0, which has no logarithm."""
        return float(10 ** (min(self.low) / 10 - 1))

    @property
    def false_colors(self) -> FalseColors:
        """How the values are shown: as it is declared, else the first three bands, or the first one
        of fewer, each in its range. With neighbors, bands of the page in the middle.
        """
        if self.show:
            return self.show
        of_page = self.bands_of_page
        bands = tuple(of_page[:3] if len(of_page) >= 3 else of_page[:1])
        return FalseColors(
            bands=bands,
            low=tuple(self.low[band] for band in bands),
            high=tuple(self.high[band] for band in bands),
            decibels=tuple(self.part_of(band).decibels for band in bands),
        )

    def shown(self, values: np.ndarray, missing: np.ndarray | None = None) -> np.ndarray:
        """Stored values [..., bands] as people and feature networks see them: uint8 [..., 1], or
        [..., 3] in RGB. Missing pixels, which are nodata or NaN in any band, are gray.

        missing: bool [...], others that are missing, too, such as those of an output whose type has
        no value for them.
        """
        lost = self.missing(values)
        return self.false_colors.of(values, lost if missing is None else lost | missing)

    def missing(self, values: np.ndarray) -> np.ndarray:
        """Where any of the stored values [..., bands] is nodata or NaN: bool [...]."""
        lost = np.isnan(values) if values.dtype.kind == "f" else np.zeros(values.shape, bool)
        for part, bands in self.slices:
            if part.nodata is not None:
                lost[..., bands] |= values[..., bands] == part.nodata
        return np.asarray(lost.any(-1))

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
        """[..., bands] in [-1, 1] -> stored values of the type, rounded where it has integers, and
        then never nodata, which would make a hole of a known pixel.
        """
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
            if self.nodata is not None:
                values = np.where(values == self.nodata, self.beside_nodata, values)
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

    def describe_show(self) -> str:
        """How the values are shown, in words: "4, 3, 2 as red, green, blue (0:3000)"."""
        return self.false_colors.describe(self.bands, self.unit)

    @property
    def bands_of_page(self) -> list[int]:
        """The indices of the bands without those of neighbors; of all, if only these are used."""
        indices = []
        for part, place in self.slices:
            stored = part.picked or range(len(part.bands))
            of_page = (part.file_bands or len(part.bands)) // (2 * part.neighbors + 1)
            own = range(part.neighbors * of_page, (part.neighbors + 1) * of_page)
            indices += [(place.start or 0) + n for n, band in enumerate(stored) if band in own]
        return indices or list(range(len(self.bands)))

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
        dtype=as_dtype(holding),
        bands=tuple(
            f"{part.name} {band}" if band.isdecimal() or names[band] > 1 else band
            for part in parts
            for band in part.bands
        ),
        low=tuple(low for part in parts for low in part.low),
        high=tuple(high for part in parts for high in part.high),
        parts=tuple(parts),
    )


def as_dtype(name: str) -> Dtype:
    assert name in DTYPES, name
    return name  # type: ignore[return-value]  # checked above


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
