"""Help texts that the options of several commands share."""

from typing import Any

import typer


def option(text: str) -> Any:
    """An option that has only a help text."""
    return typer.Option(help=text)
