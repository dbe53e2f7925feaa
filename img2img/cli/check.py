"""img2img check: examines a data set before training."""

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from img2img.cli.options import option

if TYPE_CHECKING:
    from img2img.data.dataset import Dataset
    from img2img.data.histograms import Histogram, SideValues
    from img2img.data.sources import Sources
    from img2img.data.survey import Survey
    from img2img.methods.base import Method

BARS = {True: "▁▂▃▄▅▆▇█", False: ".:-=+*#@"}  # by whether the terminal shows Unicode
MARKS = {True: "├─┤", False: "[-]"}  # of a range below the bars
MOST_BANDS = 16  # whose histograms are printed


def check(
    data: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="DATA...",
            help="Folders a and b, or one folder: of domains, of pairs, or a published data set "
            "(trainA and trainB, or train and test). Several sets of domains: with --mode stargan.",
        ),
    ] = None,
    test: Annotated[list[Path] | None, option("Held-out folder; repeat for two.")] = None,
    a: Annotated[
        list[Path] | None,
        option("In place of DATA, as in train: folder of inputs; repeat for several inputs."),
    ] = None,
    b: Annotated[Path | None, option("Folder of targets, with --a.")] = None,
    test_a: Annotated[list[Path] | None, option("Held-out folder of inputs, with --a.")] = None,
    test_b: Annotated[Path | None, option("Held-out folder of targets, with --a.")] = None,
    mode: Annotated[str | None, option("Method; by default the one that fits the folders.")] = None,
    attributes: Annotated[
        Path | None, option("StarGAN: attribute list, CelebA's text or CSV.")
    ] = None,
    attribute: Annotated[list[str] | None, option("StarGAN: column of the list; repeat.")] = None,
    pages: Annotated[
        Literal["each", "first", "stack"] | None,
        option("As of train: what is a picture in files of several pages."),
    ] = None,
    neighbors: Annotated[
        int, typer.Option(min=0, help="As of train: pages before and after one as bands.")
    ] = 0,
    group: Annotated[
        str | None,
        option(
            "Regex by which files are of one patient, scene or slide, or parent (see train "
            "--list-settings). Without --test, the groups that train would hold out are held out."
        ),
    ] = None,
    wanted: Annotated[
        int | None,
        typer.Option(
            "--held-out",
            min=0,
            help="As of train: how many, with --group or --pages each. Default: 16.",
        ),
    ] = None,
    value_range: Annotated[
        list[str] | None,
        typer.Option(
            "--range",
            help="As of train: 0:10000, a=hu,b=0.1%:99.9%, ... It may be given once for each side.",
        ),
    ] = None,
    bands: Annotated[
        list[str] | None,
        option("As of train: 4,3,2 or a=nir,red,b=1. It may be given once for each side."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Examine a data set: counts, sizes, broken and duplicate files, misaligned pairs, leaks
    between training and test, and the values of pictures that are not photographs.

    img2img check horses zebras --test horses-test --test zebras-test

    img2img check horse2zebra

    img2img check --a optical --a sar --b dem

    img2img check ct mr --group '(patient\\d+)' --range a=soft-tissue

    The exit code is 3 if training would fail, or if test pictures are among those of training.
    """
    import json
    from dataclasses import asdict

    from img2img.cli import stderr_console
    from img2img.errors import DataError, UsageError, needs_extra

    try:
        from img2img.data.check import require_same_domains
        from img2img.data.findings import Finding
        from img2img.data.groups import HELD_OUT, Groups
        from img2img.data.intensities import names_of_inputs
        from img2img.data.parts import entered
        from img2img.data.published import resolve
        from img2img.data.sources import Sources
        from img2img.data.survey import survey
        from img2img.methods import METHODS
        from img2img.ranges import items_of
        from img2img.shards import copy_remote
        from img2img.training.config import GIVEN_ONCE
        from img2img.training.held_out import count_unused, rule_of
        from img2img.training.settings import settings_of
    except ImportError as error:
        raise needs_extra("train", error) from None
    columns = tuple(attribute or ())
    by_side = bool(a and b) and not (data or test or attributes or columns)
    by_folder = bool(data) and not (a or b or test_a or test_b)
    if not (by_side or by_folder):
        raise UsageError("Give DATA and --test, or --a and --b, and --test-a and --test-b.")
    console = stderr_console()
    copy_remote([*(a or ()), *(data or ()), *(test or ()), *(test_a or ())], console)
    copy_remote([folder for folder in (b, test_b) if folder], console)
    sources: Sources | None
    if by_side:
        sources, held = Sources(a=a, b=b), Sources(a=test_a, b=test_b)
        method = METHODS.choose(mode) if mode else _best_method(partial(_accepted, sources))
        test_sources = held if held.given() else None
    else:
        folders = [entered(folder) for folder in data or ()]
        listed = partial(_from_folders, folders, attributes, columns)
        method = METHODS.choose(mode) if mode else _best_method(listed)
        sources = _sources(method, folders, attributes, columns)
        test_sources = _sources(method, test, attributes, columns) if test else None
        if sources is None or (test and len(test) != len(folders)):
            raise UsageError("Give one or two folders (any number of domains), and as many --test.")
    ranges, picked = items_of("--range", value_range or ()), items_of("--bands", bands or ())
    rule = settings_of(method.name, {})["group"].parse(group or "")
    sources = sources.model_copy(update={"pages": pages, "neighbors": neighbors})
    resolved = resolve(method.layouts, sources, test_sources)
    whole = training = method.open_data(resolved.training, (3, 3))
    rule = rule_of(rule, resolved.training, resolved.held_out)
    groups = Groups.of(rule, resolved.training, resolved.held_out) if rule else None
    if (wanted and not groups) or (wanted is not None and resolved.held_out.given()):
        raise UsageError(
            "--held-out goes with --group or --pages each, without held-out folders. Leave it out."
        )
    held_out = None
    if resolved.held_out.given():
        update = resolved.training.model_dump(include={*GIVEN_ONCE})
        held_out = method.open_data(resolved.held_out.model_copy(update=update), (3, 3))
        require_same_domains(training, held_out)
    elif groups and wanted != 0:
        training, held_out = whole.split_groups(wanted or HELD_OUT, groups)
    unused = 0 if held_out is None or training is whole else count_unused(whole, training, held_out)
    for note in resolved.notes:
        console.print(note, highlight=False, markup=False, soft_wrap=True)
    result = survey(training, held_out, console, groups)
    if unused:
        what = f"{unused:,} files near the held-out ones are not used."
        result.findings.append(Finding("note", what))
    names = names_of_inputs(sources.inputs) if sources.more_a else ()
    values = _examined_values(whole, ranges, picked, names, result)
    if as_json:
        told = {"values": [asdict(side) for side in values]}
        print(json.dumps({"mode": method.name, **result.as_dict(), **told}, indent=2))
    else:
        title = f"as {method.name}: {training.describe()}"
        _show(title + (f"; held out: {held_out.describe()}" if held_out else ""), result, values)
    if broken := [finding.what for finding in result.findings if finding.level == "error"]:
        raise DataError(" ".join(broken))


def _best_method(sources_of: Callable[[str], "Sources | None"]) -> "type[Method]":
    """The built-in method that the folders fit best; of several, the first. sources_of: gives the
    folders as sources of a layout, None if they can't be.

    Methods of other packages are only loaded if --mode names them.
    """
    from img2img.data import LAYOUTS
    from img2img.methods import METHODS

    fits: dict[str, float] = {}  # by layout
    best, best_fit = METHODS[METHODS.builtin[0]], -1.0
    for name in METHODS.builtin:
        for layout in METHODS[name].layouts:
            sources = sources_of(layout)
            if sources and sources.more_a and not METHODS[name].several_inputs:
                continue
            if layout not in fits:
                fits[layout] = LAYOUTS[layout].fit(sources) if sources else -1.0
            if fits[layout] > best_fit:
                best, best_fit = METHODS[name], fits[layout]
    return best


def _accepted(sources: "Sources", layout: str) -> "Sources | None":
    """The sources, if the layout accepts them."""
    from img2img.data import LAYOUTS

    return sources if LAYOUTS[layout].accepts(sources) else None


def _from_folders(
    folders: list[Path], attributes: Path | None, columns: tuple[str, ...], layout: str
) -> "Sources | None":
    """The folders as sources of the layout, None if they can't be."""
    from img2img.data import LAYOUTS

    return LAYOUTS[layout].from_folders(folders, attributes, columns)


def _sources(
    method: "type[Method]", folders: list[Path], attributes: Path | None, columns: tuple[str, ...]
) -> "Sources | None":
    """The folders as sources of the first of the method's layouts that accepts them, else None."""
    from img2img.data.sources import Sources

    for layout in method.layouts:
        if sources := _from_folders(folders, attributes, columns, layout):
            return sources
    # Opening a single folder gives a message that tells what is missing in it.
    return Sources(data=tuple(folders)) if len(folders) == 1 else None


def _examined_values(
    dataset: "Dataset",
    ranges: tuple[str, ...],
    bands: tuple[str, ...],
    inputs: tuple[str, ...],
    result: "Survey",
) -> "list[SideValues]":
    """The values of sides that are no photographs. What is wrong with them is added to the result.

    Raises UsageError for a range or bands that the files don't have.
    """
    from img2img.data.findings import Finding
    from img2img.data.histograms import values_of_sides
    from img2img.data.survey import errors_first
    from img2img.errors import DataError

    try:
        values = values_of_sides(dataset, ranges, bands, inputs)
    except DataError as error:
        if all(finding.level != "error" for finding in result.findings):  # else it is known
            result.findings.insert(0, Finding("error", str(error)))
        return []
    more = [finding for side in values for finding in side.findings()]
    result.findings = errors_first([*result.findings, *more])
    return values


def _show(title: str, result: "Survey", values: "list[SideValues]") -> None:
    """Print the sizes as a table, the histograms, and the findings."""
    from rich.table import Table

    from img2img.cli import printable, stdout_console

    table = Table("", "pictures", "width", "height", "aspect", "kinds")
    for role, summary in result.roles.items():
        ranges = [
            " / ".join(f"{value:g}" for value in summary.get(key, ()))
            for key in ("width", "height", "aspect")
        ]
        kinds = ", ".join(f"{kind} {count:,}" for kind, count in summary.get("kinds", {}).items())
        table.add_row(role, f"{summary['pictures']:,}", *ranges, kinds)
    print(title)
    stdout_console().print(table)
    print("sizes: smallest / median / largest")
    for side in values:
        _show_values(side, stdout_console().encoding.startswith("utf"))
    for finding in result.findings:
        print(printable(f"{finding.level}: {finding.what}"))
        for file in finding.files[:5]:
            print(printable(f"    {file}"))
    if not result.findings:
        print("No problems were found.")


def _show_values(side: "SideValues", unicode: bool) -> None:
    """Print the histograms of a side's bands, each above a line that marks the range."""
    from img2img.cli import printable

    print(printable(f"\n{side.side}: {side.kind}"))
    missing = f"; {100 * side.missing:.2g} % are missing" if side.missing else ""
    print(f"  {side.pixels_seen:,} pixels of {side.files_seen:,} of {side.files:,} files{missing}")
    shown = side.histograms[:MOST_BANDS]
    names = max(len(band.band) for band in shown)
    starts = max(len(_end(band, band.start)) for band in shown)
    for band in shown:
        bars, marks = _bars(band, unicode), _marks(band, unicode)
        first, last = _end(band, band.start), _end(band, band.last)
        print(printable(f"  {band.band:>{names}} {first:>{starts}} {bars} {last}"))
        clipped = f", {100 * band.clipped:.2g} % beyond it" if band.clipped else ""
        told = f"{band.low:.9g}:{band.high:.9g}{clipped}"
        print(f"  {'':{names}} {'':{starts}} {marks} {told}")
    if len(side.histograms) > MOST_BANDS:
        print(f"  and {len(side.histograms) - MOST_BANDS} more bands (--json has all)")


def _end(band: "Histogram", value: float) -> str:
    """The end of a histogram, in full where values are whole numbers."""
    return f"{value:.9g}" if band.integers else f"{value:.4g}"


def _bars(band: "Histogram", unicode: bool) -> str:
    """A character for each bin, as high as the root of its count, so that rare values show beside
    a background of many; a space for an empty bin.
    """
    heights, most = BARS[unicode], max(1, *band.counts)
    steps = (math.ceil(len(heights) * math.sqrt(count / most)) for count in band.counts)
    return "".join(heights[step - 1] if step else " " for step in steps)


def _marks(band: "Histogram", unicode: bool) -> str:
    """The bins of the range, as wide as the bars."""
    marks = MARKS[unicode]
    count = len(band.counts)
    start = min(round((band.low - band.start) / band.width), count - 1)
    end = max(min(round((band.high - band.start) / band.width), count), start + 1)
    wide = end - start > 1
    inside = marks[0] + marks[1] * (end - start - 2) + marks[2] if wide else marks[1]
    return f"{'':{start}}{inside}{'':{count - end}}"
