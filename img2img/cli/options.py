"""Words that several commands' options share."""

from typing import Any

import typer


def option(text: str) -> Any:
    """An option with a help text and nothing else."""
    return typer.Option(help=text)
