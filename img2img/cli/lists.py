"""What `train` can print: its methods, objectives and settings."""

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from img2img.training.config import RunConfig


def show_methods() -> None:
    """Every method with its paper and presets; one of another package by where it is from, so that
    nothing of that package is imported.
    """
    from rich.console import Console
    from rich.table import Table

    from img2img.methods import METHODS

    table = Table("--mode", "what it is", "presets", "paper")
    for name in METHODS:
        if name not in METHODS.builtin:
            table.add_row(name, f"from {METHODS.origin(name)}", "", "")
            continue
        method = METHODS[name]
        page = sys.modules[method.__module__].__doc__ or ""
        paper = " ".join(page.split("\n\n")[0].split())
        summary = (method.__doc__ or "").partition("\n")[0]
        table.add_row(name, summary, ", ".join(method.presets), paper)
    Console(highlight=False, markup=False).print(table)


def show_objectives() -> None:
    """Every adversarial objective with its formula, its paper and what comes with it; one of
    another package by where it is from, so that nothing of that package is imported.
    """
    from rich.console import Console
    from rich.table import Table

    from img2img.methods.objectives import OBJECTIVES

    table = Table("--objective", "what D and G minimize", "paper", "comes with")
    for name in OBJECTIVES:
        if name not in OBJECTIVES.builtin:
            table.add_row(name, f"from {OBJECTIVES.origin(name)}", "", "")
            continue
        objective = OBJECTIVES[name]
        table.add_row(name, objective.formula, objective.paper, objective.needs())
    Console(highlight=False, markup=False).print(table)
    print(
        "r, f: the logits of a real and of a generated picture; s: the sigmoid; h: the features of "
        "patches"
    )


def show_settings(config: "RunConfig") -> None:
    """Every setting of the config's method, of its networks and of a run, with its value in the
    config and what it means.
    """
    from rich.console import Console
    from rich.table import Table

    from img2img.methods.config import MethodConfig
    from img2img.training.config import option
    from img2img.training.settings import settings_of

    values = {**config.model_dump(mode="json"), **config.method.flat()}
    table = Table("setting", f"value ({config.mode}, preset {config.preset})", "what it is")
    in_method = True
    for name, setting in settings_of(config.mode, config.method.model_dump()).items():
        if in_method and setting.of_run:
            table.add_section()
            in_method = False
        if name == "name":
            continue
        shared = MethodConfig.model_fields.get(name, setting.field)
        meaning = setting.field.description or shared.description
        table.add_row(option(name), _shown(values[name]), meaning)
    Console(highlight=False, markup=False).print(table)


def _shown(value: Any) -> str:
    """As an option takes it: nothing for none, commas between several."""
    if value is None:
        return ""
    if isinstance(value, list):
        return ",".join(map(_shown, value))
    return str(value).lower() if isinstance(value, bool) else str(value)
