"""The lists of commands and settings, as the program describes them itself."""

import html
import re
from typing import Any

import typer

from img2img.cli import app
from img2img.cli.lists import shown_value
from img2img.methods import METHODS
from img2img.methods.config import MethodConfig
from img2img.training.config import RunConfig, option
from img2img.training.settings import layered, settings_of


def commands() -> str:
    """Every command with its help, options and defaults."""
    lines = []
    group: Any = typer.main.get_command(app)
    for name, command in group.commands.items():
        context = typer.Context(command, info_name=f"img2img {name}")
        usage = command.get_usage(context).removeprefix("Usage: ")
        lines += ["", f"## {name}", "", _prose(command.help), "", f"```text\n{usage}\n```"]
        panels: dict[str, list[str]] = {}
        for parameter in command.get_params(context):
            if "--help" in parameter.opts:
                continue
            form, text = parameter.get_help_record(context)
            panel = parameter.rich_help_panel or ""
            panels.setdefault(panel, []).append(f"| {_code(form)} | {_cell(text)} |")
        for panel, rows in panels.items():
            title = [f"**{panel}**", ""] if panel else []
            lines += ["", *title, *_table("| option | meaning |", rows)]
    return "\n".join(lines) + "\n"


def settings() -> str:
    """Every setting of every method, with its value in the paper's preset."""
    lines = []
    for mode in METHODS.builtin:
        config = RunConfig.build(layered({}, {"mode": mode}, {}, {}))
        values = {**config.model_dump(mode="json"), **config.method.flat()}
        rows = []
        for name, setting in settings_of(config.mode, config.method.model_dump()).items():
            if name == "name":
                continue
            shared = MethodConfig.model_fields.get(name, setting.field)
            meaning = setting.field.description or shared.description or ""
            value = _code(shown_value(values[name])) if values[name] not in (None, "") else ""
            rows.append(f"| {_code(option(name))} | {value} | {_cell(meaning)} |")
        lines += ["", f"## {mode}", "", *_table("| setting | default | meaning |", rows)]
    return "\n".join(lines) + "\n"


def _table(head: str, rows: list[str]) -> list[str]:
    """The lines of a table, in a division that site.css shows line by line on phones."""
    rule = "|" + "---|" * (head.count("|") - 1)
    return ['<div class="options" markdown>', "", head, rule, *rows, "", "</div>"]


def _prose(text: str) -> str:
    """A command's help with its example lines as a block of code."""
    paragraphs = [" ".join(each.split()) for each in text.split("\n\n")]
    joined = "\n\n".join(
        f"```text\n{each}\n```" if each.startswith("img2img ") else each for each in paragraphs
    )
    return joined.replace("\n```\n\n```text\n", "\n")


def _cell(text: str) -> str:
    """Text as it stands, for a cell of a table."""
    return re.sub(r"([|<>*_\\\[\]])", r"\\\1", " ".join(text.split()))


def _code(text: str) -> str:
    return f"<code>{html.escape(text).replace('|', '&#124;')}</code>"
