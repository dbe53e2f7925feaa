"""Pages under docs/ with tables that a script fills in."""

from pathlib import Path


def fill(path: Path, name: str, text: str) -> None:
    """Put the text between the page's `<!-- name -->` and `<!-- end of name -->`."""
    page = path.read_text()
    first, last = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
    before, there, rest = page.partition(first)
    _, ended, after = rest.partition(last)
    if not (there and ended):
        raise SystemExit(f"{path} has no place for {name}.")
    path.write_text(f"{before}{first}{text}\n{last}{after}")
