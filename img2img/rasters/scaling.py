"""Stored values and what they stand for: slope * stored + intercept, as DICOM and NIfTI have it."""

import numpy as np

from img2img.rasters.raster import as_read, require_fit, type_read

EXACT = 2**24  # integers up to which float32 is exact


def type_scaled(
    stored: np.dtype[np.generic], slope: float, intercept: float, bits: int | None = None
) -> np.dtype[np.generic]:
    """The type of slope * stored + intercept: int16 or int32 if all results are such integers.

    bits: of the stored values, where they are less than those of the type.
    """
    if (slope, intercept) == (1, 0):
        return type_read(stored)
    if stored.kind not in "iu" or not (float(slope).is_integer() and float(intercept).is_integer()):
        return np.dtype(np.float32)
    ends = [int(slope) * end + int(intercept) for end in stored_range(stored, bits)]
    for name in ("int16", "int32"):
        if np.iinfo(name).min <= min(ends) and max(ends) <= np.iinfo(name).max:
            return np.dtype(name)
    return np.dtype(np.float32)


def scaled(
    stored: np.ndarray,
    slope: float,
    intercept: float,
    notes: list[str],
    bits: int | None = None,
) -> np.ndarray:
    """slope * stored + intercept, of the type that `type_scaled` names.

    Raises DataError for integers that do not fit, because they have more than `bits`.
    """
    if (slope, intercept) == (1, 0):
        return as_read(stored, notes)
    dtype = type_scaled(stored.dtype, slope, intercept, bits)
    exact = stored.astype(np.float64) * slope + intercept
    if dtype.kind == "i":
        require_fit(exact, dtype)
    elif stored.dtype.kind in "iu" and np.abs(exact).max(initial=0) > EXACT:
        notes.append("rescaled values are rounded to float32")
    return np.ascontiguousarray(exact, dtype)


def stored_range(stored: np.dtype[np.generic], bits: int | None = None) -> tuple[int, int]:
    """The least and the largest integer of a type, or of fewer bits of it."""
    count = bits or 8 * stored.itemsize
    return (-(2 ** (count - 1)), 2 ** (count - 1) - 1) if stored.kind == "i" else (0, 2**count - 1)
