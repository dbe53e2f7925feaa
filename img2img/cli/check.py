"""img2img check: what is in a data set, before anyone trains on it."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from img2img.cli.options import option


def check(
    data: Annotated[
        list[Path],
        typer.Argument(
            metavar="DATA...",
            help="a and b; or one folder: of domains, or of pairs. Several sets of domains: "
            "with --mode stargan.",
        ),
    ],
    test: Annotated[list[Path] | None, option("The same, held out; repeat for two.")] = None,
    mode: Annotated[
        Literal["pix2pix", "cyclegan", "stargan"] | None,
        option("By default told from the folders."),
    ] = None,
    attributes: Annotated[Path | None, option("StarGAN: CelebA's list.")] = None,
    attribute: Annotated[list[str] | None, option("A column of that list; repeat.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
) -> None:
    """Look at a data set: counts, sizes, broken and double files, pairs that don't lie together.

    img2img check horses zebras --test horses-test --test zebras-test

    Exit code 3 where something would break the training.
    """
    import json

    from img2img.cli import stderr_console
    from img2img.errors import DataError, UsageError, needs_extra
    from img2img.files import passed_over

    try:
        from img2img.data.survey import Finding, survey
        from img2img.methods import METHODS
    except ImportError as error:
        raise needs_extra("train", error) from None
    method = METHODS[mode or _told_mode(data, attributes)]
    if (len(data) > 2 and method.name != "stargan") or (test and len(test) != len(data)):
        raise UsageError("Give one folder or two (of domains: any number), and as many --test.")
    opened = [
        method.data.open(_sources(method.name, folders, attributes, attribute), (3, 3))
        for folders in (data, test)
        if folders
    ]
    console = stderr_console()
    result = survey(opened[0], opened[1] if test else None, console)
    if left := str(passed_over([*data, *(test or ())])):
        result.findings.append(Finding("note", f"{left}."))
    if as_json:
        print(json.dumps({"mode": method.name, **result.as_dict()}, indent=2))
    else:
        _show(f"as {method.name}: {opened[0].describe()}", result)
    if broken := [finding.what for finding in result.findings if finding.level == "error"]:
        raise DataError(" ".join(broken))


def _told_mode(data: list[Path], attributes: Path | None) -> str:
    """Two folders with some names in common are pairs; one with sub-folders has domains."""
    from img2img.files import data_folders, find_pictures, stem

    if len(data) == 2:
        names = [
            {stem(path, folder) for path in find_pictures(folder)}
            for folder in data
            if folder.is_dir()
        ]
        common = len(set.intersection(*names)) if len(names) == 2 else 0
        return "pix2pix" if 2 * common > min(map(len, names), default=0) else "cyclegan"
    folder = data[0]
    has_domains = folder.is_dir() and bool(data_folders(folder))
    return "stargan" if attributes or has_domains else "pix2pix"


def _sources(mode: str, folders: list[Path], attributes: Path | None, names: list[str] | None):
    from img2img.data.folders import Sources

    if mode == "stargan":
        return Sources(data=folders, attributes=attributes, attribute=tuple(names or ()))
    if len(folders) == 1:
        return Sources(pairs=folders[0])
    return Sources(a=folders[0], b=folders[1])


def _show(title: str, result: Any) -> None:
    from rich.table import Table

    from img2img.cli import printable, stdout_console

    table = Table("", "pictures", "width", "height", "aspect", "kinds", title=title)
    for role, told in result.roles.items():
        ranges = [
            " / ".join(f"{value:g}" for value in told.get(key, ()))
            for key in ("width", "height", "aspect")
        ]
        kinds = ", ".join(f"{kind} {count:,}" for kind, count in told.get("kinds", {}).items())
        table.add_row(role, f"{told['pictures']:,}", *ranges, kinds)
    stdout_console().print(table)
    print("sizes: least / median / largest")
    for finding in result.findings:
        print(printable(f"{finding.level}: {finding.what}"))
        for file in finding.files[:5]:
            print(printable(f"    {file}"))
    if not result.findings:
        print("Nothing odd was found.")
