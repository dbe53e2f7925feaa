"""img2img check: what is in a data set, before anyone trains on it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from img2img.cli.options import option

if TYPE_CHECKING:
    from img2img.data.sources import Sources
    from img2img.data.survey import Survey
    from img2img.methods.base import Method


def check(
    data: Annotated[
        list[Path],
        typer.Argument(
            metavar="DATA...",
            help="a and b; or one folder: of domains, of pairs, or a published data set (trainA "
            "and trainB, or train and test). Several sets of domains: with --mode stargan.",
        ),
    ],
    test: Annotated[list[Path] | None, option("The same, held out; repeat for two.")] = None,
    mode: Annotated[str | None, option("A method; by default chosen by the folders.")] = None,
    attributes: Annotated[Path | None, option("StarGAN: list, as CelebA's or CSV.")] = None,
    attribute: Annotated[list[str] | None, option("A column of that list; repeat.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
) -> None:
    """Look at a data set: counts, sizes, broken and double files, pairs that don't lie together.

    img2img check horses zebras --test horses-test --test zebras-test

    img2img check horse2zebra

    Exit code 3 where something would break the training.
    """
    import json

    from img2img.cli import stderr_console
    from img2img.errors import DataError, UsageError, needs_extra

    try:
        from img2img.data.check import require_same_domains
        from img2img.data.parts import entered
        from img2img.data.published import resolve
        from img2img.data.survey import survey
        from img2img.methods import METHODS
    except ImportError as error:
        raise needs_extra("train", error) from None
    data = [entered(folder) for folder in data]
    columns = tuple(attribute or ())
    method = METHODS.choose(mode) if mode else _best_method(data, attributes, columns)
    sources = _sources(method, data, attributes, columns)
    if sources is None or (test and len(test) != len(data)):
        raise UsageError("Give one folder or two (of domains: any number), and as many --test.")
    resolved = resolve(
        method.layouts, sources, _sources(method, test, attributes, columns) if test else None
    )
    training = method.open_data(resolved.training, (3, 3))
    held_out = None
    if resolved.held_out.given():
        listed = {"attributes": attributes, "attribute": columns}
        held_out = method.open_data(resolved.held_out.model_copy(update=listed), (3, 3))
        require_same_domains(training, held_out)
    console = stderr_console()
    for note in resolved.notes:
        console.print(note, highlight=False, markup=False, soft_wrap=True)
    result = survey(training, held_out, console)
    if as_json:
        print(json.dumps({"mode": method.name, **result.as_dict()}, indent=2))
    else:
        title = f"as {method.name}: {training.describe()}"
        _show(title + (f"; held out: {held_out.describe()}" if held_out else ""), result)
    if broken := [finding.what for finding in result.findings if finding.level == "error"]:
        raise DataError(" ".join(broken))


def _best_method(
    data: list[Path], attributes: Path | None, columns: tuple[str, ...]
) -> "type[Method]":
    """The method that the folders fit best; of methods that they fit alike, the first.

    Methods of other packages are not asked: they are loaded only when --mode names them.
    """
    from img2img.data import LAYOUTS
    from img2img.methods import METHODS

    fits: dict[str, float] = {}  # by layout
    best, best_fit = METHODS[METHODS.builtin[0]], -1.0
    for name in METHODS.builtin:
        for layout in METHODS[name].layouts:
            if layout not in fits:
                sources = LAYOUTS[layout].from_folders(data, attributes, columns)
                fits[layout] = LAYOUTS[layout].fit(sources) if sources else -1.0
            if fits[layout] > best_fit:
                best, best_fit = METHODS[name], fits[layout]
    return best


def _sources(
    method: "type[Method]", folders: list[Path], attributes: Path | None, columns: tuple[str, ...]
) -> "Sources | None":
    """The folders as the first of the method's layouts takes them; None where none does."""
    from img2img.data import LAYOUTS
    from img2img.data.sources import Sources

    for layout in method.layouts:
        if sources := LAYOUTS[layout].from_folders(folders, attributes, columns):
            return sources
    # Opened, a single folder gets a message on what is missing in it.
    return Sources(data=tuple(folders)) if len(folders) == 1 else None


def _show(title: str, result: "Survey") -> None:
    from rich.table import Table

    from img2img.cli import printable, stdout_console

    table = Table("", "pictures", "width", "height", "aspect", "kinds")
    for role, told in result.roles.items():
        ranges = [
            " / ".join(f"{value:g}" for value in told.get(key, ()))
            for key in ("width", "height", "aspect")
        ]
        kinds = ", ".join(f"{kind} {count:,}" for kind, count in told.get("kinds", {}).items())
        table.add_row(role, f"{told['pictures']:,}", *ranges, kinds)
    print(title)
    stdout_console().print(table)
    print("sizes: least / median / largest")
    for finding in result.findings:
        print(printable(f"{finding.level}: {finding.what}"))
        for file in finding.files[:5]:
            print(printable(f"    {file}"))
    if not result.findings:
        print("Nothing odd was found.")
