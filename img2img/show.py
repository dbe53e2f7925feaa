"""The setting `show`: which bands of values are shown, and with which stretch."""

from collections.abc import Mapping, Sequence

import numpy as np

from img2img.errors import UsageError
from img2img.false_colors import FalseColors
from img2img.intensity import Intensity
from img2img.ranges import limits_of, with_sides

USE = (
    "which bands are shown as red, green and blue, or the one that is shown as gray, by name or "
    "number as in bands: 4,3,2. After @, the values that are black and white, in the notation of "
    "range, for the bands before it: 4,3,2@0:3000, 4,3,2@2%:98%, @soft-tissue"
)


def declared(
    show: Sequence[str],
    intensities: Mapping[str, Intensity],
    values: Mapping[str, Sequence[np.ndarray]] | None = None,
) -> dict[str, Intensity]:
    """The intensities of sides with the false colors that the setting declares for them.

    values: some of each band of a side, [N], finite; None if stretches are to be two numbers.
    Raises UsageError for sides without values, and as `false_colors` does.
    """
    inputs = [part.name for part in intensities["a"].parts] if "a" in intensities else []
    items = with_sides(show, "--show", inputs)
    named = {item.partition("=")[0].strip() for item in show if "=" in item}
    if show and (not intensities or named - {*intensities, *inputs}):
        raise UsageError(f"--show {','.join(show)}: photographs are shown as they are.")
    with_colors = {}
    for side, intensity in intensities.items():
        colors = false_colors(items, side, intensity, values[side] if values else None)
        update = {"show": colors} if colors else {}
        with_colors[side] = intensity.model_copy(update=update)
    return with_colors


def false_colors(
    items: Sequence[tuple[str, str]],
    side: str,
    intensity: Intensity,
    values: Sequence[np.ndarray] | None = None,
) -> FalseColors | None:
    """The false colors of a side by the items of the setting; None if it says nothing about them.

    items: in their order, each after the side, or the name of the input, that it is for.
    intensity: of the side.
    values: some of each of its bands, [N], finite; None if only stretches between two numbers can
    be had. Raises UsageError for bands that are not used, for other numbers of them than 1 and 3,
    and for a stretch that can't be had.
    """
    names = {name for name, _ in items}
    inputs = [part.name for part in intensity.parts if part.name in names]
    if side in names and inputs:
        raise UsageError(f"--show: give {side}= or its inputs ({', '.join(inputs)}=), not both.")
    of_side = [(name, item) for name, item in items if name in (inputs or [side])]
    if not of_side:
        return None
    chosen = _chosen(of_side, intensity)
    if len(chosen) not in (1, 3):
        raise UsageError(
            f"--show: of {side}, {len(chosen)} bands are given. One is shown as gray, or three as "
            "red, green and blue."
        )
    limits = [_limits(band, rule, intensity, values) for band, rule in chosen]
    low, high, decibels = zip(*limits, strict=True)
    return FalseColors(
        bands=tuple(band for band, _ in chosen), low=low, high=high, decibels=decibels
    )


def _chosen(items: Sequence[tuple[str, str]], intensity: Intensity) -> list[tuple[int, str]]:
    """The indices of bands, each with its stretch; "" for the declared range."""
    parts = {part.name: (part, place.start) for part, place in intensity.slices if part.name}
    chosen: list[tuple[int, str]] = []
    waiting: dict[str, list[int]] = {}  # by name, which of the chosen bands a stretch may follow
    for name, item in items:
        part, start = parts.get(name, (intensity, 0))
        before = waiting.setdefault(name, [])
        whole = item in part.bands  # a name may have an @
        band, at, rule = (item, "", "") if whole else item.partition("@")
        indices: Sequence[int] = ()
        if band:
            indices = [_index(band.strip(), name, part)]
        elif not before:
            indices = part.false_colors.bands
        before += range(len(chosen), len(chosen) + len(indices))
        chosen += [((start or 0) + index, "") for index in indices]
        if at and not rule.strip():
            raise UsageError(f"--show {item}: after @, write the stretch, such as 0:3000.")
        if at:
            for number in before:
                chosen[number] = chosen[number][0], rule.strip()
            before.clear()
    return chosen


def _index(band: str, name: str, intensity: Intensity) -> int:
    """The index of a band, by its name or by its number in a file, from 1 on."""
    if band in intensity.bands:
        return intensity.bands.index(band)
    in_file = intensity.picked or range(len(intensity.bands))
    if band.isdecimal() and not intensity.parts and int(band) - 1 in in_file:
        return list(in_file).index(int(band) - 1)
    hint = ""
    if intensity.parts:
        hint = f" Those of an input are given by number, too: {intensity.parts[0].name}=1."
    raise UsageError(
        f"--show {band}: {name} has no such band that is used. There are "
        f"{', '.join(intensity.bands)}.{hint}"
    )


def _limits(
    band: int, rule: str, intensity: Intensity, values: Sequence[np.ndarray] | None
) -> tuple[float, float, bool]:
    """Black and white of a band, and whether they are in dB."""
    if not rule:
        return intensity.low[band], intensity.high[band], intensity.part_of(band).decibels
    some = None if values is None else values[band][:, None]
    (low,), (high,), decibels = limits_of(rule, "--show", intensity.part_of(band).dtype, some)
    return low, high, decibels
