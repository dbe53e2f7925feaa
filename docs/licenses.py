"""The licences of what `.[all]` installs: python docs/licenses.py > docs/licenses.md

Reads what the installed packages say of themselves, so it runs in an environment with `.[all]`. The
script ends with an error where one is not installed, or states no licence.
"""

import sys
from email.message import Message
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from importlib.metadata import metadata as metadata_of

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PACKAGE = "img2img-gan"
LONGEST = 60  # characters; some packages have the whole text in the field


def dependencies(extras: set[str]) -> dict[str, Distribution]:
    """What is installed for the package with these extras, by its canonical name."""
    reached: dict[str, Distribution] = {}
    done: set[tuple[str, str]] = set()
    waiting = [(PACKAGE, extra) for extra in {"", *extras}]
    while waiting:
        name, extra = waiting.pop()
        if (name, extra) in done:
            continue
        done.add((name, extra))
        try:
            package = distribution(name)
        except PackageNotFoundError:
            sys.exit(f"{name} is not installed: pip install '.[all]'")
        reached[name] = package
        for row in package.requires or ():
            wanted = Requirement(row)
            if wanted.marker is None or wanted.marker.evaluate({"extra": extra}):
                other = canonicalize_name(wanted.name)
                waiting += [(other, each) for each in ("", *wanted.extras)]
    del reached[PACKAGE]
    return dict(sorted(reached.items()))


def licence(metadata: Message) -> str:
    """The licence as the package states it: as an expression, in a short field, or by classifiers;
    "" where it does not.
    """
    if expression := metadata.get("License-Expression"):
        return str(expression)
    prefix = "License :: "
    rows = [row for row in metadata.get_all("Classifier", []) if row.startswith(prefix)]
    names = [row.rpartition(" :: ")[2] for row in rows if row != "License :: OSI Approved"]
    if names:
        return ", ".join(names)
    lines = str(metadata.get("License", "")).strip().splitlines()
    return lines[0].strip()[:LONGEST] if lines and lines[0] != "UNKNOWN" else ""


def main() -> None:
    print("# Licences of the dependencies\n")
    print(
        "What `pip install '.[all]'` installs on Linux x86-64, with the licence that each\n"
        "package states; written by `docs/licenses.py`. None of it is copied into this repository\n"
        "or its packages. Those who pass on an environment or an image should know that\n"
        "NVIDIA's libraries, which come with torch, are under NVIDIA's terms. The extra `jxl`\n"
        "is not in `all`: its package is under the GPL.\n"
    )
    print("| package | version | licence |\n|---|---|---|")
    silent = []
    for name, package in dependencies({"all"}).items():
        stated = licence(metadata_of(name))  # type: ignore[arg-type]
        if not stated:
            silent.append(name)
        print(f"| {name} | {package.version} | {stated or 'not stated: see its archive'} |")
    if silent:
        print(f"No licence is stated by: {', '.join(silent)}", file=sys.stderr)


if __name__ == "__main__":
    main()
