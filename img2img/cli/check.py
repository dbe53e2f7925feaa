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
            help="a and b; or one folder: of domains, of pairs, or a published data set (trainA "
            "and trainB, or train and test). Several sets of domains: with --mode stargan.",
        ),
    ],
    test: Annotated[list[Path] | None, option("The same, held out; repeat for two.")] = None,
    mode: Annotated[
        Literal["pix2pix", "cyclegan", "stargan"] | None,
        option("By default told from the folders."),
    ] = None,
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
    from img2img.files import passed_over

    try:
        from img2img.data.check import require_same_domains
        from img2img.data.layouts import resolve
        from img2img.data.survey import Finding, survey
        from img2img.methods import METHODS
    except ImportError as error:
        raise needs_extra("train", error) from None
    method = METHODS[mode or _told_mode(data, attributes)]
    if (len(data) > 2 and method.name != "stargan") or (test and len(test) != len(data)):
        raise UsageError("Give one folder or two (of domains: any number), and as many --test.")
    resolved = resolve(
        method.data,
        _sources(method.name, data, attributes, attribute),
        _sources(method.name, test, attributes, attribute) if test else None,
    )
    training = method.data.open(resolved.training, (3, 3))
    held_out = None
    if resolved.held_out.given():
        listed = {"attributes": attributes, "attribute": tuple(attribute or ())}
        held_out = method.data.open(resolved.held_out.model_copy(update=listed), (3, 3))
        require_same_domains(training, held_out)
    console = stderr_console()
    for note in resolved.notes:
        console.print(note, highlight=False, markup=False, soft_wrap=True)
    result = survey(training, held_out, console)
    if left := str(passed_over([*resolved.training.folders(), *resolved.held_out.folders()])):
        result.findings.append(Finding("note", f"{left}."))
    if as_json:
        print(json.dumps({"mode": method.name, **result.as_dict()}, indent=2))
    else:
        title = f"as {method.name}: {training.describe()}"
        _show(title + (f"; held out: {held_out.describe()}" if held_out else ""), result)
    if broken := [finding.what for finding in result.findings if finding.level == "error"]:
        raise DataError(" ".join(broken))


def _told_mode(data: list[Path], attributes: Path | None) -> str:
    """Two sets with some names in common are pairs; one folder with sub-folders has domains."""
    from img2img.data.folders import Paired, Sources
    from img2img.data.layouts import entered, has_domains, resolve, two_sets

    folder = entered(data[0])
    if len(data) == 1 and folder.is_dir() and two_sets(folder) and not attributes:
        sources = Sources(data=(folder,))
    elif len(data) == 2:
        sources = Sources(a=data[0], b=data[1])
    else:
        training = resolve(Paired, Sources(pairs=folder)).training.pairs
        return "stargan" if attributes or has_domains(training) else "pix2pix"
    training = resolve(Paired, sources).training
    return "pix2pix" if _mostly_pairs(training.a, training.b) else "cyclegan"


def _mostly_pairs(a: Path, b: Path) -> bool:
    """Whether over half of the smaller folder's pictures have a partner by name."""
    from img2img.files import find_pictures, stem

    if not (a.is_dir() and b.is_dir()):
        return False
    names = [{stem(path, folder) for path in find_pictures(folder)} for folder in (a, b)]
    return 2 * len(set.intersection(*names)) > min(map(len, names))


def _sources(mode: str, folders: list[Path], attributes: Path | None, names: list[str] | None):
    from img2img.data.folders import Sources
    from img2img.data.layouts import entered, two_sets

    if mode == "stargan":
        return Sources(data=folders, attributes=attributes, attribute=tuple(names or ()))
    if len(folders) == 2:
        return Sources(a=folders[0], b=folders[1])
    whole = mode == "cyclegan" or (folders[0].is_dir() and two_sets(entered(folders[0])))
    return Sources(data=folders) if whole else Sources(pairs=folders[0])


def _show(title: str, result: Any) -> None:
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
